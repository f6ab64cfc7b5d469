"""`NetworkSelector`: the network that runs a model: native, transformers' code, or none."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn

from prefixcap.engine.architectures import GPT2Network, LlamaNetwork, NativeNetwork, OPTNetwork
from prefixcap.engine.cache_session import CacheSession
from prefixcap.engine.network import Network, eval_mode
from prefixcap.engine.transformers_network import TransformersNetwork
from prefixcap.engine.tree_session import TreeSession
from prefixcap.interfaces.session import Session, SessionOptions

# Where the modules of transformers' models are defined.
_ORIGINAL = (
    *("torch.nn.modules.", "transformers.models."),
    *("transformers.activations", "transformers.pytorch_utils"),
)
_LLAMAS = ("LlamaForCausalLM", "Qwen2ForCausalLM", "Qwen3ForCausalLM", "MistralForCausalLM")


class NetworkSelector:
    """Chooses the network for a model, and rebuilds it when its weights or modules have changed.

    A network is used only if its logits agree with the cache session's on a short text whose rows
    are repeated, reordered and dropped. A model that treats its cache, mask or positions in
    another way fails this test, and is left to the cache session.
    """

    def __init__(self, model: Any) -> None:
        self._model = model
        self._stamp: object = None
        self._kind: type[Network] | None = None
        self._structure: object = None
        self._network: Network | None = None

    def __deepcopy__(self, memo: dict[int, Any]) -> NetworkSelector:
        # Weights in oneDNN's layout cannot be copied, so the copy builds its own.
        return NetworkSelector(copy.deepcopy(self._model, memo))

    def network(self) -> Network | None:
        """Return the network for the model as it is now; None if only the cache session works."""
        structure = _structure(self._model)
        stamp = (structure, _stamp(self._model))
        if stamp == self._stamp:
            return self._network
        kinds: tuple[type[Network] | None, ...] = (_native(self._model), TransformersNetwork)
        if structure == self._structure:  # only the weights changed: no need to test again
            kinds = (self._kind,)
        self._network = next(
            (
                network
                for kind in kinds
                if kind
                and (network := _try_build(kind, self._model))
                and (structure == self._structure or agrees(network, self._model))
            ),
            None,
        )
        self._kind = type(self._network) if self._network else None
        self._stamp, self._structure = stamp, structure
        return self._network


def _native(model: Any) -> type[NativeNetwork] | None:
    """Return the network written out for exactly this model's modules, if there is one."""
    name, config = type(model).__name__, model.config
    # The written-out layers read weights and call no modules, so hooks would be ignored, and so
    # would modules in place of transformers' own, such as adapters.
    if any(_hooked(part) or not _original(part) for part in model.modules()):
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


@torch.inference_mode()
def agrees(network: Network, model: Any) -> bool:
    """Return whether the network's logits agree with the cache session's on a short text."""
    weight = model.get_input_embeddings().weight
    stream = torch.Generator().manual_seed(0)
    prefix = torch.randn(2, 3, weight.shape[1], generator=stream) * float(weight.float().std())
    options = SessionOptions(rows_per_image=3)
    try:
        with eval_mode(model):
            fast = _trial(TreeSession(network, prefix, options))
            slow = _trial(CacheSession(model, prefix, options))
    except (RuntimeError, ValueError, TypeError, AttributeError, LookupError):
        return False
    allowed = 1e-3 if weight.dtype == torch.float32 else 0.15
    return bool((fast - slow).abs().max() <= allowed * slow.std())


def _trial(session: Session) -> Tensor:
    device = session.logits.device
    logits = []
    session.admit()
    # In the last steps, three rows continue the last one, in columns before and after its own.
    for parents in ([0, 0, 1], [2, 1, 0, 2], [3, 0, 1], [1, 1, 1, 2], [2, 2, 2, 3, 3, 3]):
        logits.append(session.logits)
        tokens = torch.arange(len(parents), device=device) + len(logits)
        tokens %= session.logits.shape[1]
        session.advance(tokens, torch.tensor(parents, device=device))
    return torch.cat([*logits, session.logits])


def _structure(model: Any) -> object:
    """Return the types of all modules and the ids of their hooks."""
    return tuple(
        (type(part), *part._forward_pre_hooks, *part._forward_hooks) for part in model.modules()
    )


def _hooked(module: nn.Module) -> bool:
    hooks = (*module._forward_pre_hooks.values(), *module._forward_hooks.values())
    # transformers' own hooks only collect hidden states on request.
    return any(not getattr(h, "__module__", "").startswith("transformers.") for h in hooks)


def _original(module: nn.Module) -> bool:
    return type(module).__module__.startswith(_ORIGINAL)


def _stamp(model: Any) -> object:
    """Return a value that changes with any weight, without comparing all weights."""
    with torch.no_grad():
        samples = [parameter.detach().reshape(-1)[:16] for parameter in model.parameters()]
        sums = torch.stack([part.double().sum() for part in samples]).tolist() if samples else []
    # In-place updates raise a tensor's version; inference tensors have none, so a few values of
    # each parameter are compared as well.
    versions = [
        (None if parameter.is_inference() else parameter._version, parameter.data_ptr())
        for parameter in model.parameters()
    ]
    return (tuple(sums), tuple(versions))
