"""Conversion of ClipCap checkpoints to captioners."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from prefixcap.captioning.captioner import Captioner
from prefixcap.captioning.prefixer import FeatureNorm, Prefixer
from prefixcap.errors import PrefixcapError
from prefixcap.interfaces.encoder import EncoderConfig
from prefixcap.interfaces.language_model import LanguageModel, LMConfig
from prefixcap.interfaces.mapper import MapperConfig, MapperShape
from prefixcap.interfaces.tuning import TuningConfig
from prefixcap.plugin.registry import Registry, default_registry
from prefixcap_clipcap.checkpoint import ClipCapCheckpoint, read

# fixed in ClipCap's code; shapes do not show the number of heads
_HEADS = 8
# from the names of the mappers `mlp` and `transformer` to ClipCap's
_RENAMED = (
    (r"^layers\.", "model."),
    (r"^project\.", "linear."),
    (r"^constant$", "prefix_const"),
    (r"^blocks\.", "transformer.layers."),
    (r"\.queries\.", ".attn.to_queries."),
    (r"\.keys_values\.", ".attn.to_keys_values."),
    (r"\.output\.", ".attn.project."),
    (r"\.(fc[12])\.", r".mlp.\1."),
)
# the encoders that ClipCap's code offers, by the width of their features
_ENCODERS = {512: "clip:model=ViT-B/32", 640: "clip:model=RN50x4"}


def import_checkpoint(
    path: str | Path,
    mapping_type: str,
    prefix_length: int,
    *,
    clip_length: int | None = None,
    num_layers: int | None = None,
    normalize_prefix: bool = False,
    feature_scale: float = 1.0,
    lm: str = "gpt2",
    registry: Registry | None = None,
) -> Captioner:
    """Convert a checkpoint of ClipCap's code to a captioner.

    Args:
        path: ClipCap's .pt file, of the complete model or of `clip_project.*` alone.
        mapping_type: "mlp" or "transformer".
        prefix_length: P.
        clip_length: Number of feature tokens of the transformer mapper, checked if given.
        num_layers: Number of layers of the transformer mapper, checked if given.
        normalize_prefix: Whether features were divided by their norm in training.
        feature_scale: Factor applied to features after that.
        lm: Hub name or folder of the language model's config and tokenizer, and of its weights if
            the checkpoint has none.
        registry: Registry of components; by default the installed ones.

    Raises:
        PrefixcapError: If the file is not such a checkpoint, or does not match the arguments.
    """
    path = Path(path)
    registry = registry or default_registry()
    folder = str(Path(lm).resolve()) if Path(lm).is_dir() else lm

    def config(init: str) -> LMConfig:
        return registry.from_json(LMConfig, {"name": "hf", "model": folder, "init": init})

    @cache
    def build(init: str) -> LanguageModel:
        with torch.random.fork_rng(devices=[]):
            return config(init).build("cpu", "float32")

    checkpoint = read(
        path,
        mapping_type,
        prefix_length,
        clip_length=clip_length,
        num_layers=num_layers,
        embedding_width=lambda: build("pretrained").width,
    )
    init = "random" if checkpoint.lm else "pretrained"
    model = build(init)
    weights = _tied(checkpoint)
    _copy_weights(model, checkpoint, weights, lm)
    if model.tokenizer is None:
        raise PrefixcapError(f"--lm {lm}: it has no tokenizer, which is needed for the full stop")
    tuning = registry.parse(TuningConfig, "full" if checkpoint.lm else "frozen")
    mapper_config = registry.from_json(MapperConfig, _mapper_settings(checkpoint))
    mean = torch.zeros(checkpoint.feature_width)
    norm = FeatureNorm(mean, feature_scale, normalize=normalize_prefix)
    prefixer = _prefixer(checkpoint, mapper_config, norm)
    tuning.build().apply(model.module, prefixer.shape)
    # features that were scaled without being normalized are not an encoder's own
    own = normalize_prefix or feature_scale == 1.0
    encoder = _ENCODERS.get(checkpoint.feature_width) if own else None
    return Captioner(
        lm=model,
        prefixer=prefixer,
        mapper_config=mapper_config,
        tuning_config=tuning,
        lm_config=config(init),
        lm_digest=None if checkpoint.lm else model.digest(),
        encoder_config=None if encoder is None else registry.parse(EncoderConfig, encoder),
        stop_ids=(model.tokenizer.encode(".")[0],),
        stop_visible=True,
        trained_parameters=sum(t.numel() for t in (*checkpoint.mapper.values(), *weights.values())),
        history={
            "imported": "ClipCap",
            "checkpoint": path.name,
            "sha256": sha256(path.read_bytes()).hexdigest(),
        },
        save_lm=bool(checkpoint.lm),
    )


def _mapper_settings(checkpoint: ClipCapCheckpoint) -> dict[str, Any]:
    width, hidden = checkpoint.embedding_width, checkpoint.hidden
    if checkpoint.mapping_type == "mlp":
        default = width * checkpoint.prefix_length // 2
        return {"name": "mlp", "hidden": None if hidden == default else hidden}
    return {
        "name": "transformer",
        "clip_length": checkpoint.clip_length,
        "num_layers": checkpoint.num_layers,
        "heads": _HEADS,
        "mlp_ratio": hidden / width,
    }


def _prefixer(checkpoint: ClipCapCheckpoint, config: MapperConfig, norm: FeatureNorm) -> Prefixer:
    shape = MapperShape(
        feature_width=checkpoint.feature_width,
        feature_tokens=None,
        prefix_length=checkpoint.prefix_length,
        embedding_width=checkpoint.embedding_width,
    )
    try:
        # without memory and values, which are the checkpoint's
        with torch.device("meta"):
            mapper = config.build(shape)
    except (PrefixcapError, ValueError) as error:
        raise PrefixcapError(f"{checkpoint.path}: {error}") from error
    state = mapper.state_dict()
    names = {name: _clipcap_name(name) for name in state}
    unknown = [name for name in checkpoint.mapper if name not in names.values()]
    if unknown:
        raise PrefixcapError(
            f"{checkpoint.path}: its mapper has an unknown clip_project.{unknown[0]}"
        )
    for name, clipcap_name in names.items():
        if clipcap_name not in checkpoint.mapper:
            raise PrefixcapError(f"{checkpoint.path}: its mapper lacks clip_project.{clipcap_name}")
        actual, expected = tuple(checkpoint.mapper[clipcap_name].shape), tuple(state[name].shape)
        if actual != expected:
            raise PrefixcapError(
                f"{checkpoint.path}: clip_project.{clipcap_name} has shape {actual}, but the other "
                f"weights require {expected}"
            )
    weights = {name: checkpoint.mapper[clipcap_name] for name, clipcap_name in names.items()}
    mapper.load_state_dict(weights, assign=True)
    return Prefixer(norm, mapper, shape).eval()


def _clipcap_name(name: str) -> str:
    for pattern, replacement in _RENAMED:
        name = re.sub(pattern, replacement, name)
    return name


def _copy_weights(
    lm: LanguageModel, checkpoint: ClipCapCheckpoint, weights: Mapping[str, Tensor], place: str
) -> None:
    """Copy the checkpoint's language model, if it has one, into a model of its config."""
    if lm.width != checkpoint.embedding_width:
        raise PrefixcapError(
            f"{checkpoint.path}: its prefixes are {checkpoint.embedding_width} wide, and the "
            f"language model of --lm {place} is {lm.width} wide: use the one it was trained with"
        )
    if not weights:
        return
    parameters = dict(lm.module.named_parameters())
    shapes, known = ({n: tuple(t.shape) for n, t in w.items()} for w in (weights, parameters))
    if shapes != known:
        name = next(n for n in {**shapes, **known} if shapes.get(n) != known.get(n))
        raise PrefixcapError(
            f"{checkpoint.path}: its language model ({_describe(weights)}) is not that of "
            f"--lm {place} ({_describe(parameters)}): {name} is {shapes.get(name, 'absent')} "
            f"instead of {known.get(name, 'absent')}"
        )
    with torch.no_grad():
        for name, tensor in weights.items():
            parameters[name].copy_(tensor)


def _tied(checkpoint: ClipCapCheckpoint) -> dict[str, Tensor]:
    """Return the language model's weights without the output layer, which is the embedding."""
    weights = dict(checkpoint.lm)
    output = weights.pop("lm_head.weight", None)
    if output is not None and not torch.equal(output, weights["transformer.wte.weight"]):
        raise PrefixcapError(
            f"{checkpoint.path}: gpt.lm_head.weight differs from gpt.transformer.wte.weight, but "
            "GPT-2 ties them"
        )
    return weights


def _describe(weights: Mapping[str, Tensor]) -> str:
    matches = (re.match(r"transformer\.h\.(\d+)\.", name) for name in weights)
    layers = {match[1] for match in matches if match}
    sizes = [f"{len(layers)} layers"] if layers else ["not a GPT-2"]
    for name, unit in (("wte", "tokens"), ("wpe", "positions")):
        tensor = weights.get(f"transformer.{name}.weight")
        if tensor is not None:
            sizes.append(f"{tensor.shape[0]} {unit}")
    return ", ".join(sizes)
