from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cli_world import World

from prefixcap.cli.cache import size
from prefixcap.util.runtime import cache_dir
from prefixcap.util.storage.temporary import replacing, temporary_folder

Shell = Callable[..., tuple[int, str, str]]


@pytest.fixture
def folder(study: Path, tmp_path: Path) -> Path:
    """A finished study, with leftovers of another decoder and another seed."""
    copy = tmp_path / "run"
    shutil.copytree(study, copy)
    return copy


def listed(shell: Shell, *words: object) -> dict[str, Any]:
    status, out, _ = shell("cache", *words, "--json")
    assert status == 0
    result: dict[str, Any] = json.loads(out)
    return result


def states(result: dict[str, Any]) -> dict[str, list[str]]:
    by_state: dict[str, list[str]] = {}
    for artifact in result["artifacts"]:
        by_state.setdefault(artifact["state"], []).append(artifact["kind"])
    return by_state


def test_unused_artifacts_are_deleted(shell: Shell, world: World, folder: Path) -> None:
    whole = listed(shell, folder)
    everything = ["features"] * 3 + ["models"] + ["cells"] * 2 + ["baselines"] * 5
    assert states(whole) == {"used": everything}
    assert whole["bytes"] == sum(artifact["bytes"] for artifact in whole["artifacts"])

    words = [*world.bench[:-4], "--metrics", "length,distinct", "--max-new-tokens", "8"]
    assert shell(*words, "--decoder", "greedy", "--out", folder, "--seed", "1")[0] == 0
    (model,) = (folder / "models").glob("*-s1-*")
    (model / "training.ckpt").write_bytes(b"x" * 9)
    (model / ".config.json.0123.9.tmp").write_bytes(b"x")
    with replacing(model / "another.json"):  # a file that is being written
        check_pruning(shell, folder, model)
    words += ["--decoder", "greedy", "--out", folder, "--seed", "1", "--json"]
    assert set(json.loads(shell(*words)[1])["work"].values()) == {0}


def check_pruning(shell: Shell, folder: Path, model: Path) -> None:
    result = listed(shell, folder)
    assert states(result)["unused"].count("models") == 1
    assert states(result)["unused"].count("cells") == 2
    assert states(result)["leftover"] == ["models", "models"]

    before = sorted(folder.rglob("*"))
    dry = listed(shell, folder, "--prune", "--dry-run")
    _, out, _ = shell("cache", folder, "--prune", "--dry-run")
    assert out.splitlines()[-1].endswith(" would be deleted")
    assert sorted(folder.rglob("*")) == before
    _, out, _ = shell("cache", folder)
    assert " unused, " in out
    assert out.splitlines()[-1] == "delete what is not used with --prune"

    pruned = listed(shell, folder, "--prune")
    assert pruned["deleted"] == dry["deleted"]
    assert pruned["deleted_bytes"] > 0
    assert not any(Path(path).exists() for path in pruned["deleted"])
    assert set(states(listed(shell, folder))) == {"used"}
    assert len(list(model.glob(".another.json.*.tmp"))) == 1


def test_links_are_neither_followed_nor_in_the_way(
    shell: Shell, folder: Path, tmp_path: Path
) -> None:
    outside = tmp_path / "outside"
    shutil.move(folder / "cells", outside)
    (folder / "cells").symlink_to(outside)
    for name in ("baselines", "models"):
        (folder / name / "old").symlink_to(outside)
    (folder / "features" / "old").symlink_to(outside)
    (cell, *_) = outside.glob("*/")
    (cell / "captions.partial.jsonl").write_text("")
    (cell / ".scores.json.0123.9.tmp").write_text("")
    before = sorted(outside.rglob("*"))
    links = {path: state for path, state in by_path(shell, folder).items() if path.is_symlink()}
    assert links == {
        folder / "cells": "link",
        folder / "baselines" / "old": "unused",
        folder / "models" / "old": "unused",
    }
    assert shell("cache", folder, "--prune")[0] == 0
    assert not (folder / "models" / "old").is_symlink()
    assert shell("cache", folder, "--prune", "--all")[0] == 0
    assert list(by_path(shell, folder).values()) == ["link"]
    assert sorted(outside.rglob("*")) == before


