"""Rules for metrics."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import cast

import attrs

from prefixcap.kinds import Metric, Record, Scores
from prefixcap.testing.case import Case
from prefixcap.testing.rules import require, rule

TEXTS = (
    ("A brown dog runs along the beach.", "A dog is running on the sand near the sea."),
    ("Two red balls lie under a tall tree.", "Below a tree there are two balls."),
    ("A man in a blue shirt rides a bicycle.", "Someone is cycling down a quiet street."),
    ("Three children sit at a table and draw.", "Some kids are drawing pictures together."),
)
PERFECT = tuple(
    Record(image=f"image {i}", references=texts, prediction=texts[0], captions=texts)
    for i, texts in enumerate(TEXTS)
)
TOLERANCE = 1e-9


def scored(case: Case, records: Sequence[Record]) -> Scores:
    """Scores records with the case's metric; the usual ones once for all rules."""
    metric = cast(Metric, case.built())
    key = "scores of " + repr(records)
    return cast(Scores, case.once(key, lambda: metric.score(records)))


def on_the_wrong_images() -> list[Record]:
    """Gives every image the perfect prediction of the next one."""
    moved = [*PERFECT[1:], PERFECT[0]]
    return [
        attrs.evolve(record, prediction=other.prediction, captions=other.captions)
        for record, other in zip(PERFECT, moved, strict=True)
    ]


@rule("finite")
def finite(case: Case) -> None:
    """There are values, and they are finite numbers, however odd the texts."""
    odd = [
        attrs.evolve(record, prediction=text, captions=(text,))
        for record, text in zip(PERFECT, ("", "a ||| b\nc", "Ünïcödé 犬 🐕", "."), strict=True)
    ]
    for records in (PERFECT, odd):
        values = scored(case, records).values
        require(bool(values), "there are no values")
        for name, value in values.items():
            good = isinstance(value, float) and math.isfinite(value)
            require(good, f"{name} is {value!r}")


@rule("names")
def names(case: Case) -> None:
    """The values have the same names whatever is scored."""
    one, two = scored(case, PERFECT), scored(case, on_the_wrong_images())
    require(list(one.values) == list(two.values), f"{list(one.values)} and {list(two.values)}")


@rule("per-image")
def per_image(case: Case) -> None:
    """Scores of images belong to a named value, and there is one for each record."""
    scores = scored(case, PERFECT)
    for name, each in scores.per_image.items():
        require(name in scores.values, f"{name!r} has scores of images and no value")
        require(len(each) == len(PERFECT), f"{name!r} has {len(each)} scores of {len(PERFECT)}")


@rule("record-order")
def record_order(case: Case) -> None:
    """The order of the records changes no value, and the scores of images follow it."""
    records = on_the_wrong_images()
    one, two = scored(case, records), scored(case, records[::-1])
    for name, value in one.values.items():
        near = math.isclose(value, two.values[name], abs_tol=TOLERANCE)
        require(near, f"{name} is {two.values[name]}, not {value}, in reverse order")
    for name, each in one.per_image.items():
        turned = two.per_image[name][::-1]
        near = all(map(lambda a, b: math.isclose(a, b, abs_tol=TOLERANCE), each, turned))
        require(near, f"{name} of images is {turned}, not {each}, in reverse order")


@rule("perfect-is-best")
def perfect_is_best(case: Case) -> None:
    """Perfect predictions score no worse than the same ones on the wrong images."""
    right, wrong = scored(case, PERFECT), scored(case, on_the_wrong_images())
    for name, value in right.values.items():
        no_worse = value >= wrong.values[name] - TOLERANCE
        require(no_worse, f"{name} is {value} where right and {wrong.values[name]} where wrong")


@rule("repeatable")
def repeatable(case: Case) -> None:
    """The same records have the same scores a second time, from a metric built again."""
    again = cast(Metric, case.build()).score(PERFECT)
    require(again == scored(case, PERFECT), f"the second time the scores are {again}")


RULES = (finite, names, per_image, record_order, perfect_is_best, repeatable)
