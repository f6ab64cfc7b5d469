"""Scoring of predicted captions by several metrics, and checks of what metrics require."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from prefixcap.errors import PrefixcapError
from prefixcap.interfaces.dataset import Example
from prefixcap.interfaces.metric import MetricConfig, Record, Scores
from prefixcap.plugin import specs
from prefixcap.plugin.registry import default_registry

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
    return Scores(values=values, per_image=per_image)


def score(records: Sequence[Record], config: MetricConfig) -> Scores:
    """Score records by one metric.

    Raises:
        PrefixcapError: If there is nothing to score, or a record has no references or lacks what
            the metric requires.
    """
    if not records:
        raise PrefixcapError(f"the metric {config.name!r} got no captions to score")
    check_references(records)
    if reason := unmet_requirement(records, config):
        raise PrefixcapError(f"the metric {config.name!r} {reason}")
    return config.build().score(records)


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
    """Return warnings about too few images or references.

    They are a sentence for each metric that needs more, and one if images have fewer references
    than others.
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
    return [f"warning: {text}" for text in warnings]


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
