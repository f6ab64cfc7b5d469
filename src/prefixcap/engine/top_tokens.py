"""The highest-ranked tokens of each row of any session."""

from __future__ import annotations

from torch import Tensor

from prefixcap.engine.reductions import logsumexp, top
from prefixcap.interfaces.session import Session
from prefixcap.interfaces.sessions.ranking_session import RankingSession, TopTokens


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
