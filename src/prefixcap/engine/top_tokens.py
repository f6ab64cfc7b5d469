"""The best tokens of each row, and sessions that find them without writing every logit."""

from __future__ import annotations

from abc import abstractmethod

import attrs
from torch import Tensor

from prefixcap.engine.reductions import logsumexp, top
from prefixcap.interfaces.session import Session


@attrs.frozen
class Best:
    """The best tokens of R rows, C each.

    Attributes:
        logits: (R,C), falling.
        tokens: (R,C) int64.
        normaliser: (R), the logarithm of the sum of all tokens' exponentials.
    """

    logits: Tensor
    tokens: Tensor
    normaliser: Tensor


class RankingSession(Session):
    """A session whose logits are only written where somebody asks for them."""

    @abstractmethod
    def move(self, tokens: Tensor, parents: Tensor) -> None:
        """Does what `advance` does, and leaves the logits to be asked for."""

    @abstractmethod
    def best(self, count: int) -> Best:
        """Finds the best tokens of each live row, at most as many as there are tokens."""


def move(session: Session, tokens: Tensor, parents: Tensor) -> None:
    """Extends rows as `advance` does, where nobody wants every logit."""
    if isinstance(session, RankingSession):
        session.move(tokens, parents)
    else:
        session.advance(tokens, parents)


def best(session: Session, count: int) -> Best:
    """Finds the best tokens of each live row of any session."""
    if isinstance(session, RankingSession):
        return session.best(count)
    return best_of(session.logits, count)


def best_of(logits: Tensor, count: int) -> Best:
    """Finds the best tokens of logits (R,V), at most V each."""
    return Best(*top(logits, min(count, logits.shape[1])), logsumexp(logits))
