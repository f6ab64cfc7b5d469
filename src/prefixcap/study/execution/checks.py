"""TODO."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from prefixcap.evaluation.evaluate import (
    check_references,
    evaluate,
    sample_warnings,
)
from prefixcap.interfaces.dataset import Example
from prefixcap.interfaces.metric import MetricConfig
from prefixcap.study.artifacts.scores import records
from prefixcap.util.runtime import dtype_slowdown

if TYPE_CHECKING:
    from torch import Tensor

    from prefixcap.interfaces.text_encoder import TextEncoder
    from prefixcap.study.definition.study import Study
if TYPE_CHECKING:
    from torch import Tensor


TRIED = 2
"""How many images metrics are tried out on before anything is trained."""


def check(study: Study, examples: Sequence[Example]) -> list[str]:
    """Checks a study's metrics before anything is computed; no encoder is loaded.

    Args:
        study: the study.
        examples: the test examples.

    Returns:
        Warnings of too few images or references.

    Raises:
        PrefixcapError: an image has no reference, a metric cannot be made, or two of one name both
            give a score.
    """
    check_references(examples)
    several = Counter(metric.name for metric in study.metrics)
    twice = [m for m in study.metrics if several[m.name] > 1 and "image" not in m.requires]
    for metric in study.metrics:
        metric.build()
    try_out(twice, examples[:TRIED])
    return sample_warnings(examples, study.metrics)


def try_out(
    metrics: Sequence[MetricConfig],
    examples: Sequence[Example],
    features: Tensor | None = None,
    text_encoder: TextEncoder | None = None,
) -> None:
    """Scores references in the place of captions, so that what fails does so before the training.

    Args:
        metrics: what to try out.
        examples: B examples, a few.
        features: (B,D) or (B,N,D) of the images.
        text_encoder: the texts' side of the encoder that made the features.

    Raises:
        PrefixcapError: a metric lacks what it needs, or two give one score.
    """
    lines = [
        {"captions": [{"text": text, "logprob": -1.0, "tokens": 1, "finish": "stop"}] * 2}
        for text in (example.references[0] for example in examples)
    ]
    evaluate(records(examples, lines, features, text_encoder), metrics)


SHOWN = 5


SAME = 1e-4
"""Two features are of one image where they differ by less than this share of their norm."""


SLOW = 3.0
"""How many times as long as float32 a number format may take before that is said."""


def slow_dtype(device: str, dtype: str) -> str | None:
    """Says that a processor computes much faster in float32 than in what was chosen.

    Args:
        device: a usable torch device.
        dtype: one of `prefixcap.util.runtime.DTYPES`.

    Returns:
        The warning, or None where there is nothing to warn of.
    """
    if (
        dtype == "float32"
        or not device.startswith("cpu")
        or (times := dtype_slowdown(dtype)) < SLOW
    ):
        return None
    return (
        f"warning: --dtype {dtype}: this processor takes {times:.0f} times as long for matrix "
        f"products in {dtype} as in float32; --dtype float32 is faster here"
    )


def in_training(
    train: Sequence[Example], test: Sequence[Example], train_features: Tensor, features: Tensor
) -> list[tuple[str, str]]:
    """Finds test images that are training images under another name.

    Args:
        train: the training examples.
        test: the test examples.
        train_features: (B,D) or (B,N,D) of the training images.
        features: the same of the test images.

    Returns:
        The ids of each such test image and of the training image: their files or embeddings are
        the same, or their features are.
    """
    shown = {e.image.digest(): e.image.id for e in train if e.image.digest is not None}
    found = {}
    for row, nearest in enumerate(_nearest(train_features, features)):
        image = test[row].image
        if nearest is not None:
            found[image.id] = train[nearest].image.id
        if image.digest is not None and (digest := image.digest()) in shown:
            found[image.id] = shown[digest]
    return list(found.items())


def sentence(pairs: Sequence[tuple[str, str]], split: str) -> str:
    """Says which test images are in the training split."""
    named = ", ".join(f"{test!r} (there {train!r})" for test, train in pairs[:SHOWN])
    more = f" and {len(pairs) - SHOWN} more" if len(pairs) > SHOWN else ""
    one = len(pairs) == 1
    images = f"1 image of {split!r} looks" if one else f"{len(pairs)} images of {split!r} look"
    return (
        f"warning: {images} the same as in 'train' under another name: {named}{more}; scores on "
        f"{'it' if one else 'them'} say nothing of new images"
    )


def _nearest(train: Tensor, test: Tensor) -> list[int | None]:
    """Returns the training row that is the same as each test row, or None."""
    from torch.nn.functional import normalize

    train, test = train.flatten(1), test.flatten(1)
    directions = normalize(train, dim=-1).T
    found: list[int | None] = []
    for start in range(0, len(test), 1024):
        rows = test[start : start + 1024]
        best = (normalize(rows, dim=-1) @ directions).argmax(1)
        apart = (rows - train[best]).norm(dim=-1)
        same = (apart <= SAME * rows.norm(dim=-1)).tolist()
        found += [n if alike else None for n, alike in zip(best.tolist(), same, strict=True)]
    return found
