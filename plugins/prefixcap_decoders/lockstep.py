"""Sessions that go side by side: each image's rows are shown once all of them have it."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from prefixcap.interfaces.session import Session


class LockstepSession(Session):
    """A session of which images are shown only as they are let in.

    Two sessions admit images by rules of their own. A gate keeps those that came in too early as
    they are, at no cost in steps, until `release`.

    Args:
        inner: the session.
        hidden_states: whether it was opened with hidden states, and these are wanted.
    """

    def __init__(self, inner: Session, *, hidden_states: bool = False) -> None:
        self._inner = inner
        self._hidden_states = hidden_states
        self._prefixes: list[Tensor] = []
        self._latest: list[Tensor] = []
        self._rows: list[int] = []
        self._early: list[int] = []
        self._came = self._shown = 0

    @property
    def images(self) -> list[int]:
        """The image of each live row (R) that is shown."""
        images = self._inner.images
        return [images[row] for row in self._rows]

    @property
    def logits(self) -> Tensor:
        """The next token's logits (R,V) of each live row that is shown, float32."""
        return self._chosen(self._inner.logits)

    @property
    def waiting(self) -> int:
        """How many images have not been shown yet."""
        return self._inner.waiting + len(self._early)

    @property
    def came(self) -> int:
        """How many images have come in so far, those included that are not shown yet."""
        return self._came

    def prefetch(self) -> None:
        """Brings waiting images in as they fit, without showing them."""
        new = len(self._inner.admit())
        live = len(self._inner.images)
        self._early += range(live - new, live)
        self._came += new
        if new and self._hidden_states:
            self._prefixes += self._inner.prefix_hidden()

    def release(self, count: int) -> list[int]:
        """Shows images until `count` of all have been; returns the numbers of the new ones."""
        new = max(0, count - self._shown)
        rows, self._early = self._early[:new], self._early[new:]
        self._rows += rows
        self._shown += new
        if new and self._hidden_states:
            self._latest, self._prefixes = self._prefixes[:new], self._prefixes[new:]
        images = self._inner.images
        return [images[row] for row in rows]

    def admit(self) -> list[int]:
        """Brings in waiting images as they fit, and shows them."""
        self.prefetch()
        return self.release(self._came)

    def advance(self, tokens: Tensor, parents: Tensor) -> Tensor:
        """Extends rows (R') of given parents by one token each; returns logits (R',V)."""
        if self._early:
            return self.extend(tokens, parents)
        if self._rows != list(range(len(self._inner.images))):
            parents = self._index(self._rows)[parents]
        self._rows = list(range(len(tokens)))
        return self._inner.advance(tokens, parents)

    def extend(self, tokens: Tensor, parents: Tensor, kept: Tensor | None = None) -> Tensor:
        """Extends rows by trees of tokens (R') in one run, beside rows (K) that stay."""
        live = len(self._inner.images)
        rows = self._index([*self._rows, *range(live, live + len(tokens))])
        stay = [] if kept is None else rows[kept].tolist()
        self._inner.extend(tokens, rows[parents], self._index([*self._early, *stay]))
        early, after = len(self._early), len(self._early) + len(stay) + len(tokens)
        self._early, self._rows = list(range(early)), list(range(early, after))
        return self.logits

    def hidden(self) -> tuple[Tensor, ...]:
        """Returns the last position's hidden states (R,E) of the embedding and of each layer."""
        return tuple(self._chosen(layer) for layer in self._inner.hidden())

    def prefix_hidden(self) -> Tensor:
        """Returns the last layer's hidden states (b,P,E) of the prefixes that came in last."""
        return torch.stack(self._latest) if self._latest else self._inner.prefix_hidden()

    def _chosen(self, rows: Tensor) -> Tensor:
        plain = self._rows == list(range(len(rows)))
        return rows if plain else rows[self._index(self._rows)]

    def _index(self, rows: Sequence[int]) -> Tensor:
        return torch.tensor(rows, dtype=torch.long, device=self._inner.logits.device)


def admit_in_lockstep(gates: Sequence[LockstepSession]) -> list[int]:
    """Brings waiting images into all sessions, and shows those that all of them have.

    Returns:
        The numbers of the new images; their rows, one each, are the last ones of every session.
        At least one comes in where no row is live and one waits.
    """
    for gate in gates:
        gate.prefetch()
    count = min(gate.came for gate in gates)
    new = [gate.release(count) for gate in gates]
    return new[0]
