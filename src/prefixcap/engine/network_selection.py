"""`NetworkSelector`: the network that runs a model: native, transformers' code, or none."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules import module as torch_module

from prefixcap.engine.architectures import GPT2Network, LlamaNetwork, NativeNetwork, OPTNetwork
from prefixcap.engine.network import Network
from prefixcap.engine.prefixes.cross_attention import has_cross_attention
from prefixcap.engine.prefixes.modules import own_modules
from prefixcap.engine.transformers_network import TransformersNetwork
from prefixcap.engine.trials import agrees
from prefixcap.util.checksum import checksum

# Where the modules of transformers' models are defined.
_ORIGINAL = (
    *("torch.nn.modules.", "transformers.models."),
    *("transformers.activations", "transformers.pytorch_utils"),
)
_LLAMAS = ("LlamaForCausalLM", "Qwen2ForCausalLM", "Qwen3ForCausalLM", "MistralForCausalLM")
# Attributes of modules that running a model changes.
_CHANGING = ("training", "max_seq_len_cached")


class NetworkSelector:
    """Chooses the network for a model, and again when its modules or weights have changed.

    A network is used only if its logits agree with the cache session's on a short text whose rows
    are repeated, reordered and dropped. A model that treats its cache, mask or positions in
    another way fails this test, and is left to the cache session.

    A native network has copies of the weights, so whether they still hold is checked before every
    session: all weights are added up (`checksum`), because edits through `.data` or NumPy leave no
    other trace. The other networks and sessions call the model itself.
    """

    def __init__(self, model: Any) -> None:
        self._model = model
        self._structure: object = None
        self._network: Network | None = None
        # What the weights were when a native network copied them.
        self._weights: tuple[list[int], Tensor] = [], torch.zeros(0)

    def __deepcopy__(self, memo: dict[int, Any]) -> NetworkSelector:
        # Weights in oneDNN's layout cannot be copied, so the copy builds its own.
        return NetworkSelector(copy.deepcopy(self._model, memo))

    def network(self) -> Network | None:
        """Return the network for the model as it is now; None if only the cache session works."""
        structure = structure_of(self._model)
        if structure != self._structure:
            self._structure, self._network = None, None  # frees the copies of the weights first
            self._network = self._first_that_agrees()
            self._structure = structure
            if isinstance(self._network, NativeNetwork):
                self._weights = self._stamp()
        elif isinstance(self._network, NativeNetwork):
            addresses, sums = stamp = self._stamp()
            if addresses != self._weights[0] or not torch.equal(sums, self._weights[1]):
                # Only the weights changed: no need to test again.
                kind, self._network = type(self._network), None
                self._network, self._weights = _try_build(kind, self._model), stamp
        return self._network

    def _first_that_agrees(self) -> Network | None:
        if has_cross_attention(self._model):  # whose features follow the rows of a cache
            return None
        for kind in (_native(self._model), TransformersNetwork):
            network = _try_build(kind, self._model) if kind else None
            if network is not None and agrees(network, self._model):
                return network
        return None

    def _stamp(self) -> tuple[list[int], Tensor]:
        """Return the addresses and sums of all weights."""
        weights = list(self._model.parameters())
        return [weight.data_ptr() for weight in weights], checksum(weights)


def _native(model: Any) -> type[NativeNetwork] | None:
    """Return the network written out for exactly this model's modules, if there is one."""
    name, config = type(model).__name__, model.config
    # The written-out layers read weights and call no modules, so hooks would be ignored, and so
    # would modules in place of transformers' own, such as adapters.
    hooked = _global_hooks() or any(map(_hooked, own_modules(model)))
    if hooked or not all(map(_original, own_modules(model))):
        return None
    if name == "GPT2LMHeadModel":
        return None if config.add_cross_attention else GPT2Network
    if name in _LLAMAS:
        kinds = getattr(config, "layer_types", None) or ["full_attention"]
        windowed = name == "MistralForCausalLM" and config.sliding_window is not None
        return None if windowed or set(kinds) != {"full_attention"} else LlamaNetwork
    if name == "OPTForCausalLM":
        body = model.model.decoder
        plain = config.do_layer_norm_before and body.final_layer_norm is not None
        return OPTNetwork if plain and body.project_in is None else None
    return None


def _try_build(kind: type[Network], model: Any) -> Network | None:
    try:
        with torch.no_grad():
            return kind(model)  # type: ignore[call-arg]
    except (NotImplementedError, AttributeError, TypeError):
        return None


def structure_of(model: Any) -> object:
    """Return a value that changes with anything but the weights that changes a model's output.

    These are the modules' types, methods, hooks and plain settings, and the parameters' shapes,
    dtypes and devices.
    """
    modules = list(model.modules())
    kinds = dict.fromkeys(type(part) for part in modules)
    return (
        tuple((kind, kind.forward, *_functions(vars(kind))) for kind in kinds),
        tuple(
            (
                type(part),
                *part._forward_pre_hooks,
                *part._forward_hooks,
                *((name, value) for name, value in vars(part).items() if _is_setting(name, value)),
                *_functions(vars(part)),
            )
            for part in modules
        ),
        tuple((p.shape, p.dtype, p.device) for p in model.parameters()),
        tuple(_global_hooks()),
    )


def _is_setting(name: str, value: object) -> bool:
    return isinstance(value, (bool, int, float, str)) and name not in _CHANGING


def _functions(attributes: Any) -> Iterator[tuple[str, Any]]:
    return (
        (name, value)
        for name, value in attributes.items()
        if callable(value) and not isinstance(value, (nn.Module, type))
    )


def _global_hooks() -> list[Any]:
    """Return the hooks that are called for every module, except torch's own."""
    hooks = (
        *torch_module._global_forward_pre_hooks.values(),
        *torch_module._global_forward_hooks.values(),
    )
    return [hook for hook in hooks if not getattr(hook, "__module__", "").startswith("torch.")]


def _hooked(module: nn.Module) -> bool:
    hooks = (*module._forward_pre_hooks.values(), *module._forward_hooks.values())
    # transformers' own hooks only collect hidden states on request.
    return any(not getattr(h, "__module__", "").startswith("transformers.") for h in hooks)


def _original(module: nn.Module) -> bool:
    """Return whether a module and all of its methods are torch's or transformers' own."""
    kind = type(module)
    methods = [kind.forward, *dict(_functions(vars(kind))).values()]
    methods += dict(_functions(vars(module))).values()
    return kind.__module__.startswith(_ORIGINAL) and all(map(_is_known, methods))


def _is_known(function: Any) -> bool:
    """Return whether a function is torch's or transformers' own, whatever it claims to be."""
    while function is not None:
        # `functools.wraps` copies the name of the function's module, but not its global names.
        inner = getattr(function, "__func__", function)
        home = getattr(inner, "__globals__", {}).get("__name__", "")
        if not home:  # no Python function, such as torch's own
            home = getattr(inner, "__module__", None) or type(inner).__module__
        if not home.startswith(("torch", "transformers", "builtins")):
            return False
        function = getattr(function, "__wrapped__", None)
    return True
