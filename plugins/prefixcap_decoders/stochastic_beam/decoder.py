"""Stochastic beam search over all live images at once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import attrs
import numpy as np
import torch
from torch import Tensor

from prefixcap.interfaces.decoder import Decoder, DecodingTask, Hypothesis
from prefixcap_decoders.beam.state import NONE, take
from prefixcap_decoders.logits.processors import Transforms, controls
from prefixcap_decoders.sampling.inverse_cdf import invert
from prefixcap_decoders.stochastic_beam.config import StochasticBeam


class StochasticSearch(Decoder):
    """Keeps the K hypotheses of the highest perturbed log-probability, ended ones among them."""

    def __init__(self, config: StochasticBeam) -> None:
        self.config = config

    def decode(self, task: DecodingTask) -> Iterator[tuple[int, list[Hypothesis]]]:
        """Yields each image's captions, by falling perturbed log-probability."""
        width = task.n or self.config.n
        transforms = Transforms(controls(self.config, task))
        session = task.start(width)
        state: Perturbed | None = None
        while (new := session.admit()) or state is not None:
            if new:
                fresh = Perturbed.of(task, new, width, session.logits.device)
                state = fresh if state is None else state.joined(fresh)
            assert state is not None
            tokens, parents = self._step(task, state, session.logits, transforms)
            done = ~state.live.any(1)
            for slot in done.nonzero().squeeze(1).tolist():
                yield state.images[slot], state.hypotheses(task, slot)
            if done.any():
                kept = ~done
                # no row belongs to an image that is done, so the others' rows stay as they are
                state = state.kept(kept)
            if state is not None or session.waiting:
                session.advance(tokens, parents)

    def _step(
        self, task: DecodingTask, state: Perturbed, logits: Tensor, transforms: Transforms
    ) -> tuple[Tensor, Tensor]:
        live = state.live
        count = min(state.width, logits.shape[1])
        history, lengths = state.texts[live], state.lengths[live]
        changed = transforms(logits, history, lengths) / self.config.temperature
        steps = lengths[:, None, None, None].expand(-1, 1, *state.numbers.shape[3:])
        numbers = state.numbers.transpose(1, 2)[live].gather(1, steps).squeeze(1)
        tokens, gained, values = top_children(
            changed, state.phi[live], state.perturbed[live], numbers[:, :count]
        )
        own = logits.gather(1, tokens).double() - logits.double().logsumexp(-1, keepdim=True)
        return state.extend(task, tokens, gained, values, own)


