"""Restore the parts of a saved captioner, and check that they are those of its training.

What was trained comes from the saved weights; the rest of the language model is built from its own
config, so its digest and its tokenizer are compared with those of the training.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from prefixcap.captioning import checkpoint
from prefixcap.captioning.bridging import Bridging
from prefixcap.captioning.prefixer import FeatureNorm, Prefixer
from prefixcap.captioning.prompting.prompts import Prompts
from prefixcap.errors import PrefixcapError
from prefixcap.interfaces.bridge import BridgeConfig
from prefixcap.interfaces.encoder import EncoderConfig
from prefixcap.interfaces.language_model import LanguageModel, LMConfig
from prefixcap.interfaces.mapper import MapperConfig, MapperShape
from prefixcap.interfaces.retrieval.prompt import PromptConfig
from prefixcap.interfaces.tuning import TuningConfig
from prefixcap.plugin.registry import Registry
from prefixcap.util.runtime import dtype_named

# The entries of the config that are passed to `Captioner` unchanged.
_COPIED = (
    *("lm_digest", "encoder_digest", "training", "seed", "stop_visible"),
    *("trained_parameters", "history"),
)
_PROBE = "A black dog runs, and two children in red watch it."


def probe(lm: LanguageModel) -> list[int] | None:
    """Return the tokens of a fixed sentence, which show whether a tokenizer has changed."""
    return None if lm.tokenizer is None else lm.tokenizer.encode(_PROBE)


def restore(
    folder: Path,
    config: dict[str, Any],
    weights: dict[str, Tensor],
    device: str,
    dtype: str | None,
    registry: Registry,
    *,
    lm_config: LMConfig | None = None,
) -> dict[str, Any]:
    """Build the parts of a captioner from its saved config and weights.

    `folder` is where they were read from, for messages; `dtype` and `lm_config` are by default
    those of the training.

    Returns:
        The arguments of `Captioner`.

    Raises:
        PrefixcapError: If the parts do not fit each other, or differ from those of the training.
    """
    encoder, bridge = config["encoder"], config.get("bridge")
    bridge_config = None if bridge is None else registry.from_json(BridgeConfig, bridge)
    tuning_config = registry.from_json(TuningConfig, config["tuning"])
    mapper_config = registry.from_json(MapperConfig, config["mapper"])
    if lm_config is None:
        lm_config = registry.from_json(LMConfig, config["lm"])
        lm = _build_lm(folder, lm_config, device, config["dtype"])
    else:
        lm = lm_config.build(device, config["dtype"])
    _check_lm(folder, lm, config)
    shape = MapperShape(**config["shape"])
    with torch.random.fork_rng(devices=[]):
        tuning_config.build().apply(lm.module, shape)
    lm = lm.for_prefixes(shape)
    trained = [name for name, p in lm.module.named_parameters() if p.requires_grad]
    stored = {k.removeprefix("lm."): v for k, v in weights.items() if k.startswith("lm.")}
    _fill(folder, lm, stored, trained)
    if dtype not in (None, config["dtype"]):
        lm.module.to(dtype_named(dtype))
    prefixer = _prefixer(folder, mapper_config, shape, weights, bridge_config)
    return {
        "lm": lm,
        "prompts": _prompts(folder, config, lm, shape, registry),
        "prefixer": prefixer.eval().to(lm.device),
        "mapper_config": mapper_config,
        "tuning_config": tuning_config,
        "lm_config": lm_config,
        "encoder_config": None if encoder is None else registry.from_json(EncoderConfig, encoder),
        "bridge_config": bridge_config,
        "stop_ids": tuple(config["stop_ids"]),
        "save_lm": len(stored) > len(trained),
        **{key: config[key] for key in _COPIED},
    }


def _prefixer(
    folder: Path,
    mapper_config: MapperConfig,
    shape: MapperShape,
    weights: dict[str, Tensor],
    bridge_config: BridgeConfig | None,
) -> Prefixer:
    state = {k.removeprefix("prefixer."): v for k, v in weights.items() if k[:9] == "prefixer."}
    with torch.random.fork_rng(devices=[]):
        mapper = mapper_config.build(shape)
    prefixer = Prefixer(FeatureNorm(torch.zeros(shape.feature_width)), mapper, shape)
    if bridge_config is not None:
        learned = {k.removeprefix("bridge."): v for k, v in state.items() if k[:7] == "bridge."}
        prefixer.bridge = Bridging.restore(bridge_config, learned)
    try:
        prefixer.load_state_dict(state)
    except RuntimeError as error:
        reason = str(error).splitlines()[-1].strip()
        raise PrefixcapError(f"{folder}: the weights do not fit the mapper: {reason}") from error
    return prefixer


def _prompts(
    folder: Path,
    config: dict[str, Any],
    lm: LanguageModel,
    shape: MapperShape,
    registry: Registry,
) -> Prompts | None:
    prompt = config.get("prompt")
    if prompt is None:
        return None
    datastore = checkpoint.read_datastore(folder, config)
    return Prompts(registry.from_json(PromptConfig, prompt), datastore, lm, shape)


def _build_lm(folder: Path, config: LMConfig, device: str, dtype: str) -> LanguageModel:
    try:
        return config.build(device, dtype)
    except PrefixcapError as error:
        place = f"{config.name}:model=FOLDER"
        raise PrefixcapError(
            f"{folder}: the language model of this run cannot be loaded: {error}; if it is "
            f"elsewhere now, say where: --lm {place}, in Python Captioner.load(..., lm={place!r})"
        ) from error


def _check_lm(folder: Path, lm: LanguageModel, config: dict[str, Any]) -> None:
    spec = config["lm"]
    if lm.width != config["shape"]["embedding_width"]:
        raise PrefixcapError(
            f"{folder}: the language model {spec} has width {lm.width}, and this run's mapper "
            f"was trained for width {config['shape']['embedding_width']}"
        )
    if config["lm_digest"] is not None and lm.digest() != config["lm_digest"]:
        raise PrefixcapError(
            f"{folder}: the language model {spec} is not the one that this run was trained with: "
            f"its weights or vocabulary differ ({lm.digest()} instead of {config['lm_digest']})"
        )
    if config["lm_probe"] is not None and probe(lm) != config["lm_probe"]:
        raise PrefixcapError(
            f"{folder}: the tokenizer of the language model {spec} splits text differently from "
            "the one that this run was trained with"
        )


def _fill(folder: Path, lm: LanguageModel, stored: dict[str, Tensor], trained: list[str]) -> None:
    parameters = dict(lm.module.named_parameters())
    missing = [name for name in trained if name not in stored]
    unknown = [name for name in stored if name not in parameters]
    if missing or unknown:
        raise PrefixcapError(
            f"{folder}: the weights do not fit the language model: "
            f"{'missing' if missing else 'unknown'} are {', '.join((missing or unknown)[:3])}"
        )
    with torch.no_grad():
        for name, tensor in stored.items():
            if parameters[name].shape != tensor.shape:
                raise PrefixcapError(
                    f"{folder}: the weights do not fit the language model: {name} is "
                    f"{tuple(tensor.shape)} instead of {tuple(parameters[name].shape)}"
                )
            parameters[name].copy_(tensor)
