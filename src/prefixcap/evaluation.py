"""Evaluation: records of predicted captions beside their references, and what metrics say."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from prefixcap import specs
from prefixcap.errors import PrefixcapError, nearest
from prefixcap.kinds import Example, MetricConfig, Record, Scores

KEYS = ("image", "references", "prediction")
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
"""What `MetricConfig.needs` may hold: how a record has it, and the sentence where one does not."""
MORE = 20
"""One image in so many may have more references than the others, as in COCO, without a warning."""


def read_records(path: Path, references: Path | None = None) -> list[Record]:
    """Reads a file of lines with `image`, `references` and `prediction`.

    In the place of `prediction` there may be `captions`, several of one image, best first; each is
    a text, or an object with `text` and what else `bench` writes into a cell's captions.

    Args:
        path: the file.
        references: a file of lines with `image` and `references` (or `captions`, as in a data set),
            where those of the predictions have none; the images are those of this file.

    Raises:
        PrefixcapError: a file is missing or empty, a line is broken (its number is said), an image
            stands twice, or an image lacks a prediction or has no references.
    """
    human = None if references is None else _references(references)
    records = [_record(data, place, human) for data, place in _lines(path, KEYS)]
    if human is None:
        return records
    missing = sorted(human.keys() - {record.image for record in records})
    if missing:
        raise PrefixcapError(
            f"{path} has no prediction for {len(missing)} of the {len(human)} images of "
            f"{references}, such as {missing[0]!r}"
        )
    return records


def _lines(path: Path, keys: Sequence[str]) -> Iterator[tuple[dict[str, Any], str]]:
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise PrefixcapError(f"cannot read {path}: {error}") from error
    numbered = [(n, line) for n, line in enumerate(text.split("\n"), 1) if line.strip()]
    if not numbered:
        raise PrefixcapError(f"{path} is empty: expected a JSON object a line with {_all(keys)}")
    known: dict[str, int] = {}
    for number, line in numbered:
        place = f"{path}, line {number}"
        data = _object(line, place, keys)
        image = data["image"]
        if not isinstance(image, str | int):
            raise PrefixcapError(f"{place}: 'image' must be a text, not {image!r}")
        data["image"] = str(image)
        if known.setdefault(str(image), number) != number:
            raise PrefixcapError(
                f"{place}: the image {image!r} already stands in line {known[str(image)]}"
            )
        yield data, place


def _references(path: Path) -> dict[str, tuple[str, ...]]:
    found = {}
    for data, place in _lines(path, KEYS[:2]):
        key = "references" if "references" in data else "captions"
        found[data["image"]] = _texts(data, key, place)
    return found


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
    for need in sorted(config.needs):
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
        images, references = (config.least.get(what, 1) for what in ("images", "references"))
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


def _record(
    data: Mapping[str, Any], place: str, human: Mapping[str, tuple[str, ...]] | None
) -> Record:
    image = data["image"]
    if human is None:
        references = _texts(data, "references", place)
    elif image in human:
        references = human[image]
    else:
        raise PrefixcapError(
            f"{place}: the image {image!r} has no references{nearest(image, human)}"
        )
    if "captions" not in data:
        prediction = _get(data, "prediction", place)
        if not isinstance(prediction, str):
            raise PrefixcapError(f"{place}: 'prediction' must be a text, not {prediction!r}")
        return Record(image=image, references=references, prediction=prediction)
    made = data["captions"] if isinstance(data["captions"], list) else []
    whole = [{"text": caption} if isinstance(caption, str) else caption for caption in made]
    good = whole and all(isinstance(c, dict) and isinstance(c.get("text"), str) for c in whole)
    if not good:
        raise PrefixcapError(
            f"{place}: 'captions' must be a list of at least one text, not {data['captions']!r:.60}"
        )
    return Record(image=image, references=references, **of_captions(whole))


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


def _object(line: str, place: str, keys: Sequence[str]) -> dict[str, Any]:
    try:
        data = json.loads(line)
    except json.JSONDecodeError as error:
        raise PrefixcapError(f"{place}: not JSON ({error})") from error
    if not isinstance(data, dict):
        raise PrefixcapError(f"{place}: expected a JSON object with {_all(keys)}")
    _get(data, "image", place)
    return data


def _get(data: Mapping[str, Any], key: str, place: str) -> Any:
    if key not in data:
        raise PrefixcapError(f"{place}: no key {key!r}{nearest(key, data)}")
    return data[key]


def _texts(data: Mapping[str, Any], key: str, place: str) -> tuple[str, ...]:
    found = _get(data, key, place)
    if not isinstance(found, list) or not found or not all(isinstance(t, str) for t in found):
        raise PrefixcapError(f"{place}: {key!r} must be a list of at least one text, not {found!r}")
    return tuple(found)


def _all(keys: Sequence[str]) -> str:
    return ", ".join(repr(key) for key in keys)
