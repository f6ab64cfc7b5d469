"""`KVCache`: keys and values in one pool of columns per image, shared by all of its rows."""

from __future__ import annotations

from collections.abc import Sequence

import attrs
import torch
from torch import Tensor

from prefixcap.util.memory import require_memory

# Columns are allocated in multiples of this.
_BLOCK = 16


@attrs.frozen(kw_only=True)
class CacheShape:
    """The sizes of a cache of keys and values.

    Attributes:
        layers: The number of layers.
        heads: K, the number of key-value heads.
        width: D, the width of a head.
        vocab_size: V.
        dtype: The dtype of keys, values and mask.
        device: Their device.
    """

    layers: int
    heads: int
    width: int
    vocab_size: int
    dtype: torch.dtype
    device: torch.device


class KVCache:
    """Keys and values of every layer, for I image slots of C columns each.

    A column holds one position of one row: first the P columns of the prefix, which all rows of
    the image see, then one column for each token that extended a row. Which row sees which column
    is the session's attention mask, so reordering or repeating rows moves nothing here.

    Args:
        shape: The sizes of a column.
        slots: I, the maximum number of images that are live together.
    """

    def __init__(self, shape: CacheShape, slots: int) -> None:
        sizes = (slots, 0, shape.heads, shape.width)
        blank = torch.zeros(sizes, dtype=shape.dtype, device=shape.device)
        # Of all slots and layers.
        self._column_bytes = 2 * shape.layers * slots * shape.heads * shape.width * blank.itemsize
        # `reserve` replaces the tensor of each layer.
        self.keys, self.values = [blank] * shape.layers, [blank] * shape.layers

    @property
    def columns(self) -> int:
        """C, the number of allocated columns."""
        return self.keys[0].shape[1]

    def reserve(self, columns: int, ahead: int = 0) -> None:
        """Allocate at least `columns` columns, at first `ahead` more; later it grows by half."""
        if columns <= self.columns:
            return
        size = max(columns, self.columns * 3 // 2) if self.columns else columns + ahead
        size = -(-size // _BLOCK) * _BLOCK
        what = f"the keys and values of {len(self.keys[0])} images with {size} columns each"
        require_memory(self._column_bytes * (size - self.columns), what, self.keys[0].device)
        # Layer by layer, so that only one of them exists twice at any time.
        for tensors in (self.keys, self.values):
            for layer, old in enumerate(tensors):
                new = old.new_empty(len(old), size, *old.shape[2:])
                new[:, : old.shape[1]] = old
                # Zeros, because masked columns are still multiplied (by 0), and 0 * NaN is NaN.
                new[:, old.shape[1] :].zero_()
                tensors[layer] = new

    def write_prefix(self, layer: int, slots: Tensor, keys: Tensor, values: Tensor) -> None:
        """Write keys and values (b,P,K,D) into the first columns of slots (b)."""
        length = keys.shape[1]
        self.keys[layer][:, :length].index_copy_(0, slots, keys)
        self.values[layer][:, :length].index_copy_(0, slots, values)

    def write(self, layer: int, places: Tensor, keys: Tensor, values: Tensor) -> None:
        """Write keys and values (R,K,D) to places (R), each slot * C + column."""
        # (I,C,K,D) -> (I*C,K,D)
        self.keys[layer].flatten(0, 1).index_copy_(0, places, keys)
        self.values[layer].flatten(0, 1).index_copy_(0, places, values)

    def read(self, layer: int, slots: int, columns: int) -> tuple[Tensor, Tensor]:
        """Return views (I,K,C,D) of the keys and values of the first slots and columns."""
        keys, values = (part[layer][:slots, :columns] for part in (self.keys, self.values))
        return keys.transpose(1, 2), values.transpose(1, 2)

    def move(self, sources: Sequence[int], targets: Sequence[int], columns: int) -> None:
        """Copy the first columns of source slots to target slots, all of which are unused."""
        for tensors in (self.keys, self.values):
            for tensor in tensors:
                source = torch.tensor(sources, device=tensor.device)
                target = torch.tensor(targets, device=tensor.device)
                part = tensor[:, :columns]
                part.index_copy_(0, target, part.index_select(0, source))
