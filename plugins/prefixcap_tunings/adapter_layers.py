"""Adapters around the linear layers that end attention and feed-forward parts."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F
from typing_extensions import override

from prefixcap.interfaces.mapper import MapperShape
from prefixcap.interfaces.tuning import Tuning
from prefixcap_tunings.places import linear_places, sizes_of


class Adapted(nn.Module):
    """A linear layer (in,E) and the adapter behind it."""

    def __init__(self, base: Any, width: int) -> None:
        super().__init__()
        self.base = base
        states, place = sizes_of(base)[1], {"device": base.weight.device}
        self.down = nn.Linear(states, width, **place)
        self.up = nn.Linear(width, states, **place)
        nn.init.zeros_(self.up.weight)
        nn.init.zeros_(self.up.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Map (...,in) to (...,E)."""
        y: Tensor = self.base(x)
        changed: Tensor = y + self.up(F.gelu(self.down(y.to(self.down.weight.dtype)))).to(y.dtype)
        return changed


class Adapters(Tuning):
    """Adapters of one width in every layer."""

    def __init__(self, width: int, *, attention: bool) -> None:
        self._width, self._attention = width, attention

    @override
    def apply(self, module: nn.Module, shape: MapperShape) -> None:
        module.requires_grad_(False)
        for places in linear_places(module, "adapter"):
            for name in places.ends if self._attention else places.ends[1:]:
                base = module.get_submodule(name)
                module.set_submodule(name, Adapted(base, self._width))
