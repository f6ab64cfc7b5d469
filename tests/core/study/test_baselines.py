"""Baselines that copy captions of training images, against plain loops."""

from __future__ import annotations

import math
from collections import Counter

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from prefixcap.interfaces.dataset import Example, ImageItem
from prefixcap.interfaces.encoder import Encoder
from prefixcap.interfaces.text_encoder import TextEncoder
from prefixcap.study.execution import baselines
from prefixcap.testing.word_encoder import WordsEncoder
from prefixcap.util.words import words

WORDS = st.sampled_from(["a", "red", "dog", "cat", "runs", "sleeps", "here"])
CAPTIONS = st.lists(WORDS, min_size=1, max_size=6).map(" ".join)


def example(number: int, *references: str) -> Example:
    return Example(image=ImageItem(id=str(number), index=number), references=references)


def grams(text: str, size: int) -> Counter[tuple[str, ...]]:
    split = words(text)
    return Counter(tuple(split[i : i + size]) for i in range(len(split) - size + 1))


def similarity(one: str, two: str, idf: dict[tuple[str, ...], float]) -> float:
    """Add the cosines of weighted counts of 1- to 4-grams."""
    total = 0.0
    for size in range(1, 5):
        left, right = ({g: n * idf[g] for g, n in grams(t, size).items()} for t in (one, two))
        norm = math.hypot(*left.values()) * math.hypot(*right.values())
        if norm:
            total += sum(left[g] * right.get(g, 0.0) for g in left) / norm
    return total


@given(st.lists(st.lists(CAPTIONS, min_size=1, max_size=3), min_size=2, max_size=5))
@settings(max_examples=30)
def test_the_consensus_is_the_caption_nearest_to_all_others(images: list[list[str]]) -> None:
    train = [example(number, *texts) for number, texts in enumerate(images)]
    known = torch.eye(len(train))
    query = torch.linspace(1.0, 0.5, len(train))[None]  # the images are near in their order
    rows = baselines.nearest_images(known, query, 2)
    assert rows == [[0, 1]]
    (line,) = baselines.consensus(train, [example(9)], rows)
    counts: Counter[tuple[str, ...]] = Counter()
    for texts in images:
        counts.update(
            {gram for text in texts for size in range(1, 5) for gram in grams(text, size)}
        )
    idf = {gram: math.log(len(images) / count) for gram, count in counts.items()}
    candidates = [text for texts in images[:2] for text in texts]
    closeness = [
        sum(similarity(c, o, idf) for j, o in enumerate(candidates) if j != i)
        for i, c in enumerate(candidates)
    ]
    chosen = closeness[candidates.index(line["captions"][0]["text"])]
    assert chosen == pytest.approx(max(closeness))


def test_the_nearest_caption_is_by_image_and_text() -> None:
    train = [example(0, "a dog", "a brown dog"), example(1, "a ship at sea")]
    encoder = TextEncoder("words", WordsEncoder)
    features = encoder.encode(["a ship at sea", "a brown dog"]) * 7
    lines = baselines.nearest_caption(train, [example(2), example(3)], features, encoder)
    assert [line["captions"][0]["text"] for line in lines] == ["a ship at sea", "a brown dog"]


def test_of_too_many_captions_those_that_come_first_at_each_image_are_compared(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(baselines, "ENCODED", 2)
    train = [example(0, "a dog", "a brown dog"), example(1, "a ship", "a ship at sea")]
    encoder = TextEncoder("words", WordsEncoder)
    features = encoder.encode(["a ship at sea", "a brown dog"])
    lines = baselines.nearest_caption(train, [example(2), example(3)], features, encoder)
    assert [line["captions"][0]["text"] for line in lines] == ["a ship", "a dog"]


def test_encoders_without_texts_say_so() -> None:
    class Silent(WordsEncoder):
        def encode_text(self, texts: object) -> None:
            return None

    def build() -> Encoder:
        return Silent()

    train = [example(0, "a dog")]

    reason = baselines.without_texts(TextEncoder("silent", build), torch.ones(2, 3), train)
    assert reason == "the encoder 'silent' has no text tower"
    tokens = baselines.without_texts(TextEncoder("words", WordsEncoder), torch.ones(2, 3, 4), train)
    assert tokens == "the encoder 'words' gives several feature tokens an image"
    words = TextEncoder("words", WordsEncoder)
    assert baselines.without_texts(words, torch.ones(2, 3), train) is None
