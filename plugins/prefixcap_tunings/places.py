"""The places of a language model where tunings train something: layers, projections, norms.

They are found by structure, so that no list of models has to be kept: a model has a list of as many
layers as its config says; what a layer's attention consists of has "attn" or "attention" in its
name; the last linear layer of a part, other than those to queries, keys and values, returns to the
width E.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import attrs
from torch import nn

from prefixcap.errors import PrefixcapError, listed
from prefixcap.util.model_layers import is_linear, model_layers

# How queries, keys and values are called alone and together.
_QUERIES = ("q_proj", "query", "q_lin", "q")
_KEYS = ("k_proj", "key", "k_lin", "k")
_VALUES = ("v_proj", "value", "v_lin", "v")
_JOINT = ("c_attn", "qkv_proj", "query_key_value", "in_proj_qkv", "Wqkv", "qkv")


@attrs.frozen(kw_only=True)
class LayerPlaces:
    """The names of one layer's linear layers, in the model's order.

    Attributes:
        attention: Those of attention.
        feed_forward: Those of the feed-forward part.
    """

    attention: tuple[str, ...]
    feed_forward: tuple[str, ...]

    @property
    def all(self) -> tuple[str, ...]:
        """All linear layers."""
        return (*self.attention, *self.feed_forward)

    @property
    def ends(self) -> tuple[str, str]:
        """The layers that end attention and the feed-forward part, whose outputs are added up."""
        inner = self._named(_QUERIES + _KEYS + _VALUES)
        return [name for name in self.attention if name not in inner][-1], self.feed_forward[-1]

    @property
    def query_value(self) -> tuple[str, ...]:
        """The projections to queries and values, or the one to both and keys."""
        return self._named(_QUERIES + _VALUES)

    @property
    def key_value(self) -> tuple[str, ...]:
        """The projections to keys and values, or the one to both and queries."""
        return self._named(_KEYS + _VALUES)

    def _named(self, names: tuple[str, ...]) -> tuple[str, ...]:
        known = names + _JOINT
        return tuple(name for name in self.attention if name.rpartition(".")[2] in known)


def linear_places(module: nn.Module, tuning: str) -> list[LayerPlaces]:
    """Find the linear layers of each layer of a model; `tuning` is for the message.

    Raises:
        PrefixcapError: If there are none.
    """
    name, layers = model_layers(module)
    found = [_places(f"{name}.{number}", layer) for number, layer in enumerate(layers)]
    found = [places for places in found if len(places.attention) > 1 and places.feed_forward]
    if not found:
        raise _missing(module, tuning, "attention and feed-forward parts with linear layers")
    return found


def sizes_of(linear: Any) -> tuple[int, int]:
    """Return the widths of a linear layer's input and output."""
    if isinstance(linear, nn.Linear):
        return linear.in_features, linear.out_features
    inputs, outputs = linear.weight.shape  # Conv1D stores it the other way round
    return int(inputs), int(outputs)


def require_places(names: Iterable[str], module: nn.Module, tuning: str, wanted: str) -> list[str]:
    """Return the names as a list.

    Raises:
        PrefixcapError: If there are none, naming what was wanted and what there is.
    """
    found = list(names)
    if not found:
        raise _missing(module, tuning, wanted)
    return found


def _missing(module: nn.Module, tuning: str, wanted: str) -> PrefixcapError:
    kinds = dict.fromkeys(
        name.rpartition(".")[2] for name, part in module.named_modules() if is_linear(part)
    )
    known = f"its linear layers are called {listed(kinds)}" if kinds else "it has no linear layers"
    return PrefixcapError(
        f"the tuning {tuning!r} needs {wanted}, and {type(module).__name__} has none that are "
        f"known ({known}): use another language model, or the tuning 'full' or 'frozen'"
    )


def _places(prefix: str, layer: nn.Module) -> LayerPlaces:
    attention: list[str] = []
    others: list[str] = []
    for name, part in layer.named_modules():
        if is_linear(part):
            own = any(mark in name.partition(".")[0].lower() for mark in ("attn", "attention"))
            (attention if own else others).append(f"{prefix}.{name}")
    return LayerPlaces(attention=tuple(attention), feed_forward=tuple(others))
