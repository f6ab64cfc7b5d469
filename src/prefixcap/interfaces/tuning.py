"""TODO."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, ClassVar

import attrs

from prefixcap.interfaces.component import Component

if TYPE_CHECKING:
    from torch import nn


class Tuning(ABC):
    """Decides which of the language model's parameters are trained."""

    @abstractmethod
    def apply(self, module: nn.Module) -> None:
        """Sets `requires_grad` on every parameter; may add modules with parameters of its own.

        The parameters that require a gradient afterwards are trained, and saved in the run.
        """


@attrs.frozen(kw_only=True)
class TuningConfig(Component):
    """The base of tuning configs."""

    kind: ClassVar[str] = "tuning"
    trains_lm: ClassVar[bool] = True
    """Whether the language model changes in training, which then works on a copy of it."""

    @abstractmethod
    def build(self) -> Tuning:
        """Makes the tuning."""
