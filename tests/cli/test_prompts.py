"""Prompts through the shell: a study with and without, resumed, and a new image."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from cli_world import World

Shell = Callable[..., tuple[int, str, str]]
PROMPT = "retrieved:k=2,duplicate=0.9,tokens=50"
SHORT = ("--training", "max_tokens=9")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("prompts") / "run"


def bench(shell: Shell, world: World, folder: Path, prompts: str) -> dict[str, object]:
    words = [*world.bench, "--prompt", prompts, "--no-baselines", "--out", folder, "--json", *SHORT]
    status, out, err = shell(*words)
    assert status == 0, err
    result: dict[str, object] = json.loads(out)
    return result


def test_a_prompt_is_an_axis_of_a_study(shell: Shell, world: World, folder: Path) -> None:
    result = bench(shell, world, folder, "none")
    assert result["work"]["trained_models"] == 1  # type: ignore[index]
    result = bench(shell, world, folder, f"none,{PROMPT}")
    assert [row["prompt"] for row in result["rows"]] == ["none", PROMPT]  # type: ignore[attr-defined, index]
    # the model without a prompt is the one that there was
    assert result["work"]["trained_models"] == 1  # type: ignore[index]
    names = sorted(path.name[:-9] for path in (folder / "models").glob("*-????????"))
    assert names == ["linear-p2-full-retrieved-s0", "linear-p2-full-s0"]
    again = bench(shell, world, folder, f"none,{PROMPT}")
    assert again["work"] == dict.fromkeys(again["work"], 0)  # type: ignore[call-overload]
    assert again["rows"] == result["rows"]
    other = bench(shell, world, folder, "none,retrieved:k=1,duplicate=0.9,tokens=50")
    assert other["work"]["trained_models"] == 1  # type: ignore[index]


def test_tables_and_comparisons_name_the_prompt(shell: Shell, folder: Path) -> None:
    status, out, _ = shell("compare", folder)
    assert status == 0
    assert "prompt" in out.splitlines()[0]
    assert "retrieved:k=1,duplicate=0.9,tokens=50" in out


def test_a_run_makes_the_prompt_of_a_new_image(shell: Shell, world: World, tmp_path: Path) -> None:
    words = ["train", *world.options, "--prompt", PROMPT, "--out", tmp_path / "run", *SHORT]
    assert shell(*words)[0] == 0
    assert (tmp_path / "run" / "datastore.safetensors").exists()
    options = ("--run", tmp_path / "run", "--decoder", "greedy", "--max-new-tokens", "5")
    status, out, _ = shell("caption", "--features", world.data / "features.npy", *options, "--json")
    assert status == 0
    assert len(json.loads(out.splitlines()[0])) > 0
    # the same training again is the run that there is
    assert shell(*words)[0] == 0


@pytest.mark.parametrize(
    ("prompt", "sentence"),
    [
        ("retrieve", "no prompt 'retrieve'; did you mean 'retrieved'?"),
        ("retrieved:k=0", "k must be at least 1, not 0"),
        ("retrieved:by=words", "by cannot be 'words'"),
        (
            "retrieved:k=99,tokens=50",
            "k=99 captions of other images are to be retrieved, and of 30 images",
        ),
        ("retrieved:by=text,tokens=50", "the encoder 'precomputed' has no text tower"),
        ("entities", "the encoder 'precomputed' has no text tower"),
        ("retrieved:tokens=20", "its own words take"),
        ("retrieved:tokens=5000", "with its prompt and 8 new tokens need"),
    ],
)
def test_what_does_not_fit_is_a_sentence(
    shell: Shell, world: World, prompt: str, sentence: str, tmp_path: Path
) -> None:
    status, out, err = shell(*world.bench, "--prompt", prompt, "--out", tmp_path / "run")
    assert (status, out) == (2, "")
    assert sentence in err
