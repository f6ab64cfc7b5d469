"""The state of a caption that is being drafted."""

from __future__ import annotations

import attrs

from prefixcap.interfaces.decoder import DecodingTask


@attrs.define(eq=False)
class DraftState:
    """An unfinished caption and its draft.

    Attributes:
        image: Number of its image.
        uniforms: Three random numbers in [0,1) for each position.
        row: The language model's row, which holds all tokens but the last.
        tokens: Tokens so far; the last one has not been run.
        drafted: Proposed next tokens.
        logprob: Log-probability by the language model.
        draft_rows: The draft model's rows, after the tokens and after each drafted one; the first
            may lack the last tokens.
        draft_length: Number of tokens in the first of these rows.
    """

    image: int
    uniforms: list[list[float]]
    row: int
    tokens: list[int] = attrs.field(factory=list)
    drafted: list[int] = attrs.field(factory=list)
    logprob: float = 0.0
    draft_rows: list[int] = attrs.field(factory=list)
    draft_length: int = 0

    def uniform(self, ahead: int, use: int) -> float:
        """Return a random number of the position `ahead` tokens after the last one."""
        return self.uniforms[len(self.tokens) + ahead][use]

    def stops(self, count: int, task: DecodingTask) -> bool:
        """Return whether the first `count` drafted tokens end the caption."""
        return count > 0 and self.drafted[count - 1] in task.stop_ids

    def over(self, task: DecodingTask) -> bool:
        """Return whether the caption has ended."""
        return self.tokens[-1] in task.stop_ids or len(self.tokens) >= task.max_new_tokens
