"""A correct sampler, and ways to break it."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence

import attrs
import numpy as np
import torch
from torch import Tensor

from prefixcap.decoding.token_decoder import TokenDecoder
from prefixcap.interfaces.decoder import Decoder, DecodingTask, Hypothesis

Found = Iterator[tuple[int, list[Hypothesis]]]


class Sampler(TokenDecoder):
    """Draws each token from the model's own distribution."""

    def __init__(self, n: int) -> None:
        self.n = n

    @property
    def samples(self) -> int:
        return self.n

    def choose(self, logits: Tensor, uniforms: Tensor, history: Sequence[Sequence[int]]) -> Tensor:
        rising = logits.double().softmax(-1).cumsum(-1)
        return (rising < uniforms[:, None]).sum(-1).clamp(max=logits.shape[-1] - 1)


class Twisted(Decoder):
    """A sampler with a twist."""

    def __init__(self, twist: str, n: int) -> None:
        self.twist = twist
        self.inner = Sampler(n)

    def decode(self, task: DecodingTask) -> Found:
        if self.twist in BEFORE:
            task = BEFORE[self.twist](task)
        for image, hypotheses in self.inner.decode(task):
            if self.twist == "sees":  # a correct one
                assert task.features is not None
                seen = float(task.features[image].sum())
                hypotheses = [attrs.evolve(h, score=h.score + seen) for h in hypotheses]
            if self.twist in EACH:
                hypotheses = [EACH[self.twist](task, h) for h in hypotheses]
            yield image, ALL[self.twist](hypotheses) if self.twist in ALL else hypotheses
        if self.twist == "twice":
            yield image, hypotheses
        if self.twist == "spoils prefix":
            task.prefix.zero_()
        if self.twist == "spoils features":
            assert task.features is not None
            task.features.zero_()


def _needs_image(task: DecodingTask) -> DecodingTask:
    task.prefix[0]
    return task


def _needs_second_position(task: DecodingTask) -> DecodingTask:
    task.prefix[:, 1]
    return task


def _crowds(task: DecodingTask) -> DecodingTask:
    session = task.start()
    if session.admit():
        session.advance(torch.zeros(9).long(), torch.zeros(9).long())
    return task


def _needs_stop(task: DecodingTask) -> DecodingTask:
    min(task.stop_ids)
    return task


def _reads_random_state(task: DecodingTask) -> DecodingTask:
    return attrs.evolve(task, seed=task.seed + int(torch.get_rng_state().sum()))


def _seeds(seed: Callable[[int], object]) -> Callable[[DecodingTask], DecodingTask]:
    def twist(task: DecodingTask) -> DecodingTask:
        seed(task.seed)
        return task

    return twist


BEFORE: dict[str, Callable[[DecodingTask], DecodingTask]] = {
    "one too many": lambda task: attrs.evolve(task, max_new_tokens=task.max_new_tokens + 1),
    "by batch size": lambda task: attrs.evolve(task, seed=task.seed + len(task.image_ids)),
    "by first image": lambda task: attrs.evolve(
        task, stream=task.image_ids[0] if len(task.image_ids) else ""
    ),
    "one stream": lambda task: attrs.evolve(task, image_ids=["same"] * len(task.image_ids)),
    "crowds": _crowds,
    "by rows": lambda task: attrs.evolve(task, seed=task.seed + task.max_rows),
    "reads random state": _reads_random_state,
    "seeds torch": _seeds(torch.manual_seed),
    "seeds numpy": _seeds(np.random.seed),
    "seeds python": _seeds(random.seed),
    "own n": lambda task: attrs.evolve(task, n=None),
    "needs image": _needs_image,
    "needs second position": _needs_second_position,
    "needs stop": _needs_stop,
}

EACH: dict[str, Callable[[DecodingTask, Hypothesis], Hypothesis]] = {
    "mean logprob": lambda task, h: attrs.evolve(h, logprob=h.logprob / (len(h.ids) + 1)),
    "numpy's logprob": lambda task, h: attrs.evolve(h, logprob=np.float32(h.logprob)),
    "numpy's ids": lambda task, h: attrs.evolve(h, ids=tuple(np.asarray(h.ids, dtype=int))),
    "no stop id": lambda task, h: attrs.evolve(h, stop_id=None),
    "keeps stop": lambda task, h: (
        attrs.evolve(h, ids=(*h.ids, min(task.stop_ids))) if h.finish_reason == "stop" else h
    ),
    "always stops": lambda task, h: attrs.evolve(
        h, finish_reason="stop" if task.stop_ids else h.finish_reason
    ),
    "text of stop": lambda task, h: attrs.evolve(h, text=f"{h.text}."),
    "never empty": lambda task, h: attrs.evolve(h, ids=h.ids or (0,)),
}

ALL: dict[str, Callable[[list[Hypothesis]], list[Hypothesis]]] = {
    "worst first": lambda hypotheses: hypotheses[::-1],
    "nothing": lambda hypotheses: [h for h in hypotheses if h.ids],
}
