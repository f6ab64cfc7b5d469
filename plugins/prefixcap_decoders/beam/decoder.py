"""Beam search over all live images at once: a few tensor calls per step, no loop over rows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor
from typing_extensions import override

from prefixcap.decoding.live_images import is_stop
from prefixcap.engine.reductions import logsumexp, top
from prefixcap.engine.top_tokens import advance_lazily, top_tokens
from prefixcap.interfaces.decoder import Decoder, DecodingTask, Hypothesis
from prefixcap.interfaces.session import Session
from prefixcap.util.memory import require_memory
from prefixcap_decoders.beam.config import BeamBase
from prefixcap_decoders.beam.ranking import deduplicate, divisor
from prefixcap_decoders.beam.state import NONE, BeamState
from prefixcap_decoders.logits.processors import Transforms, build_processors, keep, open_rows


class BeamDecoder(Decoder):
    """The search of transformers' `generate`, step by step, with images that join and leave.

    Args:
        config: Settings.
        groups: Number of searches per image, each with `num_beams / groups` hypotheses.
        diversity: Penalty of a token for each hypothesis of an earlier group with that token.
    """

    def __init__(self, config: BeamBase, groups: int = 1, diversity: float = 0.0) -> None:
        self.config = config
        self.groups = groups
        self.diversity = diversity

    @override
    def decode(self, task: DecodingTask) -> Iterator[tuple[int, list[Hypothesis]]]:
        count = self.config.captions(task.n)
        width = self.config.num_beams // self.groups
        # one search for beam search, one per group for diverse beam search
        searches = [BeamSearch(self.config, task, width) for _ in range(self.groups)]
        session = task.start(self.config.num_beams)
        while (new := session.admit()) or searches[0].state.images:
            done = self._step(searches, session, new)
            if done.any():
                for slot in done.nonzero().squeeze(1).tolist():
                    ended = [h for search in searches for h in search.best(slot)]
                    # within one search, hypotheses are all different
                    ranked = ended if self.groups == 1 else deduplicate(ended, count)
                    yield searches[0].state.images[slot], ranked[:count]
                for search in searches:
                    search.state = search.state.select(~done)
            if searches[0].state.images or session.waiting:
                advance_lazily(session, *next_rows([search.state for search in searches]))

    def _step(self, searches: list[BeamSearch], session: Session, new: Sequence[int]) -> Tensor:
        """Extend all hypotheses and return the mask (M) of images whose searches are over."""
        first = searches[0]
        if len(searches) == 1 and not first.transforms:
            tops = top_tokens(session, first.candidates)
            first.join(new, len(tops.logits) - len(new))
            values = tops.logits - tops.log_normalizer[:, None]  # (L, C)
            first.step(values, values, tops.tokens)
            return first.over()
        logits = session.logits
        for search in searches:
            search.join(new, len(logits) - len(new))
        if len(searches) == 1:
            first.step(*first.rank(logits))
            return first.over()
        penalty = logits.new_zeros(len(first.state.images), logits.shape[1])  # (M, V)
        for search in searches:
            own = logits[search.state.rows[search.state.live]]  # (R, V) -> (L, V)
            search.step(*search.rank(own, penalty))
            chosen = search.state.live.to(penalty) * self.diversity
            penalty = penalty.scatter_add(1, search.state.tokens, chosen)
        over = torch.stack([search.over() for search in searches])  # (groups, M)
        for search, ended in zip(searches, over, strict=True):
            # an image leaves when all of its searches are over; until then, the others continue
            search.state.scores[ended] = NONE
        return over.all(0)


def next_rows(states: Sequence[BeamState]) -> tuple[Tensor, Tensor]:
    """Return the tokens (R') and parents (R') of the next rows, an image's side by side."""
    tokens = torch.cat([state.tokens[state.live] for state in states])
    parents = torch.cat([state.rows[state.live] for state in states])
    counts = [int(state.live.sum()) for state in states] if len(states) > 1 else [len(tokens)]
    rows = torch.arange(len(tokens), device=tokens.device)
    if len(states) > 1:
        # rows of one image side by side are the fastest for the session
        owners = torch.cat([state.live.nonzero()[:, 0] for state in states])
        order = owners.argsort(stable=True)
        rows[order] = rows.clone()
        tokens, parents = tokens[order], parents[order]
    for state, state_rows in zip(states, torch.split(rows, counts), strict=True):
        state.number(state_rows)
    return tokens, parents


