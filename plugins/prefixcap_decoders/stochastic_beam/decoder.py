"""Stochastic beam search over all live images at once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial

import attrs
import numpy as np
import torch
from torch import Tensor
from typing_extensions import override

from prefixcap.decoding.live_images import LiveImages, gather_texts, is_stop
from prefixcap.interfaces.decoder import Decoder, DecodingTask, Hypothesis
from prefixcap.util.memory import require_memory
from prefixcap_decoders.beam.state import NONE
from prefixcap_decoders.logits.processors import Transforms, build_processors
from prefixcap_decoders.sampling.inverse_cdf import invert
from prefixcap_decoders.stochastic_beam.config import StochasticBeam


class StochasticSearch(Decoder):
    """Keeps the K live or ended hypotheses with the highest perturbed log-probabilities."""

    def __init__(self, config: StochasticBeam) -> None:
        self.config = config

    @override
    def decode(self, task: DecodingTask) -> Iterator[tuple[int, list[Hypothesis]]]:
        width = task.n or self.config.n
        transforms = Transforms(build_processors(self.config, task))
        # random numbers for every pair of a parent and a child at every step
        images = task.images_at_once(width)
        numbers = 2.0 * images * task.max_new_tokens * width * width
        require_memory(8 * numbers, f"{width} samples of {images} images", task.prefix.device)
        session = task.start(width)
        state = StochasticState.start(task, [], width)
        while (new := session.admit()) or state.images:
            if new:
                state = state.join(StochasticState.start(task, new, width))
            tokens, parents = self._step(task, state, session.logits, transforms)
            done = ~state.live.any(1)
            for slot in done.nonzero().squeeze(1).tolist():
                yield state.images[slot], state.hypotheses(task, slot)
            if done.any():
                # finished images have no rows, so the rows of the others stay the same
                state = state.select(~done)
            if state.images or session.waiting:
                session.advance(tokens, parents)

    def _step(
        self, task: DecodingTask, state: StochasticState, logits: Tensor, transforms: Transforms
    ) -> tuple[Tensor, Tensor]:
        live = state.live
        count = min(live.shape[1], logits.shape[1])
        history, lengths = state.texts[live], state.lengths[live]
        changed = transforms(logits, history, lengths) / self.config.temperature
        steps = lengths[:, None, None, None].expand(-1, 1, *state.uniforms.shape[3:])
        uniforms = state.uniforms.transpose(1, 2)[live]  # (M, T, K, K, 2) -> (L, T, K, 2)
        uniforms = uniforms.gather(1, steps).squeeze(1)  # (L, T, K, 2) -> (L, K, 2)
        tokens, gains, values = top_children(
            changed, state.phi[live], state.perturbed[live], uniforms[:, :count]
        )
        logprobs = logits.gather(1, tokens).double() - logits.double().logsumexp(-1, keepdim=True)
        return state.extend(task, tokens, gains, values, logprobs)


def top_children(
    logits: Tensor, phi: Tensor, perturbed: Tensor, uniforms: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Draw the C children with the highest perturbed log-probability of each row, best first.

    This is Kool et al.'s top-down sampling, without noise for the whole vocabulary: the best child
    has its parent's value; each next one is drawn from the rest in proportion to its probability,
    with a Gumbel value located at the rest's log-probability and truncated at the previous value.

    Args:
        logits: (L,V) of the next token.
        phi: (L), log-probability of each row.
        perturbed: (L), perturbed log-probability of each row.
        uniforms: (L,C,2) in [0,1), float64.

    Returns:
        Tokens (L,C), their log-probabilities (L,C) given the row, and their perturbed
        log-probabilities (L,C), -inf if a row has fewer children.
    """
    weights = (logits - logits.amax(-1, keepdim=True)).exp()
    total = weights.sum(-1).double()
    bound, children = perturbed, []
    for place in range(uniforms.shape[1]):
        mass = weights.sum(-1).double()
        token = invert(weights, uniforms[:, place, 0])[:, None]
        gain = (weights.gather(1, token).squeeze(1).double() / total).log()
        if place:
            center = phi + (mass / total).log()
            # the maximum of the rest's Gumbel values, given that it is below the previous one
            noise = torch.log(-uniforms[:, place, 1].clamp(min=1e-300).log())
            bound = center - torch.logaddexp(center - bound, noise)
        bound = torch.where(mass > 0, bound, NONE)
        children.append((token.squeeze(1), gain, bound))
        weights = weights.scatter(1, token, 0.0)
    tokens, gains, values = (torch.stack(part, 1) for part in zip(*children, strict=True))
    return tokens, gains, values


