"""ClipCap's two searches on a session."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial

import attrs
import torch
from torch import Tensor
from typing_extensions import override

from prefixcap.decoding.live_images import LiveImages, gather_texts, is_stop
from prefixcap.decoding.token_decoder import decode_rows
from prefixcap.errors import PrefixcapError
from prefixcap.interfaces.decoder import Decoder, DecodingTask, Hypothesis
from prefixcap.util.memory import require_memory

_NONE = float("-inf")


class ClipCapGenerate2Decoder(Decoder):
    """Takes the most likely token at each step, as ClipCap's `generate2` does."""

    @override
    def decode(self, task: DecodingTask) -> Iterator[tuple[int, list[Hypothesis]]]:
        for image, hypotheses in decode_rows(task, 1, lambda logits, _: logits.argmax(-1)):
            yield image, hypotheses * (task.n or 1)


class ClipCapBeamDecoder(Decoder):
    """Searches as ClipCap's `generate_beam` does, for many images at once.

    Args:
        num_beams: K, number of beams per image.
    """

    def __init__(self, num_beams: int) -> None:
        self.num_beams = num_beams

    @override
    def decode(self, task: DecodingTask) -> Iterator[tuple[int, list[Hypothesis]]]:
        count = self.num_beams if task.n is None else task.n
        if count > self.num_beams:
            raise PrefixcapError(
                f"clipcap-beam with num_beams={self.num_beams} returns {self.num_beams} captions "
                f"per image, not {count}: set num_beams={count} (a wider beam changes the captions)"
            )
        images, width = task.images_at_once(self.num_beams), self.num_beams
        # what a step writes of every continuation, and the beams' tokens
        row = 32.0 * min(width, task.lm.vocab_size) + 16.0 * task.max_new_tokens
        require_memory(row * images * width, f"{width} beams of {images} images")
        session = task.start(self.num_beams)
        beams = ClipCapBeams.start([], self.num_beams, 0, task)
        while (new := session.admit()) or beams.images:
            logits = session.logits
            if new:
                first_row = len(logits) - len(new)
                beams = beams.join(ClipCapBeams.start(new, self.num_beams, first_row, task))
            parents = beams.step(logits, task.stop_ids)
            ended = beams.ended()
            for slot in ended.nonzero().flatten().tolist():
                yield beams.images[slot], beams.hypotheses(slot, task)[:count]
            if ended.any():
                parents, beams = parents[~ended], beams.select(~ended)
            live = ~beams.stopped
            if beams.images or session.waiting:
                session.advance(beams.last()[live], parents[live])
            beams.rows = (live.flatten().cumsum(0) - 1).view_as(live)


@attrs.define(eq=False)
class ClipCapBeams(LiveImages):
    """The beams of M images, K each.

    Ended beams have no row of the session: their continuation is known, which is token 0 with
    log-probability 0.
    """

    scores: Tensor  # (M,K), sums of log-probabilities; -inf for an empty beam
    lengths: Tensor  # (M,K), numbers of tokens up to the stop token
    stopped: Tensor  # (M,K), True for ended and empty beams
    tokens: Tensor  # (M,K,T), of which the first `steps` are set
    steps: Tensor  # (M), number of steps so far
    rows: Tensor  # (M,K), session row of each beam; arbitrary if it has none

    @classmethod
    def start(
        cls, images: Sequence[int], beams: int, first_row: int, task: DecodingTask
    ) -> ClipCapBeams:
        """Return the beams of new images: one beam without tokens, and the others empty."""
        device = task.prefix.device
        scores = torch.full((len(images), beams), _NONE, device=device)
        scores[:, 0] = 0.0
        zeros = partial(torch.zeros, len(images), dtype=torch.long, device=device)
        rows = torch.arange(first_row, first_row + len(images), device=device)
        return cls(
            images=list(images),
            scores=scores,
            lengths=torch.zeros_like(scores, dtype=torch.long),
            stopped=scores == _NONE,
            tokens=scores.new_zeros((*scores.shape, task.max_new_tokens), dtype=torch.long),
            steps=zeros(),
            rows=rows[:, None].repeat(1, beams),
        )

    def step(self, logits: Tensor, stop_ids: frozenset[int]) -> Tensor:
        """Extend every beam by one token, given the logits (R,V) of the session's rows.

        Returns:
            The session's row (M,K) that each new beam continues.
        """
        logprobs, candidates = self._candidates(logits)
        self.lengths += ~self.stopped
        # an empty beam has length 0, and keeps its score of -inf
        means = (self.scores[..., None] + logprobs) / self.lengths.clamp(min=1)[..., None]
        best, index = means.flatten(1).topk(means.shape[1])  # (M, K, C) -> (M, K)
        source = index // means.shape[2]
        chosen = candidates.flatten(1).gather(1, index)
        self.lengths = self.lengths.gather(1, source)
        # like ClipCap, keep the mean times the length, not the sum: same rounding, same ties
        self.scores = best * self.lengths.clamp(min=1)
        self.stopped = self.stopped.gather(1, source) | is_stop(chosen, stop_ids)
        self.stopped |= self.scores == _NONE
        self.tokens = gather_texts(self.tokens, source)
        place = self.steps[:, None, None].expand(*chosen.shape, 1)
        self.tokens.scatter_(2, place, chosen[..., None])
        self.steps += 1
        return self.rows.gather(1, source)

    def _candidates(self, logits: Tensor) -> tuple[Tensor, Tensor]:
        """Return log-probabilities and tokens (M,K,C) of each beam's continuations.

        A row's C = min(K,V) most likely tokens suffice, because its candidates share one length.
        """
        width = min(self.scores.shape[1], logits.shape[1])
        top, tokens = logits.topk(width)
        top = top - logits.logsumexp(-1, keepdim=True)
        rows = self.rows.masked_fill(self.stopped, 0)
        ended = torch.full((width,), _NONE, device=logits.device)
        ended[0] = 0.0
        stopped = self.stopped[..., None]
        return top[rows].where(~stopped, ended), tokens[rows].masked_fill(stopped, 0)

    def last(self) -> Tensor:
        """Return the tokens (M,K) that were chosen last."""
        place = (self.steps - 1)[:, None, None].expand(*self.scores.shape, 1)
        return self.tokens.gather(2, place).squeeze(2)

    def ended(self) -> Tensor:
        """Return the mask (M) of images whose beams have all ended, or reached the limit."""
        return self.stopped.all(1) | (self.steps == self.tokens.shape[2])

    def hypotheses(self, slot: int, task: DecodingTask) -> list[Hypothesis]:
        """Return the hypotheses of an image, best first."""
        parts = self.tokens, self.lengths, self.scores
        hypotheses = [
            task.hypothesis(tokens[:length], logprob, logprob / length)
            for tokens, length, logprob in zip(
                *(part[slot].tolist() for part in parts), strict=True
            )
            if logprob > _NONE
        ]
        return sorted(hypotheses, key=lambda hypothesis: -hypothesis.score)
