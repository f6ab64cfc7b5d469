"""Captions that need no model: what every table must be read against."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping, Sequence
from math import log, sqrt
from typing import TYPE_CHECKING, Any

from prefixcap.interfaces.dataset import Example

if TYPE_CHECKING:
    from torch import Tensor

SAMPLE = 500


def constant(train: Sequence[Example], test: Sequence[Example]) -> list[dict[str, Any]]:
    """Gives every image one training caption: the one closest to all captions on average.

    Closeness is the cosine of tf-idf vectors of n-grams, as in CIDEr, on the first images.
    """
    images = [example.references for example in train[:SAMPLE]]
    idf = _idf(images)
    texts = sorted({text for references in images for text in references})
    vectors = [_vector(text, idf) for text in texts]
    center: Counter[tuple[str, ...]] = Counter()
    for vector in vectors:
        center.update(vector)
    closeness = [sum(value * center[gram] for gram, value in vector.items()) for vector in vectors]
    best = texts[max(range(len(texts)), key=closeness.__getitem__)]
    return _lines(test, [best] * len(test))


def random_training(
    train: Sequence[Example], test: Sequence[Example], seed: int
) -> list[dict[str, Any]]:
    """Gives every image the caption of a random training image."""
    stream = random.Random(seed)
    return _lines(test, [stream.choice(stream.choice(train).references) for _ in test])


def nearest_training(
    train: Sequence[Example], test: Sequence[Example], train_features: Tensor, features: Tensor
) -> list[dict[str, Any]]:
    """Gives every image the first caption of the training image nearest to it by cosine.

    Args:
        train: the training examples.
        test: the examples to caption.
        train_features: (B,D) or (B,N,D) of the training images; tokens are averaged.
        features: the same of the images to caption.
    """
    from torch.nn.functional import normalize

    def flat(found: Tensor) -> Tensor:
        return normalize(found.mean(1) if found.ndim == 3 else found, dim=-1)

    rows = (flat(features) @ flat(train_features).T).argmax(1).tolist()
    return _lines(test, [train[row].references[0] for row in rows])


def shuffled(test: Sequence[Example], lines: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Gives every image the caption that a captioner made for the image before it."""
    texts = [line["captions"][0]["text"] for line in lines]
    return _lines(test, [texts[-1], *texts[:-1]])


def _lines(test: Sequence[Example], texts: Sequence[str]) -> list[dict[str, Any]]:
    return [
        {"image": example.image.id, "captions": [{"text": text}]}
        for example, text in zip(test, texts, strict=True)
    ]


def _grams(text: str) -> Counter[tuple[str, ...]]:
    words = [word.strip(".,!?") for word in text.lower().split()]
    words = [word for word in words if word]
    return Counter(tuple(words[i : i + n]) for n in range(1, 5) for i in range(len(words) - n + 1))


def _idf(images: Sequence[Sequence[str]]) -> dict[tuple[str, ...], float]:
    found = Counter(
        gram
        for references in images
        for gram in {gram for text in references for gram in _grams(text)}
    )
    return {gram: log(max(len(images), 2) / count) for gram, count in found.items()}


def _vector(text: str, idf: Mapping[tuple[str, ...], float]) -> dict[tuple[str, ...], float]:
    vector = {gram: count * idf[gram] for gram, count in _grams(text).items()}
    for n in range(1, 5):
        length = sqrt(sum(v * v for gram, v in vector.items() if len(gram) == n))
        for gram in vector:
            if len(gram) == n and length:
                vector[gram] /= length
    return vector
