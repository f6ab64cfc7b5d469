"""Greedy search."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from torch import Tensor
from typing_extensions import override

from prefixcap.decoding.token_decoder import Row, decode_rows
from prefixcap.interfaces.decoder import Decoder, DecodingTask, Hypothesis
from prefixcap_decoders.logits.processors import Transforms, build_processors
from prefixcap_decoders.logits.settings import Controlled


class GreedyDecoder(Decoder):
    """Takes the token with the highest score at each step."""

    def __init__(self, config: Controlled) -> None:
        self.config = config

    @override
    def decode(self, task: DecodingTask) -> Iterator[tuple[int, list[Hypothesis]]]:
        transforms = Transforms(build_processors(self.config, task))

        def choose(logits: Tensor, rows: Sequence[Row]) -> Tensor:
            return transforms.of_rows(logits, rows).argmax(-1)

        return decode_rows(task, task.n or 1, choose)
