from __future__ import annotations

from itertools import product
from typing import Any

import pytest
from prefixcap_scenes import backdrops, layout, pen, proofs, render
from prefixcap_scenes.lexicon import KINDS, PLACES, SKIES
from prefixcap_scenes.world import RELATIONS


def drawn() -> str:
    """The digest, drawn anew."""
    return proofs.drawing.__wrapped__()


@pytest.fixture(scope="module")
def before() -> str:
    found = drawn()
    assert drawn() == found
    return found


def test_everything_is_drawn_at_least_once(monkeypatch: pytest.MonkeyPatch) -> None:
    kinds, backgrounds, relations = set(), set(), set()
    paint, place_items = backdrops.paint, layout.place_items

    def painted(place: str, sky: str, *rest: Any) -> Any:
        backgrounds.add((place, sky))
        return paint(place, sky, *rest)

    def placed(scene: Any) -> Any:
        relations.add(scene.relation)
        items = place_items(scene)
        kinds.update(item.group.kind for item in items)
        return items

    monkeypatch.setattr(backdrops, "paint", painted)
    monkeypatch.setattr(render, "place_items", placed)
    drawn()
    assert kinds == set(KINDS)
    assert backgrounds == set(product(PLACES, SKIES))
    assert relations == {None, *RELATIONS}


@pytest.mark.parametrize("kind", ["dog", "cactus", "purse"])
def test_another_drawing_of_any_kind_is_noticed(
    kind: str, before: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(render._DRAWN, kind, lambda pen, shade: pen.rect(0, 0, 0.1, 0.1, shade))
    assert (drawn() != before) is (kind in KINDS)


@pytest.mark.parametrize("colour", pen.COLOURS)
def test_another_shade_of_any_colour_is_noticed(
    colour: str, before: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(pen.COLOURS, colour, (1, 2, 3))
    assert drawn() != before


def test_other_places_are_noticed(before: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(layout._ROOFS, "box", 0.2)
    assert drawn() != before
