"""Tunings: which parameters of the language model are trained with the mapper."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, ClassVar

import attrs

from prefixcap.interfaces.component import Component

if TYPE_CHECKING:
    from torch import nn


class Tuning(ABC):
    """Selects the parameters of the language model that are trained."""

    @abstractmethod
    def apply(self, module: nn.Module) -> None:
        """Set `requires_grad` on every parameter; may add modules with parameters of its own.

        The parameters that require a gradient afterwards are trained and saved.
        """


@attrs.frozen(kw_only=True)
class TuningConfig(Component):
    """The base of tuning configs."""

    kind: ClassVar[str] = "tuning"
    trains_lm: ClassVar[bool] = True
    """Whether training changes the language model; it then works on a copy."""

    @abstractmethod
    def build(self) -> Tuning:
        """Build the tuning."""
