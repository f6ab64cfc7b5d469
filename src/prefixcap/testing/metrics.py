"""Rules for metrics."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, cast

import attrs

from prefixcap.kinds import ImageItem, Metric, MetricConfig, Record, Scores
from prefixcap.similarity import TextSide
from prefixcap.testing.case import Case
from prefixcap.testing.rules import require, rule
from prefixcap.testing.words import WordsEncoder

TEXTS = (
    ("A brown dog runs along the beach.", "A dog is running on the sand near the sea."),
    ("Two red balls lie under a tall tree.", "Below a tree there are two balls."),
    ("A man in a blue shirt rides a bicycle.", "Someone is cycling down a quiet street."),
    ("Three children sit at a table and draw.", "Some kids are drawing pictures together."),
)
ENCODER = WordsEncoder()
SEEN = ENCODER.encode_text([" ".join(texts) for texts in TEXTS])


def _item(number: int) -> ImageItem:
    return ImageItem(id=f"image {number}", index=number, embedding=SEEN[number].numpy)


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
        feature=SEEN[i],
        text_side=TextSide("words", lambda: ENCODER),
    )
    for i, texts in enumerate(TEXTS)
)
# what is left of a record where a need is not declared
LESS: Mapping[str, Mapping[str, Any]] = {
    "image": {"item": None, "feature": None, "text_side": None},
    "search": {"logprobs": (), "tokens": (), "finishes": ()},
    "several": {"captions": ()},
}
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
        attrs.evolve(record, prediction=text, captions=(text, *record.captions[1:]))
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


@rule("needs")
def needs(case: Case) -> None:
    """Records that have nothing but texts and what the metric says it needs score the same."""
    config = cast(MetricConfig, case.config)
    unknown = sorted(set(config.needs) - set(LESS))
    require(not unknown, f"the needs {unknown} are not among {sorted(LESS)}")
    less = {
        k: v for need, kept in LESS.items() if need not in config.needs for k, v in kept.items()
    }
    bare = [attrs.evolve(record, **less) for record in PERFECT]
    require(
        cast(Metric, case.built()).score(bare) == scored(case, PERFECT),
        f"without {sorted(less)} the scores are others",
    )


@rule("repeatable")
def repeatable(case: Case) -> None:
    """The same records have the same scores a second time, from a metric built again."""
    again = cast(Metric, case.build()).score(PERFECT)
    require(again == scored(case, PERFECT), f"the second time the scores are {again}")


RULES = (finite, names, per_image, record_order, perfect_is_best, needs, repeatable)
