"""Prefixes that carry more than embeddings, in one tensor that decoders treat as any other.

Behind the embeddings come rows that no layer runs: keys and values of every layer for some
positions, or an image's features for layers that read them. So whatever selects, repeats or splits
prefixes moves an image's data together.
"""

from __future__ import annotations

import math

import attrs
import torch
from torch import Tensor
from torch.nn import functional as F

from prefixcap.interfaces.mapper import MapperShape


@attrs.frozen
class PrefixParts:
    """The parts of packed prefixes.

    Attributes:
        embeddings: (B,P,E); P is 0 if the mapper gives keys and values instead.
        states: (B,P,W), keys and values of all layers for P positions, or None.
        features: (B,N,D), or None.
    """

    embeddings: Tensor
    states: Tensor | None = None
    features: Tensor | None = None


def extra_rows(shape: MapperShape) -> int:
    """Return the number of rows behind the embeddings of a prefix."""
    return sum(_rows(size, shape) for size in (_states_size(shape), _features_size(shape)))


def pack(mapped: Tensor, features: Tensor, shape: MapperShape) -> Tensor:
    """Join what a mapper gives, (B,P,E) or (B,P,W), with features (B,D) or (B,N,D) into rows (E).

    Features are only kept if the shape says that the language model's layers read them.
    """
    parts = [mapped]
    if shape.state_width is not None:
        parts = [_as_rows(mapped, shape)]
    if shape.reads_features:
        parts.append(_as_rows(features.to(mapped), shape))
    return torch.cat(parts, 1)


def blank(images: int, shape: MapperShape) -> Tensor:
    """Return prefixes of zeros (B,P,E) as `pack` gives them."""
    rows = shape.embeddings + shape.prompt_length + extra_rows(shape)
    return torch.zeros(images, rows, shape.embedding_width)


def unpack(prefix: Tensor, shape: MapperShape) -> PrefixParts:
    """Undo `pack`; prefixes of another length are embeddings alone, as those of a begin token."""
    embeddings = shape.embeddings + shape.prompt_length
    if prefix.shape[1] != embeddings + extra_rows(shape):
        return PrefixParts(prefix)
    states = features = None
    place, count = embeddings, len(prefix)
    if shape.state_width is not None:
        size = _states_size(shape)
        flat = prefix[:, place : place + _rows(size, shape)].flatten(1)[:, :size]
        states = flat.reshape(count, shape.prefix_length, shape.state_width)
        place += _rows(size, shape)
    if shape.reads_features:
        flat = prefix[:, place:].flatten(1)[:, : _features_size(shape)]
        features = flat.reshape(count, -1, shape.feature_width)
    return PrefixParts(prefix[:, :embeddings], states, features)


def _states_size(shape: MapperShape) -> int:
    return shape.prefix_length * (shape.state_width or 0)


def _features_size(shape: MapperShape) -> int:
    return shape.feature_width * (shape.feature_tokens or 1) if shape.reads_features else 0


def _rows(size: int, shape: MapperShape) -> int:
    return math.ceil(size / shape.embedding_width)


def _as_rows(values: Tensor, shape: MapperShape) -> Tensor:
    """Turn (B,...) into rows (B,X,E), padded with zeros."""
    flat = values.flatten(1)
    rows = _rows(flat.shape[1], shape)
    padded = F.pad(flat, (0, rows * shape.embedding_width - flat.shape[1]))
    return torch.unflatten(padded, 1, (rows, shape.embedding_width))
