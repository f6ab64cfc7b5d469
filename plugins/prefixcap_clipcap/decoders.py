"""ClipCap's two searches on a session.

In its beam search, A images are being searched with K beams each. Ended beams hold no row of the
session: what they continue with is known (token 0 at log-probability 0).
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING

import attrs
import torch
from torch import Tensor

from prefixcap.decoding.token_decoder import decode_rows
from prefixcap.errors import PrefixcapError
from prefixcap.interfaces.decoder import Decoder, Hypothesis

if TYPE_CHECKING:
    from prefixcap.interfaces.decoder import DecodingTask

_NEVER = float("-inf")


class ClipCapGenerate2Decoder(Decoder):
    """Takes the likeliest token at each step, which is what ClipCap's `generate2` does."""

    def decode(self, task: DecodingTask) -> Iterator[tuple[int, list[Hypothesis]]]:
        """Yields each image's caption, as often as captions are wanted."""
        for image, found in decode_rows(task, 1, lambda logits, _: logits.argmax(-1)):
            yield image, found * (task.n or 1)


class ClipCapBeamDecoder(Decoder):
    """Searches as ClipCap's `generate_beam` does, many images at once.

    Args:
        num_beams: K, the beams an image.
    """

    def __init__(self, num_beams: int) -> None:
        self.num_beams = num_beams

    def decode(self, task: DecodingTask) -> Iterator[tuple[int, list[Hypothesis]]]:
        """Yields each image's beams as soon as all of them have ended, best first.

        Raises:
            PrefixcapError: more captions are wanted than there are beams.
        """
        wanted = self.num_beams if task.n is None else task.n
        if wanted > self.num_beams:
            raise PrefixcapError(
                f"clipcap-beam with num_beams={self.num_beams} finds {self.num_beams} captions an "
                f"image, not {wanted}: set num_beams={wanted} (a wider beam finds other captions)"
            )
        session = task.start(self.num_beams)
        device = next(task.lm.module.parameters()).device
        beams = _Beams.fresh([], self.num_beams, task.max_new_tokens, device)
        stops = torch.tensor(sorted(task.stop_ids), dtype=torch.long, device=device)
        while (new := session.admit()) or beams.images:
            logits = session.logits
            if new:
                beams = beams.joined(new, first_row=len(logits) - len(new))
            parents = beams.step(logits, stops)
            ended = beams.ended()
            for number in ended.nonzero().flatten().tolist():
                yield beams.images[number], beams.hypotheses(number, task)[:wanted]
            if ended.any():
                parents = parents[~ended]
                beams = beams.kept(~ended)
            live = ~beams.stopped
            if beams.images or session.waiting:
                session.advance(beams.last()[live], parents[live])
            beams.rows = (live.flatten().cumsum(0) - 1).view_as(live)


