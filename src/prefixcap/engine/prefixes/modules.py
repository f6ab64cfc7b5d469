"""Trained parts of a prefix that are the same for every image."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from typing_extensions import override

from prefixcap.engine.network import cache_of, eval_mode, input_device
from prefixcap.errors import PrefixcapError

# Parameters that a model gets from tunings, by their names in the model.
PROMPT, DEEP_PREFIX = "prefix_prompt", "deep_prefix"


class PrefixPart(nn.Module):
    """The base of modules that a model carries and that sessions read; the model never runs it."""

    @override
    def forward(self) -> Tensor:
        raise RuntimeError("this part of a prefix is read, not run")


class Prompt(PrefixPart):
    """Trained embeddings (P',E) before every image's prefix.

    Prompt tuning (Lester et al. 2021, arXiv:2104.08691); the vectors start as those of tokens, as
    in section 3.1 there.
    """

    def __init__(self, vectors: Tensor) -> None:
        super().__init__()
        self.vectors = nn.Parameter(vectors.detach().clone().float())


class DeepPrefix(PrefixPart):
    """Trained keys and values (L,P',K,D) of every layer, which all positions see.

    Prefix tuning (Li and Liang 2021, arXiv:2101.00190) without its reparametrization, as in
    P-tuning v2 (Liu et al. 2022, arXiv:2110.07602). Keys are those after rotary positions.
    """

    def __init__(self, keys: Tensor, values: Tensor) -> None:
        super().__init__()
        self.keys = nn.Parameter(keys.detach().clone().float())
        self.values = nn.Parameter(values.detach().clone().float())


def prompt_of(model: nn.Module) -> Prompt | None:
    """Return a model's prompt, if it has one."""
    part = model._modules.get(PROMPT)
    return part if isinstance(part, Prompt) else None


def deep_prefix_of(model: nn.Module) -> DeepPrefix | None:
    """Return a model's trained keys and values, if it has any."""
    part = model._modules.get(DEEP_PREFIX)
    return part if isinstance(part, DeepPrefix) else None


def own_modules(model: nn.Module) -> Iterator[nn.Module]:
    """Yield a model's modules without parts of a prefix."""
    return (part for part in model.modules() if not isinstance(part, PrefixPart))


def token_vectors(model: Any, length: int) -> Tensor:
    """Return the embeddings (length,E) of drawn tokens of a model."""
    embeddings = model.get_input_embeddings()
    rows = len(embeddings.weight)
    ids = torch.randint(rows, (length,), device="cpu").to(input_device(model))
    with torch.no_grad():
        vectors: Tensor = embeddings(ids)
    return vectors


def states_of(model: Any, embeddings: Tensor) -> tuple[Tensor, Tensor]:
    """Return a model's keys and values (B,L,P,K,D) for embeddings (B,P,E).

    Raises:
        PrefixcapError: If the model keeps other states than keys and values of one size.
    """
    with torch.no_grad(), eval_mode(model):
        output = model(inputs_embeds=embeddings.to(model.dtype), use_cache=True)
    layers = getattr(cache_of(output), "layers", None)
    parts = [(getattr(each, "keys", None), getattr(each, "values", None)) for each in layers or ()]
    shapes = {None if part is None else tuple(part.shape) for pair in parts for part in pair}
    if len(shapes) != 1 or None in shapes:
        raise PrefixcapError(
            f"{type(model).__name__} keeps other states than keys and values of one size in every "
            "layer, so it cannot take them from a prefix: use a model such as GPT-2 or Llama"
        )
    # (B,K,P,D) -> (B,L,P,K,D)
    keys, values = (torch.stack(part).permute(1, 0, 3, 2, 4) for part in zip(*parts, strict=True))
    return keys, values
