"""A mapper with which a training diverges."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import ClassVar

import attrs
import torch
from torch import Tensor, nn

from prefixcap.interfaces.component import Component
from prefixcap.interfaces.mapper import MapperConfig, MapperShape
from prefixcap.plugin.hookspecs import hookimpl
from prefixcap.plugin.registry import default_registry


@attrs.frozen(kw_only=True)
class BreaksAt(MapperConfig):
    """A linear mapper that returns NaN, or gets such gradients or weights, from a call on."""

    name: ClassVar[str] = "breaks"
    call: int = 1
    what: str = "loss"

    def build(self, shape: MapperShape) -> nn.Module:
        linear = default_registry().parse(MapperConfig, "linear").build(shape)
        config = self

        class Breaking(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.linear, self.calls = linear, 0

            def forward(self, features: Tensor) -> Tensor:
                self.calls += self.training and torch.is_grad_enabled()
                prefix: Tensor = self.linear(features)
                if not self.training or self.calls < config.call:
                    return prefix
                if config.what == "weights" and self.calls == config.call:
                    with torch.no_grad():
                        next(self.parameters()).view(-1)[0] = torch.inf
                elif config.what == "gradients":
                    prefix.register_hook(lambda gradient: gradient * torch.inf)
                return prefix * math.nan if config.what == "loss" else prefix

        return Breaking()


class BreakingPlugin:
    """A plugin with this mapper."""

    @hookimpl
    def prefixcap_components(self) -> Iterable[type[Component]]:
        return [BreaksAt]
