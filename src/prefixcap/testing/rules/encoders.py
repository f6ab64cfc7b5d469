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
from prefixcap.testing.rules.helpers import apart, same_digest
from prefixcap.testing.rules.rule import require, rule

TOLERANCE = 1e-4
TEXTS = ("a dog", "two red balls", "", "word " * 200)
"""Two usual texts, none at all, and one longer than any caption."""


def encoder(case: Case) -> Encoder:
    """Returns the case's encoder, built once."""
    return cast(Encoder, case.built())


def images(case: Case) -> Sequence[ImageItem]:
    """Returns the case's images."""
    return cast(Sequence[ImageItem], case.once("images", case.images))


def encoded(case: Case, items: Sequence[ImageItem] | None = None) -> Tensor:
    """Encodes images in one batch."""
    items = images(case) if items is None else items
    return encoder(case).encode(torch.stack([encoder(case).preprocess(item) for item in items]))


@rule("feature-shape")
def feature_shape(case: Case) -> None:
    """Features are (B,D), or (B,N,D) where the encoder has `tokens`: float32 and finite."""
    found, each = encoded(case), encoder(case)
    inner = (each.width,) if each.tokens is None else (each.tokens, each.width)
    right = (len(images(case)), *inner)
    require(found.shape == right, f"the features are {tuple(found.shape)}, not {right}")
    require(found.dtype == torch.float32, f"the features are {found.dtype}, not float32")
    require(bool(found.isfinite().all()), "a feature is not finite")


@rule("frozen")
def frozen(case: Case) -> None:
    """Features carry no gradients: the encoder is not trained."""
    require(not encoded(case).requires_grad, "the features require gradients")


@rule("image-alone")
def image_alone(case: Case) -> None:
    """An image's feature does not depend on its batch, and comes again the same."""
    together = encoded(case)
    for number, item in enumerate(images(case)):
        near = apart(encoded(case, [item])[0], together[number]) <= TOLERANCE
        require(near, f"{item.id!r} alone has another feature")


@rule("images-matter")
def images_matter(case: Case) -> None:
    """Different images have different features."""
    found = encoded(case).flatten(1)
    require(len(found) > 1, f"{len(found)} images were given: at least two are needed to compare")
    for i, j in combinations(range(len(found)), 2):
        require(not torch.equal(found[i], found[j]), f"images {i} and {j} have one feature")


@rule("text-side")
def text_encoder(case: Case) -> str | None:
    """Texts, where the encoder has a text side, become float32 features (B,D) of their own."""
    found = encoder(case).encode_text(TEXTS)
    if found is None:
        return "it has no text side"
    right = (len(TEXTS), encoder(case).width)
    require(found.shape == right, f"{len(TEXTS)} texts are {tuple(found.shape)}, not {right}")
    require(found.dtype == torch.float32, f"the features of texts are {found.dtype}, not float32")
    require(bool(found.isfinite().all()), "a text's feature is not finite")
    require(not found.requires_grad, "the features of texts require gradients")
    require(not torch.equal(found[0], found[1]), "two texts have one feature")
    for number, text in enumerate(TEXTS):
        alone = encoder(case).encode_text([text])
        require(alone is not None and len(alone) == 1, f"{text[:20]!r} alone has no feature")
        near = apart(cast(Tensor, alone)[0], found[number]) <= TOLERANCE
        require(near, f"{text[:20]!r} alone has another feature than beside other texts")
    return None


@rule("digest")
def digest(case: Case) -> None:
    """The digest is the same for an encoder that is built again."""
    same_digest(case)


RULES = (feature_shape, frozen, image_alone, images_matter, text_encoder, digest)
