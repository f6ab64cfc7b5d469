"""Drafters: a language model that runs ahead, counted captions, or the caption itself."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter, defaultdict
from collections.abc import Sequence

import torch
from torch import Tensor
from typing_extensions import override

from prefixcap_decoders.lockstep import LockstepSession
from prefixcap_decoders.speculative.acceptance import DRAFT, AcceptanceRule
from prefixcap_decoders.speculative.draft import DraftState

# maximum number of tokens of context for counted captions and for lookups
ORDER = 4


class Drafter(ABC):
    """Proposes tokens."""

    # the sessions that must have admitted an image before it starts
    sessions: Sequence[LockstepSession] = ()

    @abstractmethod
    def start(self, captions: Sequence[DraftState], images: int) -> None:
        """Start the captions of new images, which were admitted last."""

    @abstractmethod
    def propose(self, captions: Sequence[DraftState], room: Sequence[int]) -> Tensor | None:
        """Set each caption's `drafted`, to at most as many tokens as there is room for.

        Returns:
            The distributions (number of tokens,V) that the tokens were drawn from, caption by
            caption; None if they were not drawn.
        """

    @abstractmethod
    def accept(self, caption: DraftState, count: int) -> None:
        """Continue after the first `count` drafted tokens of a caption."""


class ModelDrafter(Drafter):
    """A language model that runs ahead and returns to the last accepted token.

    Args:
        session: Its session.
        rule: Chooses tokens.
        stop_ids: Tokens after which nothing is proposed.
    """

    def __init__(
        self, session: LockstepSession, rule: AcceptanceRule, stop_ids: frozenset[int]
    ) -> None:
        self._session = session
        self._rule = rule
        self._stop_ids = stop_ids
        self.sessions = (session,)

    @override
    def start(self, captions: Sequence[DraftState], images: int) -> None:
        first = len(self._session.images) - images
        rows = {image: first + n for n, image in enumerate(self._session.images[first:])}
        for caption in captions:
            caption.draft_rows = [rows[caption.image]]

    @override
    def propose(self, captions: Sequence[DraftState], room: Sequence[int]) -> Tensor | None:
        for caption in captions:
            caption.drafted = []
        active = [number for number, limit in enumerate(room) if limit]
        if not active:
            return None
        logits = self._catch_up([captions[number] for number in active])
        weights: list[list[Tensor]] = [[] for _ in captions]
        while True:
            tokens, drawn = self._rule.choose(
                logits, [captions[number] for number in active], DRAFT
            )
            for row, (number, token) in enumerate(zip(active, tokens.tolist(), strict=True)):
                captions[number].drafted.append(token)
                if drawn is not None:
                    weights[number].append(drawn[row])
            active = [
                number
                for number in active
                if len(captions[number].drafted) < room[number]
                and captions[number].drafted[-1] not in self._stop_ids
            ]
            if not active:
                break
            logits = self._step([captions[number] for number in active])
        # tokens were drawn position by position; return their distributions caption by caption
        flat = [row for each in weights for row in each]
        return torch.stack(flat) if flat else None

    @override
    def accept(self, caption: DraftState, count: int) -> None:
        # the last drafted token has no row of its own
        count = min(count, len(caption.draft_rows) - 1)
        caption.draft_length = len(caption.tokens) + count
        caption.draft_rows = [caption.draft_rows[count]]

    def _catch_up(self, captions: Sequence[DraftState]) -> Tensor:
        """Run the one or two tokens that each row lacks, and return the logits (R,V)."""
        live = len(self._session.images)
        parents: list[int] = []
        tokens: list[int] = []
        for caption in captions:
            missing = caption.tokens[caption.draft_length :]
            first = live + len(tokens)
            parents += [caption.draft_rows[0], *range(first, first + len(missing) - 1)]
            tokens += missing
            # no old row stays, so the new rows are numbered from 0
            caption.draft_rows = [len(tokens) - 1]
        logits = self._session.extend(self._index(tokens), self._index(parents))
        return logits[[caption.draft_rows[0] for caption in captions]]

    def _step(self, captions: Sequence[DraftState]) -> Tensor:
        """Run the last drafted tokens, keeping all rows that a rejection may return to."""
        live = len(self._session.images)
        tokens = self._index([caption.drafted[-1] for caption in captions])
        parents = self._index([caption.draft_rows[-1] for caption in captions])
        logits = self._session.extend(tokens, parents, self._index(range(live)))
        for number, caption in enumerate(captions, start=live):
            caption.draft_rows.append(number)
        return logits[live:]

    def _index(self, values: Sequence[int]) -> Tensor:
        return torch.tensor(values, dtype=torch.long, device=self._session.logits.device)


class TextDrafter(Drafter):
    """The base of drafters that need no model."""

    @override
    def start(self, captions: Sequence[DraftState], images: int) -> None: ...

    @override
    def accept(self, caption: DraftState, count: int) -> None: ...

    @override
    def propose(self, captions: Sequence[DraftState], room: Sequence[int]) -> Tensor | None:
        for caption, limit in zip(captions, room, strict=True):
            caption.drafted = self.draft(caption.tokens, limit)
        return None

    @abstractmethod
    def draft(self, tokens: Sequence[int], limit: int) -> list[int]:
        """Return up to `limit` tokens that may follow a caption's tokens."""


class CountDrafter(TextDrafter):
    """Proposes what most often followed the last tokens in a set of captions.

    Args:
        texts: Tokens of the captions, including stop tokens.
    """

    def __init__(self, texts: Sequence[Sequence[int]]) -> None:
        counts: defaultdict[tuple[int, ...], Counter[int]] = defaultdict(Counter)
        for text in texts:
            for end, token in enumerate(text):
                for start in range(max(0, end - ORDER), end):
                    counts[tuple(text[start:end])][token] += 1
        self._next = {context: tokens.most_common(1)[0][0] for context, tokens in counts.items()}

    @override
    def draft(self, tokens: Sequence[int], limit: int) -> list[int]:
        text = list(tokens)
        while len(text) < len(tokens) + limit and (token := self._after(text)) is not None:
            text.append(token)
        return text[len(tokens) :]

    def _after(self, text: Sequence[int]) -> int | None:
        contexts = (tuple(text[-size:]) for size in range(min(ORDER, len(text)), 0, -1))
        return next((self._next[c] for c in contexts if c in self._next), None)


class LookupDrafter(TextDrafter):
    """Proposes what followed the last tokens at their previous occurrence in the caption."""

    @override
    def draft(self, tokens: Sequence[int], limit: int) -> list[int]:
        for size in range(min(ORDER, len(tokens) - 1), 0, -1):
            for start in range(len(tokens) - size - 1, -1, -1):
                if tokens[start : start + size] == tokens[-size:]:
                    return list(tokens[start + size :][:limit])
        return []
