"""TODO."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from prefixcap.interfaces.decoder import DecodingTask

if TYPE_CHECKING:
    pass


@attrs.define(eq=False)
class DraftState:
    """A caption that is being written.

    Attributes:
        image: the number of its image.
        numbers: three random numbers for each place in it.
        place: the language model's row of all its tokens but the last.
        tokens: its tokens; the last has not been run yet.
        drafted: what the draft proposes to follow.
        logprob: by the language model.
        states: the draft's rows after the tokens and after each drafted one; the first one's text
            may be shorter.
        run: how many of the tokens the first of these rows has.
    """

    image: int
    numbers: list[list[float]]
    place: int
    tokens: list[int] = attrs.field(factory=list)
    drafted: list[int] = attrs.field(factory=list)
    logprob: float = 0.0
    states: list[int] = attrs.field(factory=list)
    run: int = 0

    def number(self, ahead: int, use: int) -> float:
        """Returns a random number of the place that many after the tokens."""
        return self.numbers[len(self.tokens) + ahead][use]

    def stops(self, count: int, task: DecodingTask) -> bool:
        """Whether the first `count` drafted tokens end the caption."""
        return count > 0 and self.drafted[count - 1] in task.stop_ids

    def over(self, task: DecodingTask) -> bool:
        """Whether the caption has ended."""
        return self.tokens[-1] in task.stop_ids or len(self.tokens) >= task.max_new_tokens
