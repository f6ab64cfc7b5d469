"""What the tree session asks of a language model."""

from __future__ import annotations

from abc import ABC, abstractmethod

import attrs
import torch
from torch import Tensor

from prefixcap.engine.grid import Grid, Prefill


@attrs.frozen(kw_only=True)
class Shape:
    """What a store of keys and values must know.

    Attributes:
        layers: how many layers there are.
        heads: K, the key-value heads.
        width: D, the width of a head.
        vocab_size: V.
        dtype: of keys, values and mask.
        device: of all of them.
    """

    layers: int
    heads: int
    width: int
    vocab_size: int
    dtype: torch.dtype
    device: torch.device


@attrs.frozen
class Output:
    """What a step gives.

    Attributes:
        logits: (R,V) float32.
        hidden: the hidden states (R,E) of the embedding and each layer, where they were wanted.
    """

    logits: Tensor
    hidden: tuple[Tensor, ...] = ()


class Network(ABC):
    """A language model that can run prefixes into a store, and steps on it."""

    @property
    @abstractmethod
    def shape(self) -> Shape:
        """What the store must know."""

    @abstractmethod
    def prefill(self, prefix: Tensor, into: Prefill, hidden: bool) -> Output:
        """Runs prefixes (b,P,E); gives the last position's output (b)."""

    @abstractmethod
    def step(
        self, tokens: Tensor, positions: Tensor, grid: Grid, order: Tensor | None, hidden: bool
    ) -> Output:
        """Runs one token a row.

        Args:
            tokens: (R), in the grid's order.
            positions: (R) the tokens' positions, the prefix included.
            grid: the rows' places and what they see.
            order: (R) puts rows from the grid's order into the caller's; None where they agree.
            hidden: whether hidden states are wanted.

        Returns:
            The rows' output, in the caller's order.
        """
