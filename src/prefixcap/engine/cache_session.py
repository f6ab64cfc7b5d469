"""`CacheSession`: the session for any model that transformers can cache."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from typing import Any

import attrs
import torch
from torch import Tensor
from typing_extensions import override

from prefixcap.engine.base_session import BaseSession, generations
from prefixcap.engine.network import (
    StepOutput,
    cache_name,
    cache_of,
    concatenated,
    eval_mode,
    input_device,
)
from prefixcap.engine.prefixes.caches import call_arguments
from prefixcap.engine.prefixes.inputs import PrefixInputs
from prefixcap.errors import PrefixcapError
from prefixcap.interfaces.session import SessionOptions


@attrs.frozen(eq=False)
class _Batch:
    """Rows of equal length in one cache of transformers."""

    cache: Any
    size: int


_Place = tuple[_Batch, int]


class CacheSession(BaseSession):
    """A session on transformers' own cache, whose rows are copied whenever they move.

    Such a cache holds rows of one length only, and not every cache can be cut. Rows that `extend`
    leaves at different lengths therefore continue in separate batches, each with its own call of
    the model.

    The first `admit` raises a `PrefixcapError` if the rows of the model's cache cannot move.
    """

    def __init__(
        self, model: Any, inputs: PrefixInputs, options: SessionOptions, *, prepended: int = 0
    ) -> None:
        vocabulary = int(model.config.get_text_config().vocab_size)
        self._device = input_device(model)
        prefix = inputs.embeddings.to(self._device, model.dtype)
        inputs = attrs.evolve(inputs, embeddings=prefix)
        super().__init__(inputs, options, vocabulary, prepended)
        self._model = model
        self._cache_name = cache_name(model)
        self._images: list[int] = []
        self._places: list[_Place] = []

    @property
    @override
    def images(self) -> list[int]:
        return self._images

    @property
    @override
    def logits(self) -> Tensor:
        return self._output.last

    @override
    @torch.inference_mode()
    def admit(self) -> list[int]:
        """Admit the next images once all rows of the previous ones are gone."""
        if self._images or not self.waiting:
            return []
        new = list(range(self._next, min(self._next + self._capacity, len(self._prefix))))
        self._next = new[-1] + 1
        self._images = list(new)
        inputs = self._inputs.rows(new)
        cache = next(iter(call_arguments(self._model, inputs, keep=True).values()), None)
        self._places, self._output = self._run(cache, inputs_embeds=inputs.embeddings)
        return new

    @override
    @torch.inference_mode()
    def advance(self, tokens: Tensor, parents: Tensor) -> Tensor:
        return self.extend(tokens, parents)

    @override
    @torch.inference_mode()
    def extend(self, tokens: Tensor, parents: Tensor, kept: Tensor | None = None) -> Tensor:
        """Extend rows by trees of tokens (R'), with a call of the model for each depth."""
        parent_rows, live = parents.tolist(), len(self._images)
        kept_rows = [] if kept is None else kept.tolist()
        # All rows that existed at any depth, the live ones first.
        images, places, outputs = list(self._images), list(self._places), [self._output]
        # The number, among all of these, of each live row and each new token.
        numbers = [*range(live), *([0] * len(parent_rows))]
        in_use = {id(places[row][0]) for row in kept_rows}
        for rows in generations(parent_rows, live):
            sources = [numbers[parent_rows[row]] for row in rows]
            new, output = self._grow([places[n] for n in sources], tokens[rows], in_use)
            for number, row in enumerate(rows, start=len(places)):
                numbers[live + row] = number
            images += [images[n] for n in sources]
            places += new
            outputs.append(output)
            in_use |= {id(batch) for batch, _ in new}
        selected = [numbers[row] for row in (*kept_rows, *range(live, len(numbers)))]
        self._images = [images[n] for n in selected]
        self._places = [places[n] for n in selected]
        # A plain step has produced exactly the rows that are wanted.
        single_step = not kept_rows and len(outputs) == 2
        self._output = (
            outputs[1] if single_step else concatenated(outputs).rows(torch.tensor(selected))
        )
        return self.logits

    def _grow(
        self, places: Sequence[_Place], tokens: Tensor, in_use: set[int]
    ) -> tuple[list[_Place], StepOutput]:
        """Add a token (R) to each row, without changing the caches of batches in `in_use`."""
        by_batch: dict[int, list[int]] = {}
        for number, (batch, _) in enumerate(places):
            by_batch.setdefault(id(batch), []).append(number)
        new, outputs, order = [], [], []
        for members in by_batch.values():
            batch = places[members[0]][0]
            rows = [places[number][1] for number in members]
            cache = deepcopy(batch.cache) if id(batch) in in_use else batch.cache
            if rows != list(range(batch.size)):
                cache.reorder_cache(torch.tensor(rows, device=self._device))
            grown, output = self._run(cache, input_ids=tokens[members, None].to(self._device))
            new += grown
            outputs.append(output)
            order += members
        inverse = sorted(range(len(order)), key=order.__getitem__)
        joined = concatenated(outputs)
        return [new[n] for n in inverse], joined if len(outputs) == 1 else joined.rows(inverse)

    def _run(self, cache: Any, **inputs: Tensor) -> tuple[list[_Place], StepOutput]:
        with eval_mode(self._model):
            output = self._model(
                **inputs,
                **{self._cache_name: cache},
                use_cache=True,
                logits_to_keep=1,
                output_hidden_states=self._hidden_states,
            )
        first = "inputs_embeds" in inputs
        if first:
            _require_rows(self._model, cache_of(output))
        states = output.hidden_states if self._hidden_states else ()
        if states and first:
            self._prefix_states = states[-1]
        step = StepOutput(output.logits[:, -1].float(), tuple(layer[:, -1] for layer in states))
        batch = _Batch(cache_of(output), len(step.last))
        return [(batch, row) for row in range(batch.size)], step


def _require_rows(model: Any, cache: Any) -> None:
    """Raise a `PrefixcapError` if a model returns no cache, or one that cannot reorder rows."""
    name, kind = type(model).__name__, type(cache)
    reorder = getattr(kind, "reorder_cache", None)
    if reorder is None:
        detail = "" if cache is None else f" but a {kind.__name__}, which cannot be reordered"
        raise PrefixcapError(
            f"{name} returns no cache{detail}: a session cannot move its states with the "
            "rows; use a model that transformers' cache supports, such as GPT-2 or Llama (a model "
            "like BERT only with is_decoder=True in its config)"
        )
    # A subclass defined by the model may hold states that the inherited method does not reorder.
    if reorder.__module__ != kind.__module__:
        raise PrefixcapError(
            f"{name} keeps states in a {kind.__name__}, which does not reorder them with its rows; "
            "use a model that transformers' own cache supports, such as GPT-2 or Llama"
        )
