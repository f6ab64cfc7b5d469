"""`CrossAttention`: layers inside a language model that read an image's features."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from prefixcap.engine.network import cache_name
from prefixcap.engine.prefixes.caches import PrefixCache
from prefixcap.errors import PrefixcapError
from prefixcap.util.model_layers import model_layers

CROSS_ATTENTION = "cross_attention"
# What transformers calls the attention of a layer.
_ATTENTION = ("attn", "self_attn", "attention", "self_attention")


class CrossAttentionLayer(nn.Module):
    """A layer norm and attention from states (B,T,E) to features (B,N,D).

    The last product starts as zero, so that the language model is unchanged at first.

    Args:
        width: E.
        feature_width: D.
        heads: The number of heads.
        head_width: The width of a head, usually below that of the model's own.
    """

    def __init__(self, width: int, feature_width: int, heads: int, head_width: int) -> None:
        super().__init__()
        inner = heads * head_width
        self.head_width = head_width
        self.norm = nn.LayerNorm(width)
        self.query = nn.Linear(width, inner)
        self.key_value = nn.Linear(feature_width, 2 * inner)
        self.output = nn.Linear(inner, width)
        nn.init.zeros_(self.output.weight)
        nn.init.zeros_(self.output.bias)

    def forward(self, states: Tensor, features: Tensor) -> Tensor:
        """Return what is added to the states (B,T,E)."""
        x, y = self.norm(states.to(self.query.weight)), features.to(self.query.weight)
        # (B,T,H*D) -> (B,H,T,D)
        query, key, value = (
            torch.unflatten(part, 2, (-1, self.head_width)).transpose(1, 2)
            for part in (self.query(x), *self.key_value(y).chunk(2, 2))
        )
        mixed = F.scaled_dot_product_attention(query, key, value)
        added: Tensor = self.output(mixed.transpose(1, 2).flatten(2))
        return added.to(states)


class CrossAttention(nn.Module):
    """A cross-attention layer after the attention of each of a model's layers.

    As in SmallCap (Ramos et al. 2023, arXiv:2209.15323). `attach` adds it to a model.
    """

    def __init__(self, layers: Sequence[CrossAttentionLayer]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)
        self.features: Tensor | None = None

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"features": None}  # that of the last call cannot be copied

    def attach(self, model: Any) -> None:
        """Add the layers to a model of transformers.

        Raises:
            PrefixcapError: If its layers or their attention cannot be found.
        """
        model.add_module(CROSS_ATTENTION, self)
        body, layers = layers_of(model)
        body.register_forward_pre_hook(_TakeFeatures(self, cache_name(model)), with_kwargs=True)
        for number, layer in enumerate(layers):
            read = _ReadFeatures(self, number)
            layer.register_forward_pre_hook(read.remember, with_kwargs=True)
            _attention(layer).register_forward_hook(read)


class _TakeFeatures:
    """Takes the features of a call's rows from its cache."""

    def __init__(self, whole: CrossAttention, cache: str) -> None:
        self._whole, self._cache = whole, cache

    def __call__(self, module: nn.Module, args: Any, kwargs: Mapping[str, Any]) -> None:
        cache = kwargs.get(self._cache)
        self._whole.features = None
        if isinstance(cache, PrefixCache):
            given = (*args, kwargs.get("input_ids"), kwargs.get("inputs_embeds"))
            self._whole.features = cache.features_of(len(next(x for x in given if x is not None)))


class _ReadFeatures:
    """Adds what a layer reads from the features to the output of its attention."""

    def __init__(self, whole: CrossAttention, number: int) -> None:
        self._whole, self._number = whole, number
        self._states: Tensor | None = None

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_states": None}  # that of the last call cannot be copied

    def remember(self, module: nn.Module, args: Any, kwargs: Mapping[str, Any]) -> None:
        """Keep a layer's input (B,T,E), which the output of its attention is added to."""
        self._states = args[0] if args else kwargs["hidden_states"]

    def __call__(self, module: nn.Module, args: Any, output: Any) -> Any:
        features = self._whole.features
        if features is None or self._states is None:
            return output
        mixed, *others = output if isinstance(output, tuple) else (output,)
        mixed = mixed + self._whole.layers[self._number](self._states + mixed, features)
        return (mixed, *others) if isinstance(output, tuple) else mixed


def layers_of(model: Any) -> tuple[nn.Module, list[nn.Module]]:
    """Return the layers of a model of transformers, after the module that runs them.

    Raises:
        PrefixcapError: If they cannot be found.
    """
    name, layers = model_layers(model)
    if not name:
        raise PrefixcapError(
            "cross-attention needs a model with a list of as many layers as its config says, and "
            f"{type(model).__name__} has none: use a model such as GPT-2 or Llama"
        )
    return model.get_submodule(name.rpartition(".")[0]), list(layers)


def _attention(layer: nn.Module) -> nn.Module:
    children = dict(layer.named_children())
    for name in _ATTENTION:
        if name in children:
            return children[name]
    raise PrefixcapError(
        f"cross-attention knows no attention in {type(layer).__name__}, whose parts are "
        f"{', '.join(list(children)[:10])}: use a model such as GPT-2 or Llama"
    )


def has_cross_attention(model: nn.Module) -> bool:
    """Return whether layers of a model read features."""
    return CROSS_ATTENTION in model._modules
