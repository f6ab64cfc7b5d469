"""Configs of the bridges, for training on texts alone."""

from __future__ import annotations

from typing import ClassVar

import attrs
from typing_extensions import override

from prefixcap.interfaces.bridge import Bridge, BridgeConfig
from prefixcap.interfaces.validators import above, at_least

CAPDEC = 0.1265
"""The standard deviation of CapDec's noise, whose variance is 0.016."""


@attrs.frozen(kw_only=True)
class NoBridge(BridgeConfig):
    """No bridge; models trained on images have none either, and get their features as they are.

    Text: t / |t|. Image: v / |v|.
    """

    name: ClassVar[str] = "none"

    @override
    def build(self) -> Bridge:
        from prefixcap_mappers.bridges import NoisyTexts

        return NoisyTexts(0.0)


@attrs.frozen(kw_only=True)
class NoiseBridge(BridgeConfig):
    """CapDec's noise (Nukrai et al. 2022, arXiv:2211.00575).

    A caption stands for its neighborhood, where the image's embedding is hoped to be. With
    n(x) = x / |x| and z from N(0,1) in each dimension: text n(n(t) + noise z), image n(v).

    Attributes:
        noise: The standard deviation in each dimension; the paper's variance is 0.016.
    """

    name: ClassVar[str] = "noise"

    noise: float = attrs.field(default=CAPDEC, validator=at_least(0))

    @override
    def build(self) -> Bridge:
        from prefixcap_mappers.bridges import NoisyTexts

        return NoisyTexts(self.noise)


@attrs.frozen(kw_only=True)
class ShiftBridge(BridgeConfig):
    """C3's removal of both means, and noise (Zhang et al. 2024, arXiv:2401.08567).

    With the means m over n(x) of the training texts and of the training images, whose captions are
    not used: text n(n(t) - m_text + noise z), image n(n(v) - m_image).

    Attributes:
        noise: The standard deviation in each dimension; 0 only removes the means.
    """

    name: ClassVar[str] = "shift"

    noise: float = attrs.field(default=CAPDEC, validator=at_least(0))

    @override
    def build(self) -> Bridge:
        from prefixcap_mappers.bridges import RemovedMeans

        return RemovedMeans(self.noise)


@attrs.frozen(kw_only=True)
class CloseBridge(BridgeConfig):
    """CLOSE's noise, optionally after a shift (Gu et al. 2023, arXiv:2211.09778).

    The shift moves texts to the images, whose embeddings stay as they are. Text
    n(n(t) + shift (m_image - m_text) + noise z), image n(v).

    Attributes:
        noise: The standard deviation in each dimension. The paper has 0.12 for captions that are
            trained on their own embedding.
        shift: The share of the difference between the means of images and texts that is added to
            texts, as in the paper's mean adapter; 0 does not need images.
    """

    name: ClassVar[str] = "close"

    noise: float = attrs.field(default=0.12, validator=at_least(0))
    shift: float = attrs.field(default=0.0, validator=at_least(0))

    @override
    def build(self) -> Bridge:
        from prefixcap_mappers.bridges import ShiftedTexts

        return ShiftedTexts(self.noise, self.shift)


@attrs.frozen(kw_only=True)
class MemoryBridge(BridgeConfig):
    """DeCap's projection onto a memory of training texts (Li et al. 2023, arXiv:2303.03032).

    An image becomes a mean of text embeddings. With the memory's M entries m = n(t): text
    n(n(t) + noise z), image n(sum_i w_i m_i) with w = softmax(m n(v) / temperature).

    Attributes:
        size: The maximum number of entries, drawn from the training texts; None takes all of them.
            They are saved with every model, 4 D bytes each. The paper has 500,000 and its released
            code 10,000.
        temperature: The softmax temperature of the cosines.
        noise: The standard deviation in each dimension; the paper has none.
        seed: The seed of the draw, so that the memory is the same for every seed of the training.
    """

    name: ClassVar[str] = "memory"

    size: int | None = attrs.field(default=10_000, validator=at_least(1))
    temperature: float = attrs.field(default=0.01, validator=above(0))
    noise: float = attrs.field(default=0.0, validator=at_least(0))
    seed: int = attrs.field(default=0, validator=at_least(0))

    @override
    def build(self) -> Bridge:
        from prefixcap_mappers.bridges import TextMemory

        return TextMemory(self.size, self.temperature, self.noise, self.seed)