@attrs.define(eq=False)
class StochasticState(LiveImages):
    """Hypotheses of M images in K slots; an empty slot's perturbed log-probability is -inf."""

    phi: Tensor  # (M,K) float64, log-probabilities under the sampled distribution
    perturbed: Tensor  # (M,K) float64, with Gumbel noise, descending
    logprobs: Tensor  # (M,K) float64, log-probabilities by the model itself
    ended: Tensor  # (M,K), whether the caption has ended
    lengths: Tensor  # (M,K) int64
    texts: Tensor  # (M,K,T) int64
    uniforms: Tensor  # (M,T,K,K,2) float64, random numbers of each image

    @classmethod
    def start(cls, task: DecodingTask, images: Sequence[int], width: int) -> StochasticState:
        """Return the state of new images, with one empty hypothesis each."""
        limit, device = task.max_new_tokens, task.prefix.device
        shape = (limit, width, width, 2)
        numbers = [task.generator(image).random(shape) for image in images]
        uniforms = np.stack(numbers) if numbers else np.empty((0, *shape))
        zeros = partial(torch.zeros, len(images), width, device=device)
        perturbed = zeros(dtype=torch.float64) + NONE
        perturbed[:, 0] = 0.0
        return cls(
            images=list(images),
            phi=zeros(dtype=torch.float64),
            perturbed=perturbed,
            logprobs=zeros(dtype=torch.float64),
            ended=zeros(dtype=torch.bool),
            lengths=zeros(dtype=torch.long),
            texts=zeros(dtype=torch.long)[:, :, None].repeat(1, 1, limit),
            uniforms=torch.from_numpy(uniforms).to(device),
        )

    @property
    def live(self) -> Tensor:
        """The mask (M,K) of slots that have a row, in the order of the rows."""
        return (self.perturbed > NONE) & ~self.ended

    def extend(
        self, task: DecodingTask, tokens: Tensor, gains: Tensor, values: Tensor, logprobs: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Keep the K best of the live rows' children (L,C) and the ended hypotheses.

        Returns:
            The tokens (R') and parents (R') of the new live rows.
        """
        live, (width, count) = self.live, (self.phi.shape[1], tokens.shape[1])
        rows = (live.flatten().cumsum(0) - 1).view_as(live)

        def to_slots(children: Tensor, fill: float) -> Tensor:  # (L, C) -> (M, K * C)
            slots = children.new_full((*live.shape, count), fill)
            slots[live] = children
            return slots.flatten(1)

        ended = torch.where(self.ended, self.perturbed, NONE)
        choices = torch.cat([to_slots(values, NONE), ended], 1)  # (M, K * C + K)
        self.perturbed, order = choices.topk(width)
        is_child = order < width * count
        parent = torch.where(is_child, order // count, order - width * count)
        child = torch.where(is_child, order, 0)
        token = to_slots(tokens, 0).gather(1, child)
        gains = to_slots(gains, 0.0).gather(1, child).where(is_child, 0.0)
        logprobs = to_slots(logprobs, 0.0).gather(1, child).where(is_child, 0.0)
        self.phi = self.phi.gather(1, parent) + gains
        self.logprobs = self.logprobs.gather(1, parent) + logprobs
        lengths = self.lengths.gather(1, parent)
        texts = gather_texts(self.texts, parent)
        # ended hypotheses keep their last token, children append theirs
        end = lengths.clamp(max=texts.shape[2] - 1)[:, :, None]
        written = torch.where(is_child[:, :, None], token[:, :, None], texts.gather(2, end))
        self.texts = texts.scatter(2, end, written)
        self.lengths = lengths + is_child
        stopped = is_stop(token, task.stop_ids)
        self.ended = ~is_child | stopped | (self.lengths >= task.max_new_tokens)
        return token[self.live], rows.gather(1, parent)[self.live]

    def hypotheses(self, task: DecodingTask, slot: int) -> list[Hypothesis]:
        """Return an image's hypotheses, best first."""
        parts = self.texts, self.lengths, self.logprobs, self.perturbed
        return [
            task.hypothesis(text[:length], logprob, score)
            for text, length, logprob, score in zip(
                *(part[slot].tolist() for part in parts), strict=True
            )
            if score > NONE
        ]
