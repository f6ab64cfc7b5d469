"""Two sessions that go step by step together, their logits made into one."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from prefixcap.kinds import LanguageModel
from prefixcap.session import Session
from prefixcap_decoders.changed import ChangedLM

Combine = Callable[[Tensor, Tensor], Tensor]
Views = Callable[[list[int]], Tensor]


class PairLM(ChangedLM):
    """A language model beside a second view of the same captions.

    Args:
        lm: the language model that captions.
        other: the second one; it may be the same.
        views: gives the second one's prefixes (B',P',E') of images by their numbers.
        combine: makes one logits (R,V) of both.
    """

    def __init__(
        self, lm: LanguageModel, other: LanguageModel, views: Views, combine: Combine
    ) -> None:
        super().__init__(lm)
        self.other = other
        self.views = views
        self.combine = combine

    def start(
        self,
        prefix: Tensor,
        *,
        rows_per_image: int = 1,
        max_rows: int | None = None,
        max_new_tokens: int = 64,
        hidden_states: bool = False,
    ) -> Session:
        """Opens both sessions on the prefixes (B,P,E)."""
        batch = len(prefix) if max_rows is None else max(1, max_rows // rows_per_image)

        def open_both(images: list[int]) -> tuple[Session, Session]:
            views = self.views(images)
            first = self.lm.start(
                prefix[images],
                rows_per_image=rows_per_image,
                max_new_tokens=max_new_tokens,
                hidden_states=hidden_states,
            )
            second = self.other.start(
                views, rows_per_image=rows_per_image, max_new_tokens=max_new_tokens
            )
            return first, second

        return PairSession(len(prefix), batch, open_both, self.combine, self.vocab_size)


class PairSession(Session):
    """Two sessions with the same rows.

    They may admit images by different rules, so each batch of images gets a pair of its own, which
    admits all of them at once, and the next batch comes in when no row is left.
    """

    def __init__(
        self,
        images: int,
        batch: int,
        open_both: Callable[[list[int]], tuple[Session, Session]],
        combine: Combine,
        vocab_size: int,
    ) -> None:
        self._count = images
        self._batch = batch
        self._open = open_both
        self._combine = combine
        self._next = self._first = 0
        self._pair: tuple[Session, Session] | None = None
        self._logits = torch.empty(0, vocab_size)

    @property
    def images(self) -> list[int]:
        """The image of each live row (R)."""
        return [] if self._pair is None else [self._first + i for i in self._pair[0].images]

    @property
    def logits(self) -> Tensor:
        """The combined logits (R,V) of each live row, float32."""
        return self._logits

    @property
    def waiting(self) -> int:
        """How many images have not been admitted yet."""
        return self._count - self._next

    def admit(self) -> list[int]:
        """Brings in the next batch of images once all rows of those before are gone."""
        if self.images or not self.waiting:
            return []
        self._first, self._next = self._next, min(self._next + self._batch, self._count)
        new = list(range(self._first, self._next))
        self._pair = self._open(new)
        for session in self._pair:
            if len(session.admit()) != len(new):
                raise RuntimeError("a session without a limit of rows left images waiting")
        self._logits = self._combine(self._pair[0].logits, self._pair[1].logits)
        return new

    def advance(self, tokens: Tensor, parents: Tensor) -> Tensor:
        """Extends rows (R') of given parents in both sessions; returns logits (R',V)."""
        if self._pair is None:
            raise RuntimeError("no image has been admitted yet")
        first, second = (session.advance(tokens, parents) for session in self._pair)
        self._logits = self._combine(first, second)
        return self._logits

    def hidden(self) -> tuple[Tensor, ...]:
        """Returns the first session's hidden states (R,E)."""
        if self._pair is None:
            raise RuntimeError("no image has been admitted yet")
        return self._pair[0].hidden()
