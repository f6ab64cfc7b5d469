"""The trees of new tokens that `Session.extend` takes."""

from __future__ import annotations

from collections.abc import Sequence


def generations(parents: Sequence[int], live: int) -> list[list[int]]:
    """Groups new tokens by how many new ones, themselves included, lead to them.

    Args:
        parents: (R') the row that each new token continues; from `live` on, a new token's number
            and `live` together.
        live: R, how many rows there are already.

    Returns:
        The numbers of the tokens of each generation, those on live rows first.

    Raises:
        IndexError: a parent is no row, or comes after what continues it.
    """
    found: list[list[int]] = []
    depths: list[int] = []
    for number, parent in enumerate(parents):
        if not 0 <= parent < live + number:
            raise IndexError(f"token {number} cannot continue row {parent}, of {live} live ones")
        depth = 0 if parent < live else depths[parent - live] + 1
        depths.append(depth)
        if depth == len(found):
            found.append([])
        found[depth].append(number)
    return found
