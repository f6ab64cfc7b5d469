"""Rules for metrics."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, cast

import attrs
import numpy as np

from prefixcap.evaluation.stats import Resamplable
from prefixcap.interfaces.dataset import ImageItem
from prefixcap.interfaces.metric import Metric, MetricConfig, Record, Scores, scale_of
from prefixcap.interfaces.text_encoder import TextEncoder
from prefixcap.testing.case import Case, drawn_images
from prefixcap.testing.rules.helpers import is_close
from prefixcap.testing.rules.rule import require, rule
from prefixcap.testing.word_encoder import WordsEncoder

TEXTS = (
    ("A brown dog runs along the beach.", "A dog is running on the sand near the sea."),
    ("Two red balls lie under a tall tree.", "Below a tree there are two balls."),
    ("A man in a blue shirt rides a bicycle.", "Someone is cycling down a quiet street."),
    ("Three children sit at a table and draw.", "Some kids are drawing pictures together."),
)
ENCODER = WordsEncoder()
FEATURES = ENCODER.encode_text([" ".join(texts) for texts in TEXTS])


def _item(number: int) -> ImageItem:
    drawing = drawn_images()[number].open
    return ImageItem(
        id=f"image {number}", index=number, open=drawing, embedding=FEATURES[number].numpy
    )


PERFECT = tuple(
    Record(
        image=f"image {i}",
        references=texts,
        prediction=texts[0],
        captions=texts,
        logprobs=(-9.0 - i, -12.5),
        tokens=(9 + i, 11),
        finishes=("stop" if i else "length", "stop"),
        item=_item(i),
        feature=FEATURES[i],
        text_encoder=TextEncoder("words", lambda: ENCODER),
    )
    for i, texts in enumerate(TEXTS)
)
# what replaces a record's fields if the metric does not require them
WITHOUT: Mapping[str, Mapping[str, Any]] = {
    "image": {"item": None, "feature": None, "text_encoder": None},
    "search": {"logprobs": (), "tokens": (), "finishes": ()},
    "several": {"captions": ()},
}


def scored(case: Case, records: Sequence[Record]) -> Scores:
    """Score records with the case's metric, once for all rules."""
    metric = cast(Metric, case.built())
    return case.once("scores of " + repr(records), lambda: metric.score(records))


def on_wrong_images() -> list[Record]:
    """Give every image the perfect prediction of the next one."""
    return [
        attrs.evolve(record, prediction=other.prediction, captions=other.captions)
        for record, other in zip(PERFECT, [*PERFECT[1:], PERFECT[0]], strict=True)
    ]


def predicting(*texts: str) -> list[Record]:
    """Give the images other predictions."""
    return [
        attrs.evolve(record, prediction=text, captions=(text, *record.captions[1:]))
        for record, text in zip(PERFECT, texts, strict=True)
    ]


def with_two_or_three_captions() -> list[Record]:
    """Give every other image a third caption, a copy of its first."""
    fields = ("captions", "logprobs", "tokens", "finishes")
    records = []
    for number, record in enumerate(PERFECT):
        values = {field: getattr(record, field) for field in fields}
        more: dict[str, Any] = {field: (*v, *v[: number % 2]) for field, v in values.items()}
        records.append(attrs.evolve(record, **more))
    return records


def require_same_scores(actual: Scores, expected: Scores, when: str) -> None:
    """Require that values and per-image scores are equal up to rounding."""
    require(
        actual.values.keys() == expected.values.keys(), f"{when}, {_differing(actual, expected)}"
    )
    for name, value in expected.values.items():
        other = actual.values[name]
        require(is_close(other, value), f"{when}, {name} is {other}, not {value}")
    same = actual.per_image.keys() == expected.per_image.keys()
    require(same, f"{when}, other values have per-image scores: {sorted(actual.per_image)}")
    for name, scores in expected.per_image.items():
        others = actual.per_image[name]
        same = len(others) == len(scores) and all(map(is_close, others, scores))
        require(same, f"{when}, {name} per image is {others}, not {scores}")


@rule("finite")
def finite(case: Case) -> None:
    """There are values, and all are finite, even for unusual texts or few records."""
    for label, records in (
        ("perfect predictions", PERFECT),
        ("unusual texts", predicting("", "a ||| b\nc", "Ünïcödé 犬 🐕", ".")),
        ("empty predictions", predicting("", "", "", "")),
        ("a single record", PERFECT[:1]),
        ("two and three captions in turn", with_two_or_three_captions()),
    ):
        values = scored(case, records).values
        require(bool(values), f"for {label}, there are no values")
        for name, value in values.items():
            number = isinstance(value, (int, float)) and not isinstance(value, bool)
            valid = number and math.isfinite(value)
            require(valid, f"for {label}, {name} is {value!r}, not a finite number")


