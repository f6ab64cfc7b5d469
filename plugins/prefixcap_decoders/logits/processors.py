"""Logit transforms: transformers' `LogitsProcessor` objects on the rows of a search."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import Tensor

from prefixcap.decoding.token_decoder import Row
from prefixcap.interfaces.decoder import DecodingTask
from prefixcap_decoders.logits.by_name import generation, named_processor
from prefixcap_decoders.logits.settings import Controlled
from prefixcap_decoders.logits.word_automaton import WithoutWords, automaton

Processor = Callable[[Tensor, Tensor], Tensor]


class Transforms:
    """A chain of processors of two sorts: those that read the tokens so far, then those that don't.

    Where they bar every token of a row, it is left as it was: one token has to be taken.

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
        changed = self.strictly(scores, history, lengths)
        return changed if changed is scores else keep(scores, changed, ~open_rows(changed))

    def strictly(self, scores: Tensor, history: Tensor, lengths: Tensor) -> Tensor:
        """Transforms scores (R,V), of which a row may have no token left."""
        if self.on_history:
            scores = self._grouped(scores, history, lengths)
        nothing = history[:, :0]
        for processor in self.on_scores:
            scores = processor(nothing, scores)
        return scores

    def of_rows(self, scores: Tensor, rows: Sequence[Row]) -> Tensor:
        """Transforms the logits (R,V) of a row loop's rows."""
        return self.of_texts(scores, [row.tokens for row in rows]) if self else scores

    def of_texts(self, scores: Tensor, texts: Sequence[Sequence[int]]) -> Tensor:
        """Transforms the logits (R,V) that follow texts."""
        if not self:
            return scores
        import torch

        longest = max(map(len, texts), default=0) if self.on_history else 0
        padded = [[*text, *[0] * (longest - len(text))] for text in texts]
        history = torch.tensor(padded if longest else [[]] * len(texts), dtype=torch.long)
        lengths = torch.tensor([len(text) for text in texts])
        return self(scores, history.to(scores.device), lengths)

    def _grouped(self, scores: Tensor, history: Tensor, lengths: Tensor) -> Tensor:
        scores = scores.clone()
        for length in sorted(set(lengths.tolist())):
            rows = (lengths == length).nonzero().squeeze(1).to(scores.device)
            tokens, group = history[rows, :length], scores[rows]
            for processor in self.on_history:
                group = processor(tokens, group)
            scores[rows] = group
        return scores


def open_rows(scores: Tensor) -> Tensor:
    """Returns the mask (R) of the rows of scores (R,V) that have a token left."""
    return scores.amax(-1) > float("-inf")


def keep(scores: Tensor, changed: Tensor, rows: Tensor) -> Tensor:
    """Puts the scores (R,V) of a mask (R) of rows back into changed ones (R,V)."""
    return scores.where(rows[:, None], changed) if bool(rows.any()) else changed


def controls(config: Controlled, task: DecodingTask) -> list[Processor]:
    """Makes the processors of a config's settings, in the order of transformers' `generate`."""
    found: list[Processor] = []
    stops = sorted(task.stop_ids)
    if config.repetition_penalty != 1.0:
        found.append(generation().RepetitionPenaltyLogitsProcessor(config.repetition_penalty))
    if config.no_repeat_ngram_size:
        found.append(generation().NoRepeatNGramLogitsProcessor(config.no_repeat_ngram_size))
    if config.min_new_tokens and stops:
        found.append(
            generation().MinNewTokensLengthLogitsProcessor(
                0, config.min_new_tokens, stops, device=str(task.prefix.device)
            )
        )
    found += [
        named_processor(generation(), text, stops, str(task.prefix.device))
        for text in config.processors
    ]
    if config.bad_words:
        barred = automaton(task.lm, (), config.bad_words, stops).to(task.prefix.device)
        found.append(WithoutWords(barred, stops, task.max_new_tokens))
    return found
