"""Layers of PEFT around the linear layers of a language model, which can be folded into them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from peft import IA3Config, LoraConfig, inject_adapter_in_model
from peft.tuners import lora
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import Tensor, nn
from typing_extensions import override

from prefixcap.interfaces.mapper import MapperShape
from prefixcap.interfaces.tuning import Tuning
from prefixcap_tunings.low_rank import low_rank_sum
from prefixcap_tunings.places import linear_places, require_places


class FastLora(lora.Linear):
    """PEFT's layer of LoRA, with the same results in less time."""

    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """Map (...,in) to (...,out)."""
        (name,) = self.active_adapters
        a: Any = self.lora_A[name].weight
        b: Any = self.lora_B[name].weight
        if self.merged or torch.is_autocast_enabled(x.device.type):
            result: Tensor = super().forward(x, *args, **kwargs)
            return result
        y: Tensor = self.base_layer(x)
        dropout = self.lora_dropout[name]
        p = dropout.p if self.training and isinstance(dropout, nn.Dropout) else 0.0
        # in the precision of what is trained, beside a model in bfloat16 too
        total = low_rank_sum(y.to(a.dtype), x.to(a.dtype), a, b, self.scaling[name], p)
        return total.to(y.dtype)


class LowRank(Tuning):
    """LoRA; the arguments are the settings of its config."""

    def __init__(self, *, r: int, alpha: float, dropout: float, targets: str) -> None:
        self._r, self._alpha, self._dropout = r, alpha, dropout
        self._places = targets.replace("-", "_")

    @override
    def apply(self, module: nn.Module, shape: MapperShape) -> None:
        layers = linear_places(module, "lora")
        names = [name for places in layers for name in getattr(places, self._places)]
        names = require_places(names, module, "lora", "projections to queries and values")
        alpha: Any = self._alpha  # PEFT declares an integer
        _inject(
            module,
            LoraConfig(
                r=self._r,
                lora_alpha=alpha,
                lora_dropout=self._dropout,
                target_modules=names,
                fan_in_fan_out=_stored_by_input(module, names),
            ),
        )
        for name in names:
            layer: Any = module.get_submodule(name)
            layer.__class__ = FastLora

    @override
    def fold(self, module: nn.Module) -> None:
        _merge(module)


class Factors(Tuning):
    """IA3."""

    @override
    def apply(self, module: nn.Module, shape: MapperShape) -> None:
        layers = linear_places(module, "ia3")
        names = [name for places in layers for name in places.key_value]
        names = require_places(names, module, "ia3", "projections to keys and values")
        last = [places.ends[1] for places in layers]
        _inject(
            module,
            IA3Config(
                target_modules=[*names, *last],
                feedforward_modules=last,
                fan_in_fan_out=_stored_by_input(module, names),
            ),
        )

    @override
    def fold(self, module: nn.Module) -> None:
        _merge(module)


def _inject(module: nn.Module, config: Any) -> None:
    module.requires_grad_(False)
    inject_adapter_in_model(config, module)
    for parameter in module.parameters():
        if parameter.requires_grad:  # beside a model in bfloat16 too, so that small steps count
            parameter.data = parameter.data.float()


def _stored_by_input(module: nn.Module, names: Sequence[str]) -> bool:
    """Return whether weights are stored as (in,out), as by GPT-2's `Conv1D`."""
    return not isinstance(module.get_submodule(names[0]), nn.Linear)


def _merge(module: nn.Module) -> None:
    """Put each layer of PEFT into the weights of a copy of the layer that it surrounds."""
    layers = [(name, part) for name, part in module.named_modules() if _is_added(part)]
    for name, layer in layers:
        base = layer.get_base_layer()
        for own, parameter in [*base.named_parameters(recurse=False)]:
            copied = nn.Parameter(parameter.detach().clone(), requires_grad=False)
            setattr(base, own, copied)  # merging writes into it
        layer.merge()
        module.set_submodule(name, base)


def _is_added(part: Any) -> bool:
    return isinstance(part, BaseTunerLayer)
