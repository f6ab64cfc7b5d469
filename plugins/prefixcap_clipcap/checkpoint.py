"""Reading checkpoints of ClipCap (Mokady et al. 2021, github.com/rmokady/CLIP_prefix_caption).

A checkpoint is the `state_dict` of ClipCap's model: `clip_project.*` is the mapper and `gpt.*` the
language model (absent if only the mapper was saved). Every size is read from the shapes.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import attrs

from prefixcap.errors import PrefixcapError, nearest
from prefixcap.util.weights import load_state_dict

if TYPE_CHECKING:
    from torch import Tensor

MappingType = Literal["mlp", "transformer"]
MAPPING_TYPES: tuple[MappingType, ...] = ("mlp", "transformer")

_MARKS = {"mlp": "model.0.weight", "transformer": "prefix_const"}
# older versions of transformers saved the causal mask with the weights
_MASKS = re.compile(r"\.attn\.(masked_)?bias$")


@attrs.frozen(kw_only=True)
class ClipCapCheckpoint:
    """A checkpoint of ClipCap, with the sizes that its shapes show."""

    path: Path
    mapping_type: MappingType
    prefix_length: int  # P
    feature_width: int  # D
    embedding_width: int  # E
    hidden: int  # width of the mapper's hidden layer (of each layer's MLP, in the transformer)
    # number of feature tokens of the transformer mapper; None for the MLP
    clip_length: int | None = None
    num_layers: int | None = None  # number of layers of the transformer mapper; None for the MLP
    # its weights, by ClipCap's names without "clip_project."
    mapper: Mapping[str, Tensor] = attrs.field(repr=False, eq=False)
    # language model's weights, by transformers' names; empty if there are none
    lm: Mapping[str, Tensor] = attrs.field(repr=False, eq=False)


def read(
    path: Path,
    mapping_type: str,
    prefix_length: int,
    *,
    clip_length: int | None = None,
    num_layers: int | None = None,
    embedding_width: Callable[[], int],
) -> ClipCapCheckpoint:
    """Read a checkpoint in weights-only mode, which cannot execute code in the file.

    Args:
        path: ClipCap's .pt file.
        mapping_type: "mlp" or "transformer".
        prefix_length: P.
        clip_length: Expected number of feature tokens of the transformer mapper, if known.
        num_layers: Expected number of its layers, if known.
        embedding_width: Returns E, for checkpoints without it (an MLP without GPT-2).

    Raises:
        PrefixcapError: If the file is not such a checkpoint, or does not match the arguments.
    """
    if mapping_type not in MAPPING_TYPES:
        raise PrefixcapError(
            f"--mapping-type {mapping_type!r} is not known{nearest(mapping_type, MAPPING_TYPES)}"
        )
    tensors = _load(path)
    mapper = {name[13:]: t for name, t in tensors.items() if name.startswith("clip_project.")}
    lm = {name[4:]: t for name, t in tensors.items() if name.startswith("gpt.")}
    _check_parts(path, tensors, mapper, mapping_type)
    width = _width(path, mapper, lm) or embedding_width()
    checkpoint = ClipCapCheckpoint(
        path=path,
        mapping_type=mapping_type,
        embedding_width=width,
        mapper=mapper,
        lm=lm,
        **_sizes(path, mapper, mapping_type, width),
    )
    expected: list[tuple[str, int | None, int | None]]
    expected = [("--prefix-len", prefix_length, checkpoint.prefix_length)]
    if mapping_type == "transformer":
        expected.append(("--clip-length", clip_length, checkpoint.clip_length))
        expected.append(("--num-layers", num_layers, checkpoint.num_layers))
    for option, value, actual in expected:
        if value is not None and value != actual:
            raise PrefixcapError(
                f"{path}: {option} {value} does not fit its shapes; use {option} {actual}"
            )
    return checkpoint


def _load(path: Path) -> dict[str, Tensor]:
    try:
        content = load_state_dict(path)
    except PrefixcapError as error:
        raise PrefixcapError(f"{error}; give ClipCap's .pt checkpoint") from error
    weights = {name: t.float() for name, t in content.items() if not _MASKS.search(name)}
    for name, tensor in weights.items():
        if not tensor.ndim or not tensor.numel():
            raise PrefixcapError(f"{path}: {name} has shape {tuple(tensor.shape)}: no weights")
        if not tensor.isfinite().all():
            raise PrefixcapError(f"{path}: {name} contains infinite numbers or NaN")
    return weights


def _check_parts(
    path: Path, tensors: Mapping[str, Tensor], mapper: Mapping[str, Tensor], mapping_type: str
) -> None:
    if not mapper:
        raise PrefixcapError(
            f"{path}: not a checkpoint of ClipCap: no name begins with 'clip_project.'; "
            f"it has {_first_names(tensors)}"
        )
    for name in tensors:
        if not name.startswith(("clip_project.", "gpt.")):
            raise PrefixcapError(
                f"{path}: not a checkpoint of ClipCap: besides 'clip_project.' and 'gpt.' it has "
                f"{name!r}"
            )
    actual = next((name for name, mark in _MARKS.items() if mark in mapper), None)
    if actual is None:
        raise PrefixcapError(
            f"{path}: its clip_project is neither ClipCap's MLP nor its transformer; "
            f"it has {_first_names(mapper)}"
        )
    if actual != mapping_type:
        raise PrefixcapError(
            f"{path}: --mapping-type {mapping_type} does not fit: its mapper is of the "
            f"type {actual}; use --mapping-type {actual}"
        )


def _width(path: Path, mapper: Mapping[str, Tensor], lm: Mapping[str, Tensor]) -> int | None:
    if lm and "transformer.wte.weight" not in lm:
        raise PrefixcapError(f"{path}: it has a 'gpt.' but no gpt.transformer.wte.weight")
    parts = {
        "gpt.transformer.wte.weight": lm.get("transformer.wte.weight"),
        "clip_project.prefix_const": mapper.get("prefix_const"),
    }
    widths = {name: int(tensor.shape[-1]) for name, tensor in parts.items() if tensor is not None}
    if len(set(widths.values())) > 1:
        both = " but ".join(f"{name} is {width} wide" for name, width in widths.items())
        raise PrefixcapError(f"{path}: its parts do not fit each other: {both}")
    return next(iter(widths.values()), None)


def _sizes(
    path: Path, mapper: Mapping[str, Tensor], mapping_type: str, width: int
) -> dict[str, int]:
    """Read the mapper's sizes from the shapes of some of its weights."""
    if mapping_type == "mlp":
        last = "model.2.weight"
        hidden, features = _shape(path, mapper, "model.0.weight")
        sizes = {"prefix_length": _shape(path, mapper, last)[0] // width}
    else:
        last = "linear.weight"
        rows, features = _shape(path, mapper, last)
        hidden = _shape(path, mapper, "transformer.layers.0.mlp.fc1.weight")[0]
        layers = [re.match(r"transformer\.layers\.(\d+)\.", name) for name in mapper]
        sizes = {
            "prefix_length": _shape(path, mapper, "prefix_const")[0],
            "clip_length": rows // width,
            # their count, not their highest number, which a broken file may have far too high
            "num_layers": len({match[1] for match in layers if match}),
        }
    if len(mapper[last]) % width:
        raise PrefixcapError(
            f"{path}: clip_project.{last} has {len(mapper[last])} rows, which is not a multiple of "
            f"the embedding width {width}: it belongs to another language model (--lm)"
        )
    return {**sizes, "feature_width": features, "hidden": hidden}


def _shape(path: Path, mapper: Mapping[str, Tensor], name: str) -> tuple[int, ...]:
    if name not in mapper:
        raise PrefixcapError(f"{path}: its mapper lacks clip_project.{name}")
    shape = tuple(mapper[name].shape)
    if len(shape) != 2:
        raise PrefixcapError(f"{path}: clip_project.{name} has {len(shape)} dimensions, not 2")
    return shape


def _first_names(names: Mapping[str, object]) -> str:
    first = ", ".join(map(str, list(names)[:3]))
    return f"{first}{', ...' if len(names) > 3 else ''}" or "nothing"
