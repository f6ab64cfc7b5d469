"""Any model that takes positions and a four-dimensional mask, through transformers' own code."""

from __future__ import annotations

import inspect
from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import Cache, DynamicCache, DynamicLayer

from prefixcap.engine.eval_mode import eval_mode
from prefixcap.engine.network import CacheShape, Network, StepOutput
from prefixcap.engine.ragged_batch import Prefill, RaggedBatch
from prefixcap.engine.top_tokens import TopTokens, top_tokens_of

_NEEDED = ("inputs_embeds", "past_key_values", "attention_mask", "position_ids", "use_cache")


class TransformersNetwork(Network):
    """A causal language model of transformers: images are its batch, their rows its positions.

    Rows of one image stand side by side as if they were one text, and the mask tells them apart,
    so that nothing of the model is replaced. Where images have different numbers of rows, the
    places between are computed for nothing.

    Args:
        model: the model.

    Raises:
        NotImplementedError: the model does not have what this needs.
    """

    def __init__(self, model: Any) -> None:
        self._model = model
        taken = inspect.signature(model.forward).parameters
        missing = [name for name in _NEEDED if name not in taken]
        if missing:
            raise NotImplementedError(f"{type(model).__name__} takes no {missing[0]}")
        if any(map(_is_causal_mask, model.buffers())):
            raise NotImplementedError(f"{type(model).__name__} masks by where keys stand")
        self._keep = {"logits_to_keep": 1} if "logits_to_keep" in taken else {}
        embedding = model.get_input_embeddings().weight
        cache = self._run(embedding.new_zeros(1, 1, embedding.shape[1]), False).past_key_values
        self._shape = _shape(model, cache)

    @property
    def shape(self) -> CacheShape:
        """What the store must know."""
        return self._shape

    def prefill(self, prefix: Tensor, into: Prefill, hidden: bool) -> StepOutput:
        """Runs prefixes (b,P,E); gives the last position's output (b)."""
        found = self._run(prefix, hidden)
        for number, layer in enumerate(found.past_key_values.layers):
            keys, values = layer.keys.transpose(1, 2), layer.values.transpose(1, 2)
            into.store.write_prefix(number, into.slots, keys, values)
        states: tuple[Tensor, ...] = found.hidden_states if hidden else ()
        last = tuple(state[:, -1] for state in states)
        return StepOutput(found.logits[:, -1].float(), last, states[-1] if hidden else None)

    def step(
        self,
        tokens: Tensor,
        positions: Tensor,
        grid: RaggedBatch,
        order: Tensor | None,
        hidden: bool,
    ) -> StepOutput:
        """Runs one token a row; see the base class."""
        with eval_mode(self._model):
            found = self._model(
                input_ids=grid.spread(tokens),
                position_ids=grid.spread(positions),
                attention_mask=grid.mask,
                past_key_values=_GridCache(grid, self._shape.layers),
                use_cache=True,
                output_hidden_states=hidden,
            )
        states = found.hidden_states if hidden else ()
        rows = [grid.gather(part) for part in (found.logits, *states)]
        logits, *others = rows if order is None else [part[order] for part in rows]
        return StepOutput(logits.float(), tuple(others))

    def logits(self, last: Tensor) -> Tensor:
        """Returns what an output holds, which is logits (R,V) already."""
        return last

    def top_tokens(self, last: Tensor, count: int) -> TopTokens:
        """Finds the best tokens, at most V a row, of logits (R,V)."""
        return top_tokens_of(last, count)

    def _run(self, prefix: Tensor, hidden: bool) -> Any:
        with eval_mode(self._model):
            return self._model(
                inputs_embeds=prefix, use_cache=True, output_hidden_states=hidden, **self._keep
            )


class _GridCache(Cache):
    """Writes what the model adds into the store, and gives it all that the images hold."""

    def __init__(self, grid: RaggedBatch, layers: int) -> None:
        blank: Any = DynamicLayer
        super().__init__(layers=[blank() for _ in range(layers)])
        self._grid = grid

    def update(
        self, key_states: Tensor, value_states: Tensor, layer_idx: int, *args: Any, **kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        """Takes keys and values (I,K,G,D); gives those of all columns (I,K,C,D)."""
        grid = self._grid
        keys, values = (grid.gather(part.transpose(1, 2)) for part in (key_states, value_states))
        grid.store.write(layer_idx, grid.targets, keys, values)
        return grid.store.read(layer_idx, grid.shape[0], grid.mask.shape[-1])

    def get_seq_length(self, layer_idx: int = 0) -> int:
        """The columns before this step's."""
        return int(self._grid.mask.shape[-1]) - self._grid.shape[1]


def _is_causal_mask(buffer: Tensor) -> bool:
    """Whether a buffer is laid over the scores by column, as GPT-Neo's, which a mask only adds to.

    A row may stand in a column before one that it sees, and would not see it.
    """
    square = buffer.ndim == 4 and buffer.shape[-1] == buffer.shape[-2] > 1
    return square and buffer.dtype in (torch.bool, torch.uint8)


def _shape(model: Any, cache: Any) -> CacheShape:
    if type(cache) is not DynamicCache or any(
        type(layer) is not DynamicLayer for layer in cache.layers
    ):
        raise NotImplementedError(f"{type(model).__name__} keeps more than keys and values")
    layers: list[Any] = cache.layers
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
