"""Text, JSON and TOML files as people bring them: read, or refused in a sentence."""

from __future__ import annotations

import contextlib
import json
import os
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prefixcap.errors import PrefixcapError
from prefixcap.util.files import read_json as read_sealed
from prefixcap.util.files import read_lines
from prefixcap.util.text_files import (
    MAX_DEPTH,
    load_json,
    load_lines,
    load_toml,
    parse_json,
    parse_toml,
    read_text,
)

BOM = "\ufeff"
read_json = partial(read_sealed, sealed=False)
DEEP = {
    "nested too deeply": "[" * 100_000 + "]" * 100_000,
    "objects in objects": '{"a":' * 100_000,
    "just too deep": "[" * (MAX_DEPTH + 2) + "]" * (MAX_DEPTH + 2),
}


def lines(path: Path) -> list[tuple[int, Any]]:
    return list(load_lines(path))


def refused(read: Callable[[Path], object], path: Path) -> str:
    with pytest.raises(PrefixcapError) as caught:
        read(path)
    return str(caught.value)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        *((text, "nested more than 100 deep") for text in DEEP.values()),
        ("9" * 5000, "a number has more than 4300 digits"),
        ('{"a": 1, "b": 2, "a": 3}', "the key 'a' appears twice in one object"),
        ('[{"a": NaN}]', "NaN is not JSON"),
        ("[Infinity]", "Infinity is not JSON"),
        ("[-Infinity]", "-Infinity is not JSON"),
        ('["a \\ud83d"]', "contains half a character: 'a \\ud83d'"),
        ('[{"a\\udc00": 1}]', "contains half a character: 'a\\udc00'"),
        ("", "Expecting value at column 1"),
        ('{"a": 1', "Expecting ',' delimiter at column 8"),
        ("{'a': 1}", "Expecting property name enclosed in double quotes at column 2"),
        ("[1] [2]", "Extra data at column 5"),
        ('["a\x01"]', "Invalid control character at column 4"),
    ],
)
def test_what_is_wrong_with_json_is_said(text: str, reason: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=re.escape(reason)):
        parse_json(text)
    path = tmp_path / "x.json"
    path.write_text(f"\n{text}", "utf-8")
    sentence = refused(load_json, path)
    assert sentence.startswith(f"{path} is not JSON: ")
    assert len(sentence) < 500
    if text:
        path.write_text(f'{{"a": 1}}\n\n{text}\n', "utf-8")
        assert refused(lines, path).startswith(f"{path}, line 3: not JSON: ")
        path.write_text(f"{text}\n", "utf-8")
        if "Infinity" not in text and "NaN" not in text:  # which old studies may have
            for read in (read_json, read_lines):
                assert refused(read, path).startswith(f"{path} was altered after it was written (")


def test_what_study_files_may_have() -> None:
    loss = parse_json('{"loss": [NaN, -Infinity]}', finite=False)["loss"]
    assert str(loss) == "[nan, -inf]"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("a = " + DEEP["nested too deeply"], "nested more than 100 deep"),
        ("a" + ".a" * 5000 + " = 1", "nested more than 100 deep"),
        ("a = " + "9" * 5000, "a number has more than 4300 digits"),
        ("a = 1\na = 2", "Cannot overwrite a value"),
        ('a = "\\ud83d"', "not a Unicode scalar"),
        ("a = ", "Invalid value"),
        ("a = 1 b", "(at line 1, column 7)"),
    ],
)
def test_what_is_wrong_with_toml_is_said(text: str, reason: str, tmp_path: Path) -> None:
    path = tmp_path / "study.toml"
    path.write_text(text, "utf-8")
    sentence = refused(load_toml, path)
    assert sentence.startswith(f"{path} is not TOML: ")
    assert reason in sentence


