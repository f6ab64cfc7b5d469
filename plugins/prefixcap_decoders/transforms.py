"""Logit transforms: transformers' `LogitsProcessor` objects on the rows of a search."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from prefixcap.runtime import prepare

Processor = Callable[[Tensor, Tensor], Tensor]


class Transforms:
    """A chain of processors of two sorts: those that read the tokens so far, then those that don't.

    Args:
        on_history: processors that read the tokens; rows of different lengths are given to them
            in groups of one length, as a processor knows only one.
        on_scores: processors that read the scores alone, such as transformers' warpers.
    """

    def __init__(
        self, on_history: Sequence[Processor] = (), on_scores: Sequence[Processor] = ()
    ) -> None:
        self.on_history = tuple(on_history)
        self.on_scores = tuple(on_scores)

    def __bool__(self) -> bool:
        return bool(self.on_history or self.on_scores)

    def __call__(self, scores: Tensor, history: Tensor, lengths: Tensor) -> Tensor:
        """Transforms scores (R,V).

        Args:
            scores: (R,V), logits or log-probabilities; they are left as they are.
            history: (R,T) tokens, of which each row's first `lengths` are real.
            lengths: (R).
        """
        if self.on_history:
            scores = self._grouped(scores, history, lengths)
        nothing = history[:, :0]
        for processor in self.on_scores:
            scores = processor(nothing, scores)
        return scores

    def _grouped(self, scores: Tensor, history: Tensor, lengths: Tensor) -> Tensor:
        scores = scores.clone()
        for length in sorted(set(lengths.tolist())):
            rows = (lengths == length).nonzero().squeeze(1)
            tokens, group = history[rows, :length], scores[rows]
            for processor in self.on_history:
                group = processor(tokens, group)
            scores[rows] = group
        return scores


def generation() -> Any:
    """Imports transformers' logits processors.

    Returns:
        The module `transformers.generation.logits_process`.
    """
    prepare()
    from transformers.generation import logits_process

    return logits_process


def penalties(
    stop_ids: Sequence[int],
    *,
    min_new_tokens: int = 0,
    repetition_penalty: float = 1.0,
    no_repeat_ngram_size: int = 0,
) -> list[Processor]:
    """Makes the processors of the settings that search and sampling share.

    They stand in the order of transformers' `generate`.
    """
    found: list[Processor] = []
    if repetition_penalty != 1.0:
        found.append(generation().RepetitionPenaltyLogitsProcessor(repetition_penalty))
    if no_repeat_ngram_size:
        found.append(generation().NoRepeatNGramLogitsProcessor(no_repeat_ngram_size))
    if min_new_tokens and stop_ids:
        found.append(_no_stop_before(min_new_tokens, sorted(stop_ids)))
    return found


def _no_stop_before(minimum: int, stop_ids: Sequence[int]) -> Processor:
    # transformers' own takes the device when it is made, which is not known here
    def process(history: Tensor, scores: Tensor) -> Tensor:
        if history.shape[1] >= minimum:
            return scores
        stops = torch.tensor(stop_ids, device=scores.device)
        return scores.index_fill(1, stops, float("-inf"))

    return process
