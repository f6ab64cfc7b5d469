"""Rules for metrics."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, cast

import attrs
import numpy as np

from prefixcap.evaluation.stats import Resamplable
from prefixcap.interfaces.dataset import ImageItem
from prefixcap.interfaces.metric import Metric, MetricConfig, Record, Scores
from prefixcap.interfaces.text_encoder import TextEncoder
from prefixcap.testing.case import Case, drawn_images
from prefixcap.testing.rules.helpers import near
from prefixcap.testing.rules.rule import require, rule
from prefixcap.testing.word_encoder import WordsEncoder

TEXTS = (
    ("A brown dog runs along the beach.", "A dog is running on the sand near the sea."),
    ("Two red balls lie under a tall tree.", "Below a tree there are two balls."),
    ("A man in a blue shirt rides a bicycle.", "Someone is cycling down a quiet street."),
    ("Three children sit at a table and draw.", "Some kids are drawing pictures together."),
)
ENCODER = WordsEncoder()
SEEN = ENCODER.encode_text([" ".join(texts) for texts in TEXTS])


def _item(number: int) -> ImageItem:
    drawing = drawn_images()[number].open
    return ImageItem(id=f"image {number}", index=number, open=drawing, embedding=SEEN[number].numpy)


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
        text_encoder=TextEncoder("words", lambda: ENCODER),
    )
    for i, texts in enumerate(TEXTS)
)
# what is left of a record where a need is not declared
LESS: Mapping[str, Mapping[str, Any]] = {
    "image": {"item": None, "feature": None, "text_encoder": None},
    "search": {"logprobs": (), "tokens": (), "finishes": ()},
    "several": {"captions": ()},
}


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


def predicting(*texts: str) -> list[Record]:
    """Gives the images other predictions."""
    return [
        attrs.evolve(record, prediction=text, captions=(text, *record.captions[1:]))
        for record, text in zip(PERFECT, texts, strict=True)
    ]


def of_several_numbers() -> list[Record]:
    """Gives the images two captions and three in turn."""
    return [
        attrs.evolve(
            record,
            captions=(*record.captions, *record.captions[: number % 2]),
            logprobs=(*record.logprobs, *record.logprobs[: number % 2]),
            tokens=(*record.tokens, *record.tokens[: number % 2]),
            finishes=(*record.finishes, *record.finishes[: number % 2]),
        )
        for number, record in enumerate(PERFECT)
    ]


def same_scores(ours: Scores, theirs: Scores, when: str) -> None:
    """Requires that scores are equal but for rounding, those of the images too."""
    require(ours.values.keys() == theirs.values.keys(), f"{when} {_differing(ours, theirs)}")
    for name, value in theirs.values.items():
        other = ours.values[name]
        require(near(other, value), f"{when} {name} is {other}, not {value}")
    kept = ours.per_image.keys() == theirs.per_image.keys()
    require(kept, f"{when} other values have scores of images: {sorted(ours.per_image)}")
    for name, each in theirs.per_image.items():
        others = ours.per_image[name]
        good = len(others) == len(each) and all(map(near, others, each))
        require(good, f"{when} {name} of the images is {others}, not {each}")


@rule("finite")
def finite(case: Case) -> None:
    """There are values, and they are finite numbers, however odd the texts or few the records."""
    for what, records in (
        ("perfect predictions", PERFECT),
        ("odd texts", predicting("", "a ||| b\nc", "Ünïcödé 犬 🐕", ".")),
        ("no text in any prediction", predicting("", "", "", "")),
        ("a single record", PERFECT[:1]),
        ("two and three captions in turn", of_several_numbers()),
    ):
        values = scored(case, records).values
        require(bool(values), f"of {what}, there are no values")
        for name, value in values.items():
            number = isinstance(value, (int, float)) and not isinstance(value, bool)
            good = number and math.isfinite(value)
            require(good, f"of {what}, {name} is {value!r}, not a finite number")


@rule("names")
def names(case: Case) -> None:
    """The values have the same names whatever is scored."""
    one, two = scored(case, PERFECT), scored(case, on_the_wrong_images())
    require(list(one.values) == list(two.values), f"on the wrong images {_differing(two, one)}")


@rule("per-image")
def per_image(case: Case) -> None:
    """Scores of images belong to a named value, and there is one number for each record."""
    scores = scored(case, PERFECT)
    for name, each in scores.per_image.items():
        require(name in scores.values, f"{name!r} has scores of images and no value")
        require(len(each) == len(PERFECT), f"{name!r} has {len(each)} scores of {len(PERFECT)}")
        wrong = [value for value in each if not isinstance(value, (int, float))]
        require(not wrong, f"{name!r} of an image is {wrong[:1]}, not a number (it may be NaN)")


@rule("record-order")
def record_order(case: Case) -> None:
    """The order of the records changes no value, and the scores of images follow it."""
    records = on_the_wrong_images()
    one, two = scored(case, records), scored(case, records[::-1])
    turned = {name: each[::-1] for name, each in two.per_image.items()}
    same_scores(attrs.evolve(two, per_image=turned), one, "in reverse order")


@rule("perfect-is-best")
def perfect_is_best(case: Case) -> None:
    """Perfect predictions score no worse than the same ones on the wrong images."""
    right, wrong = scored(case, PERFECT), scored(case, on_the_wrong_images())
    less = cast(MetricConfig, case.config).lower_is_better
    unknown = sorted(less - right.values.keys())
    require(not unknown, f"lower_is_better names {unknown}; the values are {list(right.values)}")
    for name, value in right.values.items():
        other = wrong.values[name]
        no_worse = near(value, other) or (value <= other if name in less else value >= other)
        better = "less" if name in less else "more"
        cure = "" if name in less else "; where less is better, `lower_is_better` says so"
        said = f"{name} is {value} where right and {other} where wrong, and {better} is better"
        require(no_worse, said + cure)


@rule("requires")
def requires(case: Case) -> None:
    """Records that have nothing but texts and what the metric says it needs score the same."""
    config = cast(MetricConfig, case.config)
    unknown = sorted(set(config.requires) - set(LESS))
    require(not unknown, f"the needs {unknown} are not among {sorted(LESS)}")
    less = {
        k: v for need, kept in LESS.items() if need not in config.requires for k, v in kept.items()
    }
    bare = [attrs.evolve(record, **less) for record in PERFECT]
    own = cast(Metric, case.built()).score(bare)
    same_scores(own, scored(case, PERFECT), f"without {', '.join(sorted(less))},")


@rule("repeatable")
def repeatable(case: Case) -> None:
    """The same records have the same scores a second time, from a metric built again."""
    again = cast(Metric, case.build()).score(PERFECT)
    same_scores(again, scored(case, PERFECT), "the second time")


@rule("resamplable")
def resamplable(case: Case) -> str | None:
    """A metric's statistic, where it brings one for resampling, gives the metric's own values."""
    metric = case.built()
    if not isinstance(metric, Resamplable):
        return "it brings no statistic"
    for records in (PERFECT, on_the_wrong_images()):
        statistic, values = metric.statistic(records), scored(case, records).values
        lacking = sorted(set(statistic.names) ^ set(values))
        require(not lacking, f"{lacking} are names of the statistic or of the values alone")
        images = [record.image for record in records]
        require(list(statistic.images) == images, f"its images are {statistic.images}")
        (row,) = statistic.resampled(np.ones((1, len(records)), dtype=np.int64)).tolist()
        for name, value in zip(statistic.names, row, strict=True):
            said = f"{name} is {values[name]}, and {value} by the statistic"
            require(near(value, values[name]), said)
    return None


def _differing(ours: Scores, theirs: Scores) -> str:
    new = [name for name in ours.values if name not in theirs.values]
    gone = [name for name in theirs.values if name not in ours.values]
    if not new and not gone:
        return f"the values come in another order: {list(ours.values)}, not {list(theirs.values)}"
    return f"other values came: {new} are new and {gone} are gone"


RULES = (
    finite,
    names,
    per_image,
    record_order,
    perfect_is_best,
    requires,
    repeatable,
    resamplable,
)
