"""A correct mapper, and its mutants."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from prefixcap.interfaces.mapper import MapperShape


class Twisted(nn.Module):
    """A linear map of the whole feature, with a twist."""

    def __init__(self, twist: str, shape: MapperShape) -> None:
        super().__init__()
        self.twist, self.shape = twist, shape
        width = shape.feature_width * (shape.feature_tokens or 1)
        size = shape.prefix_length * shape.embedding_width
        self.map = nn.Linear(width, size)
        if twist == "unused":
            self.unused = nn.Parameter(torch.zeros(2))
        if twist == "hidden weight":
            self.hidden = torch.randn(size)
        if twist == "reseeds":
            torch.manual_seed(42)
            nn.init.normal_(self.map.weight)
        if twist == "hidden mean":
            self.register_buffer("mean", torch.zeros(size), persistent=False)
        if twist == "plain tensor":
            self.scale = torch.full((size,), 2.0)
        if twist == "own dice":
            dice = torch.Generator()
            dice.seed()
            nn.init.normal_(self.map.bias, generator=dice)

    def forward(self, features: Tensor) -> Tensor:
        result: Tensor = self.map(features.flatten(1))
        if self.twist == "hidden weight":
            result = result + self.hidden
        if self.twist == "hidden mean":
            if self.training:
                self.mean += result.detach().mean(0)
            result = result + self.mean
        if self.twist == "plain tensor":
            result = result * self.scale
        if self.twist == "made here":
            result = result + torch.ones(result.shape[1])
        if self.twist == "drops out":  # a correct one
            result = nn.functional.dropout(result, 0.1, self.training)
        if self.twist == "batch norm":
            result = result - result.mean(0)
        if self.twist == "deaf":
            result = result * 0 + self.map.bias
        result = result.view(len(features), self.shape.prefix_length, -1)
        return result.transpose(1, 2) if self.twist == "turned" else result
