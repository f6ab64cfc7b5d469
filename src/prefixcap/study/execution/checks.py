"""Checks before a study: its metrics, and mistakes that would make its numbers wrong."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from prefixcap.errors import PrefixcapError
from prefixcap.evaluation.evaluate import check_references, evaluate, sample_warnings
from prefixcap.interfaces.dataset import Example
from prefixcap.interfaces.metric import MetricConfig
from prefixcap.plugin.building import build, is_foreign, naming_plugin
from prefixcap.study.artifacts.scores import records
from prefixcap.util.runtime import dtype_slowdown

if TYPE_CHECKING:
    from torch import Tensor

    from prefixcap.captioning.feature_rows import AnyFeatures
    from prefixcap.interfaces.language_model import LanguageModel
    from prefixcap.interfaces.text_encoder import TextEncoder
    from prefixcap.study.definition.study import Study

TRIED = 2
"""The number of images on which metrics are tried before anything is trained."""
NAMED = 5
"""The number of images that a warning names."""
SAME = 1e-4
"""Features whose distance is below this share of their norm belong to the same image."""
SLOW = 3.0
"""The slowdown compared to float32 at which a number format causes a warning."""


def check_metrics(study: Study, examples: Sequence[Example]) -> list[str]:
    """Check a study's metrics on its test examples before anything is computed.

    Returns:
        Warnings of too few images or references.

    Raises:
        PrefixcapError: If an image has no reference, a metric cannot be built, or two metrics of
            one name return the same score.
    """
    check_references(examples)
    for metric in study.metrics:
        build(metric)
    uses = Counter(metric.name for metric in study.metrics)
    unsure = [metric for metric in study.metrics if uses[metric.name] > 1 or is_foreign(metric)]
    try_out([metric for metric in unsure if "image" not in metric.requires], examples[:TRIED])
    return sample_warnings(examples, study.metrics)


def check_keep(study: Study, val: Sequence[Example]) -> None:
    """Check what the trainings of a study choose their best epoch by.

    Raises:
        PrefixcapError: If it is a metric that is unknown, cannot score val captions or cannot be
            built, or if there are no val images.
    """
    from prefixcap.training.val_captions import keep_metric  # imports torch

    keep_by = study.training.keep_by
    metric = keep_metric(keep_by)
    if metric is not None:
        build(metric)
        if not val:
            raise PrefixcapError(f"keep_by={keep_by} needs val images: the data set has none")


def try_out(
    metrics: Sequence[MetricConfig],
    examples: Sequence[Example],
    features: Tensor | None = None,
    text_encoder: TextEncoder | None = None,
) -> None:
    """Score references as if they were captions, so that errors come before the training.

    The features are (B,D) or (B,N,D) for B examples.

    Raises:
        PrefixcapError: If a metric lacks what it needs, or two metrics return the same score.
    """
    lines = [
        {"captions": [{"text": text, "logprob": -1.0, "tokens": 1, "finish": "stop"}] * 2}
        for text in (example.references[0] for example in examples)
    ]
    made = records(examples, lines, features, text_encoder)
    for metric in filter(is_foreign, metrics):
        with naming_plugin(metric, "cannot score first captions"):
            evaluate(made, [metric])
    evaluate(made, metrics)


def check_positions(study: Study, lm: LanguageModel) -> None:
    """Check that the longest prefix and caption fit a language model, before it is trained with.

    Raises:
        PrefixcapError: If they do not.
    """
    prompt = max(each.length for each in study.prompts)
    trained = max(each.positions for each in study.tunings)
    longest = max(study.prefix_lengths) + prompt
    needed = longest + trained + study.max_new_tokens
    if lm.max_positions is None or needed <= lm.max_positions:
        return
    parts = [f"a prefix of {longest}{' with its prompt' if prompt else ''}"]
    cures = ["the study's prefix lengths (--prefix-len)"]
    if prompt:
        cures.append("the prompt's tokens (--prompt)")
    if trained:
        parts.append(f"{trained} trained positions")
        cures.append("the tuning's length (--tuning)")
    raise PrefixcapError(
        f"{', '.join(parts)} and {study.max_new_tokens} new tokens need {needed} positions; the "
        f"language model has {lm.max_positions}: lower {', '.join(cures)} or max_new_tokens "
        "(--max-new-tokens)"
    )


def free_positions(study: Study, lm: LanguageModel) -> int | None:
    """Return how many positions the longest prefix and caption leave free; None: any number."""
    if lm.max_positions is None:
        return None
    prompt = max(each.length for each in study.prompts)
    caption = max(study.max_new_tokens, study.training.max_tokens + 1)
    return lm.max_positions - max(study.prefix_lengths) - prompt - caption


def slow_dtype(device: str, dtype: str) -> str | None:
    """Return a warning if this processor is much slower in a number format than in float32."""
    if dtype == "float32" or not device.startswith("cpu"):
        return None
    slowdown = dtype_slowdown(dtype)
    if slowdown < SLOW:
        return None
    return (
        f"warning: --dtype {dtype}: this processor takes {slowdown:.0f} times as long for matrix "
        f"products in {dtype} as in float32; --dtype float32 is faster here"
    )


def find_overlap(
    train: Sequence[Example],
    test: Sequence[Example],
    train_features: AnyFeatures,
    features: AnyFeatures,
) -> list[tuple[str, str]]:
    """Find test images that are training images under another name.

    Features are (B,D) or (B,N,D).

    Returns:
        The ids of each such test image and of the training image with the same file or features.
    """
    from prefixcap.captioning.feature_rows import parts

    by_digest = {e.image.digest(): e.image.id for e in train if e.image.digest is not None}
    overlap = {}
    found = (
        duplicate
        for part in parts(features, range(len(features)))
        for duplicate in _duplicates(train_features, features[part[0] : part[-1] + 1])
    )
    for row, duplicate in enumerate(found):
        image = test[row].image
        if duplicate is not None:
            overlap[image.id] = train[duplicate].image.id
        if image.digest is not None and (digest := image.digest()) in by_digest:
            overlap[image.id] = by_digest[digest]
    return list(overlap.items())


def overlap_warning(pairs: Sequence[tuple[str, str]], split: str) -> str:
    """Return the warning that test images are in the training split."""
    named = ", ".join(f"{test!r} (there {train!r})" for test, train in pairs[:NAMED])
    more = f" and {len(pairs) - NAMED} more" if len(pairs) > NAMED else ""
    one = len(pairs) == 1
    images = f"1 image of {split!r} looks" if one else f"{len(pairs)} images of {split!r} look"
    return (
        f"warning: {images} the same as in 'train' under another name: {named}{more}; scores on "
        f"{'it' if one else 'them'} say nothing about new images"
    )


def _duplicates(train: AnyFeatures, test: Tensor) -> list[int | None]:
    """Return the training row that equals each test row, or None."""
    import torch
    from torch.nn.functional import normalize

    from prefixcap.captioning.feature_rows import CHUNK, chunks

    test = test.flatten(1)  # (B, N, D) -> (B, N*D)
    directions, allowed = normalize(test, dim=-1), SAME * test.norm(dim=-1)
    best = torch.full((len(test),), -2.0)
    rows: list[int | None] = [None] * len(test)
    for number, chunk in enumerate(chunks(train)):
        known = chunk.flatten(1)
        cosine, nearest = (directions @ normalize(known, dim=-1).T).max(1)
        closer = (cosine > best).nonzero().flatten()
        best[closer] = cosine[closer]
        distance = (test[closer] - known[nearest[closer]]).norm(dim=-1)
        same = (distance <= allowed[closer]).tolist()
        for row, equal in zip(closer.tolist(), same, strict=True):
            rows[row] = CHUNK * number + int(nearest[row]) if equal else None
    return rows
