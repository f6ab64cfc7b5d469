"""DoLa: the last layer against an earlier one, under any decoder."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, cast

import torch
from torch import Tensor
from typing_extensions import override

from prefixcap.errors import PrefixcapError
from prefixcap.interfaces.decoder import Decoder, DecodingTask, Hypothesis
from prefixcap.interfaces.language_model import LanguageModel
from prefixcap.interfaces.session import Session
from prefixcap_decoders.contrast.config import LAYERS, DoLa
from prefixcap_decoders.contrast.decoder import plausible
from prefixcap_decoders.contrast.logits_wrapper import LogitsWrapper, decode_changed

Head = Callable[[Tensor], Tensor]

# models with more layers contrast their first or last `SPAN` layers instead of one half
DEEP = 40
SPAN = 20


class DoLaDecoder(Decoder):
    """Runs a decoder on the difference between the last layer and an earlier one."""

    def __init__(self, config: DoLa, decoder: Decoder) -> None:
        self.config = config
        self.decoder = decoder

    @override
    def decode(self, task: DecodingTask) -> Iterator[tuple[int, list[Hypothesis]]]:
        head, tied = _head(task.lm)

        def combine(sessions: Sequence[Session]) -> Tensor:
            (session,) = sessions
            hidden = session.hidden()
            layers = early_layers(self.config.layers, len(hidden) - 1, tied=tied)
            early = [hidden[layer] for layer in layers]
            return contrast_layers(session.logits, early, head, self.config.alpha)

        return decode_changed(
            task, LogitsWrapper(task.lm, combine, hidden_states=True), self.decoder
        )


def early_layers(layers: str, depth: int, *, tied: bool) -> list[int]:
    """Return the numbers of the candidate layers; 0 is the embedding.

    Args:
        layers: "low", "high", or numbers joined by "+".
        depth: Number of layers of the model.
        tied: Whether the output layer shares the embedding's weights, so that the embedding only
            predicts the token itself.

    Raises:
        PrefixcapError: If the model has no such layer before its last.
    """
    if layers not in LAYERS:
        numbers = sorted({int(number) for number in layers.split("+")})
        if numbers[-1] >= depth:
            raise PrefixcapError(
                f"dola: layers={layers!r}: {numbers[-1]} is not an earlier layer of a model of "
                f"{depth}; these are 0 to {depth - 1}"
            )
        return numbers
    start = 2 if tied and depth > 2 else 1 if tied else 0
    low, high = (depth // 2, depth // 2) if depth <= DEEP else (SPAN, depth - SPAN)
    if layers == "low":
        return list(range(start, low, 2)) or [min(start, depth - 1)]
    return list(range(max(high, start), depth, 2)) or [depth - 1]


def contrast_layers(logits: Tensor, early: list[Tensor], head: Head, alpha: float) -> Tensor:
    """Return DoLa's logits (R,V).

    Args:
        logits: (R,V), the last layer's.
        early: Hidden states (R,E) of the candidate layers.
        head: Output layer, from hidden states (R,E) to logits (R,V).
        alpha: Plausibility threshold.
    """
    last = logits.log_softmax(-1)
    farthest = torch.full_like(last[:, :1], -1.0)
    contrast = torch.zeros_like(last)
    for hidden in early:
        candidate = head(hidden).float().log_softmax(-1)
        divergence = _jensen_shannon(last, candidate)
        contrast = torch.where(divergence > farthest, candidate, contrast)
        farthest = torch.maximum(farthest, divergence)
    return plausible(last - contrast, logits, alpha)


def _jensen_shannon(a: Tensor, b: Tensor) -> Tensor:
    middle = torch.logaddexp(a, b) - torch.log(torch.tensor(2.0))
    parts = a.exp() * (a - middle) + b.exp() * (b - middle)
    return 0.5 * parts.sum(-1, keepdim=True)  # (R, V) -> (R, 1)


def _head(lm: LanguageModel) -> tuple[Head, bool]:
    module: Any = lm.module
    head = getattr(module, "get_output_embeddings", lambda: None)()
    if head is None:
        raise PrefixcapError(
            "dola reads earlier layers through the output layer, which "
            f"{type(module).__name__} does not expose; use a transformers model"
        )
    return cast(Head, head), head.weight is module.get_input_embeddings().weight
