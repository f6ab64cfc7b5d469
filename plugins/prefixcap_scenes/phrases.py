"""Noun phrases, verbs, places and times of captions, each drawn from several ways to say it."""

from __future__ import annotations

from random import Random

from prefixcap_scenes.lexicon import CLOTHES, NUMBERS, PLACES, SIZE_WORDS
from prefixcap_scenes.world import Group, Scene

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


def noun_phrase(group: Group, lot: Random, colour: float = 0.85, size: float = 0.6) -> str:
    """Names a group with its number, and with its colour and size as often as asked."""
    many = group.count > 1
    names = [(group.what.noun, group.what.plural)] * 3 + list(group.what.also)
    noun = lot.choice(names)[many]
    says_size = group.size != "plain" and lot.random() < size
    if group.kind in _YOUNG and group.size == "small" and lot.random() < 0.35:
        noun, says_size = _YOUNG[group.kind][many], False
    words = [lot.choice(SIZE_WORDS[group.size])] if says_size else []
    says_colour = lot.random() < colour
    if says_colour and not group.what.clothed:
        words.append(group.colour)
    words.append(noun)
    if says_colour and group.what.clothed:
        words.append(_clothes(group, lot))
    return f"{_determiner(group, words[0], lot)} {' '.join(words)}"


def _clothes(group: Group, lot: Random) -> str:
    link = "with" if group.kind == "snowman" else "in"
    garment = lot.choice(CLOTHES[group.kind])
    if group.count == 1:
        return f"{link} {article(group.colour)} {group.colour} {garment}"
    plural = "scarves" if garment == "scarf" else f"{garment}{'es' if garment == 'dress' else 's'}"
    return f"{link} {group.colour} {plural}"


def article(word: str) -> str:
    """Returns the indefinite article that goes before a word."""
    return "an" if word[0] in "aeiou" else "a"


def _determiner(group: Group, following: str, lot: Random) -> str:
    if group.count == 1:
        return article(following)
    if lot.random() < 0.15:
        return lot.choice(_COUNTS[group.count])
    return NUMBERS[group.count]


def verb(group: Group, lot: Random) -> str:
    """Says what a group does."""
    return lot.choice(group.what.verbs).split("/")[group.count > 1]


def be(group: Group) -> str:
    """Returns "is" or "are"."""
    return "are" if group.count > 1 else "is"


def relation(scene: Scene, lot: Random) -> str:
    """Says how the main group is placed against the other."""
    assert scene.relation is not None
    return lot.choice(_RELATIONS[scene.relation])


def inverse(scene: Scene, lot: Random) -> str | None:
    """Says how the other group is placed against the main one, where that is natural."""
    known = _INVERSES.get(scene.relation or "")
    return lot.choice(known) if known else None


def side(scene: Scene, lot: Random) -> str:
    """Says where the main group is, seen from the other."""
    return lot.choice(_SIDES[scene.relation or ""])


def place(scene: Scene, lot: Random) -> str:
    """Says where the scene is, as seen from the thing that stands (or flies) there."""
    if scene.other is None and scene.main.what.place == "air" and scene.place != "room":
        return f"{lot.choice(('over', 'above'))} {place_name(scene, lot)}"
    return lot.choice(PLACES[scene.place].phrases)


def place_name(scene: Scene, lot: Random) -> str:
    """Names the place itself."""
    return lot.choice(PLACES[scene.place].names)


def time(scene: Scene, lot: Random) -> str:
    """Says the time of the day."""
    return lot.choice((_INDOOR_TIMES if scene.place == "room" else _TIMES)[scene.sky])
