"""The general session: any model that transformers' cache interface serves."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from typing import Any

import attrs
import torch
from torch import Tensor

from prefixcap.engine.eval_mode import eval_mode
from prefixcap.engine.network import StepOutput, concatenated, require_hidden
from prefixcap.engine.token_trees import generations
from prefixcap.errors import PrefixcapError
from prefixcap.interfaces.session import Session, SessionOptions


@attrs.frozen(eq=False)
class _Batch:
    """Rows of one length in one cache of transformers, which all of a step's rows must be."""

    cache: Any
    size: int


_Place = tuple[_Batch, int]


class CacheSession(Session):
    """A session on transformers' own cache, which it copies whenever rows move.

    Rows that `extend` left at different lengths go on in batches of their own, each a call of the
    model: such a cache holds rows of one length only, and not every one can be cut.

    Args:
        model: the causal language model.
        prefix: (B,P,E), after what stands before every prefix.
        options: How the session is opened.
        prepended: How many of the P positions are not the image's own.

    The first `admit` raises a `PrefixcapError` where the model gives no cache whose rows move.
    """

    def __init__(
        self, model: Any, prefix: Tensor, options: SessionOptions, *, prepended: int = 0
    ) -> None:
        self._model = model
        self._prefix = prefix.to(model.device, model.dtype)
        self._batch = options.images_at_once(len(prefix))
        self._hidden_states = options.hidden_states
        self._prepended = prepended
        self._next = 0
        self._images: list[int] = []
        self._places: list[_Place] = []
        vocabulary = int(model.config.get_text_config().vocab_size)
        self._output = StepOutput(torch.zeros(0, vocabulary, device=model.device))
        self._prefix_states = self._prefix[:0]

    @property
    def images(self) -> list[int]:
        """The image of each live row (R)."""
        return self._images

    @property
    def logits(self) -> Tensor:
        """The next token's logits (R,V) of each live row, float32."""
        return self._output.last

    @property
    def waiting(self) -> int:
        """How many images have not been admitted yet."""
        return len(self._prefix) - self._next

    @torch.inference_mode()
    def admit(self) -> list[int]:
        """Brings in the next images once all rows of those before them are gone."""
        if self._images or not self.waiting:
            return []
        new = list(range(self._next, min(self._next + self._batch, len(self._prefix))))
        self._next = new[-1] + 1
        self._images = list(new)
        self._places, self._output = self._run(None, inputs_embeds=self._prefix[new])
        return new

    @torch.inference_mode()
    def advance(self, tokens: Tensor, parents: Tensor) -> Tensor:
        """Extends rows (R') of given parents by one token each; returns logits (R',V)."""
        return self.extend(tokens, parents)

    @torch.inference_mode()
    def extend(self, tokens: Tensor, parents: Tensor, kept: Tensor | None = None) -> Tensor:
        """Extends rows by trees of tokens (R'), a call of the model for each generation."""
        above, live = parents.tolist(), len(self._images)
        stay = [] if kept is None else kept.tolist()
        images, places, outputs = list(self._images), list(self._places), [self._output]
        # where each row stands among all that were made so far
        stands = [*range(live), *([0] * len(above))]
        held = {id(places[row][0]) for row in stay}
        for rows in generations(above, live):
            old = [stands[above[row]] for row in rows]
            found, output = self._grow([places[n] for n in old], tokens[rows], held)
            for number, row in enumerate(rows, start=len(places)):
                stands[live + row] = number
            images += [images[n] for n in old]
            places += found
            outputs.append(output)
            held |= {id(batch) for batch, _ in found}
        wanted = [stands[row] for row in (*stay, *range(live, len(stands)))]
        self._images = [images[n] for n in wanted]
        self._places = [places[n] for n in wanted]
        # a plain step has made exactly the rows that are wanted
        plain = not stay and len(outputs) == 2
        self._output = outputs[1] if plain else concatenated(outputs).rows(torch.tensor(wanted))
        return self.logits

    def hidden(self) -> tuple[Tensor, ...]:
        """Returns the last position's hidden states (R,E) of the embedding and of each layer."""
        require_hidden(self._hidden_states)
        return self._output.hidden

    def prefix_hidden(self) -> Tensor:
        """Returns the last layer's hidden states (b,P,E) of the prefixes that came in last."""
        require_hidden(self._hidden_states)
        return self._prefix_states[:, self._prepended :]

    def _grow(
        self, places: Sequence[_Place], tokens: Tensor, held: set[int]
    ) -> tuple[list[_Place], StepOutput]:
        """Adds a token (R) to each row, and leaves the batches as they are that are `held`."""
        by_batch: dict[int, list[int]] = {}
        for number, (batch, _) in enumerate(places):
            by_batch.setdefault(id(batch), []).append(number)
        found, outputs, order = [], [], []
        for members in by_batch.values():
            batch = places[members[0]][0]
            rows = [places[number][1] for number in members]
            cache = deepcopy(batch.cache) if id(batch) in held else batch.cache
            if rows != list(range(batch.size)):
                cache.reorder_cache(torch.tensor(rows, device=self._model.device))
            new, output = self._run(cache, input_ids=tokens[members, None].to(self._model.device))
            found += new
            outputs.append(output)
            order += members
        back = sorted(range(len(order)), key=order.__getitem__)
        whole = concatenated(outputs)
        return [found[n] for n in back], whole if len(outputs) == 1 else whole.rows(back)

    def _run(self, cache: Any, **inputs: Tensor) -> tuple[list[_Place], StepOutput]:
        with eval_mode(self._model):
            output = self._model(
                **inputs,
                past_key_values=cache,
                use_cache=True,
                logits_to_keep=1,
                output_hidden_states=self._hidden_states,
            )
        if cache is None:
            _require_rows(self._model, getattr(output, "past_key_values", None))
        states = output.hidden_states if self._hidden_states else ()
        if states and cache is None:
            self._prefix_states = states[-1]
        found = StepOutput(output.logits[:, -1].float(), tuple(layer[:, -1] for layer in states))
        batch = _Batch(output.past_key_values, len(found.last))
        return [(batch, row) for row in range(batch.size)], found


def _require_rows(model: Any, cache: Any) -> None:
    """Refuses a model whose rows cannot be reordered.

    Raises:
        PrefixcapError: it gives no cache, or one that does not reorder all that it holds.
    """
    name, kind = type(model).__name__, type(cache)
    reorder = getattr(kind, "reorder_cache", None)
    if reorder is None:
        held = "" if cache is None else f", but a {kind.__name__}, which cannot be reordered"
        raise PrefixcapError(
            f"{name} gives no past_key_values{held}: what it has read stays in states that a "
            "session cannot move with its rows; use a model that transformers' cache serves, such "
            "as GPT-2 or Llama (one of BERT's kind only with is_decoder=True in its config)"
        )
    # a class of the model's own holds more than the method that it inherits knows of
    if reorder.__module__ != kind.__module__:
        raise PrefixcapError(
            f"{name} keeps states in a {kind.__name__}, which does not reorder them with its rows; "
            "use a model that transformers' own cache serves, such as GPT-2 or Llama"
        )
