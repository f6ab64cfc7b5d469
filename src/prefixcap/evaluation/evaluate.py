"""Evaluation: what metrics say of predicted captions beside their references."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from prefixcap.errors import PrefixcapError
from prefixcap.interfaces.dataset import Example
from prefixcap.interfaces.metric import MetricConfig, Record, Scores
from prefixcap.plugin import specs

NEEDS: Mapping[str, tuple[Callable[[Record], bool], str]] = {
    "image": (
        lambda record: record.item is not None or record.feature is not None,
        "needs the images, and of {image!r} there are captions alone (bench has its data set's)",
    ),
    "search": (
        lambda record: bool(record.logprobs and record.tokens and record.finishes),
        "needs what a decoder says of its captions (log-probability, tokens, how they ended), and "
        "of {image!r} there is the text alone (bench keeps it of captions that it decodes)",
    ),
    "several": (
        lambda record: len(record.captions) > 1,
        "needs two captions or more of every image, and {image!r} has {captions}",
    ),
}
"""What `MetricConfig.requires` may hold: how a record has it, and the error if not."""
MORE = 20
"""One image in so many may have more references than the others, as in COCO, without a warning."""


def evaluate(
    records: Sequence[Record],
    metrics: Sequence[MetricConfig],
    *,
    progress: Callable[[int, int], None] | None = None,
    scored: Callable[[MetricConfig, Scores], None] | None = None,
) -> Scores:
    """Scores records by several metrics.

    Args:
        records: the predictions of one captioner.
        metrics: what to score by.
        progress: called with the metrics done and all metrics.
        scored: called with each metric and its own scores.

    Raises:
        PrefixcapError: there is nothing to score, two metrics give one score, or a metric lacks
            what it needs.
    """
    values: dict[str, float] = {}
    per_image: dict[str, tuple[float, ...]] = {}
    given: dict[str, str] = {}
    for done, config in enumerate(metrics):
        if progress is not None:
            progress(done, len(metrics))
        found = score(records, config)
        claim(given, config, found.values)
        if scored is not None:
            scored(config, found)
        values |= found.values
        per_image |= found.per_image
    return Scores(values=values, per_image=per_image)


def score(records: Sequence[Record], config: MetricConfig) -> Scores:
    """Scores records by one metric.

    Raises:
        PrefixcapError: there is nothing to score, a record has no reference, or the metric lacks
            what it needs.
    """
    if not records:
        raise PrefixcapError(f"the metric {config.name!r} got no captions to score")
    check_references(records)
    reason = lacking(records, config)
    if reason is not None:
        raise PrefixcapError(f"the metric {config.name!r} {reason}")
    return config.build().score(records)


def check_references(found: Sequence[Record | Example]) -> None:
    """Checks that every image has a reference.

    Raises:
        PrefixcapError: an image has none.
    """
    bare = next((_id(each) for each in found if not each.references), None)
    if bare is not None:
        raise PrefixcapError(f"the image {bare!r} has no reference captions to score against")


def lacking(records: Sequence[Record], config: MetricConfig) -> str | None:
    """Says what a metric needs and some record lacks; None where it can score them."""
    for need in sorted(config.requires):
        has, sentence = NEEDS[need]
        bare = next((record for record in records if not has(record)), None)
        if bare is not None:
            return sentence.format(image=bare.image, captions=max(1, len(bare.captions)))
    return None


def claim(given: dict[str, str], config: MetricConfig, names: Iterable[str]) -> None:
    """Notes which metric gives which scores, so that none hides another's.

    Args:
        given: the metric of each score so far, as a spec; the new ones are added.
        config: a metric.
        names: the scores that it gives.

    Raises:
        PrefixcapError: another metric gives one of them.
    """
    spec = specs.to_spec(config)
    for name in names:
        other = given.setdefault(name, spec)
        if other != spec:
            raise PrefixcapError(
                f"the metrics {other!r} and {spec!r} both give the score {name!r}: leave one out"
            )


def too_few(found: Sequence[Record | Example], configs: Sequence[MetricConfig]) -> list[str]:
    """Warns of images and references that are too few for what is to be scored.

    Args:
        found: the images with their references.
        configs: what to score by.

    Returns:
        A sentence for each metric that wants more than there are, and one where images have fewer
        references than others.
    """
    counts = {_id(each): len(each.references) for each in found}
    warnings = []
    for config in configs:
        images, references = (config.min_samples.get(what, 1) for what in ("images", "references"))
        name = specs.to_spec(config)
        if len(counts) < images:
            warnings.append(
                f"{name!r} says nothing of fewer than {images} images: {len(counts)} given"
            )
        if few := _fewer(counts, references):
            warnings.append(f"{name!r} says little where images have few references: {few}")
    usual = sorted(counts.values(), reverse=True)[len(counts) // MORE] if counts else 0
    if few := _fewer(counts, usual):
        warnings.append(f"scores are lower where images have fewer references than others: {few}")
    return [f"warning: {text}" for text in warnings]


def _fewer(counts: Mapping[str, int], least: int) -> str:
    few = [image for image, count in counts.items() if count < least]
    if not few:
        return ""
    have = "has" if len(few) == 1 else "have"
    of = f"{len(few)} of {len(counts)} images {have} fewer than {least}"
    return f"{of}, such as {few[0]!r} with {counts[few[0]]}"


def _id(found: Record | Example) -> str:
    return found.image if isinstance(found, Record) else found.image.id


def of_captions(captions: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Returns what a record has of captions as `bench` keeps them; what some lack is left empty."""

    def each(key: str) -> tuple[Any, ...]:
        return tuple(caption[key] for caption in captions if caption.get(key) is not None)

    return {
        "prediction": captions[0]["text"],
        "captions": each("text"),
        **{
            field: found if len(found := each(key)) == len(captions) else ()
            for field, key in (
                ("logprobs", "logprob"),
                ("tokens", "tokens"),
                ("finishes", "finish"),
            )
        },
    }
