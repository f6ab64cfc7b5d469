"""Five captions of a scene: different sentences that mention different things."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from prefixcap.errors import PrefixcapError
from prefixcap_scenes import phrases
from prefixcap_scenes.phrases import noun_phrase
from prefixcap_scenes.world import Scene

Plan = Callable[[Scene, Random], "str | None"]
_PATIENCE = 20
"""How often all plans are gone through without a new caption before that is given up."""

_TIME_SHARES = {"day": 0.2, "sunset": 0.6, "night": 0.6}


def captions(scene: Scene, count: int = 5) -> tuple[str, ...]:
    """Writes a scene's captions, always the same for the same scene.

    Args:
        scene: the scene.
        count: how many; beyond the number of sentence plans, plans are used again.

    Raises:
        PrefixcapError: the plans do not have as many different captions.
    """
    lot = Random(f"captions {scene.seed}")
    plans = _ALONE if scene.other is None else _PAIR
    found: dict[str, None] = {}
    empty = 0
    while len(found) < count:
        before = len(found)
        for plan in _shuffled(plans, lot):
            sentence = plan(scene, lot)
            if sentence is not None:
                found[_finished(sentence)] = None
            if len(found) == count:
                break
        empty = empty + 1 if len(found) == before else 0
        if empty == _PATIENCE:
            raise PrefixcapError(
                f"scenes: no more than {before} different captions of the scene {scene.seed} were "
                f"found, and {count} were asked for"
            )
    return tuple(found)


def _shuffled(plans: dict[Plan, float], lot: Random) -> list[Plan]:
    """Draws an order in which plans of a greater weight tend to come first."""
    return sorted(plans, key=lambda plan: -(lot.random() ** (1 / plans[plan])))


def _finished(sentence: str) -> str:
    return f"{sentence[0].upper()}{sentence[1:]}."


def _where(scene: Scene, lot: Random, place: float = 1.0) -> str:
    """Says the place, the time, both or neither, with a space before."""
    words = [phrases.place(scene, lot)] if lot.random() < place else []
    if lot.random() < _TIME_SHARES[scene.sky]:
        words.append(phrases.time(scene, lot))
    return "".join(f" {word}" for word in words)


def _pair_of(scene: Scene, lot: Random) -> tuple[str, str]:
    assert scene.other is not None
    return noun_phrase(scene.main, lot), noun_phrase(scene.other, lot)


# ------------------------------------------------------------------------------ scenes of a pair


def _told(scene: Scene, lot: Random) -> str:
    first, second = _pair_of(scene, lot)
    verb, relation = phrases.verb(scene.main, lot), phrases.relation(scene, lot)
    return f"{first} {verb} {relation} {second}{_where(scene, lot, 0.6)}"


def _short(scene: Scene, lot: Random) -> str:
    first, second = _pair_of(scene, lot)
    return f"{first} {phrases.relation(scene, lot)} {second}{_where(scene, lot, 0.6)}"


def _there(scene: Scene, lot: Random) -> str:
    first, second = _pair_of(scene, lot)
    relation = phrases.relation(scene, lot)
    return f"there {phrases.be(scene.main)} {first} {relation} {second}{_where(scene, lot, 0.4)}"


def _both(scene: Scene, lot: Random) -> str:
    first, second = _pair_of(scene, lot)
    return f"{first} and {second}{_where(scene, lot)}"


def _place_first(scene: Scene, lot: Random) -> str:
    first, second = _pair_of(scene, lot)
    verb, relation = phrases.verb(scene.main, lot), phrases.relation(scene, lot)
    return f"{phrases.place(scene, lot)}, {first} {verb} {relation} {second}"


def _turned(scene: Scene, lot: Random) -> str | None:
    first, second = _pair_of(scene, lot)
    inverse = phrases.inverse(scene, lot)
    if inverse is None or scene.other is None:
        return None
    return f"{second} {phrases.verb(scene.other, lot)} {inverse} {first}{_where(scene, lot, 0.6)}"


def _with(scene: Scene, lot: Random) -> str:
    first, second = _pair_of(scene, lot)
    place = _where(scene, lot, 0.6)
    return f"{second}{place} with {first} {phrases.side(scene, lot)}"


def _pictured(scene: Scene, lot: Random) -> str:
    first, second = _pair_of(scene, lot)
    picture = lot.choice(("picture", "view", "drawing"))
    return f"a {picture} of {first} {phrases.relation(scene, lot)} {second}"


def _scenery(scene: Scene, lot: Random) -> str:
    names = [noun_phrase(scene.main, lot, size=0.3)]
    if scene.other is not None:
        names.append(noun_phrase(scene.other, lot, size=0.3))
    time = f" {phrases.time(scene, lot)}" if lot.random() < _TIME_SHARES[scene.sky] else ""
    return f"{phrases.place_name(scene, lot)}{time} with {' and '.join(names)}"


def _timed(scene: Scene, lot: Random) -> str:
    first, second = _pair_of(scene, lot)
    verb, relation = phrases.verb(scene.main, lot), phrases.relation(scene, lot)
    return f"{phrases.time(scene, lot)}, {first} {verb} {relation} {second}"


_PAIR: dict[Plan, float] = {
    _told: 4,
    _short: 4,
    _both: 2,
    _there: 2,
    _place_first: 1,
    _turned: 1,
    _with: 1,
    _pictured: 0.8,
    _scenery: 0.8,
    _timed: 0.3,
}


# ------------------------------------------------------------------------ scenes of a single group


def _alone_told(scene: Scene, lot: Random) -> str:
    name = noun_phrase(scene.main, lot)
    return f"{name} {phrases.verb(scene.main, lot)}{_where(scene, lot)}"


def _alone_short(scene: Scene, lot: Random) -> str:
    return f"{noun_phrase(scene.main, lot)}{_where(scene, lot)}"


def _alone_there(scene: Scene, lot: Random) -> str:
    return f"there {phrases.be(scene.main)} {noun_phrase(scene.main, lot)}{_where(scene, lot)}"


def _alone_place_first(scene: Scene, lot: Random) -> str:
    name = noun_phrase(scene.main, lot)
    return f"{phrases.place(scene, lot)}, {name} {phrases.verb(scene.main, lot)}"


def _alone_pictured(scene: Scene, lot: Random) -> str:
    picture = lot.choice(("picture", "view", "drawing"))
    return f"a {picture} of {noun_phrase(scene.main, lot)}{_where(scene, lot)}"


def _alone_timed(scene: Scene, lot: Random) -> str:
    name = noun_phrase(scene.main, lot)
    verb = phrases.verb(scene.main, lot)
    return f"{phrases.time(scene, lot)}, {name} {verb} {phrases.place(scene, lot)}"


_ALONE: dict[Plan, float] = {
    _alone_told: 4,
    _alone_short: 4,
    _alone_there: 2,
    _scenery: 1.5,
    _alone_place_first: 1,
    _alone_pictured: 1,
    _alone_timed: 0.5,
}
