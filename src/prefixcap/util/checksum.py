"""A checksum of tensors that is as fast as the memory, to notice that they have changed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

# 64-bit words that are added up, and words that are added up both ways while they are in the cache.
_ROW = 64
_BLOCK = 1 << 17


def checksum(tensors: Iterable[Tensor]) -> Tensor:
    """Return numbers (int64) that differ if any bit of the tensors does, or their order.

    Their bytes are read as integers, in rows of 512 bytes, and the sums of rows and of columns are
    kept (modulo 2**64). So no single change can go unnoticed, whatever its size, and no exchange of
    two unequal values; several changes do if they cancel in every row and in every column.
    """
    import torch

    parts = [part.cpu() for tensor in tensors for part in _sums(tensor)]
    return torch.cat(parts) if parts else torch.zeros(0, dtype=torch.int64)


def _sums(tensor: Tensor) -> Iterator[Tensor]:
    import torch

    content = tensor.detach().contiguous().view(-1).view(torch.uint8)
    if content.storage_offset() % 8:  # cannot be read as 64-bit words
        content = content.clone()
    end = len(content) - len(content) % (8 * _ROW)
    words = content[:end].view(torch.int64)
    for block in torch.split(words, _BLOCK) if end else ():
        rows = block.view(-1, _ROW)
        yield rows.sum(1)
        yield rows.sum(0)
    yield content[end:].long()
