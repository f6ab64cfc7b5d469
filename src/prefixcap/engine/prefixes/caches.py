"""transformers' cache, with keys, values and features that a prefix gives."""

from __future__ import annotations

from typing import Any

from torch import Tensor
from transformers.cache_utils import DynamicCache
from typing_extensions import override

from prefixcap.engine.network import cache_name
from prefixcap.engine.prefixes.inputs import PrefixInputs


def call_arguments(model: Any, inputs: PrefixInputs, *, keep: bool) -> dict[str, Any]:
    """Return what a call of a model on prefixes needs beside embeddings.

    `keep` says that keys and values are read afterwards.
    """
    if inputs.is_plain:
        return {}
    kind = PrefixCache if keep else PassingCache
    return {cache_name(model): kind(model.config.get_text_config(), inputs)}


class PrefixCache(DynamicCache):
    """A cache whose first positions have given keys and values, and which carries features.

    Attributes:
        features: (R,N,D) of the rows in the cache, or None.
    """

    def __init__(self, config: Any, inputs: PrefixInputs) -> None:
        super().__init__(config=config)
        self.features = inputs.features
        self._given = inputs

    @override
    def update(
        self, key_states: Tensor, value_states: Tensor, layer_idx: int, *args: Any, **kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        if not self.get_seq_length(layer_idx):
            key_states, value_states = self._replaced(layer_idx, key_states, value_states)
        return super().update(key_states, value_states, layer_idx, *args, **kwargs)

    def _replaced(self, layer: int, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        # (b,K,P,D) -> (b,P,K,D) and back
        keys, values = self._given.replaced(layer, keys.transpose(1, 2), values.transpose(1, 2))
        return keys.transpose(1, 2), values.transpose(1, 2)

    @override
    def reorder_cache(self, beam_idx: Any) -> None:
        super().reorder_cache(beam_idx)
        if self.features is not None:
            self.features = self.features[beam_idx.to(self.features.device)]

    def features_of(self, rows: int) -> Tensor | None:
        """Return the features (R,N,D) of R rows; at first those of an image are side by side."""
        if self.features is not None and len(self.features) != rows:
            self.features = self.features.repeat_interleave(rows // len(self.features), 0)
        return self.features


class PassingCache(PrefixCache):
    """The same for a single run of the model, in which nothing is kept, as in training.

    So a layer may also run again in the backward pass.
    """

    @override
    def update(
        self, key_states: Tensor, value_states: Tensor, layer_idx: int, *args: Any, **kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        return self._replaced(layer_idx, key_states, value_states)
