"""Where keys and values live: one pool of columns an image, shared by all of its rows."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

_BLOCK = 16


class KVCache:
    """Keys and values of every layer, for I image slots of C columns each.

    A column holds one position of one row: first the P columns of the prefix, which all rows of
    the image see, then a column for each token that any of its rows was extended by. Columns are
    only ever appended: which row sees which column is the session's mask, so reordering or
    repeating rows moves nothing here.

    Args:
        layers: how many layers there are.
        slots: I, the most images at once.
        heads: H, the key-value heads.
        width: D, the width of a head.
        dtype: of keys and values.
        device: of keys and values.
    """

    def __init__(
        self,
        layers: int,
        slots: int,
        heads: int,
        width: int,
        dtype: torch.dtype,
        device: torch.device,
    ) -> None:
        shape = (slots, 0, heads, width)
        self.keys = [torch.zeros(shape, dtype=dtype, device=device) for _ in range(layers)]
        self.values = [torch.zeros(shape, dtype=dtype, device=device) for _ in range(layers)]

    @property
    def columns(self) -> int:
        """C, the columns that there is room for."""
        return self.keys[0].shape[1]

    def reserve(self, columns: int, ahead: int = 0) -> None:
        """Makes room for that many columns, and half as many again where some were there.

        New columns are zeros: a column that nobody sees is still multiplied, by nought.

        Args:
            columns: what is needed.
            ahead: how many more to make room for where there was none.
        """
        if columns <= self.columns:
            return
        wanted = max(columns, self.columns * 3 // 2) if self.columns else columns + ahead
        wanted = -(-wanted // _BLOCK) * _BLOCK
        # layer by layer, so that only one of them is held twice
        for tensors in (self.keys, self.values):
            for layer, old in enumerate(tensors):
                new = old.new_empty(len(old), wanted, *old.shape[2:])
                new[:, : old.shape[1]] = old
                new[:, old.shape[1] :].zero_()
                tensors[layer] = new

    def write_prefix(self, layer: int, slots: Tensor, keys: Tensor, values: Tensor) -> None:
        """Puts keys and values (b,P,H,D) into the first columns of slots (b)."""
        length = keys.shape[1]
        self.keys[layer][:, :length].index_copy_(0, slots, keys)
        self.values[layer][:, :length].index_copy_(0, slots, values)

    def write(self, layer: int, places: Tensor, keys: Tensor, values: Tensor) -> None:
        """Puts keys and values (R,H,D) of rows into places (R), a slot times C plus a column."""
        self.keys[layer].flatten(0, 1).index_copy_(0, places, keys)
        self.values[layer].flatten(0, 1).index_copy_(0, places, values)

    def read(self, layer: int, slots: int, columns: int) -> tuple[Tensor, Tensor]:
        """Looks at the first slots' first columns; returns keys and values (I,H,C,D)."""
        keys, values = (part[layer][:slots, :columns] for part in (self.keys, self.values))
        return keys.transpose(1, 2), values.transpose(1, 2)

    def move(self, sources: Sequence[int], targets: Sequence[int], columns: int) -> None:
        """Copies the first columns of some slots over those of others, all of these unused."""
        for tensors in (self.keys, self.values):
            for tensor in tensors:
                source = torch.tensor(sources, device=tensor.device)
                target = torch.tensor(targets, device=tensor.device)
                part = tensor[:, :columns]
                part.index_copy_(0, target, part.index_select(0, source))
