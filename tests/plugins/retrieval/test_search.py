"""Nearest captions: an image's own and near-duplicates are left out, as in plain loops."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from prefixcap_retrieval.configs import Exact
from prefixcap_retrieval.search import CaptionSearch
from torch import Tensor

from prefixcap.errors import PrefixcapError
from prefixcap.interfaces.retrieval.retriever import directions
from prefixcap.util.words import words

TEXTS = st.lists(st.sampled_from(["a", "dog", "Dog.", "cat"]), max_size=2).map(" ".join)


def drawn(count: int, seed: int) -> Tensor:
    """Draw few different vectors, so that cosines are equal and images the same."""
    stream = torch.Generator().manual_seed(seed)
    return directions(torch.randint(-1, 2, (count, 3), generator=stream).float() + 0.1)


def by_loops(
    query: Tensor,
    images: Tensor,
    captions: list[list[str]],
    texts: Tensor | None,
    own: int | None,
    k: int,
    per_image: int | None,
    duplicate: float | None,
) -> tuple[str, ...]:
    """Sort all captions, and leave out one after another."""
    entries = [(n, text) for n, each in enumerate(captions) for text in each]
    vectors = images[[n for n, _ in entries]] if texts is None else texts
    order = sorted(
        range(len(entries)), key=lambda e: (-float(query.double() @ vectors[e].double()), e)
    )
    chosen: list[tuple[int, str]] = []
    for image, text in (entries[e] for e in order):
        same_picture = float(query.double() @ images[image].double()) > (duplicate or 2)
        taken = [other for n, other in chosen if n == image]
        known = [other for _, other in chosen] + ([] if own is None else captions[own])
        if (
            image != own
            and not same_picture
            and len(taken) < (per_image or 99)
            and words(text)
            and words(text) not in [words(other) for other in known]
        ):
            chosen.append((image, text.strip()))
    return tuple(text for _, text in chosen[:k])


@given(
    captions=st.lists(st.lists(TEXTS, min_size=1, max_size=3), min_size=3, max_size=9),
    by_text=st.booleans(),
    k=st.integers(1, 4),
    per_image=st.sampled_from([None, 1, 2]),
    duplicate=st.sampled_from([None, 0.5, 0.9]),
    own=st.booleans(),
    seed=st.integers(0, 99),
)
@settings(max_examples=60)
def test_captions_are_those_that_loops_find(
    captions: list[list[str]],
    by_text: bool,
    k: int,
    per_image: int | None,
    duplicate: float | None,
    own: bool,
    seed: int,
) -> None:
    images, count = drawn(len(captions), seed), sum(map(len, captions))
    texts = drawn(count, seed + 1) if by_text else None
    ids = [f"image {n}" for n in range(len(captions))]
    try:
        search = CaptionSearch(
            *(images, captions, ids, texts),
            retriever=Exact(),
            k=k,
            per_image=per_image,
            duplicate=duplicate,
        )
    except PrefixcapError:
        usable = [min(len(each), per_image or 99) for each in captions]
        assert sum(usable) - max(usable) < k
        return
    queries = images if own else drawn(5, seed + 2)
    found = search.nearest(queries, ids if own else None)
    for row, query in enumerate(queries):
        number = row if own else None
        expected = by_loops(query, images, captions, texts, number, k, per_image, duplicate)
        assert found[row] == expected


def test_too_few_captions_are_a_sentence() -> None:
    captions = [["a dog", "the dog"], ["a cat"]]
    with pytest.raises(PrefixcapError) as caught:
        CaptionSearch(torch.eye(2), captions, ["0", "1"], None, retriever=Exact(), k=4, per_image=1)
    assert str(caught.value) == (
        "k=4 captions of other images are to be retrieved, and of 2 images with captions, all but "
        "one have 1: choose fewer"
    )


def test_of_many_near_duplicates_the_next_images_are_found() -> None:
    near = torch.tensor([[1.0, 0.0]]).repeat(60, 1)
    images = directions(torch.cat([near, torch.tensor([[1.0, 1.0], [0.0, 1.0]])]))
    captions = [[f"caption {n}"] for n in range(62)]
    search = CaptionSearch(
        images, captions, [str(n) for n in range(62)], None, retriever=Exact(), k=2, duplicate=0.99
    )
    assert search.nearest(near[:1]) == [("caption 60", "caption 61")]
