"""Drawing tokens, each row by its own stream."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from prefixcap.decoding.token_decoder import Row, decode_rows
from prefixcap.interfaces.decoder import Decoder, DecodingTask, Hypothesis
from prefixcap_decoders.logits.processors import Processor, Transforms, controls
from prefixcap_decoders.sampling.config import Drawing
from prefixcap_decoders.sampling.inverse_cdf import draw, draw_from_nucleus
from prefixcap_decoders.sampling.truncation import truncate, truncations

Draw = Callable[[Tensor, Tensor], Tensor]

_VALUES = 1 << 20


class Sampler(Decoder):
    """Draws each token from the transformed distribution of its row.

    Args:
        config: what is drawn from.
        samples: how many captions an image, unless a task says `n`.
    """

    def __init__(self, config: Drawing, samples: int) -> None:
        self.config = config
        self.samples = samples

    def decode(self, task: DecodingTask) -> Iterator[tuple[int, list[Hypothesis]]]:
        """Yields each image's captions, the likeliest first, once all of them have ended."""
        transforms = Transforms(controls(self.config, task))
        drawn = drawing(temperature=self.config.temperature, **self.config.truncation())

        def choose(logits: Tensor, rows: Sequence[Row]) -> Tensor:
            numbers = torch.tensor([row.uniform for row in rows], dtype=torch.float64)
            return drawn(transforms.of_rows(logits, rows), numbers.to(logits.device))

        return decode_rows(task, task.n or self.samples, choose)


def drawing(*, temperature: float = 1.0, top_k: float = 0, **others: float) -> Draw:
    """Returns the cheapest way to draw tokens (R) from truncated logits (R,V) by numbers (R).

    Args:
        temperature: see `Sample`.
        top_k: see `Sample`.
        others: the other settings of `Sample.truncation`.
    """
    top_h, top_p = others.pop("top_h", 1.0), others.get("top_p", 1.0)
    if top_k and top_h == 1.0:
        whole = truncations(temperature=temperature, top_k=top_k, **others)
        return _draw_from_best(int(top_k), truncations(temperature=temperature, **others), whole)
    if top_p < 1.0 and top_h == 1.0 and not truncations(**{**others, "top_p": 1.0}):
        return _by_parts(lambda logits, u: draw_from_nucleus(logits / temperature, u, top_p))
    warpers = truncations(temperature=temperature, top_h=top_h, top_k=top_k, **others)
    return _by_parts(lambda logits, numbers: draw(truncate(warpers, logits), numbers))


def _by_parts(run: Draw) -> Draw:
    # a few rows at a time, so that what lies between stays in the processor's cache
    def whole(logits: Tensor, numbers: Tensor) -> Tensor:
        rows = max(1, _VALUES // logits.shape[1])
        if logits.device.type != "cpu" or len(logits) <= rows:
            return run(logits, numbers)
        parts = zip(torch.split(logits, rows), torch.split(numbers, rows), strict=True)
        return torch.cat([run(*part) for part in parts])

    return whole


def _draw_from_best(count: int, warpers: Sequence[Processor], whole: Sequence[Processor]) -> Draw:
    # what comes after top-k sees -inf everywhere else, so it may as well see the best alone, but
    # where those at the cut are equally likely: top-k keeps all of them
    def run(logits: Tensor, numbers: Tensor) -> Tensor:
        values, tokens = logits.topk(min(count + 1, logits.shape[1]))
        place = draw(truncate(warpers, values[:, :count]), numbers)
        found = tokens.gather(1, place[:, None]).squeeze(1)
        tied = (values[:, count:] == values[:, count - 1 : -1]) & (values[:, count:] > -torch.inf)
        if len(rows := tied.any(1).nonzero().squeeze(1)):
            found[rows] = draw(truncate(whole, logits[rows]), numbers[rows])
        return found

    return run
