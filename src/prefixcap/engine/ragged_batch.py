"""Attention for rows of several images at once, however many rows each image has."""

from __future__ import annotations

import attrs
import torch
from torch import Tensor
from torch.nn import functional as F

from prefixcap.engine.kv_cache import KVCache
from prefixcap.engine.prefixes.inputs import PrefixInputs


@attrs.frozen(kw_only=True)
class RaggedBatch:
    """R rows in a grid of I image slots by G rows, and the columns that each row sees.

    Attributes:
        positions: (R) the new tokens' positions, the prefix included.
        targets: (R) where each row's new key and value are written in the cache, in ascending
            order of the rows' image slots.
        places: (R) each row's place in the grid, slot * G + its number in the slot; None if the
            rows fill the grid.
        shape: (I, G).
        mask: (I,1,G,C), additive: 0 where a row sees a column, -inf elsewhere.
        order: (R) maps this order of rows to the caller's; None if they agree.
    """

    cache: KVCache
    positions: Tensor
    targets: Tensor
    places: Tensor | None
    shape: tuple[int, int]
    mask: Tensor
    order: Tensor | None

    def spread(self, rows: Tensor) -> Tensor:
        """Lay rows (R,...) out as a grid (I,G,...); places without a row are zeros."""
        if self.places is None:
            return torch.unflatten(rows, 0, self.shape)
        images, max_rows = self.shape
        grid = rows.new_zeros(images * max_rows, *rows.shape[1:])
        return torch.unflatten(grid.index_copy_(0, self.places, rows), 0, self.shape)

    def gather(self, grid: Tensor) -> Tensor:
        """Take the rows (R,...) out of a grid (I,G,...)."""
        flat = grid.flatten(0, 1)
        return flat if self.places is None else flat.index_select(0, self.places)

    def attend(self, layer: int, query: Tensor, key: Tensor, value: Tensor, scale: float) -> Tensor:
        """Write the rows' keys and values (R,K,D), and attend to all columns that each row sees.

        Queries are (R,H,D), where K key-value heads serve H heads; the result is (R,H*D).
        """
        self.cache.write(layer, self.targets, key, value)
        images, max_rows = self.shape
        keys, values = self.cache.read(layer, images, self.mask.shape[-1])
        share = query.shape[1] // key.shape[1]
        grid = self.spread(query)  # (R,H,D) -> (I,G,H,D)
        if share == 1:
            # The rows of an image are the queries of one attention over its columns.
            heads = F.scaled_dot_product_attention(
                grid.transpose(1, 2), keys, values, attn_mask=self.mask, scale=scale
            )
            return self.gather(heads.transpose(1, 2).flatten(2))  # (I,H,G,D) -> (R,H*D)
        # Heads that share keys become further queries, so that no key is copied:
        # (I,G,H,D) -> (I,G,K,S,D) -> (I,K,G,S,D) -> (I,K,G*S,D)
        grouped = torch.unflatten(grid, 2, (-1, share)).permute(0, 2, 1, 3, 4).flatten(2, 3)
        heads = F.scaled_dot_product_attention(
            grouped, keys, values, attn_mask=self.mask.repeat_interleave(share, 2), scale=scale
        )
        # (I,K,G*S,D) -> (I,G,K,S,D) -> (R,H*D)
        heads = torch.unflatten(heads, 2, (max_rows, share)).permute(0, 2, 1, 3, 4)
        return self.gather(heads.flatten(2))


@attrs.frozen(kw_only=True)
class Prefill:
    """The prefixes of newly admitted images, `length` P, in `slots` (b).

    Attributes:
        inputs: What is run, with the keys and values that some positions are given.
    """

    cache: KVCache
    slots: Tensor
    length: int
    inputs: PrefixInputs

    def attend(self, layer: int, query: Tensor, key: Tensor, value: Tensor, scale: float) -> Tensor:
        """Write the prefixes' keys and values (b*P,K,D) and attend causally: (b*P,H*D)."""
        query, key, value = (
            torch.unflatten(part, 0, (-1, self.length)) for part in (query, key, value)
        )
        key, value = self.inputs.replaced(layer, key, value)
        self.cache.write_prefix(layer, self.slots, key, value)
        # (b,P,H,D) -> (b,H,P,D)
        query, key, value = (part.transpose(1, 2) for part in (query, key, value))
        share = query.shape[1] // key.shape[1]
        if share > 1:
            key, value = key.repeat_interleave(share, 1), value.repeat_interleave(share, 1)
        heads = F.scaled_dot_product_attention(query, key, value, is_causal=True, scale=scale)
        return heads.transpose(1, 2).flatten(2).flatten(0, 1)  # (b,H,P,D) -> (b*P,H*D)


def additive_mask(seen: Tensor, dtype: torch.dtype) -> Tensor:
    """Turn True into 0 and False into -inf."""
    return torch.zeros(seen.shape, dtype=dtype, device=seen.device).masked_fill_(~seen, -torch.inf)
