"""The state of a caption that is being drafted."""

from __future__ import annotations

import attrs

from prefixcap.interfaces.decoder import DecodingTask


@attrs.define(eq=False)
class DraftState:
    """An unfinished caption and its draft."""

    image: int  # number of its image
    uniforms: list[list[float]]  # three random numbers in [0,1) for each position
    row: int  # the language model's row, which holds all tokens but the last
    tokens: list[int] = attrs.field(factory=list)  # tokens so far; the last one has not been run
    drafted: list[int] = attrs.field(factory=list)  # proposed next tokens
    logprob: float = 0.0  # log-probability by the language model
    # the draft model's rows, after the tokens and after each drafted one; the first may
    # lack the last tokens
    draft_rows: list[int] = attrs.field(factory=list)
    draft_length: int = 0  # number of tokens in the first of these rows

    def uniform(self, ahead: int, use: int) -> float:
        """Return a random number of the position `ahead` tokens after the last one."""
        return self.uniforms[len(self.tokens) + ahead][use]

    def stops(self, count: int, task: DecodingTask) -> bool:
        """Return whether the first `count` drafted tokens end the caption."""
        return count > 0 and self.drafted[count - 1] in task.stop_ids

    def over(self, task: DecodingTask) -> bool:
        """Return whether the caption has ended."""
        return self.tokens[-1] in task.stop_ids or len(self.tokens) >= task.max_new_tokens
