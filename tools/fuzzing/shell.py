"""The targets `options` and `study`: commands with random options, and changed studies."""

from __future__ import annotations

import contextlib
import io
import json
import shutil
from pathlib import Path
from random import Random
from tempfile import gettempdir
from typing import Any

from fuzzing.mutations import TEXTS, dump, encode, mutate_bytes, mutate_json, mutate_text
from fuzzing.readers import PREDICTIONS, RESULTS, TRUTH
from prefixcap.cli import main
from prefixcap.cli.errors import BAD_INPUT
from prefixcap.errors import LONGEST_SENTENCE, PrefixcapError
from prefixcap.util.files import NO_SEAL, SEAL, seal

BENCH = [
    *("bench", "--dataset", "scenes:train=16,val=4,test=4", "--encoder", "scenes-clip"),
    *("--lm", "scenes-gpt2", "--mapper", "linear", "--prefix-len", "2", "--epochs", "1"),
    *("--decoder", "greedy,beam:num_beams=2", "--metrics", "length,distinct"),
    *("--max-new-tokens", "4"),
]
OPTIONS = (
    *("--metrics", "--references", "--split", "--common", "--intervals", "--json", "--scores"),
    *("--correction", "--images", "--out", "--format", "--score", "--decoder", "--seed", "--limit"),
    *("--prefix-len", "--mapper", "--training", "--dtype", "--device", "--max-new-tokens"),
    *("--encode-batch", "--dataset", "--lm", "--tuning", "--epochs", "--study"),
    *("--train-on", "--bridge"),
    *("--max-rows", "--no-such-option", "-h", "--help", "-x", "--"),
)
VALUES = (
    *("length", "cider,length", "0", "1", "-1", "1.5", "10", "holm", "pdf", "svg", "greedy", "cpu"),
    *("beam:num_beams=2", "linear", "mlp", "scenes", "scenes-clip", "float32", "lr=1e-3", "val"),
    *("texts", "images,texts", "shift", "memory:size=3"),
)


def finish(words: list[str]) -> None:
    """Run a command.

    Raises:
        PrefixcapError: If it refused its input.
        AssertionError: If it failed otherwise, or printed an error that is too long to read.
    """
    for path in Path(gettempdir()).glob("prefixcap-traceback-*"):
        path.unlink()
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        status = main(words)
    if status not in (0, BAD_INPUT):
        # the traceback of an internal error is in a file
        texts = [path.read_text() for path in Path(gettempdir()).glob("prefixcap-traceback-*")]
        raise AssertionError("\n".join((err.getvalue()[-300:], *texts)))
    longest = max(map(len, err.getvalue().splitlines()), default=0)
    if longest > LONGEST_SENTENCE + 100:
        raise AssertionError(f"a line of {longest} characters was printed as an error")
    if status:
        raise PrefixcapError("refused")


def make_study(folder: Path) -> Path:
    """Run a small study and return its folder."""
    out = folder / "made"
    if not out.exists():
        finish([*BENCH, "--out", str(out)])
    return out


def alter(stream: Random, folder: Path, names: list[Path]) -> bool:
    """Change or delete one or two of the named files; return whether anything differs then."""
    differs = False
    for name in stream.sample(names, stream.choice((1, 1, 1, 2))):
        path = folder / name
        content = path.read_bytes()
        path.unlink()
        if stream.random() < 0.95:
            path.write_bytes(_changed(stream, path, content))
        differs |= not path.exists() or path.read_bytes() != content
    return differs


def _changed(stream: Random, path: Path, content: bytes) -> bytes:
    if path.suffix == ".json" and stream.random() < 0.8:
        data = mutate_json(stream, json.loads(content))
        if isinstance(data, dict) and stream.random() < 0.5:  # with a valid hash
            data.pop(SEAL, None)
            text = json.dumps({SEAL: NO_SEAL, **data})
            return b"".join(seal(text.encode()))
        return encode(stream, dump(stream, data))
    if path.suffix == ".jsonl" and stream.random() < 0.8:
        lines = content.decode().splitlines()
        rows: list[Any] = [json.loads(line) for line in lines]
        changed = stream.randrange(len(rows)) if rows else 0
        texts = [json.dumps(row).encode() for row in rows]
        if rows:
            texts[changed] = encode(stream, dump(stream, mutate_json(stream, rows[changed])))
        return b"\n".join(texts) + b"\n"
    return mutate_bytes(stream, content)


