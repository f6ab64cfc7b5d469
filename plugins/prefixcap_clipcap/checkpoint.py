"""Reading a checkpoint of ClipCap (Mokady et al. 2021, github.com/rmokady/CLIP_prefix_caption).

A checkpoint is the `state_dict` of ClipCap's model: `clip_project.*` is the mapper and `gpt.*` the
language model (absent where only the mapper was kept). Every size is read from the shapes.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import attrs

from prefixcap.errors import PrefixcapError, nearest

if TYPE_CHECKING:
    from torch import Tensor

MappingType = Literal["mlp", "transformer"]
MAPPING_TYPES: tuple[MappingType, ...] = ("mlp", "transformer")

_MARKS = {"mlp": "model.0.weight", "transformer": "prefix_const"}
_MLP_NAMES = tuple(f"model.{layer}.{part}" for layer in (0, 2) for part in ("weight", "bias"))
_LAYER_NAMES = (
    "norm1.weight",
    "norm1.bias",
    "attn.to_queries.weight",
    "attn.to_keys_values.weight",
    "attn.project.weight",
    "attn.project.bias",
    "norm2.weight",
    "norm2.bias",
    "mlp.fc1.weight",
    "mlp.fc1.bias",
    "mlp.fc2.weight",
    "mlp.fc2.bias",
)
# older versions of transformers kept the causal mask among the weights
_MASKS = re.compile(r"\.attn\.(masked_)?bias$")


@attrs.frozen(kw_only=True)
class Checkpoint:
    """A checkpoint of ClipCap, read and checked as far as it says itself.

    Attributes:
        path: where it was read.
        mapping_type: which of ClipCap's mappers it holds.
        prefix_length: P.
        feature_width: D.
        embedding_width: E.
        hidden: the width of the mapper's hidden layer (of each layer's, in the transformer).
        clip_length: the feature tokens of the transformer mapper; None for the MLP.
        num_layers: the layers of the transformer mapper; None for the MLP.
        mapper: its weights, by ClipCap's names without "clip_project.".
        lm: the language model's weights, by transformers' names; empty where there are none.
    """

    path: Path
    mapping_type: MappingType
    prefix_length: int
    feature_width: int
    embedding_width: int
    hidden: int
    clip_length: int | None = None
    num_layers: int | None = None
    mapper: Mapping[str, Tensor] = attrs.field(repr=False, eq=False)
    lm: Mapping[str, Tensor] = attrs.field(repr=False, eq=False)


def read(
    path: Path,
    mapping_type: str,
    prefix_length: int,
    *,
    clip_length: int | None = None,
    num_layers: int | None = None,
    embedding_width: Callable[[], int],
) -> Checkpoint:
    """Reads a checkpoint, weights only: nothing in the file is ever run.

    Args:
        path: ClipCap's .pt file.
        mapping_type: "mlp" or "transformer".
        prefix_length: P.
        clip_length: the feature tokens of the transformer mapper; only checked, as is
        num_layers: its number of layers.
        embedding_width: asked for E by a checkpoint that does not say it (an MLP without GPT-2).

    Raises:
        PrefixcapError: the file is not such a checkpoint, or the settings do not fit it.
    """
    if mapping_type not in MAPPING_TYPES:
        raise PrefixcapError(
            f"--mapping-type {mapping_type!r} is not known{nearest(mapping_type, MAPPING_TYPES)}"
        )
    tensors = _tensors(path)
    mapper = {
        name.removeprefix("clip_project."): tensor
        for name, tensor in tensors.items()
        if name.startswith("clip_project.")
    }
    lm = {
        name.removeprefix("gpt."): tensor
        for name, tensor in tensors.items()
        if name.startswith("gpt.")
    }
    _check_parts(path, tensors, mapper, mapping_type)
    width = _width(path, mapper, lm, embedding_width)
    sizes = _mlp_sizes if mapping_type == "mlp" else _transformer_sizes
    found = Checkpoint(
        path=path,
        mapping_type=mapping_type,
        embedding_width=width,
        mapper=mapper,
        lm=lm,
        **sizes(path, mapper, width),
    )
    _check_option(found, "--prefix-len", prefix_length, found.prefix_length)
    if mapping_type == "transformer":
        _check_option(found, "--clip-length", clip_length, found.clip_length)
        _check_option(found, "--num-layers", num_layers, found.num_layers)
    return found


def _tensors(path: Path) -> dict[str, Tensor]:
    from pickle import UnpicklingError

    import torch

    if not path.is_file():
        raise PrefixcapError(f"{path}: there is no such file; give ClipCap's .pt checkpoint")
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
    except (UnpicklingError, RuntimeError, EOFError, ValueError, KeyError, OSError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else repr(error)
        raise PrefixcapError(
            f"{path}: not a checkpoint that can be read safely (weights only): {reason[:200]}"
        ) from error
    if not isinstance(found, dict) or not all(
        isinstance(name, str) and isinstance(tensor, torch.Tensor) for name, tensor in found.items()
    ):
        raise PrefixcapError(
            f"{path}: not a state_dict of ClipCap: expected names with tensors, found "
            f"{type(found).__name__} of {_listed(found) if isinstance(found, dict) else 'no names'}"
        )
    weights = {name: t.float() for name, t in found.items() if not _MASKS.search(name)}
    for name, tensor in weights.items():
        if not tensor.ndim or not tensor.numel():
            raise PrefixcapError(f"{path}: {name} is of shape {tuple(tensor.shape)}: no weights")
        if not tensor.isfinite().all():
            raise PrefixcapError(f"{path}: {name} holds numbers that are not finite")
    return weights


def _check_parts(
    path: Path, tensors: Mapping[str, Tensor], mapper: Mapping[str, Tensor], mapping_type: str
) -> None:
    if not mapper:
        raise PrefixcapError(
            f"{path}: not a checkpoint of ClipCap: nothing in it is called 'clip_project.'; "
            f"it has {_listed(tensors)}"
        )
    foreign = [name for name in tensors if not name.startswith(("clip_project.", "gpt."))]
    if foreign:
        raise PrefixcapError(
            f"{path}: not a checkpoint of ClipCap: beside 'clip_project.' and 'gpt.' it has "
            f"{foreign[0]!r}"
        )
    other = next((name for name, mark in _MARKS.items() if mark in mapper), None)
    if other is None:
        raise PrefixcapError(
            f"{path}: its clip_project is neither ClipCap's MLP nor its transformer; "
            f"it has {_listed(mapper)}"
        )
    if other != mapping_type:
        raise PrefixcapError(
            f"{path}: --mapping-type {mapping_type} does not fit: its mapper is of the "
            f"type {other}; use --mapping-type {other}"
        )


def _width(
    path: Path, mapper: Mapping[str, Tensor], lm: Mapping[str, Tensor], given: Callable[[], int]
) -> int:
    if lm and "transformer.wte.weight" not in lm:
        raise PrefixcapError(f"{path}: it has a 'gpt.' but no gpt.transformer.wte.weight")
    said = {
        "gpt.transformer.wte.weight": lm.get("transformer.wte.weight"),
        "clip_project.prefix_const": mapper.get("prefix_const"),
    }
    widths = {name: int(tensor.shape[-1]) for name, tensor in said.items() if tensor is not None}
    if len(set(widths.values())) > 1:
        both = " but ".join(f"{name} is {width} wide" for name, width in widths.items())
        raise PrefixcapError(f"{path}: its parts do not fit each other: {both}")
    return next(iter(widths.values())) if widths else given()


def _mlp_sizes(path: Path, mapper: Mapping[str, Tensor], width: int) -> dict[str, int]:
    _check_names(path, mapper, _MLP_NAMES)
    hidden, features = _shape(path, mapper, "model.0.weight", 2)
    total = _shape(path, mapper, "model.2.weight", 2)[0]
    if total % width:
        raise PrefixcapError(
            f"{path}: its MLP gives {total} numbers an image, which is no whole number of "
            f"embeddings of width {width}: it belongs to another language model (--lm)"
        )
    _check_shapes(
        path,
        mapper,
        {
            "model.0.bias": (hidden,),
            "model.2.weight": (total, hidden),
            "model.2.bias": (total,),
        },
    )
    return {"prefix_length": total // width, "feature_width": features, "hidden": hidden}


def _transformer_sizes(path: Path, mapper: Mapping[str, Tensor], width: int) -> dict[str, int]:
    numbers = [re.match(r"transformer\.layers\.(\d+)\.", name) for name in mapper]
    layers = 1 + max((int(found[1]) for found in numbers if found), default=-1)
    names = [f"transformer.layers.{i}.{name}" for i in range(layers) for name in _LAYER_NAMES]
    _check_names(path, mapper, ("prefix_const", "linear.weight", "linear.bias", *names))
    if not layers:
        raise PrefixcapError(f"{path}: its transformer mapper has no layers")
    length = _shape(path, mapper, "prefix_const", 2)[0]
    rows, features = _shape(path, mapper, "linear.weight", 2)
    if rows % width:
        raise PrefixcapError(
            f"{path}: clip_project.linear.weight has {rows} rows, which is no whole number of "
            f"embeddings of width {width}"
        )
    hidden = _shape(path, mapper, "transformer.layers.0.mlp.fc1.weight", 2)[0]
    wanted: dict[str, tuple[int, ...]] = {"linear.bias": (rows,)}
    for layer in range(layers):
        sizes: dict[str, tuple[int, ...]] = dict.fromkeys(_LAYER_NAMES, (width,))
        sizes |= {
            "attn.to_queries.weight": (width, width),
            "attn.to_keys_values.weight": (2 * width, width),
            "attn.project.weight": (width, width),
            "mlp.fc1.weight": (hidden, width),
            "mlp.fc1.bias": (hidden,),
            "mlp.fc2.weight": (width, hidden),
        }
        wanted |= {f"transformer.layers.{layer}.{name}": size for name, size in sizes.items()}
    _check_shapes(path, mapper, wanted)
    return {
        "prefix_length": length,
        "feature_width": features,
        "hidden": hidden,
        "clip_length": rows // width,
        "num_layers": layers,
    }


def _check_names(path: Path, mapper: Mapping[str, Tensor], wanted: tuple[str, ...]) -> None:
    for problem, names in (
        ("lacks", [name for name in wanted if name not in mapper]),
        ("has an unknown", [name for name in mapper if name not in wanted]),
    ):
        if names:
            more = f" and {len(names) - 1} more" if len(names) > 1 else ""
            raise PrefixcapError(f"{path}: its mapper {problem} clip_project.{names[0]}{more}")


def _shape(path: Path, mapper: Mapping[str, Tensor], name: str, dims: int) -> tuple[int, ...]:
    shape = tuple(mapper[name].shape)
    if len(shape) != dims:
        raise PrefixcapError(f"{path}: clip_project.{name} has {len(shape)} dimensions, not {dims}")
    return shape


def _check_shapes(
    path: Path, mapper: Mapping[str, Tensor], wanted: Mapping[str, tuple[int, ...]]
) -> None:
    for name, size in wanted.items():
        if tuple(mapper[name].shape) != size:
            raise PrefixcapError(
                f"{path}: clip_project.{name} is of shape {tuple(mapper[name].shape)}, "
                f"where the others need {size}"
            )


def _check_option(checkpoint: Checkpoint, option: str, given: int | None, found: object) -> None:
    if given is not None and given != found:
        raise PrefixcapError(
            f"{checkpoint.path}: {option} {given} does not fit its shapes; use {option} {found}"
        )


def _listed(names: Mapping[str, object]) -> str:
    first = ", ".join(map(str, list(names)[:3]))
    return f"{first}{', ...' if len(names) > 3 else ''}" or "nothing"
