"""Where everything of a study is kept: each model and each cell with its key and its folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import attrs

from prefixcap.interfaces.dataset import Example
from prefixcap.interfaces.encoder import EncoderConfig
from prefixcap.plugin import specs
from prefixcap.study.artifacts.features import Features
from prefixcap.study.definition.study import Study

if TYPE_CHECKING:
    pass


from prefixcap.interfaces.component import Component
from prefixcap.interfaces.dataset import DatasetConfig
from prefixcap.interfaces.decoder import DecoderConfig
from prefixcap.interfaces.language_model import LMConfig
from prefixcap.study.artifacts import models
from prefixcap.study.artifacts.folder import StudyFolder
from prefixcap.study.definition.study import FORMAT, Model


@attrs.frozen(kw_only=True)
class Cell:
    """A decoder's captions by one model.

    Attributes:
        model: what made the captions.
        decoder: the decoder.
        key: a digest of everything that makes the captions.
        scores_key: a digest of what metrics see of them.
        folder: where it is kept.
        model_folder: where the model is kept.
    """

    model: Model
    decoder: DecoderConfig
    key: str
    scores_key: str
    folder: Path
    model_folder: Path

    @property
    def name(self) -> str:
        """What the cell is called in the study's files."""
        return self.folder.name


@attrs.frozen(kw_only=True)
class PlannedModel:
    """A model to train, with its cells.

    Attributes:
        model: what to train.
        key: a digest of everything that makes it.
        folder: where it is kept.
        cells: one a decoder.
    """

    model: Model
    key: str
    folder: Path
    cells: tuple[Cell, ...]

    @property
    def is_trained(self) -> bool:
        """Whether the model is there."""
        return models.is_trained(self.folder, self.key)


@attrs.frozen(kw_only=True)
class InputDigests:
    """What the models of one encoder and one language model are made of, as digests.

    Attributes:
        training: of the images' features and captions that are trained on.
        test: of the test images' features.
        references: of the captions that cells are scored against.
        lm: of the language model.
    """

    training: str
    test: str
    references: str
    lm: str


def places(
    study: Study,
    folder: Path,
    device: str,
    encoder: EncoderConfig,
    lm: LMConfig,
    made: InputDigests,
    here: str | None = None,
) -> list[PlannedModel]:
    """Lays out the models of one encoder and one language model.

    Args:
        study: the study.
        folder: where it is kept.
        device: where captions are made.
        encoder: the encoder.
        lm: the language model.
        made: what they are made of.
        here: where components are loaded to be digested, if not there.
    """
    # one GPU computes as another; which of several it was is no part of what was made
    kind_of_device = device.partition(":")[0]
    decoders = [(decoder, decoder_key(decoder, here or device)) for decoder in study.decoders]
    found = []
    for model in study.models(encoder, lm):
        key = model_key(study, model, made.lm, made.training)
        place = models.folder(folder, model, key)
        cells = []
        for decoder, made_by in decoders:
            cell = specs.digest(
                "captions", key, made_by, study.max_new_tokens, kind_of_device, made.test
            )
            cells.append(
                Cell(
                    model=model,
                    decoder=decoder,
                    key=cell,
                    scores_key=scores_key(cell, made.references),
                    folder=StudyFolder(folder).cells / f"{model.name}-{decoder.name}-{cell[:8]}",
                    model_folder=place,
                )
            )
        found.append(PlannedModel(model=model, key=key, folder=place, cells=tuple(cells)))
    return found


def model_key(study: Study, model: Model, lm_digest: str, training_key: str) -> str:
    """Returns a digest of everything that makes a model."""
    return specs.digest(
        FORMAT,
        "model",
        training_key,
        *specs.fingerprint_inputs(model.lm),
        lm_digest,
        *specs.fingerprint_inputs(model.mapper),
        model.prefix_length,
        *specs.fingerprint_inputs(model.tuning),
        model.seed,
        study.training.to_json(),
        study.dtype,
    )


def decoder_key(decoder: DecoderConfig, device: str) -> str:
    """Returns a digest of a decoder and of all that its settings name."""
    parts = (part_key(part, device) for part in decoder.subcomponents())
    return specs.digest(decoder, *parts, *decoder.external_digests())


def part_key(config: Component, device: str) -> str:
    """Returns a digest of a component that another one names, with its weights or data."""
    weights = ""
    if isinstance(config, LMConfig):
        weights = models.lm_key(config.build(device))
    elif isinstance(config, EncoderConfig):
        weights = config.build(device).digest()
    elif isinstance(config, DatasetConfig):
        weights = config.build().digest()
    elif isinstance(config, DecoderConfig):
        return decoder_key(config, device)
    return specs.digest(config, weights, *config.external_digests())


def scores_key(captions_key: str, references_key: str) -> str:
    """Returns a digest of what metrics see: captions and references."""
    return specs.digest("scores", captions_key, references_key)


def in_order(found: Sequence[PlannedModel]) -> list[Cell]:
    """Returns the cells in the order of the grid."""
    return [cell for place in found for cell in place.cells]


def training_key(features: Features, train: Sequence[Example], val: Sequence[Example]) -> str:
    """Returns a digest of what mappers are trained on: images, encoder and captions."""
    images = [
        [[features.image_key(e.image), e.references] for e in examples] for examples in (train, val)
    ]
    return specs.digest(features.key, images)


def test_key(features: Features, test: Sequence[Example]) -> str:
    """Returns a digest of what captions are made of: the test images and the encoder."""
    return specs.digest(features.key, [features.image_key(example.image) for example in test])


def references_key(examples: Sequence[Example]) -> str:
    """Returns a digest of the captions that a cell is scored against."""
    return specs.digest([[example.image.id, example.references] for example in examples])