def by_path(shell: Shell, folder: Path) -> dict[Path, str]:
    return {Path(each["path"]): each["state"] for each in listed(shell, folder)["artifacts"]}


def test_a_place_that_is_no_folder_of_a_study(shell: Shell, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "study" / "config.json").mkdir(parents=True)
    for place, sentence in (
        ("file", " is a file"),
        ("study", "config.json cannot be read: Is a directory"),
    ):
        for command in ("cache", "compare", "report"):
            status, _, err = shell(command, tmp_path / place)
            assert (status, sentence in err) == (2, True), err
            assert "delete" not in err


def test_a_study_file_decides_what_is_used(
    shell: Shell, world: World, folder: Path, tmp_path: Path
) -> None:
    file = tmp_path / "study.toml"
    shell(*world.bench, "--save-study", file, "--out", tmp_path / "new", "--dry-run")
    assert states(listed(shell, folder, "--study", file))["unused"] == ["cells"]
    listed(shell, folder, "--study", file, "--prune")
    assert len([p for p in (folder / "cells").iterdir() if p.name[0] != "."]) == 1
    result = listed(shell, folder, "--prune", "--all")
    assert len(result["deleted"]) == len(result["artifacts"]) == 10
    assert listed(shell, folder)["artifacts"] == []
    words = [*world.bench, "--decoder", "beam:num_beams=2", "--out", folder, "--json"]
    assert json.loads(shell(*words)[1])["work"]["trained_models"] == 1


def test_the_users_cache(shell: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PREFIXCAP_CACHE", str(tmp_path))
    assert shell("cache")[1] == f"{tmp_path} holds nothing\n"
    (tmp_path / "gguf" / "smollm-0123").mkdir(parents=True)
    (tmp_path / "gguf" / "smollm-0123" / "model.safetensors").write_bytes(b"x" * 5000)
    left = killed_with_a_folder(tmp_path / "gguf")
    (left / "model.safetensors").write_bytes(b"x" * 7)
    with temporary_folder(tmp_path / "other") as used:
        _, out, _ = shell("cache")
        assert out.splitlines() == [
            f"leftover      7 B  gguf/{left.name}",
            "used       5.0 kB  gguf/smollm-0123",
            f"used          0 B  other/{used.name}",
            f"{tmp_path}: 5.0 kB used, 7 B leftover",
            "delete what is not used with --prune",
        ]
        _, out, _ = shell("cache", "--prune")
        assert out.splitlines()[-1] == "7 B of 5.0 kB deleted"
        assert used.exists()
    assert [path.name for path in (tmp_path / "gguf").iterdir()] == ["smollm-0123"]
    shell("cache", "--prune", "--all")
    assert not (tmp_path / "gguf" / "smollm-0123").exists()


def killed_with_a_folder(parent: Path) -> Path:
    """Let a process make a temporary folder and be killed."""
    parent.mkdir(parents=True, exist_ok=True)
    code = (
        "import os, signal; from pathlib import Path; "
        "from prefixcap.util.storage.temporary import temporary_folder; "
        f"made = temporary_folder(Path({str(parent)!r})); print(made.__enter__(), flush=True); "
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    folder = Path(done.stdout.strip())
    assert folder.is_dir()
    return folder


def test_folders_of_killed_processes_are_removed(tmp_path: Path) -> None:
    left = killed_with_a_folder(tmp_path)
    with temporary_folder(tmp_path) as one, temporary_folder(tmp_path) as two:
        assert {*tmp_path.iterdir()} == {one, two}
        assert left not in (one, two)
    assert not list(tmp_path.iterdir())


def test_the_users_cache_may_be_named_with_a_tilde(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("PREFIXCAP_CACHE", "~/x")
    assert cache_dir() == tmp_path / "x"


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--study", "a.toml"], "--study FILE needs the study's folder: give its DIR"),
        (["--all"], "--all has an effect only with --prune: give --prune too"),
        (["nowhere"], "nowhere: there is no such folder"),
    ],
)
def test_invalid_combinations_of_options(shell: Shell, words: list[str], sentence: str) -> None:
    status, _, err = shell("cache", *words)
    assert status == 2
    assert sentence in err


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0 B"), (999, "999 B"), (4500, "4.5 kB"), (2.5e9, "2.5 GB")]
)
def test_sizes(count: float, text: str) -> None:
    assert size(count) == text
