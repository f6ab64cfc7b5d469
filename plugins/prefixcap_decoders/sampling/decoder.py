"""Sampling: each row draws tokens with its own random numbers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor
from typing_extensions import override

from prefixcap.decoding.token_decoder import Row, decode_rows, uniforms
from prefixcap.interfaces.decoder import Decoder, DecodingTask, Hypothesis
from prefixcap_decoders.logits.processors import Processor, Transforms, build_processors
from prefixcap_decoders.sampling.config import Drawing
from prefixcap_decoders.sampling.inverse_cdf import draw, draw_from_nucleus
from prefixcap_decoders.sampling.truncation import truncate, truncations

Draw = Callable[[Tensor, Tensor], Tensor]

# logits processed at once on a CPU, so that intermediate results stay in its cache
_CHUNK = 1 << 20


class Sampler(Decoder):
    """Draws each token from the transformed distribution of its row.

    Args:
        config: Distribution to draw from.
        samples: Number of captions per image, unless a task sets `n`.
    """

    def __init__(self, config: Drawing, samples: int) -> None:
        self.config = config
        self.samples = samples

    @override
    def decode(self, task: DecodingTask) -> Iterator[tuple[int, list[Hypothesis]]]:
        transforms = Transforms(build_processors(self.config, task))
        drawn = drawing(temperature=self.config.temperature, **self.config.truncation())

        def choose(logits: Tensor, rows: Sequence[Row]) -> Tensor:
            return drawn(transforms.of_rows(logits, rows), uniforms(rows, logits))

        return decode_rows(task, task.n or self.samples, choose)


def drawing(*, temperature: float = 1.0, top_k: float = 0, **others: float) -> Draw:
    """Return the cheapest function that draws tokens (R) from logits (R,V) by uniforms (R).

    Args:
        temperature: As in `Sample`.
        top_k: As in `Sample`.
        others: The other settings of `Sample.truncation`.
    """
    top_h, top_p = others.pop("top_h", 1.0), others.get("top_p", 1.0)
    if top_k and top_h == 1.0:
        full = truncations(temperature=temperature, top_k=top_k, **others)
        return _draw_from_top(int(top_k), truncations(temperature=temperature, **others), full)
    if top_p < 1.0 and top_h == 1.0 and not truncations(**{**others, "top_p": 1.0}):
        return _chunked(lambda logits, u: draw_from_nucleus(logits / temperature, u, top_p))
    warpers = truncations(temperature=temperature, top_h=top_h, top_k=top_k, **others)
    return _chunked(lambda logits, u: draw(truncate(warpers, logits), u))


def _chunked(run: Draw) -> Draw:
    def run_chunks(logits: Tensor, u: Tensor) -> Tensor:
        rows = max(1, _CHUNK // logits.shape[1])
        if logits.device.type != "cpu" or len(logits) <= rows:
            return run(logits, u)
        chunks = zip(torch.split(logits, rows), torch.split(u, rows), strict=True)
        return torch.cat([run(*chunk) for chunk in chunks])

    return run_chunks


def _draw_from_top(count: int, warpers: Sequence[Processor], full: Sequence[Processor]) -> Draw:
    # the warpers after top-k see -inf everywhere else, so they can be given the top tokens alone;
    # top-k keeps all ties at the cut, so rows with ties take the full vocabulary
    def run(logits: Tensor, u: Tensor) -> Tensor:
        values, tokens = logits.topk(min(count + 1, logits.shape[1]))
        place = draw(truncate(warpers, values[:, :count]), u)
        drawn = tokens.gather(1, place[:, None]).squeeze(1)
        tied = (values[:, count:] == values[:, count - 1 : -1]) & (values[:, count:] > -torch.inf)
        if len(rows := tied.any(1).nonzero().squeeze(1)):
            drawn[rows] = draw(truncate(full, logits[rows]), u[rows])
        return drawn

    return run
