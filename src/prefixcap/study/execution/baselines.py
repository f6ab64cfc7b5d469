"""Baselines: captions without a trained model, with which every table is compared."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cache
from itertools import islice, zip_longest
from math import log, sqrt
from typing import TYPE_CHECKING, Any

from prefixcap.errors import PrefixcapError
from prefixcap.interfaces.dataset import Example
from prefixcap.interfaces.retrieval.retriever import RetrieverConfig, directions
from prefixcap.plugin.registry import default_registry
from prefixcap.util.words import ngrams, words

if TYPE_CHECKING:
    from torch import Tensor

    from prefixcap.captioning.feature_rows import AnyFeatures
    from prefixcap.interfaces.text_encoder import TextEncoder

VERSION = 1
"""Changes with the captions of `consensus` or `nearest_caption`."""
SAMPLE = 500
"""The number of training images from which the constant caption is chosen."""
COUNTED = 2000
"""The number of training images whose captions say how rare an n-gram is."""
NEIGHBORS = 10
"""The number of training images whose captions the consensus is chosen from."""
ENCODED = 5000
"""The number of training captions that an image is compared with."""
Gram = tuple[str, ...]


def constant(train: Sequence[Example], test: Sequence[Example]) -> list[dict[str, Any]]:
    """Give every image the training caption that is closest to all training captions.

    Closeness is the cosine of tf-idf vectors of n-grams, as in CIDEr.
    """
    images = [example.references for example in train[:SAMPLE]]
    idf = _idf(images)
    texts = sorted({text for references in images for text in references})
    best = _most_typical(texts, [_vector(text, idf) for text in texts])
    return _lines(test, [best] * len(test))


def random_training(
    train: Sequence[Example], test: Sequence[Example], seed: int
) -> list[dict[str, Any]]:
    """Give every image the caption of a random training image."""
    stream = random.Random(seed)
    return _lines(test, [stream.choice(stream.choice(train).references) for _ in test])


def nearest_training(
    train: Sequence[Example], test: Sequence[Example], rows: Sequence[Sequence[int]]
) -> list[dict[str, Any]]:
    """Give every image the first caption of its nearest training image.

    `rows` are the result of `nearest_images`.
    """
    return _lines(test, [train[nearest[0]].references[0] for nearest in rows])


def consensus(
    train: Sequence[Example], test: Sequence[Example], rows: Sequence[Sequence[int]]
) -> list[dict[str, Any]]:
    """Give every image the caption of its nearest training images that is closest to them all.

    This is minimum Bayes risk over the captions of the neighbors, with the tf-idf of n-grams as in
    CIDEr (Devlin et al. 2015, arXiv:1505.04467). `rows` are the result of `nearest_images`.
    """
    idf = _idf([example.references for example in train[:COUNTED]])
    vector = cache(lambda text: _vector(text, idf, log(max(len(train[:COUNTED]), 2))))
    chosen = []
    for nearest in rows:
        texts = [text for row in nearest for text in train[row].references]
        chosen.append(_most_typical(texts, [vector(text) for text in texts], itself=False))
    return _lines(test, chosen)


def nearest_images(
    train_features: AnyFeatures, features: AnyFeatures, k: int = NEIGHBORS
) -> list[list[int]]:
    """Return the rows of the `k` training images with the most similar features, for each image.

    Features are (B,D) or (B,N,D); tokens are averaged.
    """
    import torch

    from prefixcap.captioning.feature_rows import chunks

    return _nearest(torch.cat([*map(directions, chunks(train_features))]), features, k)


def without_texts(
    text_encoder: TextEncoder, features: AnyFeatures, train: Sequence[Example]
) -> str | None:
    """Return why features (B,D) or (B,N,D) cannot be compared with training captions, if so."""
    if features.ndim != 2:
        return f"the encoder {text_encoder.name!r} gives several feature tokens an image"
    try:
        vectors = text_encoder.encoder.encode_text(train[0].references[:1])
    except PrefixcapError as error:  # such as stored embeddings of other texts
        return str(error)
    return f"the encoder {text_encoder.name!r} has no text tower" if vectors is None else None


def nearest_caption(
    train: Sequence[Example],
    test: Sequence[Example],
    features: AnyFeatures,
    text_encoder: TextEncoder,
) -> list[dict[str, Any]]:
    """Give every image the training caption whose text is most similar to its feature (B,D).

    This is CLIPRe (Su et al. 2022, arXiv:2205.02655). Of more than `ENCODED` captions, the first
    ones of all images are compared, then the second ones, because encoding texts takes long.

    Raises:
        PrefixcapError: If the encoder has no text tower, or gives several tokens an image.
    """
    by_image = zip_longest(*(example.references for example in train))
    every = (text for texts in by_image for text in texts if text)
    texts = list(dict.fromkeys(islice(every, ENCODED)))
    vectors = text_encoder.encode(texts)
    text_encoder.compare(features[:1], vectors[:1])
    return _lines(test, [texts[row] for (row,) in _nearest(directions(vectors), features, 1)])


def shuffled(test: Sequence[Example], lines: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Give every image the caption that a model made for the image before it."""
    texts = [line["captions"][0]["text"] for line in lines]
    return _lines(test, [texts[-1], *texts[:-1]])


def _nearest(known: Tensor, features: AnyFeatures, k: int) -> list[list[int]]:
    """Return the rows of the `k` nearest of known directions (M,D) for each feature."""
    from prefixcap.captioning.feature_rows import chunks

    index = default_registry().parse(RetrieverConfig, "exact").build(known)
    return [
        rows
        for chunk in chunks(features)
        for rows in index.nearest(directions(chunk), k).rows.tolist()
    ]


def _most_typical(
    texts: Sequence[str], vectors: Sequence[Mapping[Gram, float]], *, itself: bool = True
) -> str:
    """Return the text whose vector has the largest sum of products with all.

    Without `itself`, a text's product with its own vector does not count.
    """
    # the sum of products with all vectors is the product with their sum
    center: Counter[Gram] = Counter()
    for vector in vectors:
        center.update(vector)
    closeness = [
        sum(value * (center[gram] - (0 if itself else value)) for gram, value in vector.items())
        for vector in vectors
    ]
    return texts[max(range(len(texts)), key=closeness.__getitem__)]


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


def _vector(text: str, idf: Mapping[Gram, float], unknown: float = 0.0) -> dict[Gram, float]:
    vector = {gram: count * idf.get(gram, unknown) for gram, count in _grams(text).items()}
    for n in range(1, 5):
        norm = sqrt(sum(v * v for gram, v in vector.items() if len(gram) == n))
        for gram in vector:
            if len(gram) == n and norm:
                vector[gram] /= norm
    return vector
