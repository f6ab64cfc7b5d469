"""The best tokens of each row, and sessions that find them without writing every logit."""

from __future__ import annotations

from abc import abstractmethod

import attrs
from torch import Tensor

from prefixcap.engine.reductions import logsumexp, top
from prefixcap.interfaces.session import Session


@attrs.frozen
class TopTokens:
    """The best tokens of R rows, C each.

    Attributes:
        logits: (R,C), falling.
        tokens: (R,C) int64.
        log_normalizer: (R), the logarithm of the sum of all tokens' exponentials.
    """

    logits: Tensor
    tokens: Tensor
    log_normalizer: Tensor


class RankingSession(Session):
    """A session whose logits are only written where somebody asks for them."""

    @abstractmethod
    def advance_lazily(self, tokens: Tensor, parents: Tensor) -> None:
        """Does what `advance` does, and leaves the logits to be asked for."""

    @abstractmethod
    def top_tokens(self, count: int) -> TopTokens:
        """Finds the best tokens of each live row, at most as many as there are tokens."""


def advance_lazily(session: Session, tokens: Tensor, parents: Tensor) -> None:
    """Extends rows as `advance` does, where nobody wants every logit."""
    if isinstance(session, RankingSession):
        session.advance_lazily(tokens, parents)
    else:
        session.advance(tokens, parents)


def top_tokens(session: Session, count: int) -> TopTokens:
    """Finds the best tokens of each live row of any session."""
    if isinstance(session, RankingSession):
        return session.top_tokens(count)
    return top_tokens_of(session.logits, count)


def top_tokens_of(logits: Tensor, count: int) -> TopTokens:
    """Finds the best tokens of logits (R,V), at most V each."""
    return TopTokens(*top(logits, min(count, logits.shape[1])), logsumexp(logits))
