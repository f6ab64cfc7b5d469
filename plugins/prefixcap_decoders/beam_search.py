"""Beam search over all live images at once: a few tensor calls a step, no loop over rows."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from prefixcap.decoding import Task
from prefixcap.errors import PrefixcapError
from prefixcap.kinds import Decoder, Hypothesis
from prefixcap_decoders.beam_state import BeamState
from prefixcap_decoders.lengths import divisor
from prefixcap_decoders.transforms import Transforms, controls

if TYPE_CHECKING:
    from prefixcap_decoders.beam import Beam


class BeamDecoder(Decoder):
    """The search of transformers' `generate`, step for step, on rows that come and go.

    Each step looks at the best (1 + number of stop tokens) * K continuations of an image's K
    hypotheses, at least 2 K. Those among the first K that end the caption compete with the image's
    ended hypotheses; the K best that do not end it go on.
    """

    def __init__(self, config: Beam) -> None:
        self.config = config

    def decode(self, task: Task) -> Iterator[tuple[int, list[Hypothesis]]]:
        """Yields each image's best hypotheses as soon as its search is over."""
        wanted = task.n or self.config.n
        if wanted > self.config.num_beams:
            raise PrefixcapError(
                f"beam: {wanted} captions an image were asked for, but num_beams is "
                f"{self.config.num_beams}: raise num_beams or lower n"
            )
        search = _Search(self.config, task)
        session = task.start(self.config.num_beams)
        while (new := session.admit()) or search.state.images:
            search.state.join(new, session.logits.device)
            tokens, parents = search.step(session.logits)
            done, going = search.over()
            if done.any():
                for slot in done.nonzero().squeeze(1).tolist():
                    yield search.state.images[slot], search.best(slot, wanted)
                kept = going[search.state.live].nonzero().squeeze(1)
                tokens, parents = tokens[kept], parents[kept]
                search.state.drop(done)
            if search.state.images or session.waiting:
                session.advance(tokens, parents)


class _Search:
    """One search: its settings and the state of the live images (M) with K slots each."""

    def __init__(self, config: Beam, task: Task) -> None:
        self.config = config
        self.task = task
        self.stop_ids = sorted(task.stop_ids)
        self.width = config.num_beams
        self.candidates = max(2, 1 + len(self.stop_ids)) * config.num_beams
        self.state = BeamState(self.width, task.max_new_tokens)
        self.transforms = Transforms(controls(config, task))
        # what a caption of each length is divided by; length 0 is never asked for
        lengths = [0, *range(1, task.max_new_tokens + 1)]
        self.divisors = [
            divisor(length or 1, config.length_penalty, config.length_norm) for length in lengths
        ]

    def step(self, logits: Tensor) -> tuple[Tensor, Tensor]:
        """Extends every image's hypotheses by one token.

        Args:
            logits: (R,V) of the live rows.

        Returns:
            The tokens (R') and parent rows (R') of the rows that go on.
        """
        state = self.state
        scores, plain, tokens, slots = self._candidates(logits)
        stops = torch.zeros_like(tokens, dtype=torch.bool)
        for stop in self.stop_ids:
            stops |= tokens == stop
        state.lengths += 1
        ended = stops | (state.lengths >= self.task.max_new_tokens)[:, None]
        texts = state.texts.gather(1, slots[:, :, None].expand(-1, -1, state.texts.shape[2]))
        texts.scatter_(
            2, (state.lengths - 1)[:, None, None].expand(-1, texts.shape[1], 1), tokens[:, :, None]
        )
        head = slice(None), slice(self.width)
        final = torch.where(ended[head], scores[head], float("-inf"))
        final = final / self._divisor(state.lengths)[:, None]
        state.finish(final, plain[head], texts[head])
        return state.go_on(scores.masked_fill(ended, float("-inf")), plain, texts, tokens, slots)

    def over(self) -> tuple[Tensor, Tensor]:
        """Says which images are done.

        Returns:
            Two masks: of the images (M) that are done, and of the slots (M,K) of the others.
        """
        state = self.state
        done = ~state.live.any(1)
        full = (state.final > float("-inf")).all(1)
        if self.config.early_stopping == "true":
            done |= full
        # as in transformers: a live hypothesis is taken for as good as its score would be if it
        # ended here, or, with "never" and a bonus for length, at the length where it is best
        at_limit = self.config.early_stopping == "never" and self.config.length_penalty > 0
        limit = torch.full_like(state.lengths, self.task.max_new_tokens)
        hoped = state.scores[:, 0] / self._divisor(limit if at_limit else state.lengths)
        done |= full & (hoped <= state.final[:, -1])
        return done, ~done[:, None].expand(-1, self.width)

    def best(self, slot: int, wanted: int) -> list[Hypothesis]:
        """Returns the ended hypotheses of one of the live images, best first."""
        state = self.state
        found = []
        rows = zip(
            state.final[slot].tolist(),
            state.final_plain[slot].tolist(),
            state.final_lengths[slot].tolist(),
            state.final_texts[slot].tolist(),
            strict=True,
        )
        for score, logprob, length, text in rows:
            if score > float("-inf"):
                found.append(self.task.hypothesis(text[:length], logprob, score))
        return found[:wanted]

    def _candidates(self, logits: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        # each row's best continuations are found first, so that what is ranked across the rows of
        # an image is small and the log-softmax of the whole vocabulary is never written
        state = self.state
        count = min(self.candidates, logits.shape[1])
        normaliser = logits.logsumexp(-1, keepdim=True)
        if self.transforms:
            history, lengths = state.history()
            ranked = self.transforms(logits - normaliser, history, lengths)
            values, tokens = ranked.topk(count)
            plain = logits.gather(1, tokens) - normaliser
        else:
            values, tokens = logits.topk(count)
            values = plain = values - normaliser
        values = state.spread(values, float("-inf")) + state.scores[:, :, None]
        plain = state.spread(plain, 0.0) + state.plain[:, :, None]
        tokens = state.spread(tokens, 0)
        scores, order = values.flatten(1).topk(min(self.candidates, values[0].numel()))
        return (
            scores,
            plain.flatten(1).gather(1, order),
            tokens.flatten(1).gather(1, order),
            order // count,
        )

    def _divisor(self, lengths: Tensor) -> Tensor:
        table = torch.tensor(self.divisors, device=lengths.device)
        return table[lengths]