class Options:
    """Runs commands that only read, with some of their words changed by chance."""

    def __init__(self, folder: Path) -> None:
        study = str(make_study(folder))
        lines, results = str(folder / "p.jsonl"), str(folder / "r.json")
        Path(lines).write_text("".join(json.dumps(row) + "\n" for row in PREDICTIONS))
        Path(results).write_text(json.dumps(RESULTS))
        (folder / "t.json").write_text(json.dumps(TRUTH))
        places = [study, lines, results, str(folder), "", "no", f"{study}::greedy", "::beam"]
        self._words = (*VALUES, *VALUES, *TEXTS, *places, *places)
        metrics = ["--metrics", "length"]
        self._commands = (
            ["eval", lines, *metrics],
            ["eval", lines, "--references", lines, *metrics, "--common", "--json"],
            ["eval", results, "--references", str(folder / "t.json"), *metrics],
            ["compare", study],
            ["compare", f"{study}::greedy", "::beam", "--images", "1"],
            ["compare", lines, lines, *metrics, "--json"],
            ["cache", study, "--json"],
            ["list"],
            ["list", "decoder", "--json"],
            ["show", "decoder", "beam"],
            ["plugins"],
            ["caption", "x.png", "--run", lines, "--decoder", "greedy"],
            ["caption", "--features", lines, "--run", study, "--ids", lines],
            [*BENCH, "--dry-run", "--out", str(folder / "out")],
        )

    def run(self, stream: Random) -> None:
        """Run one case."""
        words = list(stream.choice(self._commands))
        dry = words[0] == "bench"
        for _ in range(stream.randint(0, 3)):
            at = stream.randint(1, len(words))
            match stream.randrange(5):
                case 0 if at < len(words):
                    words[at] = stream.choice(self._words)
                case 1 if at < len(words):
                    words[at] = mutate_text(stream, words[at])
                case 2 if at < len(words):
                    del words[at]
                case _:
                    words[at:at] = [stream.choice(OPTIONS)]
                    if stream.random() < 0.8:
                        words.insert(at + 1, stream.choice(self._words))
        if dry:  # nothing is to be trained, nor written
            words += ["--dry-run"]
        # as the system gives the words of a command to Python
        finish([word.encode(errors="surrogatepass").decode(errors="replace") for word in words])


class Studies:
    """Changes a file of a finished study and reads the study again."""

    def __init__(self, folder: Path) -> None:
        self._made = make_study(folder)
        self._copy = folder / "copy"
        names = (path.relative_to(self._made) for path in self._made.rglob("*") if path.is_file())
        self._files = sorted(name for name in names if name.suffix != ".png")

    def run(self, stream: Random) -> None:
        """Run one case."""
        shutil.rmtree(self._copy, ignore_errors=True)
        shutil.copytree(self._made, self._copy)
        alter(stream, self._copy, self._files)
        if stream.random() < 0.01:
            finish(["report", str(self._copy)])
            return
        words = stream.choice(
            (
                ["compare", str(self._copy)],
                ["compare", f"{self._copy}::greedy", f"{self._copy}::beam"],
                ["cache", str(self._copy), "--json"],
                [*BENCH, "--out", str(self._copy), "--dry-run"],
                None,
            )
        )
        if words is None:
            self._load()
        else:
            finish(words)

    def _load(self) -> None:
        from prefixcap.study.analysis.analyze import analyze
        from prefixcap.study.analysis.reader import load_study

        study = load_study(self._copy)
        for cell in study.cells.values():
            cell.texts, cell.per_image  # noqa: B018
        study.histories, study.to_pandas()
        with contextlib.suppress(PrefixcapError):
            analyze(study)
