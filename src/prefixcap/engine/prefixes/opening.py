"""`PrefixOpener`: from the prefixes that decoders pass around to what a language model runs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import attrs
import torch
from torch import Tensor

from prefixcap.engine.network import input_device
from prefixcap.engine.prefixes.inputs import PrefixInputs
from prefixcap.engine.prefixes.modules import deep_prefix_of, prompt_of, states_of
from prefixcap.engine.prefixes.packing import PrefixParts, unpack
from prefixcap.errors import PrefixcapError
from prefixcap.interfaces.mapper import MapperShape


@attrs.define(kw_only=True)
class PrefixOpener:
    """Opens prefixes for one model.

    The positions that a model runs are, in this order: those of trained keys and values, those of
    the image's keys and values, prepended tokens, a trained prompt, and the image's embeddings. If
    an image gives keys and values instead of embeddings, the end-of-text token stands there, at
    which the caption begins.

    Attributes:
        model: The model of transformers.
        prepended: The tokens that precede every prefix.
        shape: What prefixes hold; None for embeddings alone.
    """

    model: Any
    prepended: Sequence[int]
    shape: MapperShape | None = None
    _sizes: tuple[int, int, int] | None = attrs.field(default=None, init=False)

    def open(self, prefix: Tensor, end: int | None) -> PrefixInputs:
        """Return what the model runs for prefixes (B,P,E), packed or not.

        `end` is the end-of-text token.
        """
        parts = self._unpack(prefix)
        embeddings, (keys, values) = self._embeddings(parts, end), self._states(parts)
        if keys is not None:  # nothing sees what these positions give
            blank = embeddings.new_zeros(len(prefix), keys.shape[2], embeddings.shape[2])
            embeddings = torch.cat([blank, embeddings], 1)
        return PrefixInputs(
            embeddings=embeddings, keys=keys, values=values, features=parts.features
        )

    def positions(self, prefix: Tensor) -> tuple[int, int, int]:
        """Count the positions of each of the prefixes (B,P,E).

        Returns:
            Those before the image's, those of the image's keys and values, and those of its
            embeddings or of the token in their place.
        """
        parts = self._unpack(prefix[:1])
        states = 0 if parts.states is None else parts.states.shape[1]
        return self.preceding, states, parts.embeddings.shape[1] + int(states > 0)

    @property
    def preceding(self) -> int:
        """The number of positions that are the same for every image."""
        prompt, deep = prompt_of(self.model), deep_prefix_of(self.model)
        trained = 0 if prompt is None else len(prompt.vectors)
        return len(self.prepended) + trained + (0 if deep is None else deep.keys.shape[1])

    def state_sizes(self) -> tuple[int, int, int]:
        """Return the numbers of layers and of key-value heads, and a head's width (L, K, D)."""
        if self._sizes is None:
            width = self.model.get_input_embeddings().weight.shape[1]
            blank = torch.zeros(1, 1, width, device=input_device(self.model))
            _, layers, _, heads, size = states_of(self.model, blank)[0].shape
            self._sizes = layers, heads, size
        return self._sizes

    def _unpack(self, prefix: Tensor) -> PrefixParts:
        return PrefixParts(prefix) if self.shape is None else unpack(prefix, self.shape)

    def _embeddings(self, parts: PrefixParts, end: int | None) -> Tensor:
        """Return the embeddings (B,P,E) with the tokens and the trained vectors before them."""
        prefix, tokens = parts.embeddings, list(self.prepended)
        before = [self._embed(tokens)] if tokens else []
        if (prompt := prompt_of(self.model)) is not None:
            before.append(prompt.vectors)
        if parts.states is not None:
            before.append(self._embed([_required(end)]))
        if not before:
            return prefix
        # (P',E), (B,P,E) -> (B,P'+P,E)
        first = [part.to(prefix).expand(len(prefix), -1, -1) for part in before]
        return torch.cat([*first, prefix], 1)

    def _embed(self, tokens: list[int]) -> Tensor:
        ids = torch.tensor(tokens, device=input_device(self.model))
        embeddings: Tensor = self.model.get_input_embeddings()(ids)
        return embeddings

    def _states(self, parts: PrefixParts) -> tuple[Tensor, Tensor] | tuple[None, None]:
        """Return the keys and values (B,L,P',K,D) that positions are given."""
        count, found = len(parts.embeddings), []
        if (deep := deep_prefix_of(self.model)) is not None:
            found.append([part.expand(count, *part.shape) for part in (deep.keys, deep.values)])
        if parts.states is not None:
            # (B,P,W) -> (B,P,2,L,K,D) -> (2,B,L,P,K,D)
            states = torch.unflatten(parts.states, 2, (2, *self.state_sizes()))
            found.append(list(states.permute(2, 0, 3, 1, 4, 5)))
        if not found:
            return None, None
        keys, values = (torch.cat(part, 2) for part in zip(*found, strict=True))
        return keys, values


def _required(end: int | None) -> int:
    if end is None:
        raise PrefixcapError(
            "a mapper that gives keys and values needs a language model with an end-of-text token, "
            "at which captions begin, and this one has none"
        )
    return end
