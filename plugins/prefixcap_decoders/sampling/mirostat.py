"""Mirostat: truncation by a surprise that each row adapts."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from prefixcap.decoding.token_decoder import Row, decode_rows
from prefixcap.interfaces.decoder import Decoder, DecodingTask, Hypothesis
from prefixcap_decoders.logits.processors import Transforms, controls
from prefixcap_decoders.sampling.inverse_cdf import draw
from prefixcap_decoders.sampling.mirostat_config import Mirostat


class MirostatSampler(Decoder):
    """Draws tokens no more surprising than each row's mu, which it keeps in the row's memory."""

    def __init__(self, config: Mirostat) -> None:
        self.config = config

    def decode(self, task: DecodingTask) -> Iterator[tuple[int, list[Hypothesis]]]:
        """Yields each image's captions, the likeliest first, once all of them have ended."""
        transforms = Transforms(controls(self.config, task))

        def choose(logits: Tensor, rows: Sequence[Row]) -> Tensor:
            return self._draw(transforms.of_rows(logits, rows) / self.config.temperature, rows)

        return decode_rows(task, task.n or self.config.n, choose)

    def _draw(self, logits: Tensor, rows: Sequence[Row]) -> Tensor:
        start = 2 * self.config.tau
        mu = torch.tensor([start if row.memory is None else row.memory for row in rows])
        numbers = torch.tensor([row.uniform for row in rows], dtype=torch.float64)
        surprise = -logits.log_softmax(-1) / math.log(2)
        allowed = torch.maximum(mu.to(logits.device)[:, None], surprise.amin(-1, keepdim=True))
        left = torch.where(surprise <= allowed, logits, float("-inf"))
        tokens = draw(left, numbers.to(logits.device))
        # as in the authors' code, a token's surprise is the one before the cut
        seen = surprise.gather(1, tokens[:, None]).squeeze(1)
        for row, old, value in zip(rows, mu.tolist(), seen.tolist(), strict=True):
            row.memory = old - self.config.eta * (value - self.config.tau)
        return tokens
