"""Tunings that train what stands before an image's prefix, for all images alike."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Self

import attrs
from typing_extensions import override

from prefixcap.errors import PrefixcapError
from prefixcap.interfaces.mapper import MapperShape
from prefixcap.interfaces.tuning import Tuning, TuningConfig
from prefixcap.interfaces.validators import above, at_least

if TYPE_CHECKING:
    from torch import nn


@attrs.frozen(kw_only=True)
class PromptTuning(TuningConfig):
    """Train embeddings before the image's prefix (Lester et al. 2021, arXiv:2104.08691).

    They start as those of drawn tokens. The language model itself is frozen.

    Attributes:
        length: Number of embeddings.
        learning_rate: Peak rate of what is trained; none: the mapper's, times the training's
            `lm_lr_scale`.
    """

    name: ClassVar[str] = "prompt"
    starts_unchanged: ClassVar[bool] = False

    length: int = attrs.field(default=20, validator=at_least(1))
    learning_rate: float | None = attrs.field(default=1e-2, validator=above(0))

    @override
    def build(self) -> Tuning:
        return _Prompt(self.length)

    @property
    @override
    def positions(self) -> int:
        return self.length

    @override
    def peak_rate(self) -> float | None:
        return self.learning_rate


@attrs.frozen(kw_only=True)
class DeepPrefixTuning(TuningConfig):
    """Train keys and values of every layer, which all positions see.

    Prefix tuning (Li and Liang 2021, arXiv:2101.00190) without a network that makes them, as in
    P-tuning v2 (Liu et al. 2022, arXiv:2110.07602). They start as those of a text of drawn tokens.
    The language model itself is frozen.

    Attributes:
        length: Number of positions.
        learning_rate: Peak rate of what is trained; none: the mapper's, times the training's
            `lm_lr_scale`.
    """

    name: ClassVar[str] = "deep-prefix"
    starts_unchanged: ClassVar[bool] = False

    length: int = attrs.field(default=10, validator=at_least(1))
    learning_rate: float | None = attrs.field(default=5e-3, validator=above(0))

    @override
    def build(self) -> Tuning:
        return _DeepPrefix(self.length)

    @property
    @override
    def positions(self) -> int:
        return self.length

    @override
    def peak_rate(self) -> float | None:
        return self.learning_rate

    @override
    def sized(self, size: int) -> Self | None:
        return attrs.evolve(self, length=size)


@attrs.frozen(kw_only=True)
class CrossAttentionTuning(TuningConfig):
    """Add layers to the language model that read the image's features (B,D) or (B,N,D).

    SmallCap (Ramos et al. 2023, arXiv:2209.15323) puts one after the attention of each layer, with
    narrow heads. The last product of each starts as zero. The language model itself is frozen.

    Attributes:
        head_width: Width of a head; SmallCap has 4, 8 or 16 for GPT-2, whose own is 64.
        heads: Number of heads; default: the language model's.
        learning_rate: Peak rate of the layers; none: the mapper's, times the training's
            `lm_lr_scale`.
    """

    name: ClassVar[str] = "cross-attention"
    reads_features: ClassVar[bool] = True

    head_width: int = attrs.field(default=16, validator=at_least(1))
    heads: int | None = attrs.field(default=None, validator=at_least(1))
    learning_rate: float | None = attrs.field(default=3e-4, validator=above(0))

    @override
    def build(self) -> Tuning:
        return _CrossAttention(self)

    @override
    def peak_rate(self) -> float | None:
        return self.learning_rate

    @override
    def sized(self, size: int) -> Self | None:
        return attrs.evolve(self, head_width=size)


class _CrossAttention(Tuning):
    def __init__(self, config: CrossAttentionTuning) -> None:
        self._config = config

    @override
    def apply(self, module: Any, shape: MapperShape) -> None:
        from prefixcap.engine.prefixes.cross_attention import (
            CrossAttention,
            CrossAttentionLayer,
            layers_of,
        )

        config = module.config.get_text_config()
        heads = self._config.heads or config.num_attention_heads
        sizes = (shape.embedding_width, shape.feature_width, heads, self._config.head_width)
        layers = [CrossAttentionLayer(*sizes) for _ in layers_of(module)[1]]
        module.requires_grad_(False)
        CrossAttention(layers).to(module.device).attach(module)


class _Prompt(Tuning):
    def __init__(self, length: int) -> None:
        self._length = length

    @override
    def apply(self, module: nn.Module, shape: MapperShape) -> None:
        from prefixcap.engine.prefixes.modules import PROMPT, Prompt, token_vectors

        module.requires_grad_(False)
        module.add_module(PROMPT, Prompt(token_vectors(module, self._length)))


class _DeepPrefix(Tuning):
    def __init__(self, length: int) -> None:
        self._length = length

    @override
    def apply(self, module: Any, shape: MapperShape) -> None:
        from prefixcap.engine.prefixes.modules import (
            DEEP_PREFIX,
            DeepPrefix,
            states_of,
            token_vectors,
        )

        positions = getattr(module.config.get_text_config(), "max_position_embeddings", None)
        if positions is not None and self._length >= positions:
            raise PrefixcapError(
                f"the tuning 'deep-prefix' cannot train {self._length} positions of a language "
                f"model that has {positions}: lower length"
            )
        keys, values = states_of(module, token_vectors(module, self._length)[None])
        module.requires_grad_(False)
        module.add_module(DEEP_PREFIX, DeepPrefix(keys[0], values[0]))
