"""`Network`: what the tree session needs of a language model."""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import attrs
import torch
from torch import Tensor, nn

from prefixcap.engine.kv_cache import CacheShape
from prefixcap.engine.ragged_batch import Prefill, RaggedBatch
from prefixcap.interfaces.sessions.ranking_session import TopTokens


@attrs.frozen
class StepOutput:
    """The output of one run of a network.

    Attributes:
        last: (R,...) the input of the network's `logits` and `top_tokens`.
        hidden: The hidden states (R,E) of the embedding and each layer, if requested.
        prefix: The last layer's hidden states (b,P,E) of a prefill, if requested.
    """

    last: Tensor
    hidden: tuple[Tensor, ...] = ()
    prefix: Tensor | None = None

    def rows(self, chosen: Sequence[int] | Tensor) -> StepOutput:
        """Return the output of the chosen rows (K)."""
        index = torch.as_tensor(chosen, dtype=torch.long, device=self.last.device)
        return StepOutput(self.last[index], tuple(layer[index] for layer in self.hidden))


def concatenated(outputs: Sequence[StepOutput]) -> StepOutput:
    """Return the rows of several outputs as one, without those of prefixes."""
    if len(outputs) == 1:
        return outputs[0]
    # A session that has admitted nothing yet has no hidden states.
    nonempty = [output for output in outputs if len(output.last)] or list(outputs[:1])
    hidden = zip(*(output.hidden for output in nonempty), strict=True)
    return StepOutput(
        torch.cat([output.last for output in nonempty]),
        tuple(torch.cat(layers) for layers in hidden),
    )


class Network(ABC):
    """A language model that runs prefixes into a cache, and single steps on it."""

    shape: CacheShape

    @abstractmethod
    def prefill(self, prefix: Tensor, into: Prefill, hidden: bool) -> StepOutput:
        """Run prefixes (b,P,E); return the output of their last positions (b)."""

    @abstractmethod
    def step(self, tokens: Tensor, batch: RaggedBatch, hidden: bool) -> StepOutput:
        """Run a token per row (R), in the batch's order; return the output in the caller's."""

    @abstractmethod
    def logits(self, last: Tensor) -> Tensor:
        """Return the logits (R,V), float32, for the `last` (R,...) of an output."""

    @abstractmethod
    def top_tokens(self, last: Tensor, count: int) -> TopTokens:
        """Return the `count` (at most V) highest-ranked tokens for the `last` of an output."""


def cache_name(model: Any) -> str:
    """Return what a model's `forward` calls its cache: transformers 5.24 renamed the argument."""
    return "cache" if "cache" in inspect.signature(model.forward).parameters else "past_key_values"


def cache_of(output: Any) -> Any:
    """Return the cache in a model's output, or None."""
    cache = getattr(output, "cache", None)
    return getattr(output, "past_key_values", None) if cache is None else cache


def input_device(model: Any) -> torch.device:
    """Return where a model's inputs belong: where it embeds tokens.

    The weights of a model that Accelerate has spread over devices may be "meta" tensors, loaded
    from memory or disk to the device of a hook whenever a module runs.
    """
    embeddings = model.get_input_embeddings()
    place = getattr(getattr(embeddings, "_hf_hook", None), "execution_device", None)
    return embeddings.weight.device if place is None else torch.device(place)


def weights_of(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Yield the names and tensors of a model's state in order, offloaded ones loaded one by one."""
    modules = dict(model.named_modules())
    for name, tensor in sorted(model.state_dict().items()):
        place, _, attribute = name.rpartition(".")
        if not getattr(getattr(modules[place], "_hf_hook", None), "offload", False):
            yield name, tensor
            continue
        from accelerate.utils import align_module_device

        with align_module_device(modules[place], "cpu"):
            yield name, getattr(modules[place], attribute)


@contextmanager
def eval_mode(model: nn.Module) -> Iterator[None]:
    """Run a model without dropout, and restore each module's own mode afterwards."""
    training = [module for module in model.modules() if module.training]
    for module in training:
        module.training = False
    try:
        yield
    finally:
        for module in training:
            module.training = True