class BeamSearch:
    """One group of K hypotheses for each of the M live images.

    Each step ranks the best (1 + number of stop tokens) * K continuations of an image's K
    hypotheses, at least 2 K. Those among the first K that end compete with the image's ended
    hypotheses; the K best of the others stay live.
    """

    def __init__(self, config: BeamBase, task: DecodingTask, width: int) -> None:
        self.config = config
        self.task = task
        self.width = width
        self.candidates = max(2, 1 + len(task.stop_ids)) * width
        # what a step writes of every continuation: score, log-probability, token and slot
        images = task.images_at_once(config.num_beams)
        continuations = images * width * min(self.candidates, task.lm.vocab_size)
        texts = 2 * images * self.candidates * task.max_new_tokens
        what = f"{config.num_beams} beams of {images} images"
        require_memory(32.0 * continuations + 8.0 * texts, what, task.prefix.device)
        self.state = BeamState.start([], width, task.max_new_tokens, 0, task.prefix.device)
        self.transforms = Transforms(build_processors(config, task))
        # (T + 1), the divisor of the score of a caption of each length; 0 is never looked up
        lengths = range(task.max_new_tokens + 1)
        self.divisors = torch.tensor(
            [divisor(max(n, 1), config.length_penalty, config.length_norm) for n in lengths],
            device=task.prefix.device,
        )

    def join(self, images: Sequence[int], first_row: int) -> None:
        """Add new images, whose rows (one each) begin at `first_row`."""
        if images:
            limit, device = self.task.max_new_tokens, self.task.prefix.device
            new = BeamState.start(images, self.width, limit, first_row, device)
            self.state = self.state.join(new)

    def rank(self, logits: Tensor, penalty: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """Return each live hypothesis' best continuations, as `step` takes them.

        Args:
            logits: (L,V) of the live hypotheses, in the order of images and slots.
            penalty: (M,V), subtracted from each token's score.
        """
        state, normaliser = self.state, logsumexp(logits)[:, None]
        scores = logits - normaliser
        if self.transforms:
            scores = self._transform(scores)
        if penalty is not None:
            scores = scores - penalty[state.live.nonzero()[:, 0]]  # (M, V) -> (L, V)
        values, tokens = top(scores, min(self.candidates, scores.shape[1]))
        return values, logits.gather(1, tokens) - normaliser, tokens

    def step(self, values: Tensor, logprobs: Tensor, tokens: Tensor) -> None:
        """Extend every image's hypotheses by one token.

        Args:
            values: (L,C), what each live hypothesis' best tokens add to its score, descending.
            logprobs: (L,C), their log-probabilities by the model itself.
            tokens: (L,C) int64.
        """
        state = self.state
        scores, logprobs, tokens, slots = self._candidates(values, logprobs, tokens)
        texts = state.append(slots, tokens)
        ended = is_stop(tokens, self.task.stop_ids)
        ended |= (state.lengths >= self.task.max_new_tokens)[:, None]
        head = slice(None), slice(self.width)
        final = scores[head].masked_fill(~ended[head], NONE)
        final = final / self.divisors[state.lengths][:, None]
        state.add_ended(final, logprobs[head], texts[head])
        state.advance(scores.masked_fill(ended, NONE), logprobs, texts, tokens, slots)

    def over(self) -> Tensor:
        """Return the mask (M) of images whose search is over."""
        state = self.state
        done = ~state.live.any(1)
        full = (state.final_scores > NONE).all(1)
        # a single beam is greedy search, as in transformers, for every `early_stopping`
        if self.config.early_stopping == "true" or self.width == self.config.num_beams == 1:
            return done | full
        # as in transformers: bound a live hypothesis by its score if it ended now, or, for "never"
        # with a bonus for length, at the length where that is highest
        lengths = state.lengths
        if self.config.early_stopping == "never" and self.config.length_penalty > 0:
            lengths = torch.full_like(lengths, self.task.max_new_tokens)
        bound = state.scores[:, 0] / self.divisors[lengths]
        return done | full & (bound <= state.final_scores[:, -1])

    def best(self, slot: int) -> list[Hypothesis]:
        """Return the ended hypotheses of one of the live images, best first."""
        state = self.state
        parts = state.final_scores, state.final_logprobs, state.final_lengths, state.final_texts
        return [
            self.task.hypothesis(text[:length], logprob, score)
            for score, logprob, length, text in zip(
                *(part[slot].tolist() for part in parts), strict=True
            )
            if score > NONE
        ]

    def _transform(self, scores: Tensor) -> Tensor:
        # a hypothesis without an allowed token ends, unless its image would get no caption at all
        state = self.state
        changed = self.transforms.strictly(scores, *state.history())
        stuck = ~state.to_slots(open_rows(changed)[:, None], 0).any(1).squeeze(1)  # (L, 1) -> (M)
        stuck &= (state.final_scores == NONE).all(1)
        return keep(scores, changed, stuck[state.live.nonzero()[:, 0]])

    def _candidates(
        self, values: Tensor, logprobs: Tensor, tokens: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        # taking each row's best first keeps the ranking across an image's rows small, and avoids
        # writing the log-softmax of the vocabulary
        state, count = self.state, values.shape[1]
        values = state.to_slots(values, NONE) + state.scores[:, :, None]  # (L, C) -> (M, K, C)
        logprobs = state.to_slots(logprobs, 0.0) + state.logprobs[:, :, None]
        values = values.flatten(1)  # (M, K, C) -> (M, K * C)
        scores, order = values.topk(min(self.candidates, values.shape[1]))
        return (
            scores,
            logprobs.flatten(1).gather(1, order),
            state.to_slots(tokens, 0).flatten(1).gather(1, order),
            order // count,
        )
