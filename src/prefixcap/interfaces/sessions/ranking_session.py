"""Sessions that find the highest-ranked tokens of each row without all logits.

Beam search needs a few tokens per row and the normalizer, never the logits (R,V) themselves, which
with hundreds of rows are far larger than the processor's cache.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING

import attrs

from prefixcap.interfaces.session import Session

if TYPE_CHECKING:
    from torch import Tensor


@attrs.frozen
class TopTokens:
    """The C highest-ranked tokens of R rows.

    Attributes:
        logits: (R,C), in descending order.
        tokens: (R,C) int64.
        log_normalizer: (R), the log-sum-exp of all logits of the row.
    """

    logits: Tensor
    tokens: Tensor
    log_normalizer: Tensor


class RankingSession(Session):
    """A session that computes logits only when they are read."""

    @abstractmethod
    def advance_lazily(self, tokens: Tensor, parents: Tensor) -> None:
        """Extend rows as `advance` does, without computing logits."""

    @abstractmethod
    def top_tokens(self, count: int) -> TopTokens:
        """Return the `count` (at most V) highest-ranked tokens of each live row."""
