"""Beam search whose hypotheses are on their way to the words that a caption must have."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import attrs
import torch
from torch import Tensor
from torch.nn.functional import one_hot

from prefixcap.engine.reductions import logsumexp
from prefixcap.errors import PrefixcapError
from prefixcap.interfaces.decoder import Decoder, DecodingTask, Hypothesis
from prefixcap_decoders.beam.decoder import BeamSearch, next_rows
from prefixcap_decoders.beam.state import NONE, take
from prefixcap_decoders.constrained.config import Constrained
from prefixcap_decoders.logits.word_automaton import automaton


class ConstrainedDecoder(Decoder):
    """Searches for captions that have the words of a config."""

    def __init__(self, config: Constrained) -> None:
        self.config = config

    def decode(self, task: DecodingTask) -> Iterator[tuple[int, list[Hypothesis]]]:
        """Yields each image's best hypotheses as soon as its search is over.

        Raises:
            PrefixcapError: no caption can have the words, or the limit is too short for them.
        """
        wanted = task.n or self.config.n
        if wanted > self.config.num_beams:
            raise PrefixcapError(
                f"constrained: {wanted} captions an image were asked for, but num_beams is "
                f"{self.config.num_beams}: raise num_beams or lower n"
            )
        search = ConstrainedSearch(self.config, task)
        state = search.beam.state
        session = task.start(self.config.num_beams)
        while (new := session.admit()) or state.images:
            search.join(new, len(session.logits) - len(new), session.logits.device)
            search.step(session.logits)
            done = search.beam.over()
            if done.any():
                for slot in done.nonzero().squeeze(1).tolist():
                    yield state.images[slot], self._best(search, slot)[:wanted]
                search.drop(done)
            if state.images or session.waiting:
                session.advance(*next_rows([state]))

    def _best(self, search: ConstrainedSearch, slot: int) -> list[Hypothesis]:
        found = search.beam.best(slot)
        if not found:
            image = search.task.image_ids[search.beam.state.images[slot]]
            raise PrefixcapError(
                f"constrained: the image {image!r} has no caption with the words, because the "
                "decoder's other settings bar every token that leads to them"
            )
        return found


class ConstrainedSearch:
    """The search of all live images (M), K hypotheses each.

    A hypothesis is in the bank of those that need as many tokens more until they have all words.
    Each step looks at a hypothesis' likeliest continuations and at the likeliest that bring it
    nearer to the words; of these, the best of each bank go on, then the second best of each, until
    there are K. Captions end where they need nothing more, and compete within a bank as in `beam`,
    which this search is where there are no words.
    """

    def __init__(self, config: Constrained, task: DecodingTask) -> None:
        self.task = task
        self.beam = BeamSearch(attrs.evolve(config, bad_words=()), task, config.num_beams)
        self.words = automaton(task.lm, config.force_words, config.bad_words, self.beam.stop_ids)
        self.words = self.words.to(task.prefix.device)
        self.stops = torch.tensor(self.beam.stop_ids, device=task.prefix.device, dtype=torch.long)
        least = int(self.words.needed[0])
        if least > task.max_new_tokens:
            raise PrefixcapError(
                f"constrained: {' and '.join(map(repr, config.force_words))} take {least} tokens, "
                f"and a caption may have {task.max_new_tokens}: raise max_new_tokens"
            )
        known = self.words.needed[self.words.needed <= task.max_new_tokens]
        self.banks = int(known.max()) + 1
        # (M,K), each live hypothesis' state of the automaton
        self.places = torch.zeros(0, config.num_beams, dtype=torch.long, device=task.prefix.device)

    def join(self, images: Sequence[int], first_row: int, device: torch.device) -> None:
        """Takes in new images, whose rows, one each, begin at `first_row`."""
        self.beam.state.join(images, first_row, device)
        fresh = self.places.new_zeros(len(images), self.places.shape[1])
        self.places = torch.cat([self.places, fresh])

    def drop(self, done: Tensor) -> None:
        """Forgets the images of a mask (M)."""
        self.beam.state.drop(done)
        self.places = self.places[~done]

    def step(self, logits: Tensor) -> None:
        """Extends every image's hypotheses by one token, given the logits (L,V) of the live."""
        state, limit = self.beam.state, self.task.max_new_tokens
        scores, plain, tokens, slots, places = self._candidates(logits)
        ended = torch.isin(tokens, self.stops)
        banks = self.words.needed[places].masked_fill(ended, 0).clamp(max=self.banks - 1)
        state.lengths = state.lengths + 1
        ended = ended | (state.lengths >= limit)[:, None]
        texts = take(state.texts, slots)
        index = (state.lengths - 1)[:, None, None].expand(-1, texts.shape[1], 1)
        texts.scatter_(2, index, tokens[:, :, None])
        best = ended & (self._ranks(banks, scores > NONE) < self.beam.width)
        final = scores.masked_fill(~best, NONE) / self.beam.divisor(state.lengths)[:, None]
        state.finish(final, plain, texts)
        going = self._turns(banks, (scores > NONE) & ~ended)
        order = state.go_on(scores.masked_fill(~going, NONE), plain, texts, tokens, slots)
        self.places = places.gather(1, order)

    def _candidates(self, logits: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        # scores, plain scores, tokens, slots and states (M,C) of continuations, best first
        state, words = self.beam.state, self.words
        live = state.live
        places = self.places[live]
        left = (self.task.max_new_tokens - 1 - state.lengths)[:, None].expand_as(live)[live]
        normaliser = logsumexp(logits)[:, None]
        ranked = logits - normaliser
        if self.beam.transforms:
            ranked = self.beam.transforms.strictly(ranked, *state.history())
        allowed = words.allowed(places, left[:, None])
        allowed[:, self.stops] = (words.needed[places] == 0)[:, None]
        ranked = ranked.masked_fill(~allowed, NONE)
        values, tokens = ranked.topk(min(self.beam.candidates, ranked.shape[1]))
        if self.banks > 1:
            nearer = words.allowed(places, words.needed[places][:, None] - 1)
            others = ranked.masked_fill(~nearer, NONE).scatter(1, tokens, NONE)
            more = others.topk(min(self.beam.width, ranked.shape[1]))
            values, tokens = torch.cat([values, more[0]], 1), torch.cat([tokens, more[1]], 1)
        plain = logits.gather(1, tokens) - normaliser
        after = words.next[places[:, None], words.classes[tokens]]
        count = values.shape[1]
        values = state.spread(values, NONE) + state.scores[:, :, None]
        plain = state.spread(plain, 0.0) + state.plain[:, :, None]
        scores, order = values.flatten(1).sort(dim=1, descending=True, stable=True)
        return (
            scores,
            plain.flatten(1).gather(1, order),
            state.spread(tokens, 0).flatten(1).gather(1, order),
            order // count,
            state.spread(after, 0).flatten(1).gather(1, order),
        )

    def _ranks(self, banks: Tensor, there: Tensor) -> Tensor:
        # (M,C), how many better candidates that are there each has in its bank
        counted = one_hot(banks, self.banks) * there[:, :, None]
        before = counted.cumsum(1) - counted
        return before.gather(2, banks[:, :, None]).squeeze(2)

    def _turns(self, banks: Tensor, there: Tensor) -> Tensor:
        # the mask (M,C) of the K whose turn comes first: the banks' best, their second best, ...
        turns = self._ranks(banks, there) * self.banks + banks
        turns = turns.masked_fill(~there, turns.numel() * self.banks + self.banks)
        width = min(self.beam.width, turns.shape[1])
        first = turns.topk(width, dim=1, largest=False).indices
        return torch.zeros_like(there).scatter(1, first, True) & there
