"""Beam search over all live images at once: a few tensor calls a step, no loop over rows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from prefixcap.engine.reductions import logsumexp, top
from prefixcap.engine.top_tokens import advance_lazily, top_tokens
from prefixcap.errors import PrefixcapError
from prefixcap.interfaces.decoder import Decoder, DecodingTask, Hypothesis
from prefixcap.interfaces.session import Session
from prefixcap_decoders.beam.config import BeamBase
from prefixcap_decoders.beam.deduplicate import deduplicate
from prefixcap_decoders.beam.length_penalty import divisor
from prefixcap_decoders.beam.state import NONE, BeamState, take
from prefixcap_decoders.logits.processors import Transforms, controls, keep, open_rows


class BeamDecoder(Decoder):
    """The search of transformers' `generate`, step for step, on rows that come and go.

    Args:
        config: the settings.
        groups: how many searches an image has, of `num_beams / groups` hypotheses each.
        diversity: what a token loses for each earlier group that chose it at the same step.
    """

    def __init__(self, config: BeamBase, groups: int = 1, diversity: float = 0.0) -> None:
        self.config = config
        self.groups = groups
        self.diversity = diversity

    def decode(self, task: DecodingTask) -> Iterator[tuple[int, list[Hypothesis]]]:
        """Yields each image's best hypotheses as soon as its search is over."""
        wanted = task.n or self.config.n
        if wanted > self.config.num_beams:
            raise PrefixcapError(
                f"{self.config.name}: {wanted} captions an image were asked for, but num_beams is "
                f"{self.config.num_beams}: raise num_beams or lower n"
            )
        width = self.config.num_beams // self.groups
        searches = [BeamSearch(self.config, task, width) for _ in range(self.groups)]
        session = task.start(self.config.num_beams)
        while (new := session.admit()) or searches[0].state.images:
            done = self._step(searches, session, new)
            if done.any():
                for slot in done.nonzero().squeeze(1).tolist():
                    found = [h for search in searches for h in search.best(slot)]
                    # what one search finds differs in the stop token at least
                    kept = found if self.groups == 1 else deduplicate(found, wanted)
                    yield searches[0].state.images[slot], kept[:wanted]
                for search in searches:
                    search.state.drop(done)
            if searches[0].state.images or session.waiting:
                advance_lazily(session, *next_rows([search.state for search in searches]))

    def _step(self, searches: list[BeamSearch], session: Session, new: Sequence[int]) -> Tensor:
        # returns the mask (M) of images of which no search goes on
        if len(searches) == 1 and not searches[0].transforms:
            search, found = searches[0], top_tokens(session, searches[0].candidates)
            search.state.join(new, len(found.logits) - len(new), found.logits.device)
            values = found.logits - found.log_normalizer[:, None]
            search.step(values, values, found.tokens)
            return search.over()
        logits = session.logits
        for search in searches:
            search.state.join(new, len(logits) - len(new), logits.device)
        if len(searches) == 1:
            searches[0].step(*searches[0].ranked(logits))
            return searches[0].over()
        fewer = logits.new_zeros(len(searches[0].state.images), logits.shape[1])
        for search in searches:
            mine = logits[search.state.rows[search.state.live]]
            search.step(*search.ranked(mine, fewer))
            chosen = search.state.live.to(fewer) * self.diversity
            fewer = fewer.scatter_add(1, search.state.tokens, chosen)
        over = torch.stack([search.over() for search in searches])
        for search, ended in zip(searches, over, strict=True):
            search.state.scores[ended] = NONE
        return over.all(0)


def next_rows(states: Sequence[BeamState]) -> tuple[Tensor, Tensor]:
    """Returns the tokens (R') and parents (R') of rows that go on, an image's side by side."""
    tokens = torch.cat([state.tokens[state.live] for state in states])
    parents = torch.cat([state.rows[state.live] for state in states])
    counts = [int(state.live.sum()) for state in states] if len(states) > 1 else [len(tokens)]
    numbers = torch.arange(len(tokens), device=tokens.device)
    if len(states) > 1:
        owners = torch.cat([state.live.nonzero()[:, 0] for state in states])
        order = owners.argsort(stable=True)
        numbers[order] = numbers.clone()
        tokens, parents = tokens[order], parents[order]
    for state, mine in zip(states, torch.split(numbers, counts), strict=True):
        state.number(mine)
    return tokens, parents


