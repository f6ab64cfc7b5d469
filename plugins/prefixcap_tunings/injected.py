"""Tunings whose layers PEFT puts around those of a language model: LoRA and IA3."""

from __future__ import annotations

from importlib.util import find_spec
from typing import ClassVar, Self

import attrs
from typing_extensions import override

from prefixcap.errors import PrefixcapError
from prefixcap.interfaces.tuning import Tuning, TuningConfig
from prefixcap.interfaces.validators import above, at_least, between, one_of

TARGETS = ("all", "attention", "query-value")


@attrs.frozen(kw_only=True)
class LoRA(TuningConfig):
    """Train a low-rank change of linear layers (Hu et al. 2021, arXiv:2106.09685).

    W becomes W + (alpha / r) B A. A (r,in) is drawn, B (out,r) starts at zero. For decoding, the
    product is added to the weights.

    Attributes:
        r: Rank of the change.
        alpha: Numerator of its factor; default: 2 r.
        dropout: Probability of dropout of the input of A, in training.
        targets: The linear layers: "all" of every layer (without the vocabulary's), those of
            "attention", or "query-value", those to queries and values, as in the paper (with
            keys where one layer gives all three).
        learning_rate: Peak rate of A and B; none: the mapper's, times the training's
            `lm_lr_scale`.
    """

    name: ClassVar[str] = "lora"
    folds: ClassVar[bool] = True

    r: int = attrs.field(default=8, validator=at_least(1))
    alpha: float | None = attrs.field(default=None, validator=above(0))
    dropout: float = attrs.field(default=0.05, validator=between(0, 0.95))
    targets: str = attrs.field(default="all", validator=one_of(TARGETS))
    learning_rate: float | None = attrs.field(default=3e-4, validator=above(0))

    @override
    def build(self) -> Tuning:
        _require_peft(self.name)
        from prefixcap_tunings.peft_layers import LowRank

        alpha = 2.0 * self.r if self.alpha is None else self.alpha
        return LowRank(r=self.r, alpha=alpha, dropout=self.dropout, targets=self.targets)

    @override
    def peak_rate(self) -> float | None:
        return self.learning_rate

    @override
    def sized(self, size: int) -> Self | None:
        return attrs.evolve(self, r=size)


@attrs.frozen(kw_only=True)
class IA3(TuningConfig):
    """Train factors of keys, values and feed-forward states (Liu et al. 2022, arXiv:2205.05638).

    They start at one. Where one layer gives queries, keys and values, all three are multiplied. For
    decoding, the weights are multiplied.

    Attributes:
        learning_rate: Peak rate of the factors; none: the mapper's, times the training's
            `lm_lr_scale`.
    """

    name: ClassVar[str] = "ia3"
    folds: ClassVar[bool] = True

    learning_rate: float | None = attrs.field(default=3e-3, validator=above(0))

    @override
    def build(self) -> Tuning:
        _require_peft(self.name)
        from prefixcap_tunings.peft_layers import Factors

        return Factors()

    @override
    def peak_rate(self) -> float | None:
        return self.learning_rate


def _require_peft(tuning: str) -> None:
    if find_spec("peft") is None:
        raise PrefixcapError(f"the tuning {tuning!r} needs peft: pip install 'prefixcap[peft]'")
