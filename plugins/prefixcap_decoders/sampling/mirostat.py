"""Mirostat: truncation by a surprisal that adapts to each row."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor
from typing_extensions import override

from prefixcap.decoding.token_decoder import Row, decode_rows, uniforms
from prefixcap.interfaces.decoder import Decoder, DecodingTask, Hypothesis
from prefixcap_decoders.logits.processors import Transforms, build_processors
from prefixcap_decoders.sampling.config import Mirostat
from prefixcap_decoders.sampling.inverse_cdf import draw


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