def top_children(
    logits: Tensor, phi: Tensor, perturbed: Tensor, numbers: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Draws the C children of the highest perturbed log-probability, best first, for each row.

    The best child has the value of its parent; the best of the rest is drawn in proportion to its
    probability, with a Gumbel value around the rest's log-probability, cut off at the one before.
    This is Kool et al.'s top-down sampling without drawing noise for the whole vocabulary.

    Args:
        logits: (L,V) of the next token.
        phi: (L), each row's log-probability.
        perturbed: (L), each row's perturbed log-probability.
        numbers: (L,C,2), uniform in [0,1), float64.

    Returns:
        Tokens (L,C), their log-probabilities (L,C) given the row, and perturbed log-probabilities
        (L,C); -inf where a row has fewer children.
    """
    weights = (logits - logits.amax(-1, keepdim=True)).exp()
    total = weights.sum(-1).double()
    bound, found = perturbed, []
    for place in range(numbers.shape[1]):
        mass = weights.sum(-1).double()
        token = invert(weights, numbers[:, place, 0])[:, None]
        gained = (weights.gather(1, token).squeeze(1).double() / total).log()
        if place:
            center = phi + (mass / total).log()
            noise = torch.log(-numbers[:, place, 1].clamp(min=1e-300).log())
            bound = center - torch.logaddexp(center - bound, noise)
        bound = torch.where(mass > 0, bound, NONE)
        found.append((token.squeeze(1), gained, bound))
        weights = weights.scatter(1, token, 0.0)
    tokens, gains, values = (torch.stack(part, 1) for part in zip(*found, strict=True))
    return tokens, gains, values


@attrs.define(eq=False)
class Perturbed:
    """The live images (M), K slots each; a perturbed log-probability of -inf is an empty slot.

    Attributes:
        images: their numbers.
        phi: (M,K) float64, log-probabilities of what is drawn from.
        perturbed: (M,K) float64, with Gumbel noise; falling along the slots.
        own: (M,K) float64, log-probabilities by the model itself.
        ended: (M,K), whether a caption has ended.
        lengths: (M,K) int64.
        texts: (M,K,T) int64.
        numbers: (M,T,K,K,2) float64, each image's own random numbers.
    """

    images: list[int]
    phi: Tensor
    perturbed: Tensor
    own: Tensor
    ended: Tensor
    lengths: Tensor
    texts: Tensor
    numbers: Tensor

    @classmethod
    def of(
        cls, task: DecodingTask, images: Sequence[int], width: int, device: torch.device
    ) -> Perturbed:
        """Makes new images, with one live row each."""
        limit, slots = task.max_new_tokens, (len(images), width)
        drawn = [task.generator(i).random((limit, width, width, 2)) for i in images]
        perturbed = torch.full(slots, NONE, dtype=torch.float64, device=device)
        perturbed[:, 0] = 0.0
        return cls(
            images=list(images),
            phi=torch.zeros(slots, dtype=torch.float64, device=device),
            perturbed=perturbed,
            own=torch.zeros(slots, dtype=torch.float64, device=device),
            ended=torch.zeros(slots, dtype=torch.bool, device=device),
            lengths=torch.zeros(slots, dtype=torch.long, device=device),
            texts=torch.zeros(*slots, limit, dtype=torch.long, device=device),
            numbers=torch.from_numpy(np.stack(drawn)).to(device),
        )

    @property
    def width(self) -> int:
        """K."""
        return self.phi.shape[1]

    @property
    def live(self) -> Tensor:
        """The mask (M,K) of the slots that have a row, in the rows' order."""
        return (self.perturbed > NONE) & ~self.ended

    def extend(
        self, task: DecodingTask, tokens: Tensor, gained: Tensor, values: Tensor, own: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Keeps the K best of the live rows' children (L,C) and of the ended hypotheses.

        Returns:
            The tokens (R') and parent rows (R') of the new live rows.
        """
        live, count = self.live, tokens.shape[1]
        rows = (live.flatten().cumsum(0) - 1).view_as(live)

        def spread(children: Tensor, empty: float) -> Tensor:
            slots = children.new_full((*live.shape, count), empty)
            slots[live] = children
            return slots

        kept = torch.where(self.ended, self.perturbed, NONE)
        choice = torch.cat([spread(values, NONE).flatten(1), kept], 1)
        self.perturbed, order = choice.topk(self.width)
        child = order < self.width * count
        parent = torch.where(child, order // count, order - self.width * count)
        place = torch.where(child, order, 0)
        token = spread(tokens, 0).flatten(1).gather(1, place)
        self.phi = self.phi.gather(1, parent)
        self.phi = self.phi + spread(gained, 0.0).flatten(1).gather(1, place).where(child, 0.0)
        self.own = self.own.gather(1, parent)
        self.own = self.own + spread(own, 0.0).flatten(1).gather(1, place).where(child, 0.0)
        lengths = self.lengths.gather(1, parent)
        texts = take(self.texts, parent)
        at = lengths.clamp(max=texts.shape[2] - 1)[:, :, None]
        written = torch.where(child[:, :, None], token[:, :, None], texts.gather(2, at))
        self.texts = texts.scatter(2, at, written)
        self.lengths = lengths + child
        stopped = torch.zeros_like(child)
        for stop in task.stop_ids:
            stopped |= token == stop
        self.ended = ~child | stopped | (self.lengths >= task.max_new_tokens)
        return token[self.live], rows.gather(1, parent)[self.live]

    def hypotheses(self, task: DecodingTask, slot: int) -> list[Hypothesis]:
        """Returns an image's hypotheses, best first."""
        parts = (self.texts, self.lengths, self.own, self.perturbed)
        rows = zip(*(part[slot].tolist() for part in parts), strict=True)
        return [
            task.hypothesis(text[:length], logprob, score)
            for text, length, logprob, score in rows
            if score > NONE
        ]

    def joined(self, other: Perturbed) -> Perturbed:
        """Returns these images and then the others."""
        pairs = zip(self._tensors(), other._tensors(), strict=True)
        return Perturbed(self.images + other.images, *(torch.cat(pair) for pair in pairs))

    def kept(self, mask: Tensor) -> Perturbed | None:
        """Returns the images of a mask (M), or None where there are none."""
        slots = mask.nonzero().squeeze(1)
        if not len(slots):
            return None
        images = [self.images[slot] for slot in slots.tolist()]
        return Perturbed(images, *(tensor[slots] for tensor in self._tensors()))

    def _tensors(self) -> tuple[Tensor, ...]:
        parts = self.phi, self.perturbed, self.own, self.ended
        return *parts, self.lengths, self.texts, self.numbers
