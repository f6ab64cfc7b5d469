from __future__ import annotations

import multiprocessing
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from prefixcap_metrics.java import jars
from prefixcap_metrics.ptb_tokenizer import tokenise, tokenise_records

from prefixcap.errors import PrefixcapError
from prefixcap.interfaces.metric import Record


def test_tokens_are_lower_case_without_punctuation() -> None:
    assert tokenise(("A man's dog, on a mat!",)) == ("a man 's dog on a mat",)


def test_tokens_equal_the_reference_tokenizer(monkeypatch: pytest.MonkeyPatch) -> None:
    from prefixcap_metrics.java import executable
    from pycocoevalcap.tokenizer.ptbtokenizer import PTBTokenizer

    monkeypatch.setenv("PATH", str(Path(executable()).parent), prepend=":")
    texts = ("Mr. Smith's café isn't open etc.", "A dog", "", "10 dogs - 3.5 cats; ok?", "U.S.", "")
    theirs = PTBTokenizer().tokenize({0: [{"caption": text} for text in texts]})[0]
    assert list(tokenise(texts)) == theirs


@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(st.text(max_size=30), min_size=1, max_size=60))
def test_every_text_keeps_its_line(texts: list[str]) -> None:
    marked = [line for i, text in enumerate(texts) for line in (f"marker{i}", text)]
    result = tokenise(tuple(marked))
    assert len(result) == len(marked)
    assert list(result[::2]) == marked[::2]


@pytest.mark.parametrize(
    "text", ["", " ", "\n", "a\r\nb", "a\x0bb\x0cc\x85d", "a\u2028b", "\0", "\ud800"]
)
def test_odd_texts_keep_their_line(text: str) -> None:
    assert tokenise(("first", text, "last"))[::2] == ("first", "last")
    assert tokenise((text, "last"))[1] == "last"
    assert len(tokenise(("first", text))) == 2


def test_texts_beyond_ascii_survive() -> None:
    assert tokenise(("Café naïve 日本",)) == ("café naïve 日本",)


def test_no_file_is_left_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    folder = jars() / "tokenizer"
    before = folder.stat().st_mtime_ns  # changes with every file that is made or removed in it
    assert tokenise(("nothing is written here",))
    assert folder.stat().st_mtime_ns == before
    assert list(tmp_path.iterdir()) == []


def test_processes_can_tokenise_concurrently() -> None:
    texts = [(f"The dog number {i}.",) for i in range(4)]
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        assert pool.map(tokenise, texts) == [(f"the dog number {i}",) for i in range(4)]


def test_one_run_serves_all_metrics_of_the_same_records() -> None:
    records = [Record(image="a", references=("A dog.", "A cat."), prediction="A bird.")]
    tokenise_records(records)
    runs = tokenise.cache_info().misses
    result = tokenise_records(records)
    assert tokenise.cache_info().misses == runs
    assert result.references == {0: ["a dog", "a cat"]}
    assert result.predictions == {0: ["a bird"]}


def test_missing_records_and_references_are_errors() -> None:
    with pytest.raises(PrefixcapError, match="no records to score"):
        tokenise_records([])
    with pytest.raises(PrefixcapError, match="image 'b' has no reference captions"):
        tokenise_records([Record(image="b", references=(), prediction="x")])
