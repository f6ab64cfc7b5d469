"""Noun phrases, verbs, places and times of captions, chosen at random from several wordings."""

from __future__ import annotations

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
        return f"{link} {article(group.colour)} {group.colour} {garment}"
    plural = "scarves" if garment == "scarf" else f"{garment}{'es' if garment == 'dress' else 's'}"
    return f"{link} {group.colour} {plural}"


def article(word: str) -> str:
    """Return the indefinite article for a word."""
    return "an" if word[0] in "aeiou" else "a"


def _determiner(group: ObjectGroup, following: str, rng: Random) -> str:
    if group.count == 1:
        return article(following)
    if rng.random() < 0.15:
        return rng.choice(_COUNTS[group.count])
    return NUMBERS[group.count]


def verb(group: ObjectGroup, rng: Random) -> str:
    """Return a verb for what a group does."""
    return rng.choice(group.properties.verbs).split("/")[group.count > 1]


def be(group: ObjectGroup) -> str:
    """Return "is" or "are"."""
    return "are" if group.count > 1 else "is"


def relation(scene: Scene, rng: Random) -> str:
    """Return the position of the main group relative to the other."""
    assert scene.relation is not None
    return rng.choice(_RELATIONS[scene.relation])


def inverse(scene: Scene, rng: Random) -> str | None:
    """Return the position of the other group relative to the main one, if natural."""
    wordings = _INVERSES.get(scene.relation or "")
    return rng.choice(wordings) if wordings else None


def side(scene: Scene, rng: Random) -> str:
    """Return the side of the other group that the main group is on."""
    return rng.choice(_SIDES[scene.relation or ""])


def place(scene: Scene, rng: Random) -> str:
    """Return where the objects are, such as "on the grass"."""
    if scene.other is None and scene.main.properties.place == "air" and scene.place != "room":
        return f"{rng.choice(('over', 'above'))} {place_name(scene, rng)}"
    return rng.choice(PLACES[scene.place].phrases)


def place_name(scene: Scene, rng: Random) -> str:
    """Return the name of the place itself."""
    return rng.choice(PLACES[scene.place].names)


def time(scene: Scene, rng: Random) -> str:
    """Return the time of day."""
    return rng.choice((_INDOOR_TIMES if scene.place == "room" else _TIMES)[scene.sky])
