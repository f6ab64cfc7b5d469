"""The trees of new tokens that `Session.extend` takes."""

from __future__ import annotations

from collections.abc import Sequence


def generations(parents: Sequence[int], live: int) -> list[list[int]]:
    """Group new tokens by their depth in the trees.

    Args:
        parents: (R') the row that each new token continues; `live` + i is new token i.
        live: R, the number of live rows.

    Returns:
        The numbers of the tokens of each depth, those that continue live rows first.

    Raises:
        IndexError: If a parent does not exist or comes after its child.
    """
    groups: list[list[int]] = []
    depths: list[int] = []
    for number, parent in enumerate(parents):
        if not 0 <= parent < live + number:
            raise IndexError(f"token {number} cannot continue row {parent}, of {live} live ones")
        depth = 0 if parent < live else depths[parent - live] + 1
        depths.append(depth)
        if depth == len(groups):
            groups.append([])
        groups[depth].append(number)
    return groups
