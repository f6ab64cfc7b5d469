"""Where the things of a scene stand: true to its relation, and never twice the same."""

from __future__ import annotations

from random import Random

import attrs

from prefixcap_scenes.world import Group, Scene

_SCALES = {"small": 0.72, "plain": 1.0, "big": 1.32}
_ROOFS = {"box": 1.0, "table": 1.7, "car": 0.95}


@attrs.frozen
class Item:
    """One thing in the picture; lengths are shares of the picture's width.

    Attributes:
        group: the group that it is of.
        x: the middle of its base.
        base: how far its base is below the picture's top.
        height: its height.
        flip: whether it looks to the left.
        stands: whether it stands on the ground, and so casts a shadow.
    """

    group: Group
    x: float
    base: float
    height: float
    flip: bool
    stands: bool

    @property
    def top(self) -> float:
        """How far its top is below the picture's top."""
        return self.base - self.height


def place_items(scene: Scene) -> list[Item]:
    """Places a scene's things, the farthest first; always the same for the same scene."""
    lot = Random(f"layout {scene.seed}")
    relation, other = scene.relation, scene.other
    if other is None or relation is None:
        return _alone(scene, lot)
    if relation in ("left of", "right of"):
        items = _beside(scene.main, other, relation == "left of", lot)
    elif relation == "above":
        items = _above(scene.main, other, lot)
    elif relation == "on":
        return _on(scene.main, other, lot)
    else:
        items = _before(scene.main, other, relation == "under", lot)
    return sorted(items, key=lambda item: item.base)


def _row(
    group: Group, lot: Random, x: float, base: float, zone: float, scale: float = 1.0,
    stands: bool = True, deep: float = 0.11,
) -> list[Item]:  # fmt: skip
    """Sets a group's things side by side about x, closer together where the zone is narrow."""
    height = group.what.height * _SCALES[group.size] * scale * lot.uniform(0.95, 1.05)
    width = height * group.what.aspect
    gaps = group.count - 1
    step = min(width * 1.12, max(zone - width, 0.01) / max(gaps, 1))
    half = (gaps * step + width) / 2 + 0.02
    x = min(max(x, half), 1 - half) if half < 0.5 else x
    crowded = deep if stands else 0.5 * height
    flips = [lot.random() < 0.5] * group.count if lot.random() < 0.6 else [
        lot.random() < 0.5 for _ in range(group.count)
    ]  # fmt: skip
    items = []
    for number in range(group.count):
        back = crowded if step < width * 0.8 and number % 2 else 0.0
        items.append(
            Item(
                group=group,
                x=x + (number - gaps / 2) * step + lot.uniform(-0.008, 0.008),
                base=base - back + lot.uniform(-0.012, 0.012),
                height=height,
                flip=flips[number],
                stands=stands,
            )
        )
    return sorted(items, key=lambda item: item.base)


def _alone(scene: Scene, lot: Random) -> list[Item]:
    flying = scene.main.what.place == "air"
    base = lot.uniform(0.42, 0.6) if flying else lot.uniform(0.8, 0.92)
    return _row(scene.main, lot, lot.uniform(0.38, 0.62), base, 0.86, 1.25, not flying)


def _beside(main: Group, other: Group, main_left: bool, lot: Random) -> list[Item]:
    left, right = (main, other) if main_left else (other, main)
    return [
        *_row(left, lot, lot.uniform(0.22, 0.27), lot.uniform(0.79, 0.92), 0.44, 1.15),
        *_row(right, lot, lot.uniform(0.73, 0.78), lot.uniform(0.79, 0.92), 0.44, 1.15),
    ]


def _above(main: Group, other: Group, lot: Random) -> list[Item]:
    x = lot.uniform(0.36, 0.64)
    low = _row(other, lot, x, lot.uniform(0.88, 0.94), 0.7)
    ceiling = min(item.top for item in low) - 0.04
    base = min(max(ceiling, 0.22), lot.uniform(0.34, 0.5))
    high = _row(main, lot, x + lot.uniform(-0.1, 0.1), base, 0.8, 1.1, stands=False)
    room = min(item.base for item in high) - 0.02
    return [
        *(attrs.evolve(item, height=min(item.height, max(room, 0.12))) for item in high),
        *low,
    ]


def _on(main: Group, other: Group, lot: Random) -> list[Item]:
    x = lot.uniform(0.35, 0.65)
    (support,) = _row(other, lot, x, lot.uniform(0.88, 0.93), 0.8, 1.45)
    roof = support.height * _ROOFS[other.kind]
    upper = _row(main, lot, x, support.top + 0.012, roof * 1.5, 1.05, stands=False)
    return [support, *(attrs.evolve(item, base=support.top + 0.012) for item in upper)]


def _before(main: Group, other: Group, under: bool, lot: Random) -> list[Item]:
    x = lot.uniform(0.36, 0.64)
    far, near = (0.87, 0.92) if under else (0.8, 0.94)
    behind = _row(other, lot, x, far, 0.8, 1.25)
    shift = lot.uniform(-0.06, 0.06)
    width = behind[0].height * other.what.aspect
    return [*behind, *_row(main, lot, x + shift, near, max(width, 0.46), 0.95, deep=0.02)]
