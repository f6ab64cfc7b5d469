"""Modules of the mappers that are made for feature tokens; a feature (B,D) is one token."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import Blip2QFormerConfig, Blip2QFormerModel
from typing_extensions import override

from prefixcap.interfaces.mapper import MapperShape


class QFormerMapper(nn.Module):
    """BLIP-2's Q-Former over P learned queries, and a linear layer to E."""

    def __init__(
        self, shape: MapperShape, *, width: int, num_layers: int, heads: int, dropout: float
    ) -> None:
        super().__init__()
        config = Blip2QFormerConfig(
            hidden_size=width,
            num_hidden_layers=num_layers,
            num_attention_heads=heads,
            intermediate_size=4 * width,
            encoder_hidden_size=shape.feature_width,
            hidden_dropout_prob=dropout,
            attention_probs_dropout_prob=dropout,
            cross_attention_frequency=2,
        )
        # As in BLIP-2's training. Equal queries would stay equal, so they cannot start at zero.
        queries = torch.randn(shape.prefix_length, width) * config.initializer_range
        self.queries = nn.Parameter(queries)
        self.qformer = Blip2QFormerModel(config)
        self.project = nn.Linear(width, shape.embedding_width)

    @override
    def forward(self, features: Tensor) -> Tensor:
        queries = self.queries.expand(len(features), -1, -1)
        states = self.qformer(queries, encoder_hidden_states=_tokens(features))
        out: Tensor = self.project(states.last_hidden_state)  # (B, P, width) -> (B, P, E)
        return out


class LlavaMapper(nn.Module):
    """Linear(D, E), GELU, Linear(E, E) for each of P feature tokens, or averages of them."""

    def __init__(self, shape: MapperShape) -> None:
        super().__init__()
        self.prefix_length = shape.prefix_length
        self.layers = nn.Sequential(
            nn.Linear(shape.feature_width, shape.embedding_width),
            nn.GELU(),
            nn.Linear(shape.embedding_width, shape.embedding_width),
        )

    @override
    def forward(self, features: Tensor) -> Tensor:
        tokens = _tokens(features)
        if tokens.shape[1] != self.prefix_length:
            pooled = functional.adaptive_avg_pool1d(tokens.transpose(1, 2), self.prefix_length)
            tokens = pooled.transpose(1, 2)  # (B, N, D) -> (B, P, D)
        out: Tensor = self.layers(tokens)
        return out


def _tokens(features: Tensor) -> Tensor:
    # (B, D) -> (B, 1, D)
    return features if features.ndim == 3 else features[:, None]