class BeamSearch:
    """The search of one group of hypotheses of every live image (M), K slots each.

    Each step looks at the best (1 + number of stop tokens) * K continuations of an image's K
    hypotheses, at least 2 K. Those among the first K that end the caption compete with the image's
    ended hypotheses; the K best that do not end it go on.
    """

    def __init__(self, config: BeamBase, task: DecodingTask, width: int) -> None:
        self.config = config
        self.task = task
        self.stop_ids = sorted(task.stop_ids)
        self.width = width
        self.candidates = max(2, 1 + len(self.stop_ids)) * width
        self.state = BeamState(width, task.max_new_tokens)
        self.transforms = Transforms(controls(config, task))
        # what a caption of each length is divided by; length 0 is never asked for
        self.divisors = [
            divisor(max(length, 1), config.length_penalty, config.length_norm)
            for length in range(task.max_new_tokens + 1)
        ]

    def ranked(self, logits: Tensor, fewer: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """Finds each live hypothesis' best continuations where their scores are changed.

        Args:
            logits: (L,V) of the live hypotheses, image by image and slot by slot.
            fewer: (M,V), what is taken off each token's score.

        Returns:
            What `step` is given.
        """
        state, normaliser = self.state, logsumexp(logits)[:, None]
        scores = logits - normaliser
        if self.transforms:
            scores = self._transformed(scores)
        if fewer is not None:
            scores = scores - fewer[state.live.nonzero()[:, 0]]
        values, tokens = top(scores, min(self.candidates, scores.shape[1]))
        return values, logits.gather(1, tokens) - normaliser, tokens

    def step(self, values: Tensor, plain: Tensor, tokens: Tensor) -> None:
        """Extends every image's hypotheses by one token.

        Args:
            values: (L,C), what the best tokens of each live hypothesis add to its score, falling;
                image by image and slot by slot.
            plain: (L,C), their log-probabilities by the model itself.
            tokens: (L,C) int64.
        """
        state = self.state
        scores, plain, tokens, slots = self._candidates(values, plain, tokens)
        ended = torch.zeros_like(tokens, dtype=torch.bool)
        for stop in self.stop_ids:
            ended |= tokens == stop
        state.lengths = state.lengths + 1
        ended |= (state.lengths >= self.task.max_new_tokens)[:, None]
        texts = take(state.texts, slots)
        place = (state.lengths - 1)[:, None, None].expand(-1, texts.shape[1], 1)
        texts.scatter_(2, place, tokens[:, :, None])
        head = slice(None), slice(self.width)
        final = scores[head].masked_fill(~ended[head], NONE)
        final = final / self.divisor(state.lengths)[:, None]
        state.finish(final, plain[head], texts[head])
        state.go_on(scores.masked_fill(ended, NONE), plain, texts, tokens, slots)

    def over(self) -> Tensor:
        """Returns the mask (M) of the images whose search is over."""
        state = self.state
        done = ~state.live.any(1)
        full = (state.final > NONE).all(1)
        # one beam is greedy search, as in transformers, whichever rule would let others go on
        if self.config.early_stopping == "true" or self.width == self.config.num_beams == 1:
            return done | full
        # as in transformers: a live hypothesis is taken for as good as its score would be if it
        # ended here, or, with "never" and a bonus for length, at the length where it is best
        lengths = state.lengths
        if self.config.early_stopping == "never" and self.config.length_penalty > 0:
            lengths = torch.full_like(lengths, self.task.max_new_tokens)
        hoped = state.scores[:, 0] / self.divisor(lengths)
        return done | full & (hoped <= state.final[:, -1])

    def best(self, slot: int) -> list[Hypothesis]:
        """Returns the ended hypotheses of one of the live images, best first."""
        state = self.state
        rows = zip(
            state.final[slot].tolist(),
            state.final_plain[slot].tolist(),
            state.final_lengths[slot].tolist(),
            state.final_texts[slot].tolist(),
            strict=True,
        )
        return [
            self.task.hypothesis(text[:length], logprob, score)
            for score, logprob, length, text in rows
            if score > NONE
        ]

    def _transformed(self, scores: Tensor) -> Tensor:
        # a hypothesis of which every token is barred ends there, unless its image had no caption
        state, live = self.state, self.state.live
        changed = self.transforms.strictly(scores, *state.history())
        some = state.spread(open_rows(changed)[:, None], 0).any(1).squeeze(1)
        none = ~some & (state.final == NONE).all(1)
        return keep(scores, changed, none[live.nonzero()[:, 0]])

    def _candidates(
        self, values: Tensor, plain: Tensor, tokens: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        # each row's best continuations are found first, so that what is ranked across the rows of
        # an image is small and the log-softmax of the whole vocabulary is seldom written
        state, count = self.state, values.shape[1]
        values = state.spread(values, NONE) + state.scores[:, :, None]
        plain = state.spread(plain, 0.0) + state.plain[:, :, None]
        scores, order = values.flatten(1).topk(min(self.candidates, values[0].numel()))
        return (
            scores,
            plain.flatten(1).gather(1, order),
            state.spread(tokens, 0).flatten(1).gather(1, order),
            order // count,
        )

    def divisor(self, lengths: Tensor) -> Tensor:
        """Returns what the score of captions of some lengths (...) is divided by."""
        return torch.tensor(self.divisors, device=lengths.device)[lengths]
