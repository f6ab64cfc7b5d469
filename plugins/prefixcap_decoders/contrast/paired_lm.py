"""Two sessions that go step by step together, their logits made into one."""

from __future__ import annotations

from collections.abc import Callable

import attrs
from torch import Tensor

from prefixcap.interfaces.language_model import LanguageModel
from prefixcap.interfaces.session import Session, SessionOptions
from prefixcap_decoders.contrast.wrapped_lm import LogitsWrapper
from prefixcap_decoders.lockstep import LockstepSession, admit_in_lockstep

Combine = Callable[[Tensor, Tensor], Tensor]
Views = Callable[[int], Tensor]


class ContrastLM(LogitsWrapper):
    """A language model beside a second view of the same captions.

    Args:
        lm: the language model that captions.
        other: the second one; it may be the same.
        views: gives the second one's prefixes (B,P',E') of all B images.
        combine: makes one logits (R,V) of both.
    """

    def __init__(
        self, lm: LanguageModel, other: LanguageModel, views: Views, combine: Combine
    ) -> None:
        super().__init__(lm)
        self.other = other
        self.views = views
        self.combine = combine

    def start(self, prefix: Tensor, options: SessionOptions) -> Session:
        """Opens both sessions on the prefixes (B,P,E)."""
        first = self.lm.start(prefix, options)
        second = self.other.start(
            self.views(len(prefix)), attrs.evolve(options, hidden_states=False)
        )
        first_gate = LockstepSession(first, hidden_states=options.hidden_states)
        return PairSession(first_gate, LockstepSession(second), self.combine)


class PairSession(Session):
    """Two sessions with the same rows.

    They may admit images by different rules: one that came in early waits for its other half.
    """

    def __init__(self, first: LockstepSession, second: LockstepSession, combine: Combine) -> None:
        self._first = first
        self._second = second
        self._combine = combine
        self._logits: Tensor | None = None

    @property
    def images(self) -> list[int]:
        """The image of each live row (R)."""
        return self._first.images

    @property
    def logits(self) -> Tensor:
        """The combined logits (R,V) of each live row, float32."""
        if self._logits is None:
            self._logits = self._combine(self._first.logits, self._second.logits)
        return self._logits

    @property
    def waiting(self) -> int:
        """How many images have not been admitted yet."""
        return self._first.waiting

    def admit(self) -> list[int]:
        """Brings in waiting images as they fit into both sessions."""
        new = admit_in_lockstep((self._first, self._second))
        if new:
            self._logits = None
        return new

    def advance(self, tokens: Tensor, parents: Tensor) -> Tensor:
        """Extends rows (R') of given parents in both sessions; returns logits (R',V)."""
        self._first.advance(tokens, parents)
        self._second.advance(tokens, parents)
        self._logits = None
        return self.logits

    def extend(self, tokens: Tensor, parents: Tensor, kept: Tensor | None = None) -> Tensor:
        """Extends rows by trees of tokens (R') in both sessions, beside rows (K) that stay."""
        self._first.extend(tokens, parents, kept)
        self._second.extend(tokens, parents, kept)
        self._logits = None
        return self.logits

    def hidden(self) -> tuple[Tensor, ...]:
        """Returns the first session's hidden states (R,E)."""
        return self._first.hidden()

    def prefix_hidden(self) -> Tensor:
        """Returns the first session's hidden states (b,P,E) of the prefixes that came in last."""
        return self._first.prefix_hidden()
