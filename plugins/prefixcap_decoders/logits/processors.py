"""Logit transforms: transformers' `LogitsProcessor` objects on the rows of a search."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from prefixcap.decoding.token_decoder import Row
from prefixcap.errors import PrefixcapError
from prefixcap.interfaces.decoder import DecodingTask
from prefixcap_decoders.logits.by_name import generation, named_processor
from prefixcap_decoders.logits.settings import Controlled
from prefixcap_decoders.logits.word_automaton import BadWords, build_automaton

Processor = Callable[[Tensor, Tensor], Tensor]


class Transforms:
    """A chain of logits processors. A row that they leave without a token is left unchanged.

    Args:
        chain: Processors, which take tokens (R,T) and scores (R,V). A processor assumes captions
            of equal length, so rows are grouped by length.
    """

    def __init__(self, chain: Sequence[Processor] = ()) -> None:
        self.chain = tuple(chain)

    def __bool__(self) -> bool:
        return bool(self.chain)

    def __call__(self, scores: Tensor, history: Tensor, lengths: Tensor) -> Tensor:
        """Return the transformed scores (R,V).

        Args:
            scores: (R,V), logits or log-probabilities; not modified.
            history: (R,T) tokens, of which the first `lengths` of each row are used.
            lengths: (R).
        """
        changed = self.strictly(scores, history, lengths)
        return changed if changed is scores else keep(scores, changed, ~open_rows(changed))

    def strictly(self, scores: Tensor, history: Tensor, lengths: Tensor) -> Tensor:
        """Return the transformed scores (R,V), even of rows that have no token left."""
        if not self:
            return scores
        scores = scores.clone()
        for length in sorted(set(lengths.tolist())):
            rows = (lengths == length).nonzero().squeeze(1).to(scores.device)
            tokens, group = history[rows, :length], scores[rows]
            for processor in self.chain:
                group = processor(tokens, group)
            scores[rows] = group
        return scores

    def of_rows(self, scores: Tensor, rows: Sequence[Row]) -> Tensor:
        """Return the transformed logits (R,V) of the rows of `decode_rows`."""
        return self.of_texts(scores, [row.tokens for row in rows])

    def of_texts(self, scores: Tensor, texts: Sequence[Sequence[int]]) -> Tensor:
        """Return the transformed logits (R,V) that follow R texts."""
        if not self:
            return scores
        longest = max(map(len, texts), default=0)
        padded = [[*text, *[0] * (longest - len(text))] for text in texts]
        history = torch.tensor(padded if longest else [[]] * len(texts), dtype=torch.long)
        lengths = torch.tensor([len(text) for text in texts])
        return self(scores, history.to(scores.device), lengths)


def open_rows(scores: Tensor) -> Tensor:
    """Return the mask (R) of the rows of scores (R,V) that have a token left.

    Raises:
        PrefixcapError: If scores are NaN or +inf, which cannot be ranked.
    """
    best = scores.amax(-1)
    if not bool((best < float("inf")).all()):
        raise PrefixcapError(
            "the decoder's logits processors returned scores that are NaN or +inf: check "
            "the setting `processors` and its arguments; a token is excluded by -inf"
        )
    return best > float("-inf")


def keep(scores: Tensor, changed: Tensor, rows: Tensor) -> Tensor:
    """Return the changed scores (R,V), with the original ones in a mask (R) of rows."""
    return scores.where(rows[:, None], changed) if bool(rows.any()) else changed


def build_processors(config: Controlled, task: DecodingTask) -> list[Processor]:
    """Build the processors of a config's settings, in the order of transformers' `generate`."""
    chain: list[Processor] = []
    stops, device = sorted(task.stop_ids), task.prefix.device
    if config.repetition_penalty != 1.0:
        chain.append(generation().RepetitionPenaltyLogitsProcessor(config.repetition_penalty))
    if config.no_repeat_ngram_size:
        chain.append(generation().NoRepeatNGramLogitsProcessor(config.no_repeat_ngram_size))
    if config.min_new_tokens and stops:
        chain.append(
            generation().MinNewTokensLengthLogitsProcessor(
                0, config.min_new_tokens, stops, device=str(device)
            )
        )
    chain += [named_processor(text, stops, str(device)) for text in config.processors]
    if config.bad_words:
        words = build_automaton(task.lm, (), config.bad_words, stops).to(device)
        chain.append(BadWords(words, stops, task.max_new_tokens))
    return chain
