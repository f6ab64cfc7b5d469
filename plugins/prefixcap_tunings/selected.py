"""Tunings that train some of the parameters that a language model has: biases, or norms."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, ClassVar

import attrs
from typing_extensions import override

from prefixcap.errors import PrefixcapError, listed
from prefixcap.interfaces.mapper import MapperShape
from prefixcap.interfaces.tuning import Tuning, TuningConfig
from prefixcap.interfaces.validators import above

if TYPE_CHECKING:
    from torch import nn


@attrs.frozen(kw_only=True)
class BitFit(TuningConfig):
    """Train the biases only, those of norms too (Ben Zaken et al. 2022, arXiv:2106.10199).

    Models such as Llama have no biases, and are refused.

    Attributes:
        learning_rate: Peak rate of the biases; none: the mapper's, times the training's
            `lm_lr_scale`.
    """

    name: ClassVar[str] = "bitfit"

    learning_rate: float | None = attrs.field(default=5e-4, validator=above(0))

    @override
    def build(self) -> Tuning:
        return _Selection(self.name, "biases", _biases, "'layernorm' or 'lora'")

    @override
    def peak_rate(self) -> float | None:
        return self.learning_rate


@attrs.frozen(kw_only=True)
class LayerNorms(TuningConfig):
    """Train the gains and biases of all norms (Qi et al. 2022, arXiv:2211.08682; LN-tuning).

    Attributes:
        learning_rate: Peak rate of gains and biases; none: the mapper's, times the training's
            `lm_lr_scale`.
    """

    name: ClassVar[str] = "layernorm"

    learning_rate: float | None = attrs.field(default=1e-3, validator=above(0))

    @override
    def build(self) -> Tuning:
        return _Selection(self.name, "gains and biases of norms", _norms, "'lora' or 'ia3'")

    @override
    def peak_rate(self) -> float | None:
        return self.learning_rate


class _Selection(Tuning):
    """Trains the parameters that `select` yields.

    Args:
        name: The tuning's name.
        wanted: What it trains.
        select: Yields the parameters.
        others: Tunings to use instead if there are none.
    """

    def __init__(
        self,
        name: str,
        wanted: str,
        select: Callable[[nn.Module], Iterator[nn.Parameter]],
        others: str,
    ) -> None:
        self._name, self._wanted, self._select, self._others = name, wanted, select, others

    @override
    def apply(self, module: nn.Module, shape: MapperShape) -> None:
        chosen = list(self._select(module))
        if not chosen:
            known = dict.fromkeys(
                f"{type(part).__name__}.{name}"
                for part in module.modules()
                for name, _ in part.named_parameters(recurse=False)
            )
            raise PrefixcapError(
                f"the tuning {self._name!r} trains {self._wanted}, and {type(module).__name__} has "
                f"none: its parameters are {listed(known)}; use {self._others}"
            )
        module.requires_grad_(False)
        for parameter in chosen:
            parameter.requires_grad_()


def _biases(module: nn.Module) -> Iterator[nn.Parameter]:
    return (p for name, p in module.named_parameters() if name.rpartition(".")[2] == "bias")


def _norms(module: nn.Module) -> Iterator[nn.Parameter]:
    norms = (part for part in module.modules() if "norm" in type(part).__name__.lower())
    return (parameter for norm in norms for parameter in norm.parameters(recurse=False))
