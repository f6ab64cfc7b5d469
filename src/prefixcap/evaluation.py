"""Evaluation: records of predicted captions beside their references, and what metrics say."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from prefixcap.errors import PrefixcapError, nearest
from prefixcap.kinds import MetricConfig, Record, Scores

KEYS = ("image", "references", "prediction")
NEEDS: Mapping[str, tuple[Callable[[Record], bool], str]] = {
    "image": (
        lambda record: record.item is not None or record.feature is not None,
        "needs the images, and of {image!r} there is a caption alone: use it in bench",
    ),
    "search": (
        lambda record: bool(record.logprobs and record.tokens and record.finishes),
        "needs what a decoder says of its captions (log-probability, tokens, how they ended), and "
        "of {image!r} there is the text alone: use it in bench",
    ),
    "several": (
        lambda record: len(record.captions) > 1,
        "needs two captions or more of every image, and {image!r} has {captions}",
    ),
}
"""What `MetricConfig.needs` may hold: how a record has it, and the sentence where one does not."""


def read_records(path: Path) -> list[Record]:
    """Reads a file of lines with `image`, `references` and `prediction`.

    Raises:
        PrefixcapError: the file is missing or empty, or a line is broken; its number is said.
    """
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise PrefixcapError(f"cannot read {path}: {error}") from error
    numbered = [(n, line) for n, line in enumerate(text.split("\n"), 1) if line.strip()]
    if not numbered:
        raise PrefixcapError(f"{path} is empty: expected a JSON object a line with {_expected()}")
    return [_record(line, f"{path}, line {number}") for number, line in numbered]


def evaluate(
    records: Sequence[Record],
    metrics: Sequence[MetricConfig],
    *,
    progress: Callable[[int, int], None] | None = None,
) -> Scores:
    """Scores records by several metrics.

    Args:
        records: the predictions of one captioner.
        metrics: what to score by.
        progress: called with the metrics done and all metrics.

    Raises:
        PrefixcapError: there is nothing to score, two metrics give one name, or a metric lacks
            what it needs.
    """
    values: dict[str, float] = {}
    per_image: dict[str, tuple[float, ...]] = {}
    for done, config in enumerate(metrics):
        if progress is not None:
            progress(done, len(metrics))
        found = score(records, config)
        clash = sorted(set(values) & set(found.values))
        if clash:
            raise PrefixcapError(f"the metric {config.name!r} gives {clash[0]!r} once more")
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
    bare = next((record.image for record in records if not record.references), None)
    if bare is not None:
        raise PrefixcapError(f"the image {bare!r} has no reference captions to score against")
    reason = lacking(records, config)
    if reason is not None:
        raise PrefixcapError(f"the metric {config.name!r} {reason}")
    return config.build().score(records)


def lacking(records: Sequence[Record], config: MetricConfig) -> str | None:
    """Says what a metric needs and some record lacks; None where it can score them."""
    for need in sorted(config.needs):
        has, sentence = NEEDS[need]
        bare = next((record for record in records if not has(record)), None)
        if bare is not None:
            return sentence.format(image=bare.image, captions=max(1, len(bare.captions)))
    return None


def _record(line: str, place: str) -> Record:
    try:
        data = json.loads(line)
    except json.JSONDecodeError as error:
        raise PrefixcapError(f"{place}: not JSON ({error})") from error
    if not isinstance(data, dict):
        raise PrefixcapError(f"{place}: expected a JSON object with {_expected()}")
    for key in KEYS:
        if key not in data:
            hint = nearest(key, data)
            raise PrefixcapError(f"{place}: no key {key!r}{hint}")
    image, references, prediction = (data[key] for key in KEYS)
    if not isinstance(image, str | int):
        raise PrefixcapError(f"{place}: 'image' must be a text, not {image!r}")
    if not isinstance(prediction, str):
        raise PrefixcapError(f"{place}: 'prediction' must be a text, not {prediction!r}")
    texts = isinstance(references, list) and all(isinstance(text, str) for text in references)
    if not texts or not references:
        raise PrefixcapError(
            f"{place}: 'references' must be a list of at least one text, not {references!r}"
        )
    return Record(image=str(image), references=tuple(references), prediction=prediction)


def _expected() -> str:
    return ", ".join(repr(key) for key in KEYS)
