"""The projection to the vocabulary, in blocks that stay in the processor's cache."""

from __future__ import annotations

import torch
from torch import Tensor

from prefixcap.engine.linear import PackedLinear
from prefixcap.engine.reductions import logsumexp, shortlist, top
from prefixcap.engine.top_tokens import TopTokens, top_tokens_of

_BLOCK = 4096
_VALUES = 1 << 19


class LMHead:
    """The projection to the vocabulary.

    With hundreds of rows, the logits are far larger than the processor's cache, and than what the
    C library hands out without asking the system for fresh pages. Looked at block by block they
    need neither.

    Args:
        weight: (V,E).
        bias: (V), or none.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None = None) -> None:
        self._size = len(weight)
        step = _BLOCK if weight.device.type == "cpu" else max(1, self._size)
        # the first token of each block, and its projection
        self._blocks = [
            (first, PackedLinear(part, None if bias is None else bias[first : first + step]))
            for first, part in zip(
                range(0, self._size, step), torch.split(weight, step), strict=True
            )
        ]

    def logits(self, x: Tensor) -> Tensor:
        """Maps (R,E) to logits (R,V), float32."""
        if len(self._blocks) == 1:
            return self._blocks[0][1](x).float()
        found = torch.empty(len(x), self._size, device=x.device)
        for first, linear in self._blocks:
            block = linear(x)
            found[:, first : first + block.shape[1]] = block
        return found

    def top_tokens(self, x: Tensor, count: int) -> TopTokens:
        """Finds the best tokens for each row of (R,E), at most V."""
        count = min(count, self._size)
        if len(self._blocks) == 1 or len(x) * self._size <= _VALUES:
            return top_tokens_of(self.logits(x), count)
        values, tokens, sums = [], [], []
        for first, linear in self._blocks:
            block = linear(x).float()
            found, places = shortlist(block, min(count, block.shape[1]))
            if places is None:
                places = torch.arange(block.shape[1]).expand_as(block)
            values.append(found)
            tokens.append(places + first)
            sums.append(logsumexp(block))
        logits, order = top(torch.cat(values, 1), count)
        found = torch.cat(tokens, 1).gather(1, order)
        return TopTokens(logits, found, torch.stack(sums, 1).logsumexp(1))
