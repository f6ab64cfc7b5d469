"""What is left to do of a study, piece by piece, so that its time can be told."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from itertools import chain

from prefixcap.interfaces.dataset import Example
from prefixcap.interfaces.encoder import EncoderConfig
from prefixcap.interfaces.metric import MetricConfig
from prefixcap.plugin import specs
from prefixcap.study.artifacts import captions, scores
from prefixcap.study.artifacts.keys import Cell, PlannedModel, in_order
from prefixcap.study.definition.study import Study
from prefixcap.study.execution.data import TrainingData
from prefixcap.study.execution.estimate import Work


def encoding(study: Study, encoder: EncoderConfig, images: int) -> Work:
    """Returns the encoding of so many images."""
    by = {"encoder": specs.to_spec(encoder), "device": study.device}
    return Work(kind="encoding", units=images, by=by)


def training(study: Study, data: TrainingData | Sequence[Example], place: PlannedModel) -> Work:
    """Returns the training of a model: the most steps that it may take."""
    examples = data.examples if isinstance(data, TrainingData) else data
    found = sum(len(example.references) for example in examples)
    count = min(found, study.training.max_train_captions or found)
    model = place.model
    return Work(
        kind="training",
        units=math.ceil(count / study.training.batch_size) * study.training.epochs,
        by={
            "lm": specs.to_spec(model.lm),
            "tuning": specs.to_spec(model.tuning),
            "mapper": specs.to_spec(model.mapper),
            "dtype": study.dtype,
            "prefix_length": model.prefix_length,
            "batch_size": study.training.batch_size,
        },
    )


def captioning(study: Study, cell: Cell, images: int) -> Work:
    """Returns the captioning of so many images."""
    return Work(
        kind="captioning",
        units=images,
        by={
            "decoder": specs.to_spec(cell.decoder),
            "lm": specs.to_spec(cell.model.lm),
            "dtype": study.dtype,
            "prefix_length": cell.model.prefix_length,
        },
    )


def scoring(metrics: Sequence[MetricConfig], images: int) -> list[Work]:
    """Returns the scoring of so many images, by each metric."""
    return [
        Work(kind="scoring", units=images, by={"metric": specs.to_spec(metric)})
        for metric in metrics
    ]


def left(
    study: Study,
    data: TrainingData | Sequence[Example],
    places: Sequence[PlannedModel],
    image_ids: Sequence[str],
    done: Collection[str] = (),
) -> list[Work]:
    """Returns what is left to do for some models and their cells.

    Args:
        study: the study.
        data: what is trained on.
        places: the models.
        image_ids: B names of the test images.
        done: the names of cells that need not be looked at.
    """
    found = [training(study, data, place) for place in places if not place.is_trained]
    cells = [cell for cell in in_order(places) if cell.name not in done]
    found += [
        captioning(study, cell, missing)
        for cell in cells
        if (missing := captions.missing(cell.folder, cell.key, image_ids))
    ]
    unscored = [scores.missing(cell.folder, cell.scores_key, study.metrics) for cell in cells]
    found += chain.from_iterable(scoring(metrics, len(image_ids)) for metrics in unscored)
    return found
