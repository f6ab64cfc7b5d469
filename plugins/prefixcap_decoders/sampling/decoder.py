"""Samplers: each row draws tokens from a truncated distribution with its own random numbers."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor
from typing_extensions import override

from prefixcap.decoding.token_decoder import Row, decode_rows, uniforms
from prefixcap.interfaces.decoder import Decoder, DecodingTask, Hypothesis
from prefixcap_decoders.logits.by_name import generation
from prefixcap_decoders.logits.processors import Processor, Transforms, build_processors
from prefixcap_decoders.sampling.config import Drawing, Mirostat
from prefixcap_decoders.sampling.inverse_cdf import draw, draw_from_nucleus

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


class MirostatSampler(Decoder):
    """Draws tokens with a surprisal of at most mu, which is kept in each row's memory."""

    def __init__(self, config: Mirostat) -> None:
        self.config = config

    @override
    def decode(self, task: DecodingTask) -> Iterator[tuple[int, list[Hypothesis]]]:
        transforms = Transforms(build_processors(self.config, task))

        def choose(logits: Tensor, rows: Sequence[Row]) -> Tensor:
            return self._draw(transforms.of_rows(logits, rows) / self.config.temperature, rows)

        return decode_rows(task, task.n or self.config.n, choose)

    def _draw(self, logits: Tensor, rows: Sequence[Row]) -> Tensor:
        start = 2 * self.config.tau
        mu = torch.tensor([start if row.memory is None else row.memory for row in rows])
        surprisal = -logits.log_softmax(-1) / math.log(2)
        allowed = torch.maximum(mu.to(logits.device)[:, None], surprisal.amin(-1, keepdim=True))
        truncated = torch.where(surprisal <= allowed, logits, float("-inf"))
        tokens = draw(truncated, uniforms(rows, logits))
        # as in the authors' code, a token's surprisal is the one before truncation
        observed = surprisal.gather(1, tokens[:, None]).squeeze(1)
        for row, old, value in zip(rows, mu.tolist(), observed.tolist(), strict=True):
            row.memory = old - self.config.eta * (value - self.config.tau)
        return tokens


def truncations(
    *,
    temperature: float = 1.0,
    top_h: float = 1.0,
    top_k: float = 0,
    top_p: float = 1.0,
    min_p: float = 0.0,
    typical_p: float = 1.0,
    epsilon: float = 0.0,
    eta: float = 0.0,
) -> list[Processor]:
    """Build warpers in the order of transformers' `generate`, except for neutral settings."""
    settings = [
        (temperature != 1.0, "TemperatureLogitsWarper", temperature),
        (top_h < 1.0, "TopHLogitsWarper", top_h),
        (top_k > 0, "TopKLogitsWarper", int(top_k)),
        (top_p < 1.0, "TopPLogitsWarper", top_p),
        (min_p > 0.0, "MinPLogitsWarper", min_p),
        (typical_p < 1.0, "TypicalLogitsWarper", typical_p),
        (epsilon > 0.0, "EpsilonLogitsWarper", epsilon),
        (eta > 0.0, "EtaLogitsWarper", eta),
    ]
    return [getattr(generation(), name)(value) for active, name, value in settings if active]


def truncate(warpers: Sequence[Processor], logits: Tensor) -> Tensor:
    """Apply warpers, which read no tokens, to logits (R,V)."""
    no_tokens = logits.new_empty((len(logits), 0)).long()
    for warper in warpers:
        logits = warper(no_tokens, logits)
    return logits


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
