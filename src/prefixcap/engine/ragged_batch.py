"""How rows of different images are laid out for one attention call."""

from __future__ import annotations

import attrs
import torch
from torch import Tensor
from torch.nn import functional as F

from prefixcap.engine.kv_cache import KVCache


@attrs.frozen(kw_only=True)
class RaggedBatch:
    """R rows in a grid of I image slots by G rows, and what each of them sees.

    Attributes:
        store: the keys and values.
        targets: (R) the store's place that each row's new token is written to, the rows' image
            slots ascending.
        places: (R) each row's place in the grid, slot times G plus its number; None where the
            rows fill the grid, so that it is a view of them.
        shape: (I, G).
        mask: (I,1,G,C) additive: 0 where a row sees a column, minus infinity elsewhere.
    """

    store: KVCache
    targets: Tensor
    places: Tensor | None
    shape: tuple[int, int]
    mask: Tensor

    def spread(self, rows: Tensor) -> Tensor:
        """Lays rows (R,...) out as a grid (I,G,...); places without a row are zeros."""
        if self.places is None:
            return torch.unflatten(rows, 0, self.shape)
        images, most = self.shape
        grid = rows.new_zeros(images * most, *rows.shape[1:])
        return torch.unflatten(grid.index_copy_(0, self.places, rows), 0, self.shape)

    def gather(self, grid: Tensor) -> Tensor:
        """Takes rows (R,...) out of a grid (I,G,...)."""
        flat = grid.flatten(0, 1)
        return flat if self.places is None else flat.index_select(0, self.places)

    def attend(self, layer: int, query: Tensor, key: Tensor, value: Tensor, scale: float) -> Tensor:
        """Writes the rows' keys and values, and attends to all that each row sees.

        Queries of grouped heads, and rows of one image, are all just queries of one attention
        over that image's columns.

        Args:
            layer: the layer's number.
            query: (R,H,D).
            key: (R,K,D), where K key-value heads serve H heads.
            value: (R,K,D).
            scale: of the products.

        Returns:
            (R,H*D).
        """
        self.store.write(layer, self.targets, key, value)
        images, most = self.shape
        keys, values = self.store.read(layer, images, self.mask.shape[-1])
        share = query.shape[1] // key.shape[1]
        grid = self.spread(query)
        if share == 1:
            found = F.scaled_dot_product_attention(
                grid.transpose(1, 2), keys, values, attn_mask=self.mask, scale=scale
            )
            return self.gather(found.transpose(1, 2).flatten(2))
        grouped = torch.unflatten(grid, 2, (-1, share)).permute(0, 2, 1, 3, 4).flatten(2, 3)
        found = F.scaled_dot_product_attention(
            grouped, keys, values, attn_mask=self.mask.repeat_interleave(share, 2), scale=scale
        )
        found = torch.unflatten(found, 2, (most, share)).permute(0, 2, 1, 3, 4)
        return self.gather(found.flatten(2))


@attrs.frozen(kw_only=True)
class Prefill:
    """New images whose prefixes are run for the first time.

    Attributes:
        store: the keys and values.
        slots: (b) the slot that each new image gets.
        length: P.
    """

    store: KVCache
    slots: Tensor
    length: int

    def attend(self, layer: int, query: Tensor, key: Tensor, value: Tensor, scale: float) -> Tensor:
        """Writes the prefixes' keys and values (b*P,K,D) and attends causally: (b*P,H*D)."""
        query, key, value = (
            torch.unflatten(part, 0, (-1, self.length)) for part in (query, key, value)
        )
        self.store.write_prefix(layer, self.slots, key, value)
        query, key, value = (part.transpose(1, 2) for part in (query, key, value))
        share = query.shape[1] // key.shape[1]
        if share > 1:
            key, value = key.repeat_interleave(share, 1), value.repeat_interleave(share, 1)
        found = F.scaled_dot_product_attention(query, key, value, is_causal=True, scale=scale)
        return found.transpose(1, 2).flatten(2).flatten(0, 1)


def additive_mask(seen: Tensor, dtype: torch.dtype) -> Tensor:
    """Turns True where seen into 0, and False into minus infinity."""
    return torch.zeros(seen.shape, dtype=dtype, device=seen.device).masked_fill_(~seen, -torch.inf)
