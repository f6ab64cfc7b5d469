"""Sessions that advance together: an image is shown once all of them have admitted it."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from typing_extensions import override

from prefixcap.interfaces.session import Session


class LockstepSession(Session):
    """A session whose admitted images stay hidden until they are released.

    Two sessions may admit images by different rules. Images that one of them admits early wait
    here as they are, without extra runs of the model.

    Args:
        inner: Session.
        hidden_states: Whether `prefix_hidden` is used; the session must have hidden states.
    """

    def __init__(self, inner: Session, *, hidden_states: bool = False) -> None:
        self._inner = inner
        self._hidden_states = hidden_states
        self._prefixes: list[Tensor] = []
        self._latest: list[Tensor] = []
        # rows of the inner session: the shown ones, and those of hidden images
        self._rows: list[int] = []
        self._early: list[int] = []
        self._admitted = self._released = 0

    @property
    @override
    def images(self) -> list[int]:
        images = self._inner.images
        return [images[row] for row in self._rows]

    @property
    @override
    def logits(self) -> Tensor:
        return self._shown(self._inner.logits)

    @property
    @override
    def waiting(self) -> int:
        return self._inner.waiting + len(self._early)

    @property
    def admitted(self) -> int:
        """The number of images admitted so far, including hidden ones."""
        return self._admitted

    def prefetch(self) -> None:
        """Admit waiting images while they fit, without showing them."""
        new = len(self._inner.admit())
        live = len(self._inner.images)
        self._early += range(live - new, live)
        self._admitted += new
        if new and self._hidden_states:
            self._prefixes += self._inner.prefix_hidden()

    def release(self, count: int) -> list[int]:
        """Show images until `count` have been shown in all; return the numbers of the new ones."""
        new = max(0, count - self._released)
        rows, self._early = self._early[:new], self._early[new:]
        self._rows += rows
        self._released += new
        if new and self._hidden_states:
            self._latest, self._prefixes = self._prefixes[:new], self._prefixes[new:]
        images = self._inner.images
        return [images[row] for row in rows]

    @override
    def admit(self) -> list[int]:
        self.prefetch()
        return self.release(self._admitted)

    @override
    def advance(self, tokens: Tensor, parents: Tensor) -> Tensor:
        if self._early:
            # `advance` would drop the hidden rows, which are no parents
            return self.extend(tokens, parents)
        if self._rows != list(range(len(self._inner.images))):
            parents = self._index(self._rows)[parents]
        self._rows = list(range(len(tokens)))
        return self._inner.advance(tokens, parents)

    @override
    def extend(self, tokens: Tensor, parents: Tensor, kept: Tensor | None = None) -> Tensor:
        live = len(self._inner.images)
        rows = self._index([*self._rows, *range(live, live + len(tokens))])
        stay = [] if kept is None else rows[kept].tolist()
        # the session numbers hidden rows first, then those that stay, then the new ones
        self._inner.extend(tokens, rows[parents], self._index([*self._early, *stay]))
        early, after = len(self._early), len(self._early) + len(stay) + len(tokens)
        self._early, self._rows = list(range(early)), list(range(early, after))
        return self.logits

    @override
    def hidden(self) -> tuple[Tensor, ...]:
        return tuple(self._shown(layer) for layer in self._inner.hidden())

    @override
    def prefix_hidden(self) -> Tensor:
        return torch.stack(self._latest) if self._latest else self._inner.prefix_hidden()

    def _shown(self, rows: Tensor) -> Tensor:
        unchanged = self._rows == list(range(len(rows)))
        return rows if unchanged else rows[self._index(self._rows)]

    def _index(self, rows: Sequence[int]) -> Tensor:
        return torch.tensor(rows, dtype=torch.long, device=self._inner.logits.device)


def admit_in_lockstep(sessions: Sequence[LockstepSession]) -> list[int]:
    """Admit waiting images to all sessions, and show those that all of them have.

    Returns:
        The numbers of the new images; their rows, one each, are the last of every session. At
        least one image is admitted if no row is live and one waits.
    """
    for session in sessions:
        session.prefetch()
    count = min(session.admitted for session in sessions)
    first, *_ = [session.release(count) for session in sessions]
    return first
