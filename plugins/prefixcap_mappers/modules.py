"""Modules of the mappers, from features (B,D) or (B,N,D) to a prefix (B,P,E)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional
from typing_extensions import override

from prefixcap.interfaces.mapper import MapperShape


class MLPMapper(nn.Module):
    """Linear(D, hidden), tanh, Linear(hidden, E P)."""

    def __init__(self, shape: MapperShape, hidden: int) -> None:
        super().__init__()
        self.prefix_length = shape.prefix_length
        self.layers = nn.Sequential(
            nn.Linear(shape.feature_width, hidden),
            nn.Tanh(),
            nn.Linear(hidden, shape.embedding_width * shape.prefix_length),
        )

    @override
    def forward(self, features: Tensor) -> Tensor:
        out: Tensor = self.layers(_pooled(features))
        return out.reshape(len(out), self.prefix_length, -1)  # (B, P E) -> (B, P, E)


class LinearMapper(nn.Module):
    """Linear(D, E P), or Linear(D, rank) and Linear(rank, E P)."""

    def __init__(self, shape: MapperShape, rank: int | None = None) -> None:
        super().__init__()
        self.prefix_length = shape.prefix_length
        width = shape.feature_width if rank is None else rank
        self.reduce = (
            nn.Identity() if rank is None else nn.Linear(shape.feature_width, rank, bias=False)
        )
        self.layer = nn.Linear(width, shape.embedding_width * shape.prefix_length)

    @override
    def forward(self, features: Tensor) -> Tensor:
        out: Tensor = self.layer(self.reduce(_pooled(features)))
        return out.reshape(len(out), self.prefix_length, -1)  # (B, P E) -> (B, P, E)


class TransformerMapper(nn.Module):
    """A pre-norm transformer over feature tokens and P learned constants.

    As in ClipCap's code, it has no positions, no final normalization and no dropout. With `cross`,
    it runs over the constants alone, and every other layer attends to the tokens.
    """

    def __init__(
        self,
        shape: MapperShape,
        *,
        clip_length: int,
        num_layers: int,
        heads: int,
        mlp_ratio: float,
        cross: bool = False,
    ) -> None:
        super().__init__()
        width = shape.embedding_width
        self.width = width
        self.cross = cross
        tokens = clip_length if shape.feature_tokens is None else 1
        self.project = nn.Linear(shape.feature_width, tokens * width)
        self.constant = nn.Parameter(torch.randn(shape.prefix_length, width))
        self.blocks = nn.ModuleList(_Block(width, heads, mlp_ratio) for _ in range(num_layers))

    @override
    def forward(self, features: Tensor) -> Tensor:
        # (B,D) -> (B,clip_length,E), or (B,N,D) -> (B,N,E)
        tokens = self.project(features).reshape(len(features), -1, self.width)
        state = self.constant.expand(len(features), -1, -1)
        if not self.cross:
            state = torch.cat([tokens, state], 1)
        for number, block in enumerate(self.blocks):
            state = block(state, tokens if self.cross and number % 2 == 0 else None)
        return state[:, -len(self.constant) :]


class _Block(nn.Module):
    """A layer; queries, keys and values have no bias, and attended tokens are not normalized."""

    def __init__(self, width: int, heads: int, mlp_ratio: float) -> None:
        super().__init__()
        hidden = int(width * mlp_ratio)
        self.heads = heads
        self.norm1 = nn.LayerNorm(width)
        self.queries = nn.Linear(width, width, bias=False)
        self.keys_values = nn.Linear(width, 2 * width, bias=False)
        self.output = nn.Linear(width, width)
        self.norm2 = nn.LayerNorm(width)
        self.fc1 = nn.Linear(width, hidden)
        self.fc2 = nn.Linear(hidden, width)

    @override
    def forward(self, state: Tensor, tokens: Tensor | None = None) -> Tensor:
        normed = self.norm1(state)
        attended = normed if tokens is None else tokens
        queries = self._split(self.queries(normed))
        keys, values = map(self._split, self.keys_values(attended).chunk(2, -1))
        mixed = functional.scaled_dot_product_attention(queries, keys, values)
        state = state + self.output(mixed.transpose(1, 2).flatten(2))
        out: Tensor = state + self.fc2(functional.relu(self.fc1(self.norm2(state))))
        return out

    def _split(self, tensor: Tensor) -> Tensor:
        # (B,T,E) -> (B,heads,T,E/heads)
        return tensor.reshape(*tensor.shape[:2], self.heads, -1).transpose(1, 2)


def _pooled(features: Tensor) -> Tensor:
    # (B,N,D) -> (B,D)
    return features.mean(1) if features.ndim == 3 else features


class DeepMapper(nn.Module):
    """Turns the prefixes (B,P,E) of another mapper into keys and values (B,P,W)."""

    def __init__(self, mapper: nn.Module, shape: MapperShape, rank: int) -> None:
        super().__init__()
        self.mapper = mapper
        self.inward = nn.Linear(shape.embedding_width, rank, bias=False)
        self.outward = nn.Linear(rank, shape.state_width or 0)

    def forward(self, features: Tensor) -> Tensor:
        """Map features (B,D) or (B,N,D) to (B,P,W)."""
        states: Tensor = self.outward(self.inward(self.mapper(features)))
        return states
