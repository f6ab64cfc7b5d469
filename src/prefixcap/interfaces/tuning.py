"""Tunings: which parameters of the language model are trained with the mapper."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, ClassVar, Self

import attrs

from prefixcap.interfaces.component import Component
from prefixcap.interfaces.mapper import MapperShape

if TYPE_CHECKING:
    from torch import nn


class Tuning(ABC):
    """Selects the parameters of the language model that are trained."""

    @abstractmethod
    def apply(self, module: nn.Module, shape: MapperShape) -> None:
        """Set `requires_grad` on every parameter; may add modules with parameters of its own.

        The parameters that require a gradient afterwards are trained and saved.

        Args:
            module: The language model's module.
            shape: The sizes of features and prefixes.

        Raises:
            PrefixcapError: If the module has nothing that this tuning could train, or no place for
                what it adds.
        """

    def fold(self, module: nn.Module) -> None:
        """Fold what `apply` added into the module's own weights, and remove the added modules.

        Decoding uses the result, which is then as fast as the model without a tuning. The module is
        a copy that shares its parameters with the trained one: replace them, as changes in place
        would change both. Called only if the config `folds`.
        """
        raise NotImplementedError(f"{type(self).__name__} has no fold()")


@attrs.frozen(kw_only=True)
class TuningConfig(Component):
    """The base of tuning configs."""

    kind: ClassVar[str] = "tuning"
    trains_lm: ClassVar[bool] = True
    """Whether training changes the language model; it then works on a copy."""
    folds: ClassVar[bool] = False
    """Whether `Tuning.fold` has something to fold."""
    reads_features: ClassVar[bool] = False
    """Whether added layers read the image's features, which prefixes then carry."""
    starts_unchanged: ClassVar[bool] = True
    """Whether the language model's output is the same right after the tuning is applied."""

    @abstractmethod
    def build(self) -> Tuning:
        """Build the tuning."""

    @property
    def positions(self) -> int:
        """The number of positions that the tuning adds before every image's prefix."""
        return 0

    def peak_rate(self) -> float | None:
        """Return the peak learning rate of the language model's trained parameters.

        None, the default, takes the mapper's rate times the training's `lm_lr_scale`.
        """
        return None

    def sized(self, size: int) -> Self | None:
        """Return this config with another size, from 1; it then trains more or fewer parameters.

        `--match` so finds the settings that train an equal number. None, the default, if there is
        no such setting, or if the user has fixed it.
        """
        return None
