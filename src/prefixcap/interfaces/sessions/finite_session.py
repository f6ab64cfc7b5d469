"""`FiniteSession`: a session that refuses logits that are not numbers.

A decoder cannot rank NaN or infinite logits, whatever it does with them. So a task's sessions are
checked here, once for every decoder and language model, before a decoder sees the logits.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from typing_extensions import override

from prefixcap.errors import NonFiniteError
from prefixcap.interfaces.session import Session
from prefixcap.interfaces.sessions.ranking_session import RankingSession, TopTokens

if TYPE_CHECKING:
    from torch import Tensor


def finite_session(session: Session, image_ids: Sequence[str]) -> Session:
    """Return a session that checks the logits of another; it ranks tokens if that one does.

    Args:
        session: A session on B images.
        image_ids: Their B names.
    """
    if isinstance(session, RankingSession):
        return FiniteRankingSession(session, image_ids)
    return FiniteSession(session, image_ids)


class FiniteSession(Session):
    """A session whose logits are checked when they are read.

    A row must have a largest logit, and that must be finite. Single logits may be -inf, as tokens
    that a model never produces are.

    Reading them raises a `NonFiniteError` that names the images of all other rows.
    """

    def __init__(self, inner: Session, image_ids: Sequence[str]) -> None:
        self._inner = inner
        self._image_ids = image_ids
        self._checked: Tensor | None = None

    @property
    @override
    def images(self) -> list[int]:
        return self._inner.images

    @property
    @override
    def logits(self) -> Tensor:
        logits = self._inner.logits
        if logits is not self._checked:
            # One pass at the speed of the memory: a largest logit is NaN if any logit is.
            self._check(logits.amax(-1))
            self._checked = logits
        return logits

    @property
    @override
    def waiting(self) -> int:
        return self._inner.waiting

    @override
    def admit(self) -> list[int]:
        return self._inner.admit()

    @override
    def advance(self, tokens: Tensor, parents: Tensor) -> Tensor:
        self._inner.advance(tokens, parents)
        return self.logits

    @override
    def extend(self, tokens: Tensor, parents: Tensor, kept: Tensor | None = None) -> Tensor:
        self._inner.extend(tokens, parents, kept)
        return self.logits

    @override
    def hidden(self) -> tuple[Tensor, ...]:
        return self._inner.hidden()

    @override
    def prefix_hidden(self) -> Tensor:
        return self._inner.prefix_hidden()

    def _check(self, values: Tensor) -> None:
        """Check one value per row (R), which is finite if the row's logits can be ranked."""
        finite = values.isfinite()
        if not bool(finite.all()):
            live = self._inner.images
            broken = sorted({live[row] for row in (~finite).nonzero().flatten().tolist()})
            images = {image: self._image_ids[image] for image in broken}
            raise NonFiniteError(images, "the language model's logits")


class FiniteRankingSession(FiniteSession, RankingSession):
    """A checked session that ranks tokens; their normalizer shows whether logits are finite."""

    _inner: RankingSession

    @override
    def advance_lazily(self, tokens: Tensor, parents: Tensor) -> None:
        self._inner.advance_lazily(tokens, parents)

    @override
    def top_tokens(self, count: int) -> TopTokens:
        tops = self._inner.top_tokens(count)
        self._check(tops.log_normalizer)
        return tops
