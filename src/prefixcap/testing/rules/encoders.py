"""Rules for image encoders."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import cast

import torch
from torch import Tensor

from prefixcap.interfaces.dataset import ImageItem
from prefixcap.interfaces.encoder import Encoder
from prefixcap.testing.case import Case
from prefixcap.testing.rules.helpers import digest as digest
from prefixcap.testing.rules.helpers import max_difference
from prefixcap.testing.rules.rule import require, rule

TOLERANCE = 1e-4
TEXTS = ("a dog", "two red balls", "", "word " * 200)
"""Two usual texts, an empty one, and one longer than any caption."""


def encoder(case: Case) -> Encoder:
    """Return the case's encoder, built once."""
    return cast(Encoder, case.built())


def images(case: Case) -> Sequence[ImageItem]:
    """Return the case's images, created once."""
    return case.once("images", case.images)


def encoded(case: Case, items: Sequence[ImageItem] | None = None) -> Tensor:
    """Encode images in one batch; by default the case's."""
    items = images(case) if items is None else items
    return encoder(case).encode(torch.stack([encoder(case).preprocess(item) for item in items]))


def require_features(features: Tensor, shape: tuple[int, ...], subject: str) -> None:
    """Require that features are finite float32 of a shape."""
    sizes = tuple(features.shape)
    require(sizes == shape, f"the features of {subject} have the shape {sizes}, not {shape}")
    require(features.dtype == torch.float32, f"the features of {subject} are {features.dtype}")
    require(bool(features.isfinite().all()), f"a feature of {subject} is not finite")


@rule("feature-shape")
def feature_shape(case: Case) -> None:
    """Features are finite float32 of shape (B,D), or (B,N,D) if the encoder has `tokens`."""
    features = encoded(case)  # first, as some encoders learn their width from an image
    tokens = encoder(case).tokens
    inner = (encoder(case).width,) if tokens is None else (tokens, encoder(case).width)
    require_features(features, (len(images(case)), *inner), "images")


@rule("frozen")
def frozen(case: Case) -> None:
    """Features carry no gradients: the encoder is not trained."""
    require(not encoded(case).requires_grad, "the features require gradients")


@rule("image-alone")
def image_alone(case: Case) -> None:
    """An image's feature is the same in every batch and every time."""
    together = encoded(case)
    for number, item in enumerate(images(case)):
        difference = max_difference(encoded(case, [item])[0], together[number])
        require(difference <= TOLERANCE, f"{item.id!r} alone has another feature")


@rule("images-matter")
def images_matter(case: Case) -> None:
    """Different images have different features."""
    features = encoded(case).flatten(1)
    require(len(features) > 1, f"the case has {len(features)} images: at least two are needed")
    for i, j in combinations(range(len(features)), 2):
        require(not torch.equal(features[i], features[j]), f"images {i} and {j} have one feature")


@rule("text-encoder")
def text_encoder(case: Case) -> str | None:
    """If the encoder encodes texts, their features are float32 (B,D) and differ between texts."""
    features = encoder(case).encode_text(TEXTS)
    if features is None:
        return "it does not encode texts"
    require_features(features, (len(TEXTS), encoder(case).width), "texts")
    require(not features.requires_grad, "the features of texts require gradients")
    require(not torch.equal(features[0], features[1]), "two texts have one feature")
    for number, text in enumerate(TEXTS):
        alone = encoder(case).encode_text([text])
        require(alone is not None and len(alone) == 1, f"{text[:20]!r} alone has no feature")
        difference = max_difference(cast(Tensor, alone)[0], features[number])
        require(difference <= TOLERANCE, f"{text[:20]!r} alone has another feature")
    return None
