"""Tunings: which of the language model's parameters are trained."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import attrs

from prefixcap.interfaces.tuning import Tuning, TuningConfig

if TYPE_CHECKING:
    from torch import nn


@attrs.frozen(kw_only=True)
class Frozen(TuningConfig):
    """Trains nothing of the language model: the mapper alone learns (Tsimpoukelis et al. 2021)."""

    name: ClassVar[str] = "frozen"
    trains_lm: ClassVar[bool] = False

    def build(self) -> Tuning:
        """Makes the tuning."""
        return _All(trained=False)


@attrs.frozen(kw_only=True)
class Full(TuningConfig):
    """Trains every parameter of the language model, as ClipCap with its MLP mapper does."""

    name: ClassVar[str] = "full"

    def build(self) -> Tuning:
        """Makes the tuning."""
        return _All(trained=True)


class _All(Tuning):
    """Opens every parameter, or none."""

    def __init__(self, *, trained: bool) -> None:
        self._trained = trained

    def apply(self, module: nn.Module) -> None:
        """Sets `requires_grad` on every parameter."""
        module.requires_grad_(self._trained)
