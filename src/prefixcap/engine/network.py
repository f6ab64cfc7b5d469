"""`Network`: what the tree session needs of a language model."""

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
    """The sizes of a cache of keys and values.

    Attributes:
        layers: The number of layers.
        heads: K, the number of key-value heads.
        width: D, the width of a head.
        vocab_size: V.
        dtype: The dtype of keys, values and mask.
        device: Their device.
    """

    layers: int
    heads: int
    width: int
    vocab_size: int
    dtype: torch.dtype
    device: torch.device


@attrs.frozen
class StepOutput:
    """The output of one run of a network.

    Attributes:
        last: (R,...) the input of the network's `logits` and `top_tokens`.
        hidden: The hidden states (R,E) of the embedding and each layer, if requested.
        prefix: The last layer's hidden states (b,P,E) of a prefill, if requested.
    """

    last: Tensor
    hidden: tuple[Tensor, ...] = ()
    prefix: Tensor | None = None

    def rows(self, chosen: Sequence[int] | Tensor) -> StepOutput:
        """Return the output of the chosen rows (K)."""
        index = torch.as_tensor(chosen, dtype=torch.long, device=self.last.device)
        return StepOutput(self.last[index], tuple(layer[index] for layer in self.hidden))


def concatenated(outputs: Sequence[StepOutput]) -> StepOutput:
    """Return the rows of several outputs as one, without those of prefixes."""
    if len(outputs) == 1:
        return outputs[0]
    # A session that has admitted nothing yet has no hidden states.
    nonempty = [output for output in outputs if len(output.last)] or list(outputs[:1])
    hidden = zip(*(output.hidden for output in nonempty), strict=True)
    return StepOutput(
        torch.cat([output.last for output in nonempty]),
        tuple(torch.cat(layers) for layers in hidden),
    )


def require_hidden(requested: bool) -> None:
    """Raise a `RuntimeError` if hidden states were not requested."""
    if not requested:
        raise RuntimeError("open the session with hidden_states=True to read them")


class Network(ABC):
    """A language model that runs prefixes into a cache, and single steps on it."""

    @property
    @abstractmethod
    def shape(self) -> CacheShape:
        """The sizes of the cache."""

    @abstractmethod
    def prefill(self, prefix: Tensor, into: Prefill, hidden: bool) -> StepOutput:
        """Run prefixes (b,P,E); return the output of their last positions (b)."""

    @abstractmethod
    def step(
        self,
        tokens: Tensor,
        positions: Tensor,
        batch: RaggedBatch,
        order: Tensor | None,
        hidden: bool,
    ) -> StepOutput:
        """Run one token per row.

        Args:
            tokens: (R), in the batch's order of rows.
            positions: (R) the tokens' positions, the prefix included.
            batch: The layout of the rows, and what they see.
            order: (R) maps the batch's order to the caller's; None if they agree.
            hidden: Whether hidden states are requested.

        Returns:
            The rows' output, in the caller's order.
        """

    @abstractmethod
    def logits(self, last: Tensor) -> Tensor:
        """Return the logits (R,V), float32, for the `last` (R,...) of an output."""

    @abstractmethod
    def top_tokens(self, last: Tensor, count: int) -> TopTokens:
        """Return the `count` (at most V) highest-ranked tokens for the `last` of an output."""
