"""Log-sum-exp and top-k over the vocabulary, in pieces that stay in the processor's cache."""

from __future__ import annotations

import torch
from torch import Tensor

# Logits that are processed together: 2 MiB in float32.
_VALUES = 1 << 19
# A vocabulary is split into this many groups; below `_FEW` tokens that does not pay.
_GROUPS = 128
_FEW = 1024


def logsumexp(logits: Tensor) -> Tensor:
    """Compute `torch.logsumexp(logits, -1)` a few rows at a time: (R,V) -> (R)."""
    if logits.device.type != "cpu" or not len(logits):
        return logits.logsumexp(-1)
    rows = max(1, _VALUES // max(1, logits.shape[-1]))
    largest = logits.amax(-1)
    # torch's logsumexp writes the exponentials of all rows to memory first; with 320 rows of
    # GPT-2's vocabulary that takes more than twice as long. Its softmax is faster than its exp,
    # and log(max softmax) = max logit - logsumexp.
    parts = [part.softmax(-1).amax(-1) for part in torch.split(logits, rows)]
    # If all logits are -inf, the softmax is NaN.
    return (largest - torch.cat(parts).log_()).masked_fill_(largest == -torch.inf, -torch.inf)


def top(values: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Find the C largest values of each row (R,V); several times as fast as torch's topk on a CPU.

    Of equal values the first ones are taken, as in `argmax`, so that the result does not depend on
    `count`: in bfloat16 many logits are equal.

    Returns:
        The largest values (R,C), descending, and their indices (R,C), ascending among equals.
    """
    candidates, index = shortlist(values, count)
    order = _largest(candidates, count)
    ranked = candidates.gather(1, order).sort(dim=1, descending=True, stable=True).indices
    order = order.gather(1, ranked)[:, :count]
    return candidates.gather(1, order), order if index is None else index.gather(1, order)


def _largest(values: Tensor, count: int) -> Tensor:
    """Return the indices, ascending, of the `count` largest values (R,V) and of their equals."""
    best = values.topk(count)
    if count and len(values):
        # topk picks arbitrarily among equals, so all of them are taken and ranked later. Values
        # of -inf are impossible tokens, so any of them may be taken.
        equal = (values >= best.values[:, -1:]) & (values > -torch.inf)
        if (wider := int(equal.sum(1).max())) > count:
            best = values.topk(wider)
    return best.indices.sort(1).values


def shortlist(values: Tensor, count: int) -> tuple[Tensor, Tensor | None]:
    """Drop most of the values (R,V) that are not among the `count` largest of their row.

    Values are split into groups, and only those in the groups with the `count` largest maxima are
    returned: any other value has at least `count` values above it.

    Returns:
        Values (R,S) and their indices (R,S), ascending; all values and None if it does not pay.
    """
    rows, size = values.shape
    depth = size // _GROUPS
    if values.device.type != "cpu" or size < _FEW or count > _GROUPS // 4:
        return values, None
    cut = depth * _GROUPS
    # Group g holds the values g, g + 128, g + 256, ...: (R,cut) -> (R,depth,G) -> (R,G)
    maxima = torch.unflatten(values[:, :cut], 1, (depth, _GROUPS)).amax(1)
    groups = _largest(maxima, count)
    # (depth,1) + (R,1,C) -> (R,depth,C) -> (R,depth*C)
    index = (torch.arange(0, cut, _GROUPS)[:, None] + groups[:, None, :]).flatten(1)
    if cut < size:
        index = torch.cat([index, torch.arange(cut, size).expand(rows, -1)], 1)
    return values.gather(1, index), index