@attrs.define
class _Beams:
    """The beams of A images.

    Attributes:
        images: their numbers.
        scores: (A,K) sums of log-probabilities; minus infinity where a beam is empty.
        lengths: (A,K) tokens, those after the stop not counted.
        stopped: (A,K), True where a beam has ended or is empty.
        tokens: (A,K,T), of which the first `steps` are chosen.
        steps: (A) tokens chosen so far.
        rows: (A,K) the session's row of each beam; any number where it has none.
    """

    images: list[int]
    scores: Tensor
    lengths: Tensor
    stopped: Tensor
    tokens: Tensor
    steps: Tensor
    rows: Tensor

    @classmethod
    def fresh(cls, images: list[int], beams: int, longest: int, device: torch.device) -> _Beams:
        """Makes the beams of images at their start: one beam without a token, the others empty."""
        number = len(images)
        scores = torch.full((number, beams), _NEVER, device=device)
        scores[:, 0] = 0.0
        zeros = partial(torch.zeros, dtype=torch.long, device=device)
        return cls(
            images=images,
            scores=scores,
            lengths=zeros((number, beams)),
            stopped=scores == _NEVER,
            tokens=zeros((number, beams, longest)),
            steps=zeros(number),
            rows=zeros((number, beams)),
        )

    def joined(self, new: list[int], first_row: int) -> _Beams:
        """Returns these beams and those of new images, whose rows start at `first_row`."""
        device = self.scores.device
        fresh = self.fresh(new, self.scores.shape[1], self.tokens.shape[2], device)
        fresh.rows += torch.arange(first_row, first_row + len(new), device=device)[:, None]
        return _Beams(
            self.images + new,
            *(torch.cat(pair) for pair in zip(self._tensors(), fresh._tensors(), strict=True)),
        )

    def kept(self, keep: Tensor) -> _Beams:
        """Returns the beams of the images where `keep` (A) is True."""
        images = [image for image, kept in zip(self.images, keep.tolist(), strict=True) if kept]
        return _Beams(images, *(tensor[keep] for tensor in self._tensors()))

    def _tensors(self) -> tuple[Tensor, ...]:
        return self.scores, self.lengths, self.stopped, self.tokens, self.steps, self.rows

    def step(self, logits: Tensor, stops: Tensor) -> Tensor:
        """Extends every beam by one token.

        Args:
            logits: (R,V) of the session's rows.
            stops: the stop tokens.

        Returns:
            (A,K), the session's row that each new beam continues.
        """
        logprobs, candidates = self._candidates(logits)
        self.lengths += ~self.stopped
        # an empty beam has no length: one keeps its score at minus infinity
        means = (self.scores[..., None] + logprobs) / self.lengths.clamp(min=1)[..., None]
        best, index = means.flatten(1).topk(means.shape[1])
        source = index // means.shape[2]
        chosen = candidates.flatten(1).gather(1, index)
        self.lengths = self.lengths.gather(1, source)
        # ClipCap keeps the mean times the length, not the sum: the same rounding, the same ties
        self.scores = best * self.lengths.clamp(min=1)
        self.stopped = self.stopped.gather(1, source) | torch.isin(chosen, stops)
        self.stopped |= self.scores == _NEVER
        self.tokens = self.tokens.gather(1, source[..., None].expand_as(self.tokens))
        at = self.steps[:, None, None].expand(*chosen.shape, 1)
        self.tokens.scatter_(2, at, chosen[..., None])
        self.steps += 1
        return self.rows.gather(1, source)

    def _candidates(self, logits: Tensor) -> tuple[Tensor, Tensor]:
        """Returns the log-probabilities and the tokens (A,K,C) that each beam may continue with.

        A row's C = min(K,V) likeliest tokens are enough: its candidates share one length.
        """
        width = min(self.scores.shape[1], logits.shape[1])
        top, tokens = logits.topk(width)
        top = top - logits.logsumexp(-1, keepdim=True)
        rows = self.rows.masked_fill(self.stopped, 0)
        over = torch.full((width,), _NEVER, device=logits.device)
        over[0] = 0.0
        stopped = self.stopped[..., None]
        return top[rows].where(~stopped, over), tokens[rows].masked_fill(stopped, 0)

    def last(self) -> Tensor:
        """Returns the tokens (A,K) that were chosen last."""
        at = (self.steps - 1)[:, None, None].expand(*self.scores.shape, 1)
        return self.tokens.gather(2, at).squeeze(2)

    def ended(self) -> Tensor:
        """Returns (A), True where every beam has ended or the longest length is reached."""
        return self.stopped.all(1) | (self.steps == self.tokens.shape[2])

    def hypotheses(self, number: int, task: DecodingTask) -> list[Hypothesis]:
        """Returns the hypotheses of an image, best first."""
        found = [
            task.hypothesis(tokens[:length], logprob, logprob / length)
            for tokens, length, logprob in zip(
                self.tokens[number].tolist(),
                self.lengths[number].tolist(),
                self.scores[number].tolist(),
                strict=True,
            )
            if logprob > _NEVER
        ]
        return sorted(found, key=lambda hypothesis: -hypothesis.score)
