"""Baselines: captions without a trained model, with which every table is compared."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping, Sequence
from math import log, sqrt
from typing import TYPE_CHECKING, Any

from prefixcap.interfaces.dataset import Example
from prefixcap.util.words import ngrams, words

if TYPE_CHECKING:
    from torch import Tensor

    from prefixcap.captioning.feature_rows import AnyFeatures

SAMPLE = 500
"""The number of training images from which the constant caption is chosen."""
NEAREST_BLOCK = 256
"""The number of test images that are compared with all training images at once."""
Gram = tuple[str, ...]


def constant(train: Sequence[Example], test: Sequence[Example]) -> list[dict[str, Any]]:
    """Give every image the training caption that is closest to all training captions.

    Closeness is the cosine of tf-idf vectors of n-grams, as in CIDEr.
    """
    images = [example.references for example in train[:SAMPLE]]
    idf = _idf(images)
    texts = sorted({text for references in images for text in references})
    vectors = [_vector(text, idf) for text in texts]
    # the sum of cosines with all vectors is the product with their sum
    center: Counter[Gram] = Counter()
    for vector in vectors:
        center.update(vector)
    closeness = [sum(value * center[gram] for gram, value in vector.items()) for vector in vectors]
    best = texts[max(range(len(texts)), key=closeness.__getitem__)]
    return _lines(test, [best] * len(test))


def random_training(
    train: Sequence[Example], test: Sequence[Example], seed: int
) -> list[dict[str, Any]]:
    """Give every image the caption of a random training image."""
    stream = random.Random(seed)
    return _lines(test, [stream.choice(stream.choice(train).references) for _ in test])


def nearest_training(
    train: Sequence[Example],
    test: Sequence[Example],
    train_features: AnyFeatures,
    features: AnyFeatures,
) -> list[dict[str, Any]]:
    """Give every image the first caption of the training image with the most similar feature.

    Features are (B,D) or (B,N,D); tokens are averaged.
    """
    import torch
    from torch.nn.functional import normalize

    from prefixcap.captioning.feature_rows import chunks

    def directions(features: Tensor) -> Tensor:  # (B, D) or (B, N, D) -> (B, D)
        return normalize(features.mean(1) if features.ndim == 3 else features, dim=-1)

    known = torch.cat([directions(chunk) for chunk in chunks(train_features)]).T
    # in parts, because all similarities of COCO's splits would take gigabytes
    rows: list[int] = []
    for start in range(0, len(features), NEAREST_BLOCK):
        part = directions(features[start : start + NEAREST_BLOCK])
        rows += (part @ known).argmax(1).tolist()
    return _lines(test, [train[row].references[0] for row in rows])


def shuffled(test: Sequence[Example], lines: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Give every image the caption that a model made for the image before it."""
    texts = [line["captions"][0]["text"] for line in lines]
    return _lines(test, [texts[-1], *texts[:-1]])


def _lines(test: Sequence[Example], texts: Sequence[str]) -> list[dict[str, Any]]:
    return [
        {"image": example.image.id, "captions": [{"text": text}]}
        for example, text in zip(test, texts, strict=True)
    ]


def _grams(text: str) -> Counter[Gram]:
    return Counter(gram for n in range(1, 5) for gram in ngrams(tuple(words(text)), n))


def _idf(images: Sequence[Sequence[str]]) -> dict[Gram, float]:
    counts = Counter(
        gram
        for references in images
        for gram in {gram for text in references for gram in _grams(text)}
    )
    return {gram: log(max(len(images), 2) / count) for gram, count in counts.items()}


def _vector(text: str, idf: Mapping[Gram, float]) -> dict[Gram, float]:
    vector = {gram: count * idf[gram] for gram, count in _grams(text).items()}
    for n in range(1, 5):
        norm = sqrt(sum(v * v for gram, v in vector.items() if len(gram) == n))
        for gram in vector:
            if len(gram) == n and norm:
                vector[gram] /= norm
    return vector
