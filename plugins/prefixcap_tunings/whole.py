"""Tunings that train the whole language model, or nothing of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import attrs
from typing_extensions import override

from prefixcap.interfaces.mapper import MapperShape
from prefixcap.interfaces.tuning import Tuning, TuningConfig

if TYPE_CHECKING:
    from torch import nn


@attrs.frozen(kw_only=True)
class Frozen(TuningConfig):
    """Train the mapper only, as in Frozen (Tsimpoukelli et al. 2021, arXiv:2106.13884)."""

    name: ClassVar[str] = "frozen"
    trains_lm: ClassVar[bool] = False

    @override
    def build(self) -> Tuning:
        return _Uniform(trained=False)


@attrs.frozen(kw_only=True)
class Full(TuningConfig):
    """Train all parameters of the language model, as ClipCap does with its MLP mapper."""

    name: ClassVar[str] = "full"

    @override
    def build(self) -> Tuning:
        return _Uniform(trained=True)


class _Uniform(Tuning):
    """Trains all parameters, or none."""

    def __init__(self, *, trained: bool) -> None:
        self._trained = trained

    @override
    def apply(self, module: nn.Module, shape: MapperShape) -> None:
        module.requires_grad_(self._trained)
