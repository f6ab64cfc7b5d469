"""Captions as sentences: nothing but spaces, the first letter and the last mark changes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prefixcap.training.sentences import sentence


@pytest.mark.parametrize(
    ("caption", "expected"),
    [
        ("a black dog runs .", "A black dog runs."),
        ("  Two  dogs , one red .", "Two dogs, one red."),
        ("a man 's hat", "A man's hat."),
        (" . ", ""),
        (
            "a boy 's red hat , a man 's dog and the boys ' caps",
            "A boy's red hat, a man's dog and the boys' caps.",
        ),
        ("do n't WE 'LL they 've", "Don't WE'LL they've."),
        ("a sign that says 'stop'", "A sign that says 'stop'."),
        ("a sign that says 's'", "A sign that says 's'."),
        ("a sign that says 'd day'", "A sign that says 'd day'."),
        ("what a happy dog!", "What a happy dog!"),
        ("a dog !", "A dog!"),
        ("is it a dog ?!", "Is it a dog?!"),
        ("a dog . . .", "A dog..."),
        ("a dog ..", "A dog."),
        ("a dog …", "A dog …"),
        ('a sign that reads "stop."', 'A sign that reads "stop."'),
        ('he says " stop . "', 'He says " stop. "'),
        ("(a dog .)", "(a dog.)"),
        ("一只狗在草地上跑。", "一只狗在草地上跑。"),
        ("一只狗「跑。」", "一只狗「跑。」"),
        ("कुत्ता दौड़ता है।", "कुत्ता दौड़ता है।"),
        ("كلب يجري؟", "كلب يجري؟"),
        ("ឆ្កែរត់។", "ឆ្កែរត់។"),
        ("ﬁve dogs", "Five dogs."),
        ("ǆ", "ǅ."),
        ("🐶", "🐶."),
    ],
)
def test_sentences(caption: str, expected: str) -> None:
    assert sentence(caption) == expected


TEXTS = st.text(st.sampled_from("asdS'’\"., !?()।。…éß\u0301 狗\n\t"), max_size=12)


def written_characters(text: str) -> list[str]:
    """Return what a sentence must keep: everything but spaces and full stops."""
    return [character for character in text if not character.isspace() and character != "."]


@given(TEXTS | st.text(max_size=12))
def test_a_sentence_keeps_every_letter_and_stays_as_it_is(caption: str) -> None:
    result = sentence(caption)
    assert sentence(result) == result
    expected = written_characters(caption)
    if expected and "".join(caption.split())[0] == expected[0]:
        expected[0:1] = expected[0].title()
    assert written_characters(result) == expected


@pytest.mark.parametrize("part", ["a 's ", "' ", "s '", " .", "a.) ", "\u0301", "!"])
def test_a_long_caption_takes_linear_time(part: str) -> None:
    assert sentence(part * (500_000 // len(part))) or part == " ."
