"""The keys and values of a language model's context, which gradient steps can change."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Self, cast

import attrs
import torch
from torch import Tensor

from prefixcap.engine.prefixes.caches import call_arguments
from prefixcap.engine.prefixes.inputs import PrefixInputs
from prefixcap.errors import PrefixcapError

# keeps a gradient of zeros from a division by zero
TINY = 1e-15


@attrs.frozen
class Context:
    """R texts of one length on a model of transformers.

    Attributes:
        module: The model.
        given: The R prefixes of the texts.
        states: The keys and values of all tokens but the last: two tensors (R,...) for each layer.
        last: (R,1,E), the embedding of the last token.
        length: The number of tokens, the last one included.
    """

    module: Any
    given: PrefixInputs
    states: list[Tensor]
    last: Tensor
    length: int

    @classmethod
    def read(cls, module: Any, given: PrefixInputs, texts: Tensor) -> Self:
        """Run the model on R prefixes and on the embeddings (R,T,E) of texts, but for the last.

        Raises:
            PrefixcapError: If a layer of the model does not keep keys and values.
        """
        inputs = torch.cat([given.embeddings.to(texts), texts], 1)  # (R, L, E)
        length, states = inputs.shape[1], list[Tensor]()
        if length > 1:
            others = call_arguments(module, given, keep=True)
            out = module(inputs_embeds=inputs[:, :-1], use_cache=True, **others)
            cache = getattr(out, "past_key_values", None)
            for layer in getattr(cache, "layers", [None]):
                pair = [getattr(layer, name, None) for name in ("keys", "values")]
                if not all(isinstance(part, Tensor) for part in pair):
                    raise PrefixcapError(
                        "zerocap changes the keys and values of every layer, and "
                        f"{type(module).__name__} has a layer without: use another language model"
                    )
                states += cast(list[Tensor], pair)
        return cls(module, given, states, inputs[:, -1:], length)

    def logits(self, changes: Sequence[Tensor] = ()) -> Tensor:
        """Return the next token's logits (R,V), float32, after keys and values plus changes."""
        states = self.states
        if changes:
            states = [state + change for state, change in zip(states, changes, strict=True)]
        cache = self._cache()
        for layer in range(len(states) // 2):
            cache.update(states[2 * layer], states[2 * layer + 1], layer)
        mask = torch.ones(self.last.shape[0], self.length, dtype=torch.long).to(self.last.device)
        out = self.module(inputs_embeds=self.last, past_key_values=cache, attention_mask=mask)
        logits: Tensor = out.logits[:, -1].float()
        return logits

    def _cache(self) -> Any:
        """Return an empty cache, with the features of the prefixes if the model reads them."""
        from transformers import DynamicCache

        # the keys and values that prefixes give are among the states
        rest = attrs.evolve(self.given, keys=None, values=None)
        found = call_arguments(self.module, rest, keep=True).values()
        return next(iter(found), DynamicCache(config=self.module.config))

    def descend(
        self, loss: Callable[[Tensor], Tensor], steps: int, *, size: float, norm_power: float
    ) -> Tensor:
        """Return the logits (R,V) after gradient steps on the keys and values.

        A row's gradient of each tensor is divided by a power of its norm.

        Args:
            loss: Returns the sum () of the rows' losses, given logits (R,V).
            steps: Number of steps.
            size: What the divided gradient is multiplied by.
            norm_power: The power.
        """
        changes = [torch.zeros_like(state) for state in self.states]
        for _ in range(steps if changes else 0):
            changes = [change.requires_grad_() for change in changes]
            with torch.enable_grad():
                gradients = torch.autograd.grad(loss(self.logits(changes)), changes)
            changes = [
                change.detach() - size * gradient / _norms(gradient) ** norm_power
                for change, gradient in zip(changes, gradients, strict=True)
            ]
        return self.logits(changes)


def _norms(gradient: Tensor) -> Tensor:
    """Return each row's norm of a gradient (R,...), for division."""
    norms: Tensor = gradient.flatten(1).norm(dim=1) + TINY
    return norms.view(-1, *[1] * (gradient.ndim - 1))
