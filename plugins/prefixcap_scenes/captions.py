"""Captions of a scene: different sentences that mention different parts of it."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from prefixcap.errors import PrefixcapError
from prefixcap_scenes import phrases
from prefixcap_scenes.phrases import noun_phrase
from prefixcap_scenes.world import Scene

Plan = Callable[[Scene, Random], "str | None"]
_MAX_ROUNDS = 20  # rounds through all plans without a new caption before giving up

_TIME_RATES = {"day": 0.2, "sunset": 0.6, "night": 0.6}


def captions(scene: Scene, count: int = 5) -> tuple[str, ...]:
    """Return captions of a scene, always the same for the same scene.

    Args:
        scene: The scene.
        count: Number of captions; beyond the number of sentence plans, plans are reused.

    Raises:
        PrefixcapError: If the plans cannot give that many different captions.
    """
    rng = Random(f"captions {scene.seed}")
    plans = _ALONE if scene.other is None else _PAIR
    texts: dict[str, None] = {}
    empty = 0
    while len(texts) < count:
        before = len(texts)
        for plan in _shuffled(plans, rng):
            sentence = plan(scene, rng)
            if sentence is not None:
                texts[_capitalised(sentence)] = None
            if len(texts) == count:
                break
        empty = empty + 1 if len(texts) == before else 0
        if empty == _MAX_ROUNDS:
            raise PrefixcapError(
                f"scenes: only {before} different captions of the scene {scene.seed} were found, "
                f"but {count} were requested"
            )
    return tuple(texts)


def _shuffled(plans: dict[Plan, float], rng: Random) -> list[Plan]:
    """Return the plans in random order, those with larger weights tending to come first."""
    return sorted(plans, key=lambda plan: -(rng.random() ** (1 / plans[plan])))


def _capitalised(sentence: str) -> str:
    return f"{sentence[0].upper()}{sentence[1:]}."


def _where(scene: Scene, rng: Random, place: float = 1.0) -> str:
    """Return the place, the time, both or neither, each after a space."""
    words = [phrases.place(scene, rng)] if rng.random() < place else []
    if rng.random() < _TIME_RATES[scene.sky]:
        words.append(phrases.time(scene, rng))
    return "".join(f" {word}" for word in words)


def _pair_of(scene: Scene, rng: Random) -> tuple[str, str]:
    assert scene.other is not None
    return noun_phrase(scene.main, rng), noun_phrase(scene.other, rng)


# ------------------------------------------------------------------------------ scenes of a pair


def _statement(scene: Scene, rng: Random) -> str:
    first, second = _pair_of(scene, rng)
    verb, relation = phrases.verb(scene.main, rng), phrases.relation(scene, rng)
    return f"{first} {verb} {relation} {second}{_where(scene, rng, 0.6)}"


def _short(scene: Scene, rng: Random) -> str:
    first, second = _pair_of(scene, rng)
    return f"{first} {phrases.relation(scene, rng)} {second}{_where(scene, rng, 0.6)}"


def _there(scene: Scene, rng: Random) -> str:
    first, second = _pair_of(scene, rng)
    relation = phrases.relation(scene, rng)
    return f"there {phrases.be(scene.main)} {first} {relation} {second}{_where(scene, rng, 0.4)}"


def _both(scene: Scene, rng: Random) -> str:
    first, second = _pair_of(scene, rng)
    return f"{first} and {second}{_where(scene, rng)}"


def _place_first(scene: Scene, rng: Random) -> str:
    first, second = _pair_of(scene, rng)
    verb, relation = phrases.verb(scene.main, rng), phrases.relation(scene, rng)
    return f"{phrases.place(scene, rng)}, {first} {verb} {relation} {second}"


def _turned(scene: Scene, rng: Random) -> str | None:
    first, second = _pair_of(scene, rng)
    inverse = phrases.inverse(scene, rng)
    if inverse is None or scene.other is None:
        return None
    return f"{second} {phrases.verb(scene.other, rng)} {inverse} {first}{_where(scene, rng, 0.6)}"


def _with(scene: Scene, rng: Random) -> str:
    first, second = _pair_of(scene, rng)
    place = _where(scene, rng, 0.6)
    return f"{second}{place} with {first} {phrases.side(scene, rng)}"


def _pictured(scene: Scene, rng: Random) -> str:
    first, second = _pair_of(scene, rng)
    picture = rng.choice(("picture", "view", "drawing"))
    return f"a {picture} of {first} {phrases.relation(scene, rng)} {second}"


def _scenery(scene: Scene, rng: Random) -> str:
    names = [noun_phrase(scene.main, rng, size=0.3)]
    if scene.other is not None:
        names.append(noun_phrase(scene.other, rng, size=0.3))
    time = f" {phrases.time(scene, rng)}" if rng.random() < _TIME_RATES[scene.sky] else ""
    return f"{phrases.place_name(scene, rng)}{time} with {' and '.join(names)}"


def _timed(scene: Scene, rng: Random) -> str:
    first, second = _pair_of(scene, rng)
    verb, relation = phrases.verb(scene.main, rng), phrases.relation(scene, rng)
    return f"{phrases.time(scene, rng)}, {first} {verb} {relation} {second}"


_PAIR: dict[Plan, float] = {
    _statement: 4,
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


def _alone_statement(scene: Scene, rng: Random) -> str:
    name = noun_phrase(scene.main, rng)
    return f"{name} {phrases.verb(scene.main, rng)}{_where(scene, rng)}"


def _alone_short(scene: Scene, rng: Random) -> str:
    return f"{noun_phrase(scene.main, rng)}{_where(scene, rng)}"


def _alone_there(scene: Scene, rng: Random) -> str:
    return f"there {phrases.be(scene.main)} {noun_phrase(scene.main, rng)}{_where(scene, rng)}"


def _alone_place_first(scene: Scene, rng: Random) -> str:
    name = noun_phrase(scene.main, rng)
    return f"{phrases.place(scene, rng)}, {name} {phrases.verb(scene.main, rng)}"


def _alone_pictured(scene: Scene, rng: Random) -> str:
    picture = rng.choice(("picture", "view", "drawing"))
    return f"a {picture} of {noun_phrase(scene.main, rng)}{_where(scene, rng)}"


def _alone_timed(scene: Scene, rng: Random) -> str:
    name = noun_phrase(scene.main, rng)
    verb = phrases.verb(scene.main, rng)
    return f"{phrases.time(scene, rng)}, {name} {verb} {phrases.place(scene, rng)}"


_ALONE: dict[Plan, float] = {
    _alone_statement: 4,
    _alone_short: 4,
    _alone_there: 2,
    _scenery: 1.5,
    _alone_place_first: 1,
    _alone_pictured: 1,
    _alone_timed: 0.5,
}