@pytest.mark.parametrize("begin", ["", BOM])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_byte_order_marks_and_line_ends(begin: str, end: str, tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(f'{begin}{{"a": "ü"}}{end}{end}{{"a": 2}}{end}'.encode())
    assert lines(path) == [(1, {"a": "ü"}), (3, {"a": 2})]
    assert read_lines(path) == [{"a": "ü"}, {"a": 2}]
    path.write_bytes(f'{begin}{{"a":{end}1}}'.encode())
    assert load_json(path) == read_json(path) == {"a": 1}
    path.write_bytes(f'{begin}a = 1{end}b = "ü"{end}'.encode())
    assert load_toml(path) == {"a": 1, "b": "ü"}
    path.write_bytes(f"{begin}a{end}ü{end}".encode())
    assert read_text(path).splitlines() == ["a", "ü"]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ('{"a": 1}'.encode("utf-16"), "it is in UTF-16: save it in UTF-8"),
        (BOM.encode("utf-16-be") + "[]".encode("utf-16-be"), "it is in UTF-16"),
        ('{"a": 1}'.encode("utf-32"), "it is in UTF-32"),
        ('{"a": 1}'.encode("utf-16-le"), "it has NUL bytes, as in UTF-16"),
        ('{"a": 1}'.encode("utf-16-be"), "it has NUL bytes, as in UTF-16"),
        ('["caf\u00e9"]'.encode("latin-1"), "the byte 0xe9 in line 1 is not UTF-8"),
        (b"[]\xc3", "the byte 0xc3 in line 1 is not UTF-8"),
        (b'["\xed\xa0\xbd"]', "the byte 0xed in line 1 is not UTF-8"),
        (b'["abc"]\0', "it has a NUL byte in line 1"),
        (b"\x1f\x8b\x08\x00", "the byte 0x8b in line 1 is not UTF-8"),
    ],
)
def test_other_encodings_are_refused(content: bytes, reason: str, tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(content)
    for read in (load_json, load_toml, read_text):
        assert f"{path} cannot be read as text: {reason}" in refused(read, path)
    assert f"{path}, line 1: not JSON: {reason.replace(' in line 1', '')}" in refused(lines, path)
    assert f"{path} was altered after it was written (it is not JSON: {reason}" in refused(
        read_json, path
    )


def test_what_is_no_file(tmp_path: Path) -> None:
    (tmp_path / "captions.jsonl").touch()
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "loop").symlink_to("loop")
    for name, reason in {
        "caption.jsonl": " does not exist; did you mean 'captions.jsonl'?",
        "captions.jsonl/x": " does not exist",
        ".": " is a folder, not a file",
        "pipe": " is no regular file but a pipe, a socket or a device",
        "loop": " cannot be read: Too many levels of symbolic links",
        "x" * 300: " cannot be read: File name too long",
        "a\0b": " is no file name",
    }.items():
        for read in (load_json, load_toml, read_text, lines):
            assert refused(read, tmp_path / name).endswith(reason)
    assert refused(read_text, Path("/dev/zero")).startswith("/dev/zero is no regular file")


@pytest.mark.skipif(not Path("/proc/self/mem").exists(), reason="needs Linux")
def test_a_file_that_cannot_be_read() -> None:
    for read in (load_json, read_text, lines):
        assert refused(read, Path("/proc/self/mem")) == (
            "/proc/self/mem cannot be read: Input/output error"
        )


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_files_without_permission(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    (closed / "x").write_text("{}")
    folder = tmp_path
    while folder != folder.parent:  # pytest's folders are for their owner only
        mode = folder.stat().st_mode
        folder.chmod(mode | 0o011)
        folder = folder.parent
    (tmp_path / "x").write_text("{}")
    (tmp_path / "x").chmod(0o600)
    os.seteuid(65534)
    try:
        for path in (tmp_path / "x", closed / "x"):
            for read in (load_json, lines):
                assert refused(read, path) == f"{path} cannot be read: Permission denied"
    finally:
        os.seteuid(0)


def test_a_line_without_an_end(tmp_path: Path) -> None:
    path = tmp_path / "x"
    with path.open("wb") as file:
        file.truncate(2**26 + 5)
    assert refused(lines, path).startswith(f"{path}, line 1: longer than 64 MiB")
    with path.open("wb") as file:
        file.truncate(2**30 + 5)  # sparse
    assert refused(load_json, path).endswith("is larger than 1 GiB")


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


@given(json_values)
def test_json_is_read_as_it_was_written(value: object) -> None:
    for text in (json.dumps(value), json.dumps(value, ensure_ascii=False, indent=1)):
        assert parse_json(text) == json.loads(text)


@given(st.text(max_size=40) | st.text('[]{}",:\\u0d8ea19.-= \n', max_size=40))
def test_a_text_is_read_or_refused(text: str) -> None:
    for parse in (parse_json, parse_toml):
        with contextlib.suppress(ValueError):
            parse(text)