@rule("names")
def names(case: Case) -> None:
    """The values have the same names for all records."""
    one, two = scored(case, PERFECT), scored(case, on_wrong_images())
    require(list(one.values) == list(two.values), f"on the wrong images, {_differing(two, one)}")


@rule("per-image")
def per_image(case: Case) -> None:
    """Per-image scores belong to a named value, with one number per record."""
    scores = scored(case, PERFECT)
    for name, values in scores.per_image.items():
        require(name in scores.values, f"{name!r} has per-image scores, but no value")
        require(len(values) == len(PERFECT), f"{name!r} has {len(values)} scores of {len(PERFECT)}")
        wrong = [value for value in values if not isinstance(value, (int, float))]
        require(not wrong, f"{name!r} of an image is {wrong[:1]}, not a number (NaN is allowed)")


@rule("record-order")
def record_order(case: Case) -> None:
    """The order of the records changes no value, and per-image scores follow it."""
    records = on_wrong_images()
    one, two = scored(case, records), scored(case, records[::-1])
    reversed_scores = {name: values[::-1] for name, values in two.per_image.items()}
    require_same_scores(attrs.evolve(two, per_image=reversed_scores), one, "in reverse order")


@rule("perfect-is-best")
def perfect_is_best(case: Case) -> None:
    """Perfect predictions score no worse than the same ones on the wrong images."""
    right, wrong = scored(case, PERFECT), scored(case, on_wrong_images())
    config = cast(MetricConfig, case.config)
    directions = {name: scale_of([config], name).better for name in right.values}
    directed = [name for name, scale in config.scales.items() if scale.better]
    known = not directed or any(directions.values())
    require(known, f"scales has {directed}; the values are {list(right.values)}")
    for name, value in right.values.items():
        other = wrong.values[name]
        is_lower = directions[name] == "lower"
        better = value <= other if is_lower else value >= other
        order = "lower is better" if is_lower else "higher is better"
        cure = "" if is_lower else ' unless its scale says better="lower"'
        problem = f"{name} is {value} if right and {other} if wrong, and {order}{cure}"
        require(better or is_close(value, other), problem)


@rule("requires")
def requires(case: Case) -> None:
    """Records with only texts and what the metric requires get the same scores."""
    config = cast(MetricConfig, case.config)
    unknown = sorted(set(config.requires) - set(WITHOUT))
    require(not unknown, f"requires has {unknown}; known: {', '.join(sorted(WITHOUT))}")
    removed = {
        field: empty
        for item, fields in WITHOUT.items()
        if item not in config.requires
        for field, empty in fields.items()
    }
    bare = [attrs.evolve(record, **removed) for record in PERFECT]
    scores = cast(Metric, case.built()).score(bare)
    require_same_scores(scores, scored(case, PERFECT), f"without {', '.join(sorted(removed))}")


@rule("repeatable")
def repeatable(case: Case) -> None:
    """A metric that is built again gives the same scores to the same records."""
    scores = cast(Metric, case.build()).score(PERFECT)
    require_same_scores(scores, scored(case, PERFECT), "the second time")


@rule("resamplable")
def resamplable(case: Case) -> str | None:
    """A metric's statistic for resampling, if it has one, gives the metric's own values."""
    metric = case.built()
    if not isinstance(metric, Resamplable):
        return "it has no statistic"
    for records in (PERFECT, on_wrong_images()):
        statistic, values = metric.statistic(records), scored(case, records).values
        unshared = sorted(set(statistic.names) ^ set(values))
        require(not unshared, f"only the statistic or only the values have {unshared}")
        images = [record.image for record in records]
        require(list(statistic.images) == images, f"its images are {statistic.images}")
        (row,) = statistic.resampled(np.ones((1, len(records)), dtype=np.int64)).tolist()
        for name, value in zip(statistic.names, row, strict=True):
            problem = f"{name} is {values[name]}, but {value} by the statistic"
            require(is_close(value, values[name]), problem)
    return None


def _differing(actual: Scores, expected: Scores) -> str:
    new = [name for name in actual.values if name not in expected.values]
    gone = [name for name in expected.values if name not in actual.values]
    if not new and not gone:
        return f"the values have another order: {list(actual.values)}, not {list(expected.values)}"
    return f"the values differ: {new} are new and {gone} are missing"
