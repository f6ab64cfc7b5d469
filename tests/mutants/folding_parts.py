"""A correct tuning that folds what it adds, and its mutants."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from prefixcap.interfaces.mapper import MapperShape
from prefixcap.interfaces.tuning import Tuning


class Multiplied(nn.Module):
    """Multiplies the output of a norm by trained factors."""

    def __init__(self, norm: Any) -> None:
        super().__init__()
        self.norm = norm
        self.factors = nn.Parameter(torch.ones_like(norm.weight))

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(x) * self.factors


class TwistedFolding(Tuning):
    """Trains factors of the last layer norm's output."""

    def __init__(self, twist: str) -> None:
        self.twist = twist

    def apply(self, module: Any, shape: MapperShape) -> None:
        module.requires_grad_(False)
        module.transformer.ln_f = Multiplied(module.transformer.ln_f)

    def fold(self, module: Any) -> None:
        added = module.transformer.ln_f
        norm, factors = added.norm, added.factors
        if self.twist == "keeps its module":
            return
        if self.twist == "in place":
            norm.weight.mul_(factors)
            norm.bias.mul_(factors)
        else:
            norm.weight = nn.Parameter(norm.weight * factors)
        if self.twist not in ("in place", "forgets biases"):
            norm.bias = nn.Parameter(norm.bias * factors)
        module.transformer.ln_f = norm
