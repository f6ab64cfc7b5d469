"""`LMHead`: from hidden states to logits, in blocks that stay in the processor's cache."""

from __future__ import annotations

import torch
from torch import Tensor

from prefixcap.engine.linear import PackedLinear
from prefixcap.engine.reductions import logsumexp, shortlist, top
from prefixcap.engine.top_tokens import top_tokens_of
from prefixcap.interfaces.sessions.ranking_session import TopTokens
from prefixcap.util.memory import require_memory

_BLOCK = 4096
# Below this many logits, writing all of them is as fast.
_VALUES = 1 << 19


class LMHead:
    """The projection to the vocabulary, with a weight (V,E) and a bias (V) or None.

    With hundreds of rows, the logits exceed the processor's cache and need new pages from the
    system. Ranking them block by block avoids both.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None = None) -> None:
        self._size = len(weight)
        step = _BLOCK if weight.device.type == "cpu" else max(1, self._size)
        # The first token of each block, and the block's projection.
        self._blocks = [
            (first, PackedLinear(part, None if bias is None else bias[first : first + step]))
            for first, part in zip(
                range(0, self._size, step), torch.split(weight, step), strict=True
            )
        ]

    def logits(self, x: Tensor) -> Tensor:
        """Map (R,E) to logits (R,V), float32."""
        require_memory(4.0 * len(x) * self._size, f"the logits of {len(x)} rows", x.device)
        if len(self._blocks) == 1:
            return self._blocks[0][1](x).float()
        logits = torch.empty(len(x), self._size, device=x.device)
        for first, linear in self._blocks:
            block = linear(x)
            logits[:, first : first + block.shape[1]] = block
        return logits

    def top_tokens(self, x: Tensor, count: int) -> TopTokens:
        """Return the `count` (at most V) highest-ranked tokens for each row of (R,E)."""
        count = min(count, self._size)
        if len(self._blocks) == 1 or len(x) * self._size <= _VALUES:
            return top_tokens_of(self.logits(x), count)
        values, tokens, sums = [], [], []
        for first, linear in self._blocks:
            block = linear(x).float()
            candidates, index = shortlist(block, min(count, block.shape[1]))
            if index is None:
                index = torch.arange(block.shape[1]).expand_as(block)
            values.append(candidates)
            tokens.append(index + first)
            sums.append(logsumexp(block))
        # The candidates of all blocks side by side: (R,S) -> (R,C)
        logits, order = top(torch.cat(values, 1), count)
        chosen = torch.cat(tokens, 1).gather(1, order)
        return TopTokens(logits, chosen, torch.stack(sums, 1).logsumexp(1))
