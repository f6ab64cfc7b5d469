"""A tuning applied to a language model, or tried on its structure alone."""

from __future__ import annotations

import copy

import torch
from torch import nn

from prefixcap.errors import PrefixcapError
from prefixcap.interfaces.language_model import LanguageModel
from prefixcap.interfaces.mapper import MapperShape
from prefixcap.interfaces.tuning import TuningConfig
from prefixcap.plugin.building import build, is_foreign, naming_plugin


def tuned(lm: LanguageModel, config: TuningConfig, shape: MapperShape) -> LanguageModel:
    """Return a language model with a tuning applied: a copy if the tuning trains it.

    The parameters that a built-in tuning does not train share their memory with the model's.
    `shape` has the sizes of features and prefixes.

    Raises:
        PrefixcapError: If the tuning does not fit the model.
    """
    if not config.trains_lm:
        _apply(config, lm.module, shape)
        return lm
    _check_place(lm, config)
    if is_foreign(config):  # it may write into weights
        copied = copy.deepcopy(lm)
        _apply(config, copied.module, shape)
        return copied
    given = list(lm.module.parameters())
    shared = {id(p): nn.Parameter(p.detach(), requires_grad=p.requires_grad) for p in given}
    copied = copy.deepcopy(lm, shared)
    places = {p.data_ptr() for p in given}
    for parameter in _apply(config, copied.module, shape):
        if parameter.data_ptr() in places:
            parameter.data = parameter.data.clone()
    return copied


def trained_size(lm: LanguageModel, config: TuningConfig, shape: MapperShape) -> int:
    """Try a tuning on a copy of a language model; return how many parameters it trains.

    Built-in tunings are known to work without numbers, which takes neither time nor memory.

    Raises:
        PrefixcapError: If the tuning does not fit the model.
    """
    if not config.trains_lm:
        return 0
    _check_place(lm, config)
    copied = copy.deepcopy(lm.module) if is_foreign(config) else _without_numbers(lm.module)
    with torch.random.fork_rng(devices=[]):
        return sum(p.numel() for p in _apply(config, copied, shape))


def _without_numbers(module: nn.Module) -> nn.Module:
    """Copy a module with parameters that have only a shape and a dtype."""
    blank = {
        id(p): nn.Parameter(torch.empty_like(p, device="meta"), requires_grad=p.requires_grad)
        for p in module.parameters()
    }
    return copy.deepcopy(module, blank)


def _check_place(lm: LanguageModel, config: TuningConfig) -> None:
    if getattr(lm.module, "hf_device_map", None) is not None:
        raise PrefixcapError(
            f"the tuning {config.name!r} trains the language model, and device_map has spread "
            "this one over several places: use the tuning 'frozen', or one device"
        )


def _apply(config: TuningConfig, module: nn.Module, shape: MapperShape) -> list[nn.Parameter]:
    """Apply a tuning; return the parameters that it trains."""
    with naming_plugin(config, "cannot be applied to the language model"):
        build(config).apply(module, shape)
    trained = [p for p in module.parameters() if p.requires_grad]
    if trained and not config.trains_lm:
        raise PrefixcapError(
            f"the tuning {config.name!r} selects parameters of the language model, but its "
            "config has trains_lm = False"
        )
    if any(p.dtype != torch.float32 for p in trained):
        raise PrefixcapError(
            f"the tuning {config.name!r} trains the language model, but small steps are "
            f"lost in {str(trained[0].dtype).removeprefix('torch.')}: use dtype float32"
        )
    return trained
