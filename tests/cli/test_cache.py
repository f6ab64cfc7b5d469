from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cli_world import World

from prefixcap.cli.cache import size

Shell = Callable[..., tuple[int, str, str]]
DEAD = 2**22 + 1  # larger than any process's number


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
    everything = ["features"] * 3 + ["models"] + ["cells"] * 2 + ["baselines"] * 4
    assert states(whole) == {"used": everything}
    assert whole["bytes"] == sum(artifact["bytes"] for artifact in whole["artifacts"])

    words = [*world.bench[:-4], "--metrics", "length,distinct", "--max-new-tokens", "8"]
    assert shell(*words, "--decoder", "greedy", "--out", folder, "--seed", "1")[0] == 0
    (model,) = (folder / "models").glob("*-s1-*")
    (model / "training.ckpt").write_bytes(b"x" * 9)
    (model / f".config.json.{DEAD}.tmp").write_bytes(b"x")
    (model / ".config.json.1.tmp").write_bytes(b"x")  # its process runs
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
    assert (model / ".config.json.1.tmp").exists()
    _, out, _ = shell(*words, "--decoder", "greedy", "--out", folder, "--seed", "1", "--json")
    assert set(json.loads(out)["work"].values()) == {0}


def test_a_study_file_decides_what_is_used(
    shell: Shell, world: World, folder: Path, tmp_path: Path
) -> None:
    file = tmp_path / "study.toml"
    shell(*world.bench, "--save-study", file, "--out", tmp_path / "new", "--dry-run")
    assert states(listed(shell, folder, "--study", file))["unused"] == ["cells"]
    listed(shell, folder, "--study", file, "--prune")
    assert len([p for p in (folder / "cells").iterdir() if p.name[0] != "."]) == 1
    result = listed(shell, folder, "--prune", "--all")
    assert len(result["deleted"]) == len(result["artifacts"]) == 9
    assert listed(shell, folder)["artifacts"] == []
    words = [*world.bench, "--decoder", "beam:num_beams=2", "--out", folder, "--json"]
    assert json.loads(shell(*words)[1])["work"]["trained_models"] == 1


def test_the_users_cache(shell: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PREFIXCAP_CACHE", str(tmp_path))
    assert shell("cache")[1] == f"{tmp_path} holds nothing\n"
    for name, count in (("smollm-0123", 5000), (f".smollm-0123.{DEAD}", 7)):
        (tmp_path / "gguf" / name).mkdir(parents=True)
        (tmp_path / "gguf" / name / "model.safetensors").write_bytes(b"x" * count)
    _, out, _ = shell("cache")
    assert out.splitlines() == [
        f"leftover      7 B  gguf/.smollm-0123.{DEAD}",
        "used       5.0 kB  gguf/smollm-0123",
        f"{tmp_path}: 5.0 kB used, 7 B leftover",
        "delete what is not used with --prune",
    ]
    _, out, _ = shell("cache", "--prune")
    assert out.splitlines()[-1] == "7 B of 5.0 kB deleted"
    assert [path.name for path in (tmp_path / "gguf").glob("s*")] == ["smollm-0123"]
    shell("cache", "--prune", "--all")
    assert not (tmp_path / "gguf" / "smollm-0123").exists()


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
