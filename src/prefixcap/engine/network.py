"""What the tree session asks of a language model."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import attrs
import torch
from torch import Tensor

from prefixcap.engine.ragged_batch import Prefill, RaggedBatch
from prefixcap.engine.top_tokens import TopTokens


@attrs.frozen(kw_only=True)
class CacheShape:
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
class StepOutput:
    """What a step gives.

    Attributes:
        last: (R,...) what the network's `logits` and `top_tokens` read.
        hidden: the hidden states (R,E) of the embedding and each layer, where they were wanted.
        prefix: the last layer's hidden states (b,P,E) of a prefill, where they were wanted.
    """

    last: Tensor
    hidden: tuple[Tensor, ...] = ()
    prefix: Tensor | None = None

    def rows(self, chosen: Sequence[int] | Tensor) -> StepOutput:
        """Takes the output of some rows (K)."""
        index = torch.as_tensor(chosen, dtype=torch.long, device=self.last.device)
        return StepOutput(self.last[index], tuple(layer[index] for layer in self.hidden))


def concatenated(outputs: Sequence[StepOutput]) -> StepOutput:
    """Puts the rows of outputs after one another; what is of prefixes is left out."""
    if len(outputs) == 1:
        return outputs[0]
    # a session that nothing has been admitted to has no hidden states yet
    shown = [output for output in outputs if len(output.last)] or list(outputs[:1])
    hidden = zip(*(output.hidden for output in shown), strict=True)
    return StepOutput(
        torch.cat([output.last for output in shown]),
        tuple(torch.cat(layers) for layers in hidden),
    )


def require_hidden(wanted: bool) -> None:
    """Refuses hidden states to whoever has not asked for them.

    Raises:
        RuntimeError: they were not asked for.
    """
    if not wanted:
        raise RuntimeError("open the session with hidden_states=True to read them")


class Network(ABC):
    """A language model that can run prefixes into a store, and steps on it."""

    @property
    @abstractmethod
    def shape(self) -> CacheShape:
        """What the store must know."""

    @abstractmethod
    def prefill(self, prefix: Tensor, into: Prefill, hidden: bool) -> StepOutput:
        """Runs prefixes (b,P,E); gives the last position's output (b)."""

    @abstractmethod
    def step(
        self,
        tokens: Tensor,
        positions: Tensor,
        grid: RaggedBatch,
        order: Tensor | None,
        hidden: bool,
    ) -> StepOutput:
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

    @abstractmethod
    def logits(self, last: Tensor) -> Tensor:
        """Computes the logits (R,V), float32, of what an output holds of R rows."""

    @abstractmethod
    def top_tokens(self, last: Tensor, count: int) -> TopTokens:
        """Finds the best tokens, at most V a row, of what an output holds of R rows."""
