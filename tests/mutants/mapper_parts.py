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
        found: Tensor = self.map(features.flatten(1))
        if self.twist == "hidden weight":
            found = found + self.hidden
        if self.twist == "hidden mean":
            if self.training:
                self.mean += found.detach().mean(0)
            found = found + self.mean
        if self.twist == "plain tensor":
            found = found * self.scale
        if self.twist == "made here":
            found = found + torch.ones(found.shape[1])
        if self.twist == "drops out":  # a correct one
            found = nn.functional.dropout(found, 0.1, self.training)
        if self.twist == "batch norm":
            found = found - found.mean(0)
        if self.twist == "deaf":
            found = found * 0 + self.map.bias
        found = found.view(len(features), self.shape.prefix_length, -1)
        return found.transpose(1, 2) if self.twist == "turned" else found
