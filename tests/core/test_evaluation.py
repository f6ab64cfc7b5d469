"""Several metrics: warnings about references, and clashes of scores."""

from __future__ import annotations

import attrs
import pytest
from prefixcap_metrics import configs as metrics

from prefixcap.errors import PrefixcapError
from prefixcap.evaluation.evaluate import evaluate, sample_warnings
from prefixcap.interfaces.dataset import Example, ImageItem
from prefixcap.interfaces.metric import Record


def records(*references: int) -> list[Record]:
    return [
        Record(image=f"{i}", references=("a dog",) * count, prediction="a cat")
        for i, count in enumerate(references)
    ]


def test_a_metric_that_needs_more_references_gets_a_warning() -> None:
    (warning, unequal) = sample_warnings(records(5, 1, 5), [metrics.Length(), metrics.Cider()])
    assert warning == (
        "warning: 'cider' is unreliable with few references: 1 of 3 images has fewer "
        "than 2, such as '1' with 1"
    )
    assert unequal == (
        "warning: scores are lower for images with fewer references than others: 1 of 3 images "
        "has fewer than 5, such as '1' with 1"
    )
    assert sample_warnings(records(1, 1), [metrics.Length()]) == []
    assert sample_warnings(records(2, 2), [metrics.Cider()]) == []
    assert len(sample_warnings(records(1, 1), [metrics.Oracle(metric=("length", "cider"))])) == 1


def test_cider_of_one_image_is_zero_with_a_warning() -> None:
    one = attrs.evolve(records(2)[0], prediction="a dog")
    assert metrics.Cider().build().score([one]).values == {"CIDEr": 0.0}
    (warning,) = sample_warnings([one], [metrics.Cider(), metrics.Length()])
    assert warning == "warning: 'cider' needs at least 2 images, not 1"


def test_a_few_images_with_more_references_give_no_warning() -> None:
    assert sample_warnings(records(*[5] * 99, 6), [metrics.Cider()]) == []
    (warning,) = sample_warnings(records(*[5] * 90, *[6] * 10), [metrics.Cider()])
    assert "90 of 100 images have fewer than 6, such as '0' with 5" in warning
    (warning,) = sample_warnings(records(*[5] * 99, 4), [metrics.Cider()])
    assert "1 of 100 images has fewer than 5, such as '99' with 4" in warning


def test_examples_are_checked_like_records() -> None:
    examples = [
        Example(image=ImageItem(id=r.image, index=0), references=r.references)
        for r in records(3, 2)
    ]
    assert (
        sample_warnings(examples, [metrics.Cider()])
        == sample_warnings(records(3, 2), [metrics.Cider()])
        != []
    )


def test_two_metrics_with_the_same_score_are_named() -> None:
    clash = [metrics.Distinct(), metrics.Length(), metrics.Distinct(max_n=3)]
    with pytest.raises(
        PrefixcapError,
        match="'distinct' and 'distinct:max_n=3' both give the score 'Distinct_1': leave one out",
    ):
        evaluate(records(1), clash)


def test_an_image_without_references_is_named() -> None:
    with pytest.raises(PrefixcapError, match="the image '1' has no reference captions"):
        evaluate(records(1, 0), [metrics.Length()])
