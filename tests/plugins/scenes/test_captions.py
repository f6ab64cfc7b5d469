from __future__ import annotations

import re
from itertools import islice

import pytest
from prefixcap_scenes.captions import captions
from prefixcap_scenes.lexicon import OBJECTS, SIZE_WORDS
from prefixcap_scenes.pen import COLOURS
from prefixcap_scenes.world import ObjectGroup, Scene, scenes

from prefixcap.errors import PrefixcapError

SCENES = list(islice(scenes("test", 0), 400))
NUMBERS = {
    "a": {1}, "an": {1}, "one": {1}, "two": {2}, "a pair of": {2}, "three": {3}, "four": {4},
    "a group of three": {3}, "five": {5}, "several": {4, 5}, "many": {5},
}  # fmt: skip
NOUNS = {"puppy": "dog", "puppies": "dog", "kitten": "cat", "kittens": "cat"}
for _name, _kind in OBJECTS.items():
    for _one, _many in ((_kind.noun, _kind.plural), *_kind.also):
        NOUNS[_one] = NOUNS[_many] = _name
SIZES = {word: size for size, words in SIZE_WORDS.items() for word in words}


def _any(words: object) -> str:
    return "|".join(sorted(map(str, words), key=len, reverse=True))  # type: ignore[call-overload]


PHRASE = re.compile(
    rf"\b({_any(NUMBERS)})(?: ({_any(SIZES)}))?(?: ({_any(COLOURS)}))? ({_any(NOUNS)})\b"
    rf"(?: (?:in|with)(?: an?)? ({_any(COLOURS)}) (?:T-shirt|shirt|dress|scarf|scarves))?"
)
TIMES = {
    "sunset": ("sunset", "dusk", "evening"),
    "night": ("night", "dark"),
    "day": ("sunny", "blue sky", "clear day", "daytime", "during the day"),
}


def group_named(scene: Scene, noun: str) -> ObjectGroup:
    groups = [group for group in (scene.main, scene.other) if group and group.kind == NOUNS[noun]]
    assert len(groups) == 1, (scene, noun)
    return groups[0]


def test_five_different_captions() -> None:
    for scene in SCENES:
        result = captions(scene)
        assert len(result) == 5
        assert len(set(result)) == 5
        assert captions(scene) == result


def test_fewer_captions_are_the_first_of_more() -> None:
    for scene in SCENES[:50]:
        seven = captions(scene, 7)
        assert [captions(scene, count) for count in range(8)] == [
            seven[:count] for count in range(8)
        ]


def test_too_many_captions_are_an_error() -> None:
    scene = next(scene for scene in SCENES if scene.other is None)
    with pytest.raises(PrefixcapError, match=r"only \d+ different .* but 1000000 were requested"):
        captions(scene, 1_000_000)


def test_captions_are_sentences() -> None:
    for scene in SCENES:
        for text in captions(scene):
            assert re.fullmatch(r"[A-Z][A-Za-z,\- ]*[a-z]\.", text), text
            assert "  " not in text
            assert not re.search(r"\b(a) [aeiou]|\b(an) [^aeiou]", text.lower()), text
            assert len(text.split()) <= 30


def test_every_number_size_and_colour_in_a_caption_is_true() -> None:
    checked = 0
    for scene in SCENES:
        for text in captions(scene):
            for number, size, colour, noun, clothes in PHRASE.findall(text[0].lower() + text[1:]):
                group = group_named(scene, noun)
                assert group.count in NUMBERS[number], (text, scene)
                assert not size or SIZES[size] == group.size, (text, scene)
                for shade in filter(None, (colour, clothes)):
                    assert shade == group.colour, (text, scene)
                checked += 1
    assert checked > 3 * len(SCENES)


def test_every_colour_word_belongs_to_an_object_of_that_colour() -> None:
    for scene in SCENES:
        colours = {group.colour for group in (scene.main, scene.other) if group}
        for text in captions(scene):
            plain = text.replace("blue sky", "").replace("green field", "")
            assert colours >= set(re.findall(rf"\b({_any(COLOURS)})\b", plain)), (text, scene)


def test_the_time_in_a_caption_is_true() -> None:
    for scene in SCENES:
        for sky, words in TIMES.items():
            if sky != scene.sky:
                for text in captions(scene):
                    assert not any(word in text for word in words), (text, scene)


@pytest.mark.parametrize(("left", "relation"), [(True, "left of"), (False, "right of")])
def test_sides_are_true(left: bool, relation: str) -> None:
    """The object before "left of" is on the left, and before "right of" on the right."""
    checked = 0
    for scene in SCENES:
        for text in captions(scene):
            match = re.search(r"(.*)\b(left|right) of\b(.*)", text)
            if match is None or scene.relation != relation or scene.other is None:
                continue
            first = PHRASE.search(match[1][0].lower() + match[1][1:].replace(", A", ", a"))
            if first is None:
                continue
            is_main = NOUNS[first[4]] == scene.main.kind
            assert (match[2] == "left") == (is_main == left), (text, scene)
            checked += 1
    assert checked > 30


def test_the_captions_mention_different_things() -> None:
    """Some captions mention the color, the time or the place, and some do not."""
    differ = 0
    for scene in SCENES:
        counts = {len(re.findall(rf"\b({_any(COLOURS)})\b", text)) for text in captions(scene)}
        differ += len(counts) > 1
    assert differ > len(SCENES) / 2
    lengths = [{len(text.split()) for text in captions(scene)} for scene in SCENES]
    assert sum(len(result) >= 3 for result in lengths) > len(SCENES) * 0.8
