"""Rules for image encoders."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor

from prefixcap.kinds import Encoder, ImageItem
from prefixcap.testing.case import Case
from prefixcap.testing.rules import require, rule

TOLERANCE = 1e-4


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
    require(found.dtype == torch.float32, f"the features are {found.dtype}")
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
        near = torch.allclose(encoded(case, [item])[0], together[number], atol=TOLERANCE)
        require(near, f"{item.id!r} alone has another feature")


@rule("images-matter")
def images_matter(case: Case) -> None:
    """Different images have different features."""
    found = encoded(case).flatten(1)
    for i in range(1, len(found)):
        require(not torch.equal(found[0], found[i]), f"images 0 and {i} have one feature")


@rule("text-side")
def text_side(case: Case) -> None:
    """Texts, where the encoder has a text side, become float32 features (B,D) of their own."""
    found = encoder(case).encode_text(["a dog", "two red balls"])
    if found is None:
        return
    require(found.shape == (2, encoder(case).width), f"two texts are {tuple(found.shape)}")
    require(found.dtype == torch.float32, f"the features of texts are {found.dtype}")
    require(not torch.equal(found[0], found[1]), "two texts have one feature")


@rule("digest")
def digest(case: Case) -> None:
    """The digest is the same for an encoder that is built again."""
    one, two = encoder(case).digest(), cast(Encoder, case.build()).digest()
    require(bool(one) and one == two, f"the digests of two builds are {one!r} and {two!r}")


RULES = (feature_shape, frozen, image_alone, images_matter, text_side, digest)
