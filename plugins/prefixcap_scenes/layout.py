"""Random positions of a scene's objects, consistent with its relation."""

from __future__ import annotations

from random import Random

import attrs

from prefixcap_scenes.world import ObjectGroup, Scene

_SCALES = {"small": 0.72, "plain": 1.0, "big": 1.32}
_ROOFS = {"box": 1.0, "table": 1.7, "car": 0.95}


@attrs.frozen
class PlacedObject:
    """One object in the picture; lengths are fractions of the picture's width."""

    group: ObjectGroup
    x: float  # middle of its base
    base: float  # distance of its base from the top of the picture
    height: float
    flip: bool  # whether it faces left
    stands: bool  # whether it stands on the ground and casts a shadow

    @property
    def top(self) -> float:
        """Distance of its top from the top of the picture."""
        return self.base - self.height


def place_objects(scene: Scene) -> list[PlacedObject]:
    """Place a scene's objects, farthest first; a scene always gives the same positions."""
    rng = Random(f"layout {scene.seed}")
    relation, other = scene.relation, scene.other
    if other is None or relation is None:
        return _alone(scene, rng)
    if relation in ("left of", "right of"):
        items = _beside(scene.main, other, relation == "left of", rng)
    elif relation == "above":
        items = _above(scene.main, other, rng)
    elif relation == "on":
        return _on(scene.main, other, rng)
    else:
        items = _before(scene.main, other, relation == "under", rng)
    return sorted(items, key=lambda item: item.base)


def _row(
    group: ObjectGroup, rng: Random, x: float, base: float, zone: float, scale: float = 1.0,
    stands: bool = True, deep: float = 0.11,
) -> list[PlacedObject]:  # fmt: skip
    """Place a group's objects side by side around x; they overlap if the zone is narrow."""
    height = group.properties.height * _SCALES[group.size] * scale * rng.uniform(0.95, 1.05)
    width = height * group.properties.aspect
    gaps = group.count - 1
    step = min(width * 1.12, max(zone - width, 0.01) / max(gaps, 1))
    half = (gaps * step + width) / 2 + 0.02
    x = min(max(x, half), 1 - half) if half < 0.5 else x
    crowded = deep if stands else 0.5 * height
    flips = [rng.random() < 0.5] * group.count if rng.random() < 0.6 else [
        rng.random() < 0.5 for _ in range(group.count)
    ]  # fmt: skip
    items = []
    for number in range(group.count):
        back = crowded if step < width * 0.8 and number % 2 else 0.0
        items.append(
            PlacedObject(
                group=group,
                x=x + (number - gaps / 2) * step + rng.uniform(-0.008, 0.008),
                base=base - back + rng.uniform(-0.012, 0.012),
                height=height,
                flip=flips[number],
                stands=stands,
            )
        )
    return sorted(items, key=lambda item: item.base)


def _alone(scene: Scene, rng: Random) -> list[PlacedObject]:
    flying = scene.main.properties.place == "air"
    base = rng.uniform(0.42, 0.6) if flying else rng.uniform(0.8, 0.92)
    return _row(scene.main, rng, rng.uniform(0.38, 0.62), base, 0.86, 1.25, not flying)


def _beside(
    main: ObjectGroup, other: ObjectGroup, main_left: bool, rng: Random
) -> list[PlacedObject]:
    left, right = (main, other) if main_left else (other, main)
    return [
        *_row(left, rng, rng.uniform(0.22, 0.27), rng.uniform(0.79, 0.92), 0.44, 1.15),
        *_row(right, rng, rng.uniform(0.73, 0.78), rng.uniform(0.79, 0.92), 0.44, 1.15),
    ]


def _above(main: ObjectGroup, other: ObjectGroup, rng: Random) -> list[PlacedObject]:
    x = rng.uniform(0.36, 0.64)
    low = _row(other, rng, x, rng.uniform(0.88, 0.94), 0.7)
    ceiling = min(item.top for item in low) - 0.04
    base = min(max(ceiling, 0.22), rng.uniform(0.34, 0.5))
    high = _row(main, rng, x + rng.uniform(-0.1, 0.1), base, 0.8, 1.1, stands=False)
    room = min(item.base for item in high) - 0.02
    return [
        *(attrs.evolve(item, height=min(item.height, max(room, 0.12))) for item in high),
        *low,
    ]


def _on(main: ObjectGroup, other: ObjectGroup, rng: Random) -> list[PlacedObject]:
    x = rng.uniform(0.35, 0.65)
    (support,) = _row(other, rng, x, rng.uniform(0.88, 0.93), 0.8, 1.45)
    roof = support.height * _ROOFS[other.kind]
    upper = _row(main, rng, x, support.top + 0.012, roof * 1.5, 1.05, stands=False)
    return [support, *(attrs.evolve(item, base=support.top + 0.012) for item in upper)]


def _before(main: ObjectGroup, other: ObjectGroup, under: bool, rng: Random) -> list[PlacedObject]:
    x = rng.uniform(0.36, 0.64)
    far, near = (0.87, 0.92) if under else (0.8, 0.94)
    behind = _row(other, rng, x, far, 0.8, 1.25)
    shift = rng.uniform(-0.06, 0.06)
    width = behind[0].height * other.properties.aspect
    return [*behind, *_row(main, rng, x + shift, near, max(width, 0.46), 0.95, deep=0.02)]
