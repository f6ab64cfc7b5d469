"""Words that must and must not appear, against enumeration and regular expressions."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import cache
from unicodedata import normalize

import pytest
import regex
import torch
from decoder_checks import rescore, texts, tokens_of
from decoder_models import prefixes
from hypothesis import given, settings
from hypothesis import strategies as st
from prefixcap_decoders.beam.config import Beam
from prefixcap_decoders.beam.ranking import divisor
from prefixcap_decoders.constrained.config import Constrained
from prefixcap_decoders.logits.phrase_matcher import Matcher, decomposed
from prefixcap_decoders.logits.settings import alternatives
from tokenizers import Tokenizer as Tokenizers
from tokenizers import decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast
from transformers.convert_slow_tokenizer import bytes_to_unicode

import prefixcap
from prefixcap.engine.causal_lm import HFTokenizer
from prefixcap.errors import PrefixcapError
from prefixcap.interfaces.language_model import LanguageModel, LMConfig, Tokenizer
from prefixcap.plugin.registry import default_registry
from prefixcap.testing.table_lm import TableLM

# "red" is one token or two, begins "redo", and stands first in capitals
PIECES = (" red", " re", "d", "o", " a dog", "Red", "s", ".")


class Pieces(Tokenizer):
    def __init__(self, count: int) -> None:
        self.pieces = (*PIECES[:count], "")

    def encode(self, text: str) -> list[int]:
        return [self.pieces.index(text)] if text in self.pieces else []

    def decode(self, ids: Sequence[int]) -> str:
        return "".join(self.pieces[i] for i in ids)


class PiecesLM(TableLM):
    """A table model whose tokens are parts of words; the last one is the stop token."""

    @property
    def tokenizer(self) -> Tokenizer:
        return Pieces(self.vocab_size - 1)


# letters of scripts that separate words, and what belongs to the letter before it
SPACED, EXTENDER = r"[[\p{L}\p{N}_]--[\p{Han}\p{Thai}]]", r"[\p{M}\u200c\u200d]"


def has(text: str, word: str) -> bool:
    text, word = (normalize("NFD", each.casefold()) for each in (text, word))
    forms = "|".join(map(re.escape, word.split("|")))
    boundary = rf"(?!{EXTENDER})(?!(?<={SPACED}{EXTENDER}*){SPACED})"
    return regex.search(rf"{boundary}(?:{forms}){boundary}", text, regex.V1) is not None


def holds(text: str, words: Sequence[str], without: Sequence[str]) -> bool:
    return all(has(text, w) for w in words) and not any(has(text, w) for w in without)


PHRASES = st.lists(
    st.sampled_from(["ab", "ab c", "c", "a-b", "b_", "aa", "A", "ca", "é", "ßa", "狗", "狗a", "ệ"]),
    min_size=1,
    max_size=3,
)


@settings(deadline=None, max_examples=300)
@given(
    phrases=PHRASES, text=st.text(alphabet="abAC c-_.éÉeß狗วิ\u0301\u0323\u0302\u200dệ", max_size=9)
)
def test_a_matcher_is_a_regular_expression(phrases: list[str], text: str) -> None:
    matcher = Matcher(alternatives("|".join(phrases)))
    state = 0
    for character in decomposed(text):
        state = int(matcher.table[state, matcher.symbol(character)])
    assert bool(matcher.complete[state]) == has(text, "|".join(phrases))


def possible(
    lm: PiecesLM, prefix: torch.Tensor, limit: int, words: Sequence[str], without: Sequence[str]
) -> dict[tuple[int, ...], float]:
    decode = lm.tokenizer.decode
    space = texts(lm, prefix, limit)
    return {ids: p for ids, p in space if holds(decode(ids), words, without)}


WORDS = ["red", "redo", "red a dog", "a dog|reds", "dog", "red red", "reds"]


@settings(deadline=None, max_examples=40)
@given(
    seed=st.integers(0, 9_999),
    words=st.lists(st.sampled_from(WORDS), max_size=2, unique=True),
    without=st.lists(st.sampled_from(WORDS), max_size=2, unique=True),
    limit=st.integers(1, 3),
    penalty=st.sampled_from([0.0, 1.0, 0.6]),
)
def test_a_beam_as_wide_as_the_space_finds_the_best_caption_with_the_words(
    seed: int, words: list[str], without: list[str], limit: int, penalty: float
) -> None:
    lm, prefix = PiecesLM(vocab_size=8, seed=seed), prefixes(2, width=4)
    config = Constrained(
        force_words=tuple(words),
        bad_words=tuple(without),
        num_beams=400,
        n=400,
        length_penalty=penalty,
        early_stopping="never",
    )
    spaces = [possible(lm, row, limit, words, without) for row in prefix]
    if not all(spaces):
        with pytest.raises(PrefixcapError, match=r"no caption can be written|raise max_new_tokens"):
            prefixcap.decode(lm, prefix, config, max_new_tokens=limit)
        return
    result = prefixcap.decode(lm, prefix, config, max_new_tokens=limit)
    for space, hypotheses in zip(spaces, result, strict=True):
        scores = {ids: p / divisor(len(ids), penalty, "power") for ids, p in space.items()}
        assert hypotheses[0].score == pytest.approx(max(scores.values()), abs=1e-4)
        assert {tuple(tokens_of(h)) for h in hypotheses} == set(space)


@settings(deadline=None, max_examples=30)
@given(
    seed=st.integers(0, 9_999),
    words=st.lists(st.sampled_from(WORDS), min_size=1, max_size=3, unique=True),
    without=st.lists(st.sampled_from(["redo", "dog s", "reds"]), max_size=1),
    beams=st.integers(1, 6),
    limit=st.integers(6, 12),
)
def test_every_caption_of_a_narrow_beam_has_the_words(
    seed: int, words: list[str], without: list[str], beams: int, limit: int
) -> None:
    lm, prefix = PiecesLM(vocab_size=9, seed=seed), prefixes(3, width=4)
    config = Constrained(
        force_words=tuple(words), bad_words=tuple(without), num_beams=beams, n=beams
    )
    if {*without} & {*words} or ("reds" in without and "reds" in words):
        return
    result = prefixcap.decode(lm, prefix, config, max_new_tokens=limit)
    few_rows = prefixcap.decode(lm, prefix, config, max_new_tokens=limit, max_rows=beams)
    for row, hypotheses, again in zip(prefix, result, few_rows, strict=True):
        assert hypotheses == again
        assert len({h.ids for h in hypotheses}) == len(hypotheses) == beams
        for h in hypotheses:
            assert holds(h.text, words, without)
            assert h.logprob == pytest.approx(rescore(lm, row, h), abs=1e-4)
            assert h.score == pytest.approx(h.logprob, abs=1e-4)


def test_without_words_it_is_beam_search() -> None:
    lm, prefix = PiecesLM(vocab_size=9, seed=3), prefixes(6, width=4)
    for options in ({}, {"early_stopping": "true", "num_beams": 3}, {"length_penalty": 1.0}):
        options = {"length_penalty": 0.0, **options}
        own, plain = (
            prefixcap.decode(lm, prefix, config(**options), max_new_tokens=9, n=2)  # type: ignore[arg-type]
            for config in (Constrained, Beam)
        )
        assert own == plain


DECODERS = [
    "greedy",
    "beam:num_beams=3",
    "diverse-beam:num_beams=4,num_groups=2",
    "stochastic-beam:n=4",
    "sample:n=4",
    "top-p:n=4",
    "top-k:top_k=3,n=4",
    "mirostat:n=3",
    "best-of:samples=9,n=9",
    "mbr:samples=9,n=9",
    "constrained:num_beams=3,length_penalty=1",
]


@pytest.mark.parametrize("spec", DECODERS)
def test_every_decoder_excludes_bad_words(spec: str) -> None:
    lm, prefix = PiecesLM(vocab_size=9, seed=5), prefixes(8, width=4)
    join = "," if ":" in spec else ":"
    for limit in (1, 3, 8):
        result = prefixcap.decode(
            lm, prefix, f"{spec}{join}bad_words=red+a dog", max_new_tokens=limit
        )
        assert all(holds(h.text, (), ("red", "a dog")) for hs in result for h in hs)
    free = prefixcap.decode(lm, prefix, spec, max_new_tokens=8)
    assert not all(holds(h.text, (), ("red", "a dog")) for hs in free for h in hs)


def specs() -> Iterator[tuple[str, int, str]]:
    yield (
        "force_words=red+dog",
        1,
        "'red' and 'dog' need 2 tokens, but a caption may have 1: raise max",
    )
    yield (
        "force_words=cat",
        9,
        "no caption can be written with 'cat': the language model's tokens do not",
    )
    yield "force_words=red,bad_words=red", 9, "with 'red' and without 'red'"
    yield "force_words=red|", 9, r"force_words: 'red\|' has a phrase without letters: ''"
    yield "bad_words=.", 9, r"bad_words: '\.' has a phrase without letters"
    yield "n=6", 9, "n must be at most num_beams"


@pytest.mark.parametrize(("spec", "limit", "sentence"), specs())
def test_impossible_constraints_are_errors(spec: str, limit: int, sentence: str) -> None:
    lm = PiecesLM(vocab_size=9)
    with pytest.raises(PrefixcapError, match=sentence):
        prefixcap.decode(lm, prefixes(1, width=4), f"constrained:{spec}", max_new_tokens=limit)


def test_a_model_without_a_tokenizer_is_an_error(lm: LanguageModel) -> None:
    with pytest.raises(PrefixcapError, match="has no tokenizer"):
        prefixcap.decode(lm, prefixes(1), "constrained:force_words=red", max_new_tokens=3)


def test_settings_that_exclude_the_words_are_an_error() -> None:
    lm, prefix = PiecesLM(vocab_size=9), prefixes(1, width=4)
    bars = "SuppressTokensLogitsProcessor(suppress_tokens=[0,2,5])"
    config = Constrained(force_words=("red",), processors=(bars,))
    with pytest.raises(PrefixcapError, match="image '0' has no caption with the words"):
        prefixcap.decode(lm, prefix, config, max_new_tokens=6)


def test_words_of_many_tokens_on_a_real_vocabulary() -> None:
    lm = default_registry().parse(LMConfig, "scenes-gpt2").build()
    prefix = torch.randn(6, 4, lm.width, generator=torch.Generator().manual_seed(0)) * 0.1
    config = Constrained(
        force_words=("snowman|umbrella", "Unicorn", "at dusk"), bad_words=("a",), n=3
    )
    for hypotheses in prefixcap.decode(lm, prefix, config, max_new_tokens=24):
        assert len(hypotheses) == 3
        for h in hypotheses:
            assert holds(h.text, config.force_words, config.bad_words)


# ------------------------------------------------------------------------ letters in several tokens


@cache
def byte_level(pieces: tuple[bytes, ...]) -> HFTokenizer:
    """Build a byte-level tokenizer of transformers, whose last token is the stop token."""
    shown = bytes_to_unicode()
    vocabulary = {"".join(shown[b] for b in piece): n for n, piece in enumerate(pieces)}
    bpe = Tokenizers(models.BPE({**vocabulary, "<eos>": len(pieces)}, []))
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    bpe.decoder = decoders.ByteLevel()
    return HFTokenizer(
        PreTrainedTokenizerFast(tokenizer_object=bpe, eos_token="<eos>"), len(vocabulary) + 1
    )


class BytesLM(TableLM):
    """A table model whose tokens are bytes."""

    pieces: tuple[bytes, ...] = ()

    @property
    def tokenizer(self) -> Tokenizer:
        return byte_level(self.pieces)


class OpaqueTokenizer(HFTokenizer):
    def token_bytes(self, token: int) -> bytes | None:
        return None


SPLIT = {
    "cyrillic": (b"a", b" ", b"\xd0", b"\xb4", b"\xbe", b"\xd0\xb4", b"\xbe\xd0", "Д".encode()),
    "han": (b"a", b"\xe7", b"\x8b", b"\x97", b"\xe7\x8b", b"\x97a", "。".encode(), b"\xe3\x80"),
    "devanagari": (b"a", b" ", b"\xe0\xa4", b"\x95", b"\xbf", b"\xe0", b"\xa5\xa4", "क".encode()),
    "accents": (b"e", b"a", b"\xcc", b"\x81", b"\xc3", b"\xa9", b" ", b"\x81a"),
    "emoji": (b"a", b"\xf0\x9f", b"\x90\xb6", b"\x90", b"\xb6", b"\xf0", b"\x9f", b" "),
}


@pytest.mark.parametrize(
    ("script", "words", "without"),
    [
        ("cyrillic", ["до"], []),
        ("cyrillic", [], ["д|до", "a"]),
        ("cyrillic", ["дод"], ["a"]),
        ("han", ["狗"], []),
        ("han", [], ["狗", "a"]),
        ("han", ["a狗"], []),
        ("devanagari", ["कि"], []),
        ("devanagari", [], ["क"]),
        ("devanagari", ["क"], ["कि"]),
        ("accents", ["é"], []),
        ("accents", ["e"], ["é"]),
        ("accents", [], ["éa", "e"]),
        ("emoji", ["a"], []),
        ("emoji", [], ["a"]),
    ],
)
def test_words_are_found_in_letters_that_are_split_into_bytes(
    script: str, words: list[str], without: list[str]
) -> None:
    pieces = SPLIT[script]
    lm, prefix = BytesLM(vocab_size=len(pieces) + 1, seed=3), prefixes(1, width=4)
    lm.pieces = pieces
    expected = set()
    for ids, _ in texts(lm, prefix[0], 4):
        spelled = b"".join(pieces[i] for i in ids if i < len(pieces))
        try:
            text = spelled.decode()
        except UnicodeDecodeError:
            continue
        if holds(text, words, without):
            expected.add(ids)
    config = Constrained(
        force_words=tuple(words),
        bad_words=tuple(without),
        num_beams=9**4,
        n=9**4,
        early_stopping="never",
    )
    (found,) = prefixcap.decode(lm, prefix, config, max_new_tokens=4)
    assert len(expected) > 3
    assert {tuple(tokens_of(h)) for h in found} == expected
    assert all(holds(h.text, words, without) for h in found)
    if without and not words:
        for seed in range(2):
            sample = f"sample:n=50,bad_words={'+'.join(without)}"
            (drawn,) = prefixcap.decode(lm, prefix, sample, max_new_tokens=4, seed=seed)
            assert {tuple(tokens_of(h)) for h in drawn} <= expected


def test_letters_of_unknown_bytes_are_refused() -> None:
    prefix, usual = prefixes(1, width=4), byte_level(SPLIT["cyrillic"])
    opaque = type("Opaque", (BytesLM,), {"tokenizer": OpaqueTokenizer(usual.tokenizer, 9)})
    lm = opaque(vocab_size=9, seed=3)
    sentence = "the word 'до' cannot be found in captions: 4 tokens are parts of characters, and"
    for spec in ("constrained:force_words=до", "greedy:bad_words=до"):
        with pytest.raises(PrefixcapError, match=sentence):
            prefixcap.decode(lm, prefix, spec, max_new_tokens=4)
    assert prefixcap.decode(lm, prefix, "greedy:bad_words=a", max_new_tokens=4)


def test_a_token_that_grows_without_case() -> None:
    pieces = ("a", "b", "ß", "ﬁ", "d", "o", "g", " ")
    lm, prefix = BytesLM(vocab_size=9, seed=1), prefixes(1, width=4)
    lm.pieces = tuple(piece.encode() for piece in pieces)
    (found,) = prefixcap.decode(lm, prefix, "constrained:force_words=dog", max_new_tokens=8)
    assert has(found[0].text, "dog")
    (found,) = prefixcap.decode(lm, prefix, "constrained:force_words=SS", max_new_tokens=8)
    assert has(found[0].text, "ß")


def test_bytes_of_a_vocabulary() -> None:
    tokenizer = byte_level((*SPLIT["han"], b"<0xE7>"))
    known = [tokenizer.token_bytes(n) for n in range(9)]
    assert known == [*SPLIT["han"], b"\xe7"]  # the last is spelled like a byte of SentencePiece
