"""DoLa: the last layer against an earlier one, under any decoder."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, cast

import attrs
import torch
from torch import Tensor

from prefixcap.errors import PrefixcapError
from prefixcap.interfaces.decoder import Decoder, DecodingTask, Hypothesis
from prefixcap.interfaces.language_model import LanguageModel
from prefixcap.interfaces.session import Session, SessionOptions
from prefixcap_decoders.contrast.config import LAYERS, DoLa
from prefixcap_decoders.contrast.plausibility import plausible
from prefixcap_decoders.contrast.wrapped_lm import LogitsWrapper, decode_changed

Head = Callable[[Tensor], Tensor]

# of a model of more layers, the first or the last ones are looked at, not half of them
DEEP = 40
SPAN = 20


class DoLaDecoder(Decoder):
    """Runs a decoder on the difference of the last layer and an earlier one."""

    def __init__(self, config: DoLa, decoder: Decoder) -> None:
        self.config = config
        self.decoder = decoder

    def decode(self, task: DecodingTask) -> Iterator[tuple[int, list[Hypothesis]]]:
        """Yields each image's hypotheses; `score` is of the contrasted logits."""
        head, tied = _head(task.lm)

        def change(logits: Tensor, hidden: tuple[Tensor, ...]) -> Tensor:
            layers = early_layers(self.config.layers, len(hidden) - 1, tied=tied)
            early = [hidden[layer] for layer in layers]
            return contrast_layers(logits, early, head, self.config.alpha)

        return decode_changed(task, LayeredLM(task.lm, change), self.decoder)


def early_layers(which: str, depth: int, *, tied: bool) -> list[int]:
    """Returns the numbers of the layers that are looked at; 0 is the embedding.

    Args:
        which: "low", "high", or numbers joined by "+".
        depth: how many layers the model has.
        tied: whether the output layer shares the embedding's weights: what is read off the
            embedding is then the token itself.

    Raises:
        PrefixcapError: the model has no such layer before its last.
    """
    if which not in LAYERS:
        numbers = sorted({int(number) for number in which.split("+")})
        if numbers[-1] >= depth:
            raise PrefixcapError(
                f"dola: layers={which!r}: {numbers[-1]} is not an earlier layer of a model of "
                f"{depth}; these are 0 to {depth - 1}"
            )
        return numbers
    start = 2 if tied and depth > 2 else 1 if tied else 0
    low, high = (depth // 2, depth // 2) if depth <= DEEP else (SPAN, depth - SPAN)
    if which == "low":
        return list(range(start, low, 2)) or [min(start, depth - 1)]
    return list(range(max(high, start), depth, 2)) or [depth - 1]


def contrast_layers(logits: Tensor, early: list[Tensor], head: Head, alpha: float) -> Tensor:
    """Computes DoLa's logits (R,V).

    Args:
        logits: (R,V), the last layer's.
        early: hidden states (R,E) of the earlier layers.
        head: turns hidden states (R,E) into logits (R,V).
        alpha: the plausibility threshold.
    """
    last = logits.log_softmax(-1)
    farthest = torch.full_like(last[:, :1], -1.0)
    chosen = torch.zeros_like(last)
    for hidden in early:
        one = head(hidden).float().log_softmax(-1)
        divergence = _jensen_shannon(last, one)
        chosen = torch.where(divergence > farthest, one, chosen)
        farthest = torch.maximum(farthest, divergence)
    return plausible(last - chosen, logits, alpha)


def _jensen_shannon(a: Tensor, b: Tensor) -> Tensor:
    middle = torch.logaddexp(a, b) - torch.log(torch.tensor(2.0))
    parts = a.exp() * (a - middle) + b.exp() * (b - middle)
    return 0.5 * parts.sum(-1, keepdim=True)


def _head(lm: LanguageModel) -> tuple[Head, bool]:
    module: Any = lm.module
    found = getattr(module, "get_output_embeddings", lambda: None)()
    if found is None:
        raise PrefixcapError(
            f"dola reads earlier layers through the output layer, which {type(module).__name__} "
            "does not show; use a model of transformers"
        )
    tied = found.weight is module.get_input_embeddings().weight
    return cast(Head, found), tied


class LayeredLM(LogitsWrapper):
    """A language model whose logits are changed by its hidden states."""

    def __init__(
        self, lm: LanguageModel, change: Callable[[Tensor, tuple[Tensor, ...]], Tensor]
    ) -> None:
        super().__init__(lm)
        self.change = change

    def start(self, prefix: Tensor, options: SessionOptions) -> Session:
        """Opens a session with changed logits on the prefixes (B,P,E)."""
        inner = self.lm.start(prefix, attrs.evolve(options, hidden_states=True))
        return LayeredSession(inner, self.change)


class LayeredSession(Session):
    """A session whose logits are changed by its hidden states, once a step."""

    def __init__(
        self, inner: Session, change: Callable[[Tensor, tuple[Tensor, ...]], Tensor]
    ) -> None:
        self._inner = inner
        self._change = change
        self._logits: Tensor | None = None

    @property
    def images(self) -> list[int]:
        """The image of each live row (R)."""
        return self._inner.images

    @property
    def logits(self) -> Tensor:
        """The changed logits (R,V) of each live row, float32."""
        if self._logits is None:
            plain = self._inner.logits
            self._logits = self._change(plain, self._inner.hidden()) if len(plain) else plain
        return self._logits

    @property
    def waiting(self) -> int:
        """How many images have not been admitted yet."""
        return self._inner.waiting

    def admit(self) -> list[int]:
        """Brings in waiting images as they fit."""
        self._logits = None
        return self._inner.admit()

    def advance(self, tokens: Tensor, parents: Tensor) -> Tensor:
        """Extends rows (R') of given parents by one token each; returns logits (R',V)."""
        self._inner.advance(tokens, parents)
        self._logits = None
        return self.logits

    def extend(self, tokens: Tensor, parents: Tensor, kept: Tensor | None = None) -> Tensor:
        """Extends rows by trees of tokens (R') in one run, beside rows (K) that stay."""
        self._inner.extend(tokens, parents, kept)
        self._logits = None
        return self.logits

    def hidden(self) -> tuple[Tensor, ...]:
        """Returns the last position's hidden states (R,E) of the embedding and of each layer."""
        return self._inner.hidden()

    def prefix_hidden(self) -> Tensor:
        """Returns the last layer's hidden states (b,P,E) of the prefixes that came in last."""
        return self._inner.prefix_hidden()
