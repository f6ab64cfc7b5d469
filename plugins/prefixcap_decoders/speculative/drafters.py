"""A caption that is being drafted, and a language model that goes ahead of it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from prefixcap_decoders.lockstep import LockstepSession
from prefixcap_decoders.speculative.draft import DraftState

if TYPE_CHECKING:
    from prefixcap_decoders.speculative.acceptance import AcceptanceRule


class Drafter(ABC):
    """Proposes tokens."""

    @property
    @abstractmethod
    def gates(self) -> Sequence[LockstepSession]:
        """The sessions that must have an image before it is begun."""

    @abstractmethod
    def begin(self, lines: Sequence[DraftState], images: int) -> None:
        """Takes in the captions of that many new images, which came in last."""

    @abstractmethod
    def propose(self, lines: Sequence[DraftState], room: Sequence[int]) -> Tensor | None:
        """Sets each caption's `drafted`, at most as many tokens as there is room for.

        Returns:
            The distributions that the tokens were drawn from, one caption after the other; None
            where they were not drawn.
        """

    @abstractmethod
    def settle(self, line: DraftState, kept: int) -> None:
        """Learns how many of a caption's drafted tokens were kept."""


class ModelDrafter(Drafter):
    """A language model that goes ahead, token by token, and comes back to where it was right.

    Args:
        gate: its session.
        rule: how tokens are chosen.
        stop_ids: the tokens after which nothing is proposed.
    """

    def __init__(
        self, gate: LockstepSession, rule: AcceptanceRule, stop_ids: frozenset[int]
    ) -> None:
        self._gate = gate
        self._rule = rule
        self._stop_ids = stop_ids

    @property
    def gates(self) -> Sequence[LockstepSession]:
        """Its session."""
        return (self._gate,)

    def begin(self, lines: Sequence[DraftState], images: int) -> None:
        """Gives new captions their images' rows."""
        first = len(self._gate.images) - images
        new = {image: first + n for n, image in enumerate(self._gate.images[first:])}
        for line in lines:
            line.states = [new[line.image]]

    def propose(self, lines: Sequence[DraftState], room: Sequence[int]) -> Tensor | None:
        """Sets each caption's `drafted`; see the base class."""
        for line in lines:
            line.drafted = []
        going = [number for number, most in enumerate(room) if most]
        if not going:
            return None
        logits = self._catch_up([lines[number] for number in going])
        weights: list[list[Tensor]] = [[] for _ in lines]
        while True:
            drafting = [lines[number] for number in going]
            tokens, drawn = self._rule.draft(logits, drafting)
            for row, (number, token) in enumerate(zip(going, tokens.tolist(), strict=True)):
                lines[number].drafted.append(token)
                if drawn is not None:
                    weights[number].append(drawn[row])
            going = [
                number
                for number in going
                if len(lines[number].drafted) < room[number]
                and lines[number].drafted[-1] not in self._stop_ids
            ]
            if not going:
                break
            logits = self._step([lines[number] for number in going])
        flat = [row for each in weights for row in each]
        return torch.stack(flat) if flat else None

    def settle(self, line: DraftState, kept: int) -> None:
        """Goes back to the last row whose text stands."""
        count = min(kept, len(line.states) - 1)
        line.run = len(line.tokens) + count
        line.states = [line.states[count]]

    def _catch_up(self, lines: Sequence[DraftState]) -> Tensor:
        """Runs the tokens (one or two each) that the rows lack; gives the logits (R,V)."""
        live = len(self._gate.images)
        parents: list[int] = []
        tokens: list[int] = []
        for line in lines:
            lacking = line.tokens[line.run :]
            made = live + len(tokens)
            parents += [line.states[0], *range(made, made + len(lacking) - 1)]
            tokens += lacking
            # nothing is kept, so the new rows' numbers begin from 0
            line.states = [len(tokens) - 1]
        logits = self._gate.extend(self._index(tokens), self._index(parents))
        return logits[[line.states[0] for line in lines]]

    def _step(self, lines: Sequence[DraftState]) -> Tensor:
        """Runs the last drafted tokens, beside all rows that one may have to go back to."""
        live = len(self._gate.images)
        tokens = self._index([line.drafted[-1] for line in lines])
        parents = self._index([line.states[-1] for line in lines])
        logits = self._gate.extend(tokens, parents, self._index(range(live)))
        for number, line in enumerate(lines, start=live):
            line.states.append(number)
        return logits[live:]

    def _index(self, values: Sequence[int]) -> Tensor:
        return torch.tensor(values, dtype=torch.long, device=self._gate.logits.device)
