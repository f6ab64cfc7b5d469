"""From a checkpoint of ClipCap to a `Captioner`."""

from __future__ import annotations

import re
from collections.abc import Mapping
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
from prefixcap_clipcap.checkpoint import Checkpoint, read

# ClipCap fixes the transformer mapper's heads; they cannot be read from shapes
_HEADS = 8
# the names of the mappers `mlp` and `transformer` for ClipCap's
_RENAMED = (
    (r"^model\.", "layers."),
    (r"^linear\.", "project."),
    (r"^prefix_const$", "constant"),
    (r"^transformer\.layers\.(\d+)\.", r"blocks.\1."),
    (r"\.attn\.to_queries\.", ".queries."),
    (r"\.attn\.to_keys_values\.", ".keys_values."),
    (r"\.attn\.project\.", ".output."),
    (r"\.mlp\.(fc[12])\.", r".\1."),
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
    """Makes a captioner of a checkpoint that ClipCap's code trained.

    Args:
        path: ClipCap's .pt file: the whole model, or `clip_project.*` alone.
        mapping_type: "mlp" or "transformer".
        prefix_length: P.
        clip_length: the feature tokens of the transformer mapper, to be checked.
        num_layers: the transformer mapper's layers, to be checked.
        normalize_prefix: whether features were divided by their norm in training.
        feature_scale: what features were then multiplied by.
        lm: a hub name or a folder of transformers: the language model's config and tokenizer, and
            its weights where the checkpoint has none.
        registry: where the components are looked up; what is installed unless given.

    Raises:
        PrefixcapError: the file is no such checkpoint, or something does not fit it.
    """
    path = Path(path)
    registry = registry or default_registry()
    models: dict[str, LanguageModel] = {}
    folder = str(Path(lm).resolve()) if Path(lm).is_dir() else lm

    def config(init: str) -> LMConfig:
        return registry.from_json(LMConfig, {"name": "hf", "model": folder, "init": init})

    def model(init: str) -> LanguageModel:
        if init not in models:
            with torch.random.fork_rng(devices=[]):
                models[init] = config(init).build("cpu", "float32")
        return models[init]

    checkpoint = read(
        path,
        mapping_type,
        prefix_length,
        clip_length=clip_length,
        num_layers=num_layers,
        embedding_width=lambda: model("pretrained").width,
    )
    init = "random" if checkpoint.lm else "pretrained"
    found = model(init)
    _fill(found, checkpoint, lm)
    mapper_config = _mapper_config(checkpoint, registry)
    tuning = registry.parse(TuningConfig, "full" if checkpoint.lm else "frozen")
    tuning.build().apply(found.module)
    encoder = _encoder(checkpoint, feature_scale, normalize=normalize_prefix)
    return Captioner(
        lm=found,
        prefixer=_prefixer(checkpoint, mapper_config, feature_scale, normalize=normalize_prefix),
        mapper_config=mapper_config,
        tuning_config=tuning,
        lm_config=config(init),
        lm_digest=None if checkpoint.lm else found.digest(),
        encoder_config=None if encoder is None else registry.parse(EncoderConfig, encoder),
        stop_ids=(_full_stop(found, lm),),
        stop_visible=True,
        trained_parameters=sum(
            tensor.numel()
            for part in (checkpoint.mapper, _tied(checkpoint))
            for tensor in part.values()
        ),
        history={"imported": "ClipCap", "checkpoint": path.name, "sha256": _hash(path)},
        save_lm=bool(checkpoint.lm),
    )


def _encoder(checkpoint: Checkpoint, scale: float, *, normalize: bool) -> str | None:
    """Names the encoder that the features came from, where ClipCap's code leaves no other.

    Features that were scaled without being normalised are not that encoder's own.
    """
    own = normalize or scale == 1.0
    return _ENCODERS.get(checkpoint.feature_width) if own else None


def _mapper_config(checkpoint: Checkpoint, registry: Registry) -> MapperConfig:
    width = checkpoint.embedding_width
    settings: dict[str, Any]
    if checkpoint.mapping_type == "mlp":
        usual = width * checkpoint.prefix_length // 2
        settings = {"hidden": None if checkpoint.hidden == usual else checkpoint.hidden}
    else:
        settings = {
            "clip_length": checkpoint.clip_length,
            "num_layers": checkpoint.num_layers,
            "heads": _HEADS,
            "mlp_ratio": checkpoint.hidden / width,
        }
    return registry.from_json(MapperConfig, {"name": checkpoint.mapping_type, **settings})


def _prefixer(
    checkpoint: Checkpoint, config: MapperConfig, scale: float, *, normalize: bool
) -> Prefixer:
    shape = MapperShape(
        feature_width=checkpoint.feature_width,
        feature_tokens=None,
        prefix_length=checkpoint.prefix_length,
        embedding_width=checkpoint.embedding_width,
    )
    with torch.random.fork_rng(devices=[]):
        mapper = config.build(shape)
    mapper.load_state_dict({_renamed(name): t for name, t in checkpoint.mapper.items()})
    norm = FeatureNorm(torch.zeros(shape.feature_width), scale, normalize=normalize)
    return Prefixer(norm, mapper, shape).eval()


def _renamed(name: str) -> str:
    for pattern, ours in _RENAMED:
        name = re.sub(pattern, ours, name)
    return name


def _fill(lm: LanguageModel, checkpoint: Checkpoint, place: str) -> None:
    """Copies the checkpoint's language model, where it has one, into a model of its config."""
    if lm.width != checkpoint.embedding_width:
        raise PrefixcapError(
            f"{checkpoint.path}: its prefixes are {checkpoint.embedding_width} wide, and the "
            f"language model of --lm {place} is {lm.width} wide: give the one it was trained with"
        )
    if not checkpoint.lm:
        return
    theirs = _tied(checkpoint)
    parameters = dict(lm.module.named_parameters())
    shapes, wanted = ({n: tuple(t.shape) for n, t in w.items()} for w in (theirs, parameters))
    if shapes != wanted:
        name = next(n for n in {**shapes, **wanted} if shapes.get(n) != wanted.get(n))
        raise PrefixcapError(
            f"{checkpoint.path}: its language model ({_described(theirs)}) is not that of "
            f"--lm {place} ({_described(parameters)}): {name} is {shapes.get(name, 'absent')} "
            f"instead of {wanted.get(name, 'absent')}"
        )
    with torch.no_grad():
        for name, tensor in theirs.items():
            parameters[name].copy_(tensor)


def _tied(checkpoint: Checkpoint) -> dict[str, Tensor]:
    """Returns the language model's weights without the output layer, which is the embedding."""
    found = dict(checkpoint.lm)
    output = found.pop("lm_head.weight", None)
    if output is not None and not torch.equal(output, found["transformer.wte.weight"]):
        raise PrefixcapError(
            f"{checkpoint.path}: gpt.lm_head.weight is not gpt.transformer.wte.weight, and in "
            "GPT-2 the two are one"
        )
    return found


def _described(weights: Mapping[str, Tensor]) -> str:
    layers = {found[1] for name in weights if (found := re.match(r"transformer\.h\.(\d+)\.", name))}
    sizes = [f"{len(layers)} layers"] if layers else ["not a GPT-2"]
    for name, what in (("wte", "tokens"), ("wpe", "positions")):
        tensor = weights.get(f"transformer.{name}.weight")
        if tensor is not None:
            sizes.append(f"{tensor.shape[0]} {what}")
    return ", ".join(sizes)


def _full_stop(lm: LanguageModel, place: str) -> int:
    if lm.tokenizer is None:
        raise PrefixcapError(f"--lm {place}: it has no tokenizer, so there is no full stop")
    return lm.tokenizer.encode(".")[0]


def _hash(path: Path) -> str:
    return sha256(path.read_bytes()).hexdigest()
