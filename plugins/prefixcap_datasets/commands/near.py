"""Images that look alike, by their difference hashes.

The hash is that of Krawetz 2013, "Kind of Like That" (hackerfactor.com): an image is scaled to 9 x
8 grays, and each bit says whether a gray is lighter than its left neighbor. Images whose hashes
differ in few bits are often the same picture in another size, compression or shade; those that
differ in more than 10 are other pictures.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations, islice, product
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from PIL import Image

BITS = 64
MOST_BITS = 10
"""The largest number of differing bits at which images may look alike."""
MOST_PAIRS = 10_000
"""The number of pairs that are listed."""
_BLOCK = 2**20  # pairs of hashes that are compared together

Pair = tuple[int, int, int]
"""The number of differing bits, and two images by their numbers."""


def difference_hash(image: Image.Image) -> int:
    """Return the hash of 64 bits of an RGB image."""
    import numpy as np
    from PIL import Image

    grays = np.asarray(image.convert("L").resize((9, 8), Image.Resampling.LANCZOS))
    return int.from_bytes(np.packbits(grays[:, 1:] > grays[:, :-1]).tobytes(), "big")


def near_pairs(hashes: Sequence[int], most: int) -> tuple[int, list[Pair]]:
    """Find the pairs of images whose hashes differ in at most `most` bits.

    All different hashes are compared with each other, a block at a time.

    Returns:
        Their number, and the first `MOST_PAIRS` of them.
    """
    import numpy as np

    unique, inverse, counts = np.unique(
        np.array(hashes, np.uint64), return_inverse=True, return_counts=True
    )
    images = np.split(np.argsort(inverse, kind="stable"), np.cumsum(counts)[:-1])
    total = int((counts * (counts - 1) // 2).sum())
    equal = (pair for i in np.flatnonzero(counts > 1) for pair in combinations(images[i], 2))
    pairs = [(0, int(a), int(b)) for a, b in islice(equal, MOST_PAIRS)]
    for bits, first, second in _near_hashes(unique, most):
        total += int((counts[first] * counts[second]).sum())
        for each, i, j in zip(bits, first, second, strict=True):
            room = MOST_PAIRS - len(pairs)
            if room <= 0:
                break
            pairs += [
                (int(each), int(a), int(b)) for a, b in islice(product(images[i], images[j]), room)
            ]
    return total, pairs


def _near_hashes(hashes: np.ndarray[Any, Any], most: int) -> Iterator[tuple[Any, Any, Any]]:
    """Yield the bits that differ, and the numbers, of the pairs of each block of hashes."""
    import numpy as np

    step = max(1, _BLOCK // max(1, len(hashes)))
    for start in range(0, len(hashes), step):
        bits = _ones(hashes[start : start + step, None] ^ hashes[None, start:])
        rows, columns = np.nonzero(bits <= most)
        later = columns > rows
        rows, columns = rows[later], columns[later]
        yield bits[rows, columns], rows + start, columns + start


def _ones(words: np.ndarray[Any, Any]) -> Any:
    """Return how many bits of each word of 64 bits are 1."""
    import numpy as np

    if hasattr(np, "bitwise_count"):  # since numpy 2.0
        return np.bitwise_count(words)
    octets = np.ascontiguousarray(words).view(np.uint8).reshape(*words.shape, BITS // 8)
    of_octet = np.array([value.bit_count() for value in range(256)], np.uint8)
    return of_octet[octets].sum(-1, dtype=np.uint8)
