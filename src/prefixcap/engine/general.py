"""The general session: any model that transformers' cache interface serves."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from prefixcap.session import Session


class GeneralSession(Session):
    """A session on transformers' own cache, which it copies whenever rows move.

    Args:
        model: the causal language model.
        prefix: (B,P,E).
        rows_per_image: the most rows a decoder will hold for an image.
        max_rows: the most rows at once; no limit unless given.
        hidden_states: whether `hidden` is wanted.
    """

    def __init__(
        self,
        model: Any,
        prefix: Tensor,
        *,
        rows_per_image: int = 1,
        max_rows: int | None = None,
        hidden_states: bool = False,
    ) -> None:
        self._model = model
        self._prefix = prefix.to(model.device, model.dtype)
        self._batch = max(1, (max_rows or len(prefix) * rows_per_image) // rows_per_image)
        self._hidden_states = hidden_states
        self._next = 0
        self._images: list[int] = []
        vocabulary = int(model.config.get_text_config().vocab_size)
        self._logits = torch.zeros(0, vocabulary, device=model.device)
        self._cache: Any = None
        self._hidden: tuple[Tensor, ...] = ()

    @property
    def images(self) -> list[int]:
        """The image of each live row (R)."""
        return self._images

    @property
    def logits(self) -> Tensor:
        """The next token's logits (R,V) of each live row, float32."""
        return self._logits

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
        self._cache = None
        self._run(inputs_embeds=self._prefix[new])
        return new

    @torch.inference_mode()
    def advance(self, tokens: Tensor, parents: Tensor) -> Tensor:
        """Extends rows (R') of given parents by one token each; returns logits (R',V)."""
        chosen = parents.tolist()
        unmoved = chosen == list(range(len(self._images)))
        self._images = [self._images[parent] for parent in chosen]
        if not self._images:
            self._logits = self._logits[:0]
            self._hidden = tuple(layer[:0] for layer in self._hidden)
            self._cache = None
            return self._logits
        if not unmoved:
            self._cache.reorder_cache(parents.to(self._logits.device))
        self._run(input_ids=tokens[:, None].to(self._logits.device))
        return self._logits

    def hidden(self) -> tuple[Tensor, ...]:
        """Returns the last position's hidden states (R,E) of the embedding and of each layer."""
        if not self._hidden_states:
            raise RuntimeError("open the session with hidden_states=True to read them")
        return self._hidden

    def _run(self, **inputs: Tensor) -> None:
        output = self._model(
            **inputs,
            past_key_values=self._cache,
            use_cache=True,
            logits_to_keep=1,
            output_hidden_states=self._hidden_states,
        )
        self._cache = output.past_key_values
        self._logits = output.logits[:, -1].float()
        if self._hidden_states:
            self._hidden = tuple(layer[:, -1] for layer in output.hidden_states)
