"""Captions, ids, paths and values that try to command the terminal."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from cli_world import World, draw, make_world
from tokenizers import Regex, Tokenizer, decoders

from prefixcap.cli import main
from prefixcap.cli.output import visible_output
from prefixcap.cli.progress import Bars
from prefixcap.util.text import visible, visible_lines

Shell = Callable[..., tuple[int, str, str]]

CONTROLS = [
    *(chr(code) for code in range(0x20) if chr(code) not in "\t\n"),
    *(chr(code) for code in range(0x7F, 0xA0)),
    *"\u061c\u200e\u200f\u2028\u2029\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069",
]
# clears the screen, sets the title, with a control of C1, and turns the text around
HOSTILE = "\x1b[2J\x1b]0;owned\x07\x9b31m\u202eevil\u2066\r"


def assert_inert(*texts: str) -> None:
    for text in texts:
        found = [f"U+{ord(control):04X}" for control in CONTROLS if control in text]
        assert found == []


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> tuple[World, Path]:
    """A study whose image ids, references, captions and paths are hostile."""
    world = make_world(tmp_path_factory.mktemp("world"))
    name = f"{HOSTILE}.png"
    draw(world.data / "images" / name, (9, 9, 9))
    table = world.data / "captions.jsonl"
    lines = [json.loads(line) for line in table.read_text().splitlines()]
    lines[-1] |= {"image": name, "captions": [f"A {HOSTILE} ball.", f"forged\nline {HOSTILE}"]}
    table.write_text("\n".join(map(json.dumps, lines)) + "\n")
    tokenizer = Tokenizer.from_file(str(world.lm / "tokenizer.json"))
    hidden = decoders.Replace(Regex("[a-eA-E]"), HOSTILE)
    tokenizer.decoder = decoders.Sequence([decoders.ByteLevel(), hidden])
    tokenizer.save(str(world.lm / "tokenizer.json"))
    folder = world.data.parent / f"run{HOSTILE}"
    words = [*world.bench, "--decoder", f"greedy:bad_words={HOSTILE}", "--out", str(folder)]
    assert main(words) == 0
    return world, folder


def test_commands_that_print_a_study(
    shell: Shell, hostile: tuple[World, Path], tmp_path: Path
) -> None:
    world, folder = hostile
    (model,) = [path.parent for path in folder.glob("models/*/config.json")]
    shown = visible(HOSTILE)
    for words in (
        [*world.bench, "--decoder", f"greedy:bad_words={HOSTILE}", "--out", folder],
        [*world.bench, "--out", folder, "--dry-run"],
        ["compare", folder],
        ["compare", f"{folder}::greedy", "::constant"],
        ["report", folder, "--out", tmp_path / f"{HOSTILE}.html"],
        ["cache", folder],
        ["train", *world.options, "--out", tmp_path / HOSTILE],
        ["caption", "--run", model, "--features", world.data / "features.npy"],
    ):
        _, out, err = shell(*words)
        assert_inert(out, err)
        assert shown in out + err or "--dry-run" in words
    cells = [path.read_text("utf-8") for path in (folder / "cells").glob("*/captions.jsonl")]
    lines = [json.loads(line) for cell in cells for line in cell.splitlines()]
    assert any(HOSTILE in line["captions"][0]["text"] for line in lines)


def test_the_report_shows_controls(hostile: tuple[World, Path], tmp_path: Path) -> None:
    _, folder = hostile
    assert main(["report", str(folder), "--format", "svg", "--out", str(tmp_path / "report")]) == 0
    page = (tmp_path / "report" / "report.html").read_text("utf-8")
    assert_inert(page)
    assert visible(HOSTILE) in page
    data = page.partition('id="gallery-data">')[2].partition("</script>")[0]
    (image,) = [each for each in json.loads(data)["images"] if "evil" in each["id"]]
    assert image["id"] == f"{visible(HOSTILE)}.png"
    assert image["references"][1] == f"forged\nline {visible(HOSTILE.strip())}"


@pytest.mark.parametrize(
    "words",
    [
        [HOSTILE],
        ["bench", f"--{HOSTILE}"],
        ["bench", "--decoder", f"greedy:{HOSTILE}=1"],
        ["bench", "--decoder", f"beam:num_beams={HOSTILE}"],
        ["bench", "--dtype", HOSTILE],
        ["bench", HOSTILE],
        ["show", "decoder", HOSTILE],
        ["show", HOSTILE, HOSTILE],
        ["list", HOSTILE],
        ["check", "decoder", HOSTILE],
        ["caption", HOSTILE, "--run", HOSTILE],
        ["eval", HOSTILE],
        ["compare", HOSTILE],
        ["report", HOSTILE],
        ["cache", HOSTILE],
    ],
    ids=lambda words: words[0][:7].strip("\x1b["),
)
def test_values_in_errors(
    shell: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    status, out, err = shell(*(word.replace("\0", "") for word in words))
    assert_inert(out, err)
    assert status == 2
    assert "\\x1b[2J" in err
    assert len(err.splitlines()) == 1


def test_files_of_predictions(shell: Shell, tmp_path: Path) -> None:
    file, other = tmp_path / "a.jsonl", tmp_path / "b.jsonl"
    for path, texts in ((file, ("a dog", HOSTILE)), (other, (f"a {HOSTILE}\nprefixcap: ok", "x"))):
        lines = [
            {"image": f"{number}{HOSTILE}", "references": [f"a dog {HOSTILE}"], "prediction": text}
            for number, text in enumerate(texts)
        ]
        path.write_text("\n".join(map(json.dumps, lines)))
    metrics = ["--metrics", "rouge"]
    _, out, err = shell("compare", file, other, *metrics)
    assert_inert(out, err)
    assert "\\nprefixcap: ok" in out  # a caption cannot add a line
    _, out, err = shell("compare", file, other, *metrics, "--json")
    assert_inert(out, err)
    assert repr(f"a dog {HOSTILE}") in str(json.loads(out))  # exactly
    _, out, err = shell("eval", file, "--metrics", "length")
    assert_inert(out, err)


@pytest.mark.parametrize("encoding", ["ascii", "cp1252"])
def test_an_encoding_that_lacks_characters(tmp_path: Path, encoding: str) -> None:
    files = [tmp_path / "a.jsonl", tmp_path / "b.jsonl"]
    for file, text in zip(files, ("狗", "a b"), strict=True):
        file.write_text(json.dumps({"image": "é", "references": ["a"], "prediction": text}))
    environment = {k: v for k, v in os.environ.items() if k not in ("HOME", "XDG_CACHE_HOME")}
    environment |= {"PYTHONIOENCODING": encoding, "LC_ALL": "C"}
    program = "import sys; from prefixcap.cli import main; sys.exit(main(sys.argv[1:]))"
    for words, shown in (
        (["compare", *files, "--metrics", "length"], b"\\u72d7"),
        (["show", "decoder", "\u732b"], b"no decoder"),
    ):
        done = subprocess.run(
            [sys.executable, "-X", "utf8=0", "-c", program, *words],
            env=environment,
            capture_output=True,
            check=False,
        )
        assert b"Traceback" not in done.stderr
        assert shown in done.stdout + done.stderr
        done.stdout.decode(encoding)


def test_every_control_is_escaped_and_every_other_character_kept() -> None:
    for code in (*range(0x3000), *range(0xD7F0, 0xE010), 0x1F436, 0xE0061, 0x10FFFF):
        character = chr(code)
        is_hidden = character in CONTROLS or 0xD800 <= code < 0xE000
        assert (visible_lines(character) != character) == is_hidden
        assert (visible(character) != character) == (is_hidden or character in "\t\n")
    assert visible("\x1b[2J\u202e\ud800") == "\\x1b[2J\\u202e\\ud800"


def test_json_is_exact(capsys: pytest.CaptureFixture[str]) -> None:
    from prefixcap.cli.output import echo_json

    data = {"".join(CONTROLS): "".join([*CONTROLS, "\ud800", "狗"])}
    echo_json(data)
    out = capsys.readouterr().out
    assert_inert(out.removesuffix("\n"))
    assert json.loads(out) == data


def test_bars_show_controls(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    with visible_output():
        bars = Bars()
        with bars.task(HOSTILE, 2, "images") as task:
            bars.message(HOSTILE)
            print(HOSTILE, file=sys.stderr)
            task.update(1, note=HOSTILE)
        bars.message(HOSTILE)
    text = terminal.getvalue()
    assert "\x1b[" in text  # the bars themselves are drawn with control sequences
    assert text.count("\\x1b[2J") >= 4
    for control in ("\x1b[2J", "\x1b]0;", "\x9b", "\u202e", "\u2066", "\x07"):
        assert control not in text


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_an_unknown_home_gets_a_sentence(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HOME", "PREFIXCAP_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(os, "getuid", lambda: 2**31 - 7)  # a user without an entry
    status, out, err = shell("cache")
    assert (status, out) == (2, "")
    assert err.startswith(
        "prefixcap: the home folder is unknown: set the environment variable HOME"
    )
