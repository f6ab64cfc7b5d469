"""Bundles: what they hold, that every alteration is noticed, and that none leads elsewhere."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import stat
import zipfile
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cli_world import World
from hypothesis import given, settings
from hypothesis import strategies as st

from prefixcap.cli import main
from prefixcap.errors import PrefixcapError
from prefixcap.publication.bundle import container, manifest
from prefixcap.publication.bundle.local_paths import LocalPaths, is_path
from prefixcap.publication.bundle.packing import bundle
from prefixcap.publication.bundle.verifying import reseal, verify
from prefixcap.study.analysis.reader import load_study
from prefixcap.util.files import read_json
from prefixcap.util.storage.tensor_files import read_tensors, write_tensors

Shell = Callable[..., tuple[int, str, str]]
Change = Callable[[Path], None]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Do not wait for the disk after each of thousands of files."""
    monkeypatch.setattr(os, "fsync", lambda file: None)


@pytest.fixture(scope="module")
def packed(graded: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundle, as a folder, of a study of two decoders and two seeds."""
    folder = tmp_path_factory.mktemp("packed") / "bundle"
    bundle(graded, folder)
    return folder


@pytest.fixture
def copy(packed: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(packed, tmp_path / "copy"))


def files(folder: Path) -> dict[str, bytes]:
    paths = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


def test_a_bundle_verifies_itself_without_the_study(
    packed: Path, tmp_path: Path, shell: Shell
) -> None:
    status, out, _ = shell("verify", packed, "--json")
    result = json.loads(out)
    assert (status, result["is_sound"], result["discrepancies"]) == (0, True, [])
    assert result["notes"] == []
    assert result["not_recomputed"] == {}
    cells = len(load_study(packed).cells)
    assert result["checked"]["captions"] == 8 * cells
    assert result["checked"]["comparisons"] > 0
    assert result["checked"]["tables"] == 6
    assert not [*tmp_path.iterdir()]


def test_a_bundle_has_what_a_paper_needs_and_nothing_of_this_machine(
    packed: Path, graded: Path
) -> None:
    content = files(packed)
    assert {name.split("/")[0] for name in content} == {
        *("analysis.json", "config.json", "manifest.json", "pairs.safetensors", "scores.json"),
        *("table.md", "test.jsonl", "baselines", "cells", "models", "report"),
    }
    assert {Path(name).name for name in content if name.startswith("models/")} == {
        *("config.json", "epochs.csv", "key.json"),
    }
    assert "report/report.html" in content
    assert "report/tables/differences.csv" in content
    assert any(name.endswith(".pdf") for name in content)
    for name, data in content.items():
        assert str(graded.parent).encode() not in data, name
        assert str(Path.home()).encode() not in data, name
    study = load_study(packed)
    assert study.config["dataset"]["path"] == "data"
    assert study.rows[0]["lm"] == "hf:model=lm,init=random"
    versions = read_json(packed / "manifest.json", sealed=False)["versions"]  # type: ignore[index]
    assert {"python", "numpy", "torch", "pycocoevalcap", "prefixcap"} <= versions.keys()


def test_the_same_study_gives_the_same_bytes(
    packed: Path, graded: Path, tmp_path: Path, shell: Shell
) -> None:
    moved = shutil.copytree(graded, tmp_path / "elsewhere")
    status, out, _ = shell("bundle", moved, "--json")
    assert status == 0
    written = json.loads(out)
    assert written["path"] == str(moved / "bundle.zip")
    with zipfile.ZipFile(moved / "bundle.zip") as archive:
        assert archive.namelist() == sorted(files(packed))
        assert {name: archive.read(name) for name in archive.namelist()} == files(packed)
    container.write(packed, tmp_path / "again.zip")
    assert (tmp_path / "again.zip").read_bytes() == (moved / "bundle.zip").read_bytes()
    assert sha256((packed / manifest.NAME).read_bytes()).hexdigest() == written["digest"]
    assert verify(moved / "bundle.zip", digest=written["digest"][:12]).is_sound


def test_other_commands_read_a_bundle_that_is_a_folder(copy: Path, shell: Shell) -> None:
    status, out, _ = shell("compare", copy, "--json")
    assert status == 0
    assert len(json.loads(out)["entries"]) == 2 + len(load_study(copy).baselines)


# Alterations. An edit is noticed by the manifest; a forgery renews all hashes, and is noticed as
# the numbers do not fit the captions.


def edit_json(pattern: str, *keys: str | int, value: Any = None, by: float = 0.0) -> Change:
    """Change a value in a file of JSON, given its keys; without `value`, add to the number."""

    def change(folder: Path) -> None:
        path = sorted(folder.glob(pattern))[0]
        data = place = json.loads(path.read_text())
        for key in keys[:-1]:
            place = place[key]
        assert place[keys[-1]] != value
        place[keys[-1]] = place[keys[-1]] + by if value is None else value
        path.write_text(json.dumps(data))

    return change


def edit_text(pattern: str, old: str, new: str) -> Change:
    def change(folder: Path) -> None:
        path = sorted(folder.glob(pattern))[0]
        text = path.read_text("utf-8")
        assert old in text
        path.write_text(text.replace(old, new, 1), "utf-8")

    return change


def edit_caption(pattern: str, number: int, text: str) -> Change:
    def change(folder: Path) -> None:
        path = sorted(folder.glob(pattern))[0]
        lines = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
        assert lines[number]["captions"][0]["text"] != text
        lines[number]["captions"][0]["text"] = text
        path.write_text("".join(json.dumps(line) + "\n" for line in lines), "utf-8")

    return change


def edit_lines(pattern: str, alter: Callable[[list[str]], list[str]]) -> Change:
    def change(folder: Path) -> None:
        path = sorted(folder.glob(pattern))[0]
        lines = path.read_text("utf-8").splitlines(keepends=True)
        assert alter(lines) != lines
        path.write_text("".join(alter(lines)), "utf-8")

    return change


def edit_pairs(name: str, alter: Callable[[np.ndarray], np.ndarray]) -> Change:
    def change(folder: Path) -> None:
        arrays, info = read_tensors(folder / "pairs.safetensors") or ({}, {})
        arrays[name] = np.ascontiguousarray(alter(arrays[name]))
        write_tensors(folder / "pairs.safetensors", arrays, info)

    return change


def swap(pattern: str) -> Change:
    def change(folder: Path) -> None:
        one, two = sorted(folder.glob(pattern))[:2]
        first, second = one.read_bytes(), two.read_bytes()
        assert first != second
        one.write_bytes(second)
        two.write_bytes(first)

    return change


def remove(pattern: str) -> Change:
    return lambda folder: sorted(folder.glob(pattern))[0].unlink()


def flip(pattern: str, place: float = 0.5) -> Change:
    def change(folder: Path) -> None:
        path = sorted(folder.glob(pattern))[0]
        content = bytearray(path.read_bytes())
        content[int(place * (len(content) - 1))] ^= 1
        path.write_bytes(content)

    return change


def replace(pattern: str, content: bytes) -> Change:
    return lambda folder: sorted(folder.glob(pattern))[0].write_bytes(content) and None


def add(name: str) -> Change:
    return lambda folder: (folder / name).write_text("x") and None


CELL = "cells/*/captions.jsonl"
SCORES = "cells/*/scores.json"
BASELINE = "baselines/shuffled*/captions.jsonl"
EDITS: dict[str, Change] = {
    **{f"a bit of {name}": flip(name) for name in ("*.json", "*.jsonl", "*.safetensors", "*.md")},
    **{f"a bit of a {name}": flip(f"*/*/{name}") for name in ("cell.json", "scores.json")},
    "a bit of captions": flip(CELL),
    "a bit of a model's config": flip("models/*/config.json"),
    "a bit of the losses": flip("models/*/epochs.csv"),
    "a bit of a key": flip("models/*/key.json"),
    "a bit of the page": flip("report/report.html"),
    "a bit of a figure": flip("report/figures/*"),
    "a bit of a table": flip("report/tables/table.tex"),
    "an empty config": replace("config.json", b""),
    "empty captions": replace(CELL, b""),
    "empty scores": replace("scores.json", b"{}"),
    "no manifest entry": add("more.txt"),
    "another page": add("report/more.html"),
    **{
        f"no {name}": remove(name)
        for name in (CELL, SCORES, "config.json", "scores.json", "test.jsonl", "analysis.json")
    },
    "no pairs": remove("pairs.safetensors"),
    "no figure": remove("report/figures/*"),
    "no baseline": remove(BASELINE),
}
FORGERIES: dict[str, Change] = {
    "a caption": edit_caption(CELL, 2, "A better caption of the image."),
    "a word": edit_caption(CELL, 0, "word"),
    "the last caption": edit_caption(CELL, -1, "A better caption."),
    "a baseline's caption": edit_caption(BASELINE, 1, "A worse caption."),
    "two cells' captions": swap(CELL),
    "two cells' scores": swap(SCORES),
    "the order of images": edit_lines(CELL, lambda lines: [lines[1], lines[0], *lines[2:]]),
    "one image fewer": edit_lines(CELL, lambda lines: lines[:-1]),
    "one image twice": edit_lines(CELL, lambda lines: [*lines, lines[0]]),
    "one image fewer everywhere": lambda folder: (
        [
            edit_lines(str(path.relative_to(folder)), lambda lines: lines[:-1])(folder)
            for path in (folder / "test.jsonl", *folder.glob("*/*/captions.jsonl"))
        ]
        and None
    ),
    "a larger score of a cell": edit_json(
        "cells/*/scores.json", "length", "values", "Length", by=1.0
    ),
    "a score of a cell": edit_json(SCORES, "length", "values", "Length", by=1e-6),
    "a score of an image": edit_json(SCORES, "length", "per_image", "Length", 3, by=1.0),
    "another name of a score": edit_text(SCORES, '"Length":', '"Width":'),
    "a left-out metric": edit_json(SCORES, "length", "values", value={}),
    "a baseline's score": edit_json(
        "baselines/*/scores.json", "distinct", "values", "Distinct_1", by=0.01
    ),
    "a row's score": edit_json("scores.json", "rows", 1, "scores", "Distinct_2", by=0.001),
    "a row's interval": edit_json("scores.json", "rows", 0, "intervals", "Length", 0, by=0.001),
    "a baseline's interval": edit_json(
        "scores.json", "baselines", 0, "intervals", "Length", 1, by=0.001
    ),
    "a row's seed": edit_json("scores.json", "rows", 0, "seed", value=1),
    "a row's decoder": edit_json("scores.json", "rows", 0, "decoder", value="top-p:p=0.5"),
    "a row's other decoder": edit_json("scores.json", "rows", 0, "decoder", value="beam"),
    "a row's prefix": edit_json("scores.json", "rows", 0, "prefix_length", value=4),
    "a row's mapper": edit_json("scores.json", "rows", 0, "mapper", value="mlp"),
    "a row's tuning": edit_json("scores.json", "rows", 0, "tuning", value="frozen"),
    "a row's loss": edit_json("scores.json", "rows", 0, "val_loss", by=-0.1),
    "a row's size": edit_json("scores.json", "rows", 0, "trained_parameters", by=-1),
    "a row's speed": edit_json("scores.json", "rows", 0, "captions_per_second", by=100),
    "a row's cell": edit_json("scores.json", "rows", 0, "cell", value="../../elsewhere"),
    "a row's model": edit_json("scores.json", "rows", 0, "model", value="models/other"),
    "a row fewer": edit_json("scores.json", "rows", value=[]),
    "an entry's score": edit_json("analysis.json", "entries", 0, "scores", "Length", by=0.01),
    "an entry's interval": edit_json(
        "analysis.json", "entries", 0, "intervals", "Length", 1, by=0.001
    ),
    "an entry's deviation": edit_json("analysis.json", "entries", 0, "seed_std", "Length", by=0.01),
    "an entry's label": edit_json("analysis.json", "entries", 0, "label", value="ours"),
    "the level": edit_json("analysis.json", "level", value=0.9),
    "the resamples": edit_json("analysis.json", "resamples", value=10_000),
    "a scale": edit_json("analysis.json", "scales", "Length", "better", value="lower"),
    "a difference": edit_pairs("Length/value", lambda array: array + 0.01),
    "a p-value": edit_pairs("Length/p", lambda array: array / 2),
    "a limit of a difference": edit_pairs("Length/low", lambda array: array - 0.01),
    "a pair fewer": edit_pairs("Length/high", lambda array: array[1:]),
    "the correction": edit_json("config.json", "correction", value="benjamini-hochberg"),
    "a setting of a metric": edit_json("config.json", "metrics", 1, "max_n", value=3),
    "a metric fewer": edit_json("config.json", "metrics", value=[{"name": "length"}]),
    "a metric that nobody has": edit_json("config.json", "metrics", 0, "name", value="quality"),
    "the seeds": edit_json("config.json", "seeds", value=[0, 1, 2]),
    "a decoder of the study": edit_json("config.json", "decoders", 0, "name", value="beam"),
    "a reference": edit_text("test.jsonl", "ball", "house"),
    "a reference fewer": edit_text("test.jsonl", '"There is', '"", "There is'),
    "a cell's decoder": edit_json("cells/*/cell.json", "decoder", "min_new_tokens", value=3),
    "a cell's model": edit_json("cells/*/cell.json", "model", value="other"),
    "a model's seed": edit_json("models/*/config.json", "seed", by=1),
    "a model's prefix": edit_json("models/*/config.json", "shape", "prefix_length", by=1),
    "a model's mapper": edit_json("models/*/config.json", "mapper", value={"name": "mlp"}),
    "a model's history": edit_json("models/*/config.json", "history", value={}),
    "a line of the table": edit_text("table.md", "greedy", "greed "),
    "a line of a table": edit_text("report/tables/table.csv", "greedy", "greed "),
    "a line of the differences": edit_text("report/tables/differences.csv", "greedy", "greed "),
    "a line that is no JSON": edit_lines(CELL, lambda lines: [*lines, "{\n"]),
    "a line without captions": edit_lines(CELL, lambda lines: ['{"image": 1}\n', *lines[1:]]),
    "nested references": edit_text("test.jsonl", '"references": [', '"references": [[], '),
    "nested captions": edit_text(CELL, '"captions": [', '"captions": [[], '),
    "no list of captions": edit_lines(
        CELL,
        lambda lines: [json.dumps({**json.loads(lines[0]), "captions": []}) + "\n", *lines[1:]],
    ),
    "an infinite score": edit_text("scores.json", '"Length": ', '"Length": Infinity, "L": '),
    "texts for numbers": edit_json("scores.json", "rows", 0, "scores", "Length", value="1"),
    "damaged pairs": replace("pairs.safetensors", b"\xff" * 100),
}


def forge(folder: Path) -> None:
    """Renew every hash inside the files and in the manifest."""
    with contextlib.suppress(PrefixcapError):  # a file that is no JSON
        reseal(folder, {*files(folder)})
    path = folder / manifest.NAME
    data = json.loads(path.read_text())
    data["files"] = {
        name: {"bytes": len(content), "sha256": sha256(content).hexdigest()}
        for name, content in files(folder).items()
        if name != manifest.NAME
    }
    path.write_text(json.dumps(data))


def test_there_are_many_alterations() -> None:
    assert len(EDITS) + len(FORGERIES) > 80


@pytest.mark.parametrize("name", EDITS)
def test_an_edit_is_noticed(copy: Path, name: str) -> None:
    EDITS[name](copy)
    result = verify(copy)
    assert "file" in {each.kind for each in result.discrepancies}


@pytest.mark.parametrize("name", FORGERIES)
def test_a_forgery_is_noticed(copy: Path, name: str) -> None:
    FORGERIES[name](copy)
    forge(copy)
    assert not verify(copy).is_sound


def test_a_forged_copy_without_a_change_is_sound(copy: Path) -> None:
    forge(copy)
    assert verify(copy).discrepancies == ()


def test_an_altered_caption_is_named_with_what_it_changes(copy: Path, shell: Shell) -> None:
    FORGERIES["a caption"](copy)
    status, out, err = shell("verify", copy)
    assert status == 1
    assert err == "" or "scoring" in err
    path = sorted(copy.glob(CELL))[0].relative_to(copy).as_posix()
    assert f"file: {path}: it was altered" in out
    assert "caption: " in out
    assert "of 'test-2.png': " in out
    assert "table: " in out
    places = {each.place.split(",")[0] for each in verify(copy).discrepancies}
    assert {"analysis.json", "pairs.safetensors", "scores.json", "table.md"} <= places


def test_a_digest_shows_a_forged_manifest(packed: Path, copy: Path, shell: Shell) -> None:
    FORGERIES["a caption"](copy)
    before = verify(packed).digest
    forge(copy)
    status, out, _ = shell("verify", copy, "--digest", before[:16])
    assert status == 1
    assert f"its SHA-256 is {verify(copy).digest}, not {before[:16]}" in out
    status, _, err = shell("verify", copy, "--digest", "no digest")
    assert status == 2
    assert "--digest must be 8 to 64 hexadecimal digits, not 'no digest'" in err


def test_other_versions_are_notes(copy: Path) -> None:
    path = copy / manifest.NAME
    data = json.loads(path.read_text())
    data["versions"] |= {"numpy": "0.1", "prefixcap": "0.0.1"}
    path.write_text(json.dumps(data))
    result = verify(copy)
    assert result.is_sound
    assert result.checked["tables"] == 0
    assert any("bundled with numpy 0.1, and" in note for note in result.notes)
    assert any("the tables were not compared" in note for note in result.notes)


def test_another_version_of_a_metric_is_a_note(copy: Path) -> None:
    edit_json(SCORES, "length", "key", value="0" * 16)(copy)
    edit_json("config.json", "versions", "metric length", value="1")(copy)
    forge(copy)
    result = verify(copy)
    assert result.is_sound
    (note,) = result.notes
    assert note == "the study was scored with version 1 of the metric 'length', and 2 is installed"


def test_a_metric_that_needs_images_is_not_recomputed(tmp_path: Path, shell: Shell) -> None:
    words = ["--limit", "6", "--epochs", "1", "--decoder", "greedy", "--max-new-tokens", "6"]
    words += ["--metrics", "cider,clipscore", "--out", str(tmp_path / "study")]
    assert main(["bench", *words]) == 0
    assert main(["bundle", str(tmp_path / "study")]) == 0
    status, out, _ = shell("verify", tmp_path / "study" / "bundle.zip", "--json")
    result = json.loads(out)
    assert (status, result["discrepancies"]) == (0, [])
    assert result["not_recomputed"] == {"clipscore": "it needs the images"}
    with zipfile.ZipFile(tmp_path / "study" / "bundle.zip") as archive:
        archive.extractall(tmp_path / "open")
    name = next(name for name in load_study(tmp_path / "open").rows[0]["scores"] if "[" in name)
    edit_json("scores.json", "rows", 0, "scores", name, by=0.1)(tmp_path / "open")
    forge(tmp_path / "open")
    assert not verify(tmp_path / "open").is_sound


def test_only_a_finished_study_is_bundled(
    graded: Path, world: World, tmp_path: Path, shell: Shell
) -> None:
    folder = shutil.copytree(graded, tmp_path / "study")
    edit_json("scores.json", "complete", value=False)(folder)
    reseal(folder, {"scores.json"})
    status, _, err = shell("bundle", folder)
    assert status == 2
    assert f"{folder} is not finished: run `prefixcap bench` with --out {folder}" in err
    status, _, err = shell("bundle", graded, "--out", world.data)
    assert status == 2
    assert f"--out {world.data} is not empty: choose another folder" in err
    status, _, err = shell("bundle", graded, "--out", world.data / "captions.jsonl")
    assert status == 2
    assert "cannot be a folder: it is a file; an archive ends in .zip" in err
    status, _, err = shell("bundle", tmp_path)
    assert status == 2
    assert "holds no study" in err


# Bundles of strangers.


def archive(path: Path, *members: tuple[str | zipfile.ZipInfo, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as file:
        for name, content in members:
            file.writestr(name, content)
    return path


def link(name: str, target: str) -> tuple[zipfile.ZipInfo, bytes]:
    info = zipfile.ZipInfo(name)
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    return info, target.encode()


@pytest.mark.parametrize(
    "name",
    [
        *(
            "../out.txt",
            "a/../../out.txt",
            "/tmp/out.txt",
            "./a",
            "a//b",
            "C:\\out.txt",
            "a\\..\\b",
        ),
        *("C:out.txt", "a/./b", "..", "a\x1b[2Jb", "a\nb"),
    ],
)
def test_a_name_that_leads_elsewhere_is_refused(tmp_path: Path, name: str) -> None:
    path = archive(tmp_path / "evil.zip", (name, b"x"))
    with pytest.raises(PrefixcapError, match="is no name of a file in a bundle"):
        verify(path)
    assert [*tmp_path.iterdir()] == [path]


def test_two_names_of_one_file_are_refused(tmp_path: Path) -> None:
    path = archive(tmp_path / "evil.zip", ("a/B", b"x"), ("A/b", b"y"))
    with pytest.raises(PrefixcapError, match="'A/b' and 'a/B' are one file"):
        verify(path)
    path = archive(tmp_path / "evil2.zip", ("a", b"x"), ("a/b", b"y"))
    with pytest.raises(PrefixcapError, match="'a' is a file and a folder"):
        verify(path)


def test_a_link_in_an_archive_is_not_followed(tmp_path: Path) -> None:
    secret = tmp_path / "secret.json"
    secret.write_text('{"format": 1, "kind": "bundle", "secret": 1}')
    path = archive(tmp_path / "evil.zip", link(manifest.NAME, str(secret)))
    with pytest.raises(PrefixcapError, match=r"manifest.json: it is not JSON"):
        verify(path)


def test_links_and_pipes_in_a_folder_are_refused(copy: Path, tmp_path: Path) -> None:
    target = copy / "table.md"
    target.unlink()
    target.symlink_to("/etc/hostname")
    with pytest.raises(PrefixcapError, match="is a link or a device"):
        verify(copy)
    target.unlink()
    os.mkfifo(target)
    with pytest.raises(PrefixcapError, match="is a link or a device"):
        verify(copy)
    target.unlink()
    target.symlink_to(tmp_path, target_is_directory=True)
    with pytest.raises(PrefixcapError, match="is a link or a device"):
        verify(copy)


def test_sizes_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "bomb.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("a", bytes(10**7))
    assert path.stat().st_size < 10**5
    monkeypatch.setattr(container, "MOST_BYTES", 10**6)
    with pytest.raises(PrefixcapError, match="is too large: a bundle has at most"):
        verify(path)
    monkeypatch.setattr(container, "MOST_FILES", 3)
    many = archive(tmp_path / "many.zip", *((f"{n}", b"") for n in range(4)))
    with pytest.raises(PrefixcapError, match="has 4 files; a bundle has 3"):
        verify(many)


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"", "is no ZIP archive, or damaged"),
        (b"PK\x03\x04" + b"x" * 100, "is no ZIP archive, or damaged"),
        (None, "does not exist"),
    ],
)
def test_what_is_no_archive_is_a_sentence(
    tmp_path: Path, shell: Shell, content: bytes | None, text: str
) -> None:
    path = tmp_path / "study.zip"
    if content is not None:
        path.write_bytes(content)
    status, _, err = shell("verify", path)
    assert status == 2
    assert text in err
    assert "Traceback" not in err


def test_damaged_archives_are_sentences(packed: Path, tmp_path: Path) -> None:
    container.write(packed, tmp_path / "whole.zip")
    content = (tmp_path / "whole.zip").read_bytes()
    for number in range(15):
        damaged = bytearray(content)
        place = len(content) * number // 15
        damaged[place] ^= 0xFF
        (tmp_path / "damaged.zip").write_bytes(damaged)
        try:
            result = verify(tmp_path / "damaged.zip")
        except PrefixcapError:
            continue
        # bits of an archive that say nothing about its files
        assert result.is_sound or "file" in {each.kind for each in result.discrepancies}


def test_a_folder_without_a_manifest_is_no_bundle(graded: Path, shell: Shell) -> None:
    status, _, err = shell("verify", graded)
    assert status == 2
    assert f"{graded} is no bundle: it has no manifest.json" in err


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("[]", "it is no JSON object"),
        ("{}", "it has no 'format'"),
        ('{"format": 9, "kind": "bundle"', "it is not JSON"),
    ],
)
def test_a_broken_manifest_is_a_sentence(copy: Path, content: str, text: str) -> None:
    (copy / manifest.NAME).write_text(content)
    with pytest.raises(PrefixcapError, match=text):
        verify(copy)


def test_a_manifest_of_another_format_is_refused(copy: Path) -> None:
    edit_json(manifest.NAME, "format", value=9)(copy)
    with pytest.raises(PrefixcapError, match=r"is a bundle of format 9, and this .* format 1"):
        verify(copy)


# Paths of this machine.

NAMES = st.text("abc .-_=+,é", min_size=1, max_size=8).map(str.strip).filter(bool)
PATHS = st.lists(NAMES, min_size=1, max_size=4).map(lambda parts: "/" + "/".join(parts))


@settings(max_examples=40)
@given(paths=st.lists(PATHS, min_size=1, max_size=6, unique=True), text=PATHS)
def test_no_path_is_left_in_settings(paths: list[str], text: str) -> None:
    config = {"dataset": {"path": paths[0]}, "lms": [{"model": path} for path in paths]}
    names = LocalPaths(config)
    clean = names.removed(config)
    labels = names.removed([f"hf:model={path},init=random" for path in paths])
    assert not any(path in str((clean, labels)) for path in paths)
    models = [each["model"] for each in clean["lms"]]
    assert len(set(models)) == len(paths)
    assert labels == [f"hf:model={model},init=random" for model in models]
    captions = [{"image": text, "captions": [{"text": text}], "references": [text]}]
    (line,) = names.removed(captions)
    assert line["captions"] == [{"text": text}]
    assert line["references"] == [text]
    assert not is_path(line["image"])


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("clip:model=ViT-B/32", "clip:model=ViT-B/32"),
        ("hf:model=/home/me/gpt2,init=random", "hf:model=gpt2,init=random"),
        ("hf:model=~/models/gpt2", "hf:model=gpt2"),
        ("files in /home/me/data cannot be read", "files in data cannot be read"),
        ("jsonl:path=C:\\data\\coco", "jsonl:path=coco"),
        ("org/model", "org/model"),
        ("1/2 of the captions", "1/2 of the captions"),
        ("https://example.org/x", "https://example.org/x"),
    ],
)
def test_paths_in_texts_become_names(text: str, clean: str) -> None:
    assert LocalPaths().removed(text) == clean
