"""`TransformersNetwork`: models that take positions and a mask, through transformers' own code."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import Cache, DynamicCache, DynamicLayer
from typing_extensions import override

from prefixcap.engine.kv_cache import CacheShape
from prefixcap.engine.network import (
    Network,
    StepOutput,
    cache_name,
    cache_of,
    eval_mode,
    input_device,
)
from prefixcap.engine.prefixes.caches import call_arguments
from prefixcap.engine.ragged_batch import Prefill, RaggedBatch
from prefixcap.engine.top_tokens import top_tokens_of
from prefixcap.interfaces.sessions.ranking_session import TopTokens

# What a model must take for a mask to tell rows apart.
NEEDED = ("inputs_embeds", "attention_mask", "position_ids", "use_cache")


class TransformersNetwork(Network):
    """A causal language model run with images as its batch and their rows as positions.

    The rows of an image are passed as if they were one text, and a four-dimensional mask separates
    them, so no part of the model is replaced. If images have different numbers of rows, the empty
    places are computed too.

    Raises:
        NotImplementedError: If the model lacks what this requires.
    """

    def __init__(self, model: Any) -> None:
        self._model = model
        parameters = inspect.signature(model.forward).parameters
        self._cache = cache_name(model)
        missing = [name for name in (*NEEDED, self._cache) if name not in parameters]
        if missing:
            raise NotImplementedError(f"{type(model).__name__} takes no {missing[0]}")
        if any(map(is_causal_mask, model.buffers())):
            raise NotImplementedError(f"{type(model).__name__} masks by the position of keys")
        self._keep = {"logits_to_keep": 1} if "logits_to_keep" in parameters else {}
        weight, device = model.get_input_embeddings().weight, input_device(model)
        blank = torch.zeros(1, 1, weight.shape[1], dtype=weight.dtype, device=device)
        output = self._run(blank, False)
        self.shape = _shape(model, cache_of(output))

    @override
    def prefill(self, prefix: Tensor, into: Prefill, hidden: bool) -> StepOutput:
        output = self._run(prefix, hidden, call_arguments(self._model, into.inputs, keep=True))
        for number, layer in enumerate(cache_of(output).layers):
            # (b,K,P,D) -> (b,P,K,D)
            keys, values = layer.keys.transpose(1, 2), layer.values.transpose(1, 2)
            into.cache.write_prefix(number, into.slots, keys, values)
        states: tuple[Tensor, ...] = output.hidden_states if hidden else ()
        last = tuple(state[:, -1] for state in states)
        return StepOutput(output.logits[:, -1].float(), last, states[-1] if hidden else None)

    @override
    def step(self, tokens: Tensor, batch: RaggedBatch, hidden: bool) -> StepOutput:
        with eval_mode(self._model):
            output = self._model(
                input_ids=batch.spread(tokens),  # (R) -> (I,G)
                position_ids=batch.spread(batch.positions),
                attention_mask=batch.mask,
                **{self._cache: _SharedCache(batch, self.shape.layers)},
                use_cache=True,
                output_hidden_states=hidden,
            )
        states = output.hidden_states if hidden else ()
        rows = [batch.gather(part) for part in (output.logits, *states)]  # (I,G,...) -> (R,...)
        logits, *others = rows if batch.order is None else [part[batch.order] for part in rows]
        return StepOutput(logits.float(), tuple(others))

    @override
    def logits(self, last: Tensor) -> Tensor:
        return last  # the model has computed them already

    @override
    def top_tokens(self, last: Tensor, count: int) -> TopTokens:
        return top_tokens_of(last, count)

    def _run(self, prefix: Tensor, hidden: bool, others: Mapping[str, Any] | None = None) -> Any:
        with eval_mode(self._model):
            return self._model(
                inputs_embeds=prefix,
                use_cache=True,
                output_hidden_states=hidden,
                **self._keep,
                **(others or {}),
            )


class _SharedCache(Cache):
    """Passes the model's new keys and values on to the KVCache, and returns all columns."""

    def __init__(self, batch: RaggedBatch, layers: int) -> None:
        blank: Any = DynamicLayer
        super().__init__(layers=[blank() for _ in range(layers)])
        self._batch = batch

    @override
    def update(
        self, key_states: Tensor, value_states: Tensor, layer_idx: int, *args: Any, **kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        batch = self._batch
        # (I,K,G,D) -> (I,G,K,D) -> (R,K,D)
        keys, values = (batch.gather(part.transpose(1, 2)) for part in (key_states, value_states))
        batch.cache.write(layer_idx, batch.targets, keys, values)
        return batch.cache.read(layer_idx, batch.shape[0], batch.mask.shape[-1])

    @override
    def get_seq_length(self, layer_idx: int = 0) -> int:
        return int(self._batch.mask.shape[-1]) - self._batch.shape[1]


def is_causal_mask(buffer: Tensor) -> bool:
    """Return whether a model's buffer is a mask of its own, by column."""
    # A model such as GPT-Neo adds its own mask by column. But columns are reused, so a row may be
    # in an earlier column than one that it sees, which such a mask would hide.
    square = buffer.ndim == 4 and buffer.shape[-1] == buffer.shape[-2] > 1
    return square and buffer.dtype in (torch.bool, torch.uint8)


def _shape(model: Any, cache: Any) -> CacheShape:
    if type(cache) is not DynamicCache or any(
        type(layer) is not DynamicLayer for layer in cache.layers
    ):
        raise NotImplementedError(f"{type(model).__name__} caches more than keys and values")
    layers: list[Any] = cache.layers
    if len({layer.keys.device for layer in layers}) > 1:
        raise NotImplementedError(f"{type(model).__name__} is spread over several devices")
    sizes = {(tuple(layer.keys.shape), tuple(layer.values.shape)) for layer in layers}
    if len(sizes) != 1 or len(set(*sizes)) != 1:
        raise NotImplementedError(f"{type(model).__name__} has keys of different sizes")
    keys = layers[0].keys
    return CacheShape(
        layers=len(layers),
        heads=keys.shape[1],
        width=keys.shape[3],
        vocab_size=int(model.config.get_text_config().vocab_size),
        dtype=keys.dtype,
        device=keys.device,
    )
