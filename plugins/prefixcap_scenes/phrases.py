"""Parts of captions, such as noun phrases, verbs and places, in random wordings."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from random import Random

from prefixcap_scenes.lexicon import CLOTHES, NUMBERS, PLACES, SIZE_WORDS
from prefixcap_scenes.world import ObjectGroup, Scene

_YOUNG = {"dog": ("puppy", "puppies"), "cat": ("kitten", "kittens")}
_COUNTS = {2: ("a pair of",), 3: ("a group of three",), 4: ("several",), 5: ("several", "many")}

_RELATIONS = {
    "left of": ("to the left of", "to the left of", "left of", "on the left of", "next to"),
    "right of": ("to the right of", "to the right of", "right of", "on the right of", "beside"),
    "above": ("above", "above", "over", "high above"),
    "on": ("on", "on", "on top of"),
    "under": ("under", "under", "beneath", "below"),
    "in front of": ("in front of",),
}
_INVERSES = {
    "left of": ("to the right of", "right of", "next to"),
    "right of": ("to the left of", "left of", "next to"),
    "above": ("below", "under", "beneath"),
    "in front of": ("behind",),
}
_SIDES = {
    "left of": ("on the left", "to the left"),
    "right of": ("on the right", "to the right"),
    "above": ("overhead", "in the air above"),
    "on": ("on top",),
    "under": ("underneath", "below"),
    "in front of": ("in front",),
}
_TIMES = {
    "day": ("on a sunny day", "under a blue sky", "on a clear day", "in the daytime"),
    "sunset": ("at sunset", "at sunset", "at dusk", "in the evening"),
    "night": ("at night", "at night", "after dark", "in the dark"),
}
_TIME_RATES = {"day": 0.2, "sunset": 0.6, "night": 0.6}
_INDOOR_TIMES = {"day": ("during the day",), "sunset": ("in the evening",), "night": ("at night",)}


def noun_phrase(group: ObjectGroup, rng: Random, colour: float = 0.85, size: float = 0.6) -> str:
    """Return a noun phrase of a group; `colour` and `size` are the rates of naming them."""
    many = group.count > 1
    names = [(group.properties.noun, group.properties.plural)] * 3 + list(group.properties.also)
    noun = rng.choice(names)[many]
    name_size = group.size != "plain" and rng.random() < size
    if group.kind in _YOUNG and group.size == "small" and rng.random() < 0.35:
        noun, name_size = _YOUNG[group.kind][many], False
    words = [rng.choice(SIZE_WORDS[group.size])] if name_size else []
    name_colour = rng.random() < colour
    if name_colour and not group.properties.clothed:
        words.append(group.colour)
    words.append(noun)
    if name_colour and group.properties.clothed:
        words.append(_clothes(group, rng))
    return f"{_determiner(group, words[0], rng)} {' '.join(words)}"


def _clothes(group: ObjectGroup, rng: Random) -> str:
    link = "with" if group.kind == "snowman" else "in"
    garment = rng.choice(CLOTHES[group.kind])
    if group.count == 1:
        return f"{link} {_article(group.colour)} {group.colour} {garment}"
    plural = "scarves" if garment == "scarf" else f"{garment}{'es' if garment == 'dress' else 's'}"
    return f"{link} {group.colour} {plural}"


def _article(word: str) -> str:
    return "an" if word[0] in "aeiou" else "a"


def _determiner(group: ObjectGroup, following: str, rng: Random) -> str:
    if group.count == 1:
        return _article(following)
    if rng.random() < 0.15:
        return rng.choice(_COUNTS[group.count])
    return NUMBERS[group.count]


def _verb(group: ObjectGroup, rng: Random) -> str:
    return rng.choice(group.properties.verbs).split("/")[group.count > 1]


def _other(scene: Scene) -> ObjectGroup:
    assert scene.other is not None
    return scene.other


def _choose(table: Mapping[str, Sequence[str]], scene: Scene, rng: Random) -> str | None:
    wordings = table.get(scene.relation or "")
    return rng.choice(wordings) if wordings else None


def _place_name(scene: Scene, rng: Random) -> str:
    return rng.choice(PLACES[scene.place].names)


def _place(scene: Scene, rng: Random) -> str:
    if scene.other is None and scene.main.properties.place == "air" and scene.place != "room":
        return f"{rng.choice(('over', 'above'))} {_place_name(scene, rng)}"
    return rng.choice(PLACES[scene.place].phrases)


def _time(scene: Scene, rng: Random) -> str:
    return rng.choice((_INDOOR_TIMES if scene.place == "room" else _TIMES)[scene.sky])


def _maybe_time(scene: Scene, rng: Random) -> str:
    return f" {_time(scene, rng)}" if rng.random() < _TIME_RATES[scene.sky] else ""


def _where(scene: Scene, rng: Random, rate: float = 1.0) -> str:
    """Return the place, the time, both or neither, each after a space."""
    place = f" {_place(scene, rng)}" if rng.random() < rate else ""
    return place + _maybe_time(scene, rng)


PARTS: dict[str, Callable[[Scene, Random], str | None]] = {
    "first": lambda scene, rng: noun_phrase(scene.main, rng),
    "second": lambda scene, rng: noun_phrase(_other(scene), rng),
    "short_first": lambda scene, rng: noun_phrase(scene.main, rng, size=0.3),
    "short_second": lambda scene, rng: noun_phrase(_other(scene), rng, size=0.3),
    "be": lambda scene, rng: "are" if scene.main.count > 1 else "is",
    "verb": lambda scene, rng: _verb(scene.main, rng),
    "second_verb": lambda scene, rng: _verb(_other(scene), rng),
    "relation": partial(_choose, _RELATIONS),
    "inverse": partial(_choose, _INVERSES),
    "side": partial(_choose, _SIDES),
    "place": _place,
    "place_name": _place_name,
    "time": _time,
    "maybe_time": _maybe_time,
    "where": _where,
    "maybe_where": partial(_where, rate=0.6),
    "seldom_where": partial(_where, rate=0.4),
    "picture": lambda scene, rng: rng.choice(("picture", "view", "drawing")),
}
"""The parts by name. "first" is the main group, "second" the other; None means unnatural."""
