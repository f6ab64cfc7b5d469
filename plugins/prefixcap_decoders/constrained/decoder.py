"""Beam search whose hypotheses progress towards the words that a caption must contain."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import attrs
import torch
from torch import Tensor
from torch.nn.functional import one_hot
from typing_extensions import override

from prefixcap.decoding.live_images import is_stop
from prefixcap.engine.reductions import logsumexp
from prefixcap.errors import PrefixcapError
from prefixcap.interfaces.decoder import Decoder, DecodingTask, Hypothesis
from prefixcap_decoders.beam.decoder import BeamSearch, next_rows
from prefixcap_decoders.beam.state import NONE
from prefixcap_decoders.constrained.config import Constrained
from prefixcap_decoders.logits.processors import open_rows
from prefixcap_decoders.logits.word_automaton import build_automaton


class ConstrainedDecoder(Decoder):
    """Searches for captions that contain the words of a config."""

    def __init__(self, config: Constrained) -> None:
        self.config = config

    @override
    def decode(self, task: DecodingTask) -> Iterator[tuple[int, list[Hypothesis]]]:
        count = self.config.captions(task.n)
        search = ConstrainedSearch(self.config, task)
        session = task.start(self.config.num_beams)
        while (new := session.admit()) or search.beam.state.images:
            search.join(new, len(session.logits) - len(new))
            search.step(session.logits)
            done = search.beam.over()
            if done.any():
                for slot in done.nonzero().squeeze(1).tolist():
                    yield search.beam.state.images[slot], search.best(slot)[:count]
                search.select(~done)
            if search.beam.state.images or session.waiting:
                session.advance(*next_rows([search.beam.state]))


class ConstrainedSearch:
    """The search of the M live images, K hypotheses each.

    Hypotheses are in banks, by the number of tokens that their missing words need. Each step ranks
    a hypothesis' most likely continuations, and the most likely ones among those that make progress
    on the words. The best of each bank continue, then the second best of each, until there are K.
    Captions end once they need nothing more, and compete within their bank as in `beam`; without
    words, the search equals `beam`.

    Raises:
        PrefixcapError: If no caption can contain the words, or the limit is too short for them.
    """

    def __init__(self, config: Constrained, task: DecodingTask) -> None:
        self.task = task
        self.beam = BeamSearch(attrs.evolve(config, bad_words=()), task, config.num_beams)
        self.stops = torch.tensor(sorted(task.stop_ids), device=task.prefix.device).long()
        words = build_automaton(task.lm, config.force_words, config.bad_words, self.stops.tolist())
        self.words = words.to(task.prefix.device)
        needed = int(self.words.needed[0])
        if needed > task.max_new_tokens:
            raise PrefixcapError(
                f"constrained: {' and '.join(map(repr, config.force_words))} need {needed} tokens, "
                f"but a caption may have {task.max_new_tokens}: raise max_new_tokens"
            )
        reachable = self.words.needed[self.words.needed <= task.max_new_tokens]
        self.banks = int(reachable.max()) + 1
        # (M, K), each live hypothesis' state of the automaton
        self.places = torch.zeros(0, config.num_beams, dtype=torch.long, device=task.prefix.device)

    def join(self, images: Sequence[int], first_row: int) -> None:
        """Add new images, whose rows (one each) begin at `first_row`."""
        self.beam.join(images, first_row)
        start = self.places.new_zeros(len(images), self.places.shape[1])
        self.places = torch.cat([self.places, start])

    def select(self, mask: Tensor) -> None:
        """Keep the images of a mask (M)."""
        self.beam.state = self.beam.state.select(mask)
        self.places = self.places[mask]

    def step(self, logits: Tensor) -> None:
        """Extend every image's hypotheses by one token, given their logits (L,V)."""
        state, limit = self.beam.state, self.task.max_new_tokens
        scores, logprobs, tokens, slots, places = self._candidates(logits)
        ended = is_stop(tokens, self.task.stop_ids)
        banks = self.words.needed[places].masked_fill(ended, 0).clamp(max=self.banks - 1)
        texts = state.append(slots, tokens)
        ended |= (state.lengths >= limit)[:, None]
        best = ended & (self._ranks(banks, scores > NONE) < self.beam.width)
        final = scores.masked_fill(~best, NONE) / self.beam.divisors[state.lengths][:, None]
        state.add_ended(final, logprobs, texts)
        live = self._allocate(banks, (scores > NONE) & ~ended)
        order = state.advance(scores.masked_fill(~live, NONE), logprobs, texts, tokens, slots)
        self.places = places.gather(1, order)

    def best(self, slot: int) -> list[Hypothesis]:
        """Return the ended hypotheses of one of the live images, best first."""
        hypotheses = self.beam.best(slot)
        if not hypotheses:
            image = self.task.image_ids[self.beam.state.images[slot]]
            raise PrefixcapError(
                f"constrained: the image {image!r} has no caption with the words, because the "
                "decoder's other settings exclude every token that leads to them"
            )
        return hypotheses

    def _candidates(self, logits: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """Return scores, log-probabilities, tokens, slots and states (M,C), best first."""
        state, words = self.beam.state, self.words
        live = state.live
        places = self.places[live]
        remaining = (self.task.max_new_tokens - 1 - state.lengths)[:, None].expand_as(live)[live]
        normaliser = logsumexp(logits)[:, None]
        ranked = logits - normaliser
        if self.beam.transforms:
            ranked = self.beam.transforms.strictly(ranked, *state.history())
            open_rows(ranked)  # refuses scores that cannot be ranked
        allowed = words.allowed(places, remaining[:, None])
        allowed[:, self.stops] = (words.needed[places] == 0)[:, None]
        ranked = ranked.masked_fill(~allowed, NONE)
        values, tokens = ranked.topk(min(self.beam.candidates, ranked.shape[1]))
        if self.banks > 1:
            # the best tokens that bring a hypothesis one token nearer to its words
            nearer = words.allowed(places, words.needed[places][:, None] - 1)
            others = ranked.masked_fill(~nearer, NONE).scatter(1, tokens, NONE)
            more = others.topk(min(self.beam.width, ranked.shape[1]))
            values, tokens = torch.cat([values, more[0]], 1), torch.cat([tokens, more[1]], 1)
        logprobs = logits.gather(1, tokens) - normaliser
        after = words.step(places[:, None].expand_as(tokens), tokens)  # (L, C)
        count = values.shape[1]
        values = state.to_slots(values, NONE) + state.scores[:, :, None]  # (L, C) -> (M, K, C)
        logprobs = state.to_slots(logprobs, 0.0) + state.logprobs[:, :, None]
        scores, order = values.flatten(1).sort(dim=1, descending=True, stable=True)
        return (
            scores,
            logprobs.flatten(1).gather(1, order),
            state.to_slots(tokens, 0).flatten(1).gather(1, order),
            order // count,
            state.to_slots(after, 0).flatten(1).gather(1, order),
        )

    def _ranks(self, banks: Tensor, valid: Tensor) -> Tensor:
        """Return the rank (M,C) of each candidate among the valid ones of its bank, from 0."""
        counted = one_hot(banks, self.banks) * valid[:, :, None]  # (M, C) -> (M, C, banks)
        before = counted.cumsum(1) - counted
        return before.gather(2, banks[:, :, None]).squeeze(2)

    def _allocate(self, banks: Tensor, valid: Tensor) -> Tensor:
        """Return the mask (M,C) of K candidates: the banks' best, their second best, and so on."""
        turns = self._ranks(banks, valid) * self.banks + banks  # by rank first, then by bank
        turns = turns.masked_fill(~valid, turns.numel() * self.banks + self.banks)
        width = min(self.beam.width, turns.shape[1])
        first = turns.topk(width, dim=1, largest=False).indices
        return torch.zeros_like(valid).scatter(1, first, True) & valid
