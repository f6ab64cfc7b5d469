"""Words and characters in any script."""

from __future__ import annotations

import time
from unicodedata import category, normalize

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prefixcap.util.words import Kind, characters, is_letter, kinds, words


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("A man's dog - a well-trained one.", "a man's dog a well-trained one"),
        ("कुत्ता घास पर दौड़ता है", "कुत्ता घास पर दौड़ता है"),
        ("كَلْبٌ يَجْرِي", "كَلْبٌ يَجْرِي"),
        ("un \u00c9le\u0300ve pre\u0300s du cafe\u0301", "un élève près du café"),
        ("می\u200cخواهم", "می\u200cخواهم"),
        ("สุนัขวิ่ง", "สุนัขวิ่ง"),
        ("🐶 runs 👨\u200d👩\u200d👧 ❤\ufe0f", "runs"),
        ("1\ufe0f\u20e3 x² a_b", "1\ufe0f\u20e3 x² a_b"),
        ("'stop' ... ", "stop"),
        ("", ""),
    ],
)
def test_words(text: str, expected: str) -> None:
    assert words(text) == expected.split()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("一只狗在跑。", "一 只 狗 在 跑"),
        ("犬がボールで遊ぶ", "犬 が ボ ー ル で 遊 ぶ"),
        ("สุนัขวิ่ง", "สุ นั ข วิ่ ง"),
        ("ໝາແລ່ນ", "ໝ າ ແ ລ່ ນ"),
        ("一只 dog's 跑2", "一 只 dog's 跑 2"),
        ("A dog runs.", "a dog runs"),
    ],
)
def test_characters(text: str, expected: str) -> None:
    assert characters(text) == expected.split()


MIXED = st.text(st.sampled_from("abÉeéकि一犬สุ\u0301\u0323\u200d'’-_ .🐶İΣ"), max_size=12)


@given(MIXED | st.text(max_size=12))
def test_words_do_not_depend_on_the_encoding_of_accents(text: str) -> None:
    assert words(normalize("NFD", text)) == words(normalize("NFC", text)) == words(text)
    assert "".join(words(text)).translate(dict.fromkeys(map(ord, "'’-"))) == "".join(
        characters(text)
    ).translate(dict.fromkeys(map(ord, "'’-")))


def test_letters_and_marks_are_unicodes() -> None:
    for code in range(0x32000):
        character = chr(code)
        if category(character) == "Cn":
            continue  # the version of Unicode may differ
        assert is_letter(character) == (character.isalnum() or character == "_")
        is_extender = category(character) in ("Mn", "Mc", "Me") or character in "\u200c\u200d"
        (kind,) = kinds(character)
        assert (kind is Kind.EXTENDER) == is_extender
        assert (kind in (Kind.LETTER, Kind.UNSPACED)) == is_letter(character)


@pytest.mark.parametrize("text", ["a\u0301\u0316", "狗", "a'", "dog ", "\u200d"])
def test_long_texts_take_linear_time(text: str) -> None:
    start = time.process_time()
    words("a" + text * (400_000 // len(text)))
    assert time.process_time() - start < 20
