"""Scoring of predicted captions by several metrics, and checks of what metrics require."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import attrs

from prefixcap.errors import PrefixcapError, shown
from prefixcap.interfaces.dataset import Example
from prefixcap.interfaces.metric import MetricConfig, Record, Scores
from prefixcap.plugin import specs
from prefixcap.plugin.registry import default_registry
from prefixcap.util.words import is_unsegmented

REQUIREMENTS: Mapping[str, tuple[Callable[[Record], bool], str]] = {
    "image": (
        lambda record: record.item is not None or record.feature is not None,
        "needs the images, but there are only captions of {image!r}: score them with bench, which "
        "has the data set's images",
    ),
    "search": (
        lambda record: bool(record.logprobs and record.tokens and record.finishes),
        "needs the decoder's log-probabilities, token counts and finish reasons, but there is only "
        "text for {image!r}: score with bench, which saves them",
    ),
    "several": (
        lambda record: len(record.captions) > 1,
        "needs at least two captions per image, but {image!r} has {captions}",
    ),
}
"""Each possible item of `MetricConfig.requires`: a test of a record, and the error message."""
LONGEST = 1_000_000
"""The number of characters of a text that metrics read; their memory and time are bounded."""
FILE_METRICS = ("bleu", "meteor", "rouge", "cider")
"""The metrics for files of predictions."""
MAJORITY = 20
"""One image in this many may have more references than the others, as in COCO, without warning."""


def evaluate(
    records: Sequence[Record],
    metrics: Sequence[str | MetricConfig],
    *,
    progress: Callable[[int, int], None] | None = None,
    scored: Callable[[MetricConfig, Scores], None] | None = None,
) -> Scores:
    """Score the predictions of one captioner by several metrics.

    Args:
        records: The predictions.
        metrics: The metrics, or their specs.
        progress: Called with the number of metrics done and the number of all metrics.
        scored: Called with each metric and its scores.

    Raises:
        PrefixcapError: If a metric is unknown, there is nothing to score, two metrics give the
            same score, or a record lacks what a metric requires.
    """
    values: dict[str, float] = {}
    per_image: dict[str, tuple[float, ...]] = {}
    owners: dict[str, str] = {}
    undefined: list[str] = []
    registry = default_registry()
    for done, metric in enumerate(metrics):
        config = registry.parse(MetricConfig, metric)
        if progress is not None:
            progress(done, len(metrics))
        scores = score(records, config)
        claim_scores(owners, config, scores.values)
        if scored is not None:
            scored(config, scores)
        values |= scores.values
        per_image |= scores.per_image
        if scores.undefined:
            undefined.append(f"the metric {specs.to_spec(config)!r} {scores.undefined}")
    return Scores(values=values, per_image=per_image, undefined="; ".join(undefined))


def score(records: Sequence[Record], config: MetricConfig) -> Scores:
    """Score records by one metric.

    Of texts with more than `LONGEST` characters, the rest is not read. Measures that are no finite
    numbers are left out, and a sentence says so.

    Raises:
        PrefixcapError: If there is nothing to score, or a record has no references or lacks what
            the metric requires.
    """
    if not records:
        raise PrefixcapError(f"the metric {config.name!r} got no captions to score")
    check_references(records)
    if reason := unmet_requirement(records, config):
        raise PrefixcapError(f"the metric {config.name!r} {reason}")
    return _defined(config.build().score([*map(readable, records)]))


def readable(record: Record) -> Record:
    """Return a record with texts of at most `LONGEST` characters, and none that cannot be encoded.

    Half a surrogate pair, which is no character, becomes a question mark.
    """
    texts: dict[str, Any] = {
        "prediction": _readable(record.prediction),
        "references": tuple(map(_readable, record.references)),
        "captions": tuple(map(_readable, record.captions)),
    }
    same = all(getattr(record, name) == text for name, text in texts.items())
    return record if same else attrs.evolve(record, **texts)


def _readable(text: str) -> str:
    return text[:LONGEST].encode("utf-8", "replace").decode()


def _defined(scores: Scores) -> Scores:
    lacking = [name for name, value in scores.values.items() if not math.isfinite(value)]
    if not lacking:
        return scores
    return Scores(
        values={name: value for name, value in scores.values.items() if name not in lacking},
        per_image={k: each for k, each in scores.per_image.items() if k not in lacking},
        undefined=f"has no {' and no '.join(lacking)} for these captions",
    )


def check_references(images: Sequence[Record | Example]) -> None:
    """Raise a `PrefixcapError` if an image has no references."""
    bare = next((_id(image) for image in images if not image.references), None)
    if bare is not None:
        raise PrefixcapError(f"the image {bare!r} has no reference captions to score against")


def unmet_requirement(records: Sequence[Record], config: MetricConfig) -> str | None:
    """Return what a metric requires and a record lacks; None if it can score all records."""
    for item in sorted(config.requires):
        has, sentence = REQUIREMENTS[item]
        bare = next((record for record in records if not has(record)), None)
        if bare is not None:
            return sentence.format(image=bare.image, captions=max(1, len(bare.captions)))
    return None


def claim_scores(owners: dict[str, str], config: MetricConfig, names: Iterable[str]) -> None:
    """Add the names of a metric's scores to `owners`, so that none overwrites another's.

    Raises:
        PrefixcapError: If another metric gives one of them.
    """
    spec = specs.to_spec(config)
    for name in names:
        other = owners.setdefault(name, spec)
        if other != spec:
            raise PrefixcapError(
                f"the metrics {other!r} and {spec!r} both give the score {name!r}: leave one out"
            )


def sample_warnings(
    images: Sequence[Record | Example], configs: Sequence[MetricConfig]
) -> list[str]:
    """Return warnings about images and texts that make scores misleading.

    They are a sentence for each metric that needs more images or references, one if images have
    fewer references than others, one about texts in scripts without spaces, and one about texts
    that are cut.
    """
    counts = {_id(image): len(image.references) for image in images}
    warnings = []
    for config in configs:
        minimum, references = (config.min_samples.get(unit, 1) for unit in ("images", "references"))
        name = specs.to_spec(config)
        if len(counts) < minimum:
            warnings.append(f"{name!r} needs at least {minimum} images, not {len(counts)}")
        if few := _fewer(counts, references):
            warnings.append(f"{name!r} is unreliable with few references: {few}")
    usual = sorted(counts.values(), reverse=True)[len(counts) // MAJORITY] if counts else 0
    if few := _fewer(counts, usual):
        warnings.append(f"scores are lower for images with fewer references than others: {few}")
    texts = [text for image in images for text in _texts(image)]
    warnings += without_spaces(images, configs)
    if long := sum(len(text) > LONGEST for text in texts):
        warnings.append(
            f"{long} of {len(texts)} captions are longer than {LONGEST:,} characters: metrics do "
            "not read the rest"
        )
    return [f"warning: {text}" for text in warnings]


def without_spaces(
    images: Sequence[Record | Example], configs: Sequence[MetricConfig]
) -> list[str]:
    """Return a warning about captions in scripts without spaces, if metrics need them."""
    texts = [text for image in images for text in _texts(image)]
    names = [specs.to_spec(config) for config in configs if config.needs_spaces]
    found = [text for text in texts if is_unsegmented(text)] if names else []
    if not found:
        return []
    share = f"{len(found) / len(texts):.0%} of the captions ({len(found)} of {len(texts)})"
    return [
        f"{share} have no spaces between words, such as {shown(found[0])}: each counts as one word "
        f"in {', '.join(map(repr, names))}; the setting tokenizer=characters, where a metric has "
        "it, splits them into letters"
    ]


def _texts(image: Record | Example) -> Sequence[str]:
    predicted = (image.prediction,) if isinstance(image, Record) else ()
    return (*predicted, *image.references)


def _fewer(counts: Mapping[str, int], minimum: int) -> str:
    few = [image for image, count in counts.items() if count < minimum]
    if not few:
        return ""
    have = "has" if len(few) == 1 else "have"
    text = f"{len(few)} of {len(counts)} images {have} fewer than {minimum}"
    return f"{text}, such as {few[0]!r} with {counts[few[0]]}"


def _id(image: Record | Example) -> str:
    return image.image if isinstance(image, Record) else image.image.id


def caption_fields(captions: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the fields of a `Record` from captions as `bench` saves them.

    A field is empty if some captions lack it.
    """

    def values(key: str) -> tuple[Any, ...]:
        each = [caption.get(key) for caption in captions]
        return () if None in each else tuple(each)

    return {
        "prediction": captions[0]["text"],
        "captions": values("text"),
        "logprobs": values("logprob"),
        "tokens": values("tokens"),
        "finishes": values("finish"),
    }
