"""The highest-ranked tokens of each row, and sessions that find them without all logits.

Beam search needs a few tokens per row and the normalizer, never the logits (R,V) themselves, which
with hundreds of rows are far larger than the processor's cache.
"""

from __future__ import annotations

from abc import abstractmethod

import attrs
from torch import Tensor

from prefixcap.engine.reductions import logsumexp, top
from prefixcap.interfaces.session import Session


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


def advance_lazily(session: Session, tokens: Tensor, parents: Tensor) -> None:
    """Extend the rows of any session; logits are not computed if the session can avoid it."""
    if isinstance(session, RankingSession):
        session.advance_lazily(tokens, parents)
    else:
        session.advance(tokens, parents)


def top_tokens(session: Session, count: int) -> TopTokens:
    """Return the `count` (at most V) highest-ranked tokens of each live row of any session."""
    if isinstance(session, RankingSession):
        return session.top_tokens(count)
    return top_tokens_of(session.logits, count)


def top_tokens_of(logits: Tensor, count: int) -> TopTokens:
    """Return the `count` (at most V) highest-ranked tokens of logits (R,V)."""
    return TopTokens(*top(logits, min(count, logits.shape[1])), logsumexp(logits))
