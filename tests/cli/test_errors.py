from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from cli_world import World

from prefixcap.cli.errors import sentence_of
from prefixcap.study.execution import runner
from prefixcap.util import files as files_module
from prefixcap.util.files import read_json, write_json

Shell = Callable[..., tuple[int, str, str]]


def refused(shell: Shell, *words: object) -> str:
    """Run a command that must be refused, and return its one sentence."""
    status, out, err = shell(*words)
    assert (status, out) == (2, "")
    sentences = [line for line in err.splitlines() if line.startswith("prefixcap: ")]
    assert len(sentences) == 1
    assert "Traceback" not in err
    return sentences[0].removeprefix("prefixcap: ")


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["lst"], "there is no command 'lst'; did you mean 'list'? known: bench, "),
        (
            ["bench", "--mappr", "mlp"],
            "bench has no option '--mappr'; did you mean '--mapper'? known: ",
        ),
        (["bench", "--mapper", "mpl"], "no mapper 'mpl'; did you mean 'mlp'? known: "),
        (["bench", "--prefix-len", "ten"], "--prefix-len: 'ten' is not an integer"),
        (["bench", "--prefix-len", "1,0"], "--prefix-len must be at least 1, not 0"),
        (["bench", "--limit", "0"], "--limit must be at least 1, not 0"),
        (["bench", "--max-new-tokens", "-1"], "--max-new-tokens must be at least 1, not -1"),
        (["bench", "--epochs", "-1"], "--training: epochs must be at least 0, not -1"),
        (["bench", "--seed", "x"], "--seed: 'x' is not an integer"),
        (
            ["bench", "--training", "learning_rat=1"],
            "--training: no setting 'learning_rat'; did you mean 'learning_rate'? known: ",
        ),
        (
            ["bench", "--decoder", "beam:num_beam=3"],
            "decoder 'beam:num_beam=3': no setting 'num_beam'; did you mean 'num_beams'? known: ",
        ),
        (
            ["bench", "--decoder", "beam:num_beams=0"],
            "decoder 'beam:num_beams=0': num_beams must be at least 1, not 0",
        ),
        (
            ["bench", "--decoder", "beam:num_beams=many"],
            "decoder 'beam:num_beams=many': 'many' is not an integer",
        ),
        (["bench", "--metrics", "cidr"], "no metric 'cidr'; did you mean 'cider'? known: "),
        (["bench", "--dtype", "float23"], "--dtype cannot be 'float23'; did you mean 'float32'? "),
        (["caption", "--run", "x"], "give either image files or --features FILE.npy to caption"),
        (["caption", "no.png", "--run", "x"], "no.png: the image does not exist"),
        (["caption", "--run", "x", "--features", "f.npy", "--n", "0"], "--n must be at least 1, "),
        (["eval", "no.jsonl"], "no.jsonl does not exist"),
        (["caption"], "caption: missing option '--run'; see `prefixcap caption --help`"),
        (["bench", "--lr", "1e-3"], "bench has no option '--lr': write --training learning_rate="),
        (["bench", "--training", "lr=1e-3"], "--training: no setting 'lr'; did you mean 'learning"),
        (["bench", "--decoder", "nucleus:p=.9"], "no decoder 'nucleus'; did you mean 'top-p'? "),
        (["bench", "--decoder", "beam:beam-size=2"], "decoder 'beam:beam-size=2': no setting 'be"),
        (["bench", "--metrics", "CIDEr,bleu4"], "no metric 'CIDEr'; did you mean 'cider'? "),
        (["bench", "--metrics", "bleu4"], "no metric 'bleu4'; did you mean 'bleu'? "),
        (["bench", "--device", "gpu"], "the device 'gpu' cannot be used here; did you mean 'cuda'"),
        (["bench", "--dtype", "fp16"], "--dtype cannot be 'fp16'; did you mean 'float16'? "),
        (["bench", "--dataset", "jsonl"], "dataset 'jsonl' needs the setting 'path': write jsonl:"),
        (
            ["bench", "--dataset", 'jsonl:path="a, b"'],
            "the folder of the jsonl data set, a, b, does not exist",
        ),
        (
            ["bench", "--decoder", "greedy", "beam"],
            "'beam' is not used: join several values with commas, as in --decoder greedy,beam",
        ),
        (
            ["bench", "--decoder", "greedy", "beam", "top-p:p=.9"],
            "bench: 'top-p:p=.9' is not used: join several values with commas, as in --decoder "
            "greedy,beam,top-p:p=.9",
        ),
        (
            ["bench", "--prefix-len", "1", "10"],
            "'10' is not used: join several values with commas, as in --prefix-len 1,10",
        ),
        (
            ["eval", "x.jsonl", "--metrics", "cider", "bleu"],
            "eval: 'bleu' is not used: join several values with commas, as in --metrics cider,bleu",
        ),
        (
            ["show", "beam"],
            "show needs a kind before the name: write `prefixcap show decoder beam`",
        ),
        (["show", "beam", "decoder"], "show needs a kind before the name: write `prefixcap show d"),
        (
            ["check", "mlp"],
            "check needs a kind before the name: write `prefixcap check m",
        ),
        (
            ["show", "metric"],
            "show needs the name of a component of the kind 'metric'; known: ",
        ),
        (["list", "beam"], "'beam' is no kind: see `prefixcap show decoder beam`"),
        (["bench", "no.toml"], "the study no.toml does not exist"),
    ],
    ids=" ".join,
)
def test_bad_arguments_get_a_sentence(
    shell: Shell,
    words: list[str],
    sentence: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert refused(shell, *words).startswith(sentence)
    assert [path for path in tmp_path.rglob("*") if path.name != "runs"] == []


def test_a_broken_line_is_named_by_its_number(shell: Shell, world: World, tmp_path: Path) -> None:
    data = tmp_path / "data"
    shutil.copytree(world.data, data)
    text = (data / "captions.jsonl").read_text().splitlines()
    text[4] = text[4][:-5]
    (data / "captions.jsonl").write_text("\n".join(text))
    sentence = refused(shell, *World(data, world.lm).bench, "--out", tmp_path / "run")
    assert str(data / "captions.jsonl") in sentence
    assert "line 5" in sentence


def test_a_wrong_number_of_embeddings(shell: Shell, world: World, tmp_path: Path) -> None:
    data = tmp_path / "data"
    shutil.copytree(world.data, data)
    np.save(data / "features.npy", np.zeros((5, 4), np.float32))
    sentence = refused(shell, *World(data, world.lm).bench, "--out", tmp_path / "run")
    assert "features.npy" in sentence
    assert "5" in sentence
    assert "44" in sentence


def test_features_of_another_width(shell: Shell, study: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "f.npy", np.zeros((3, 9), np.float32))
    sentence = refused(shell, "caption", "--run", study, "--features", tmp_path / "f.npy")
    assert "(3, 9)" in sentence
    assert "(B,7)" in sentence


@pytest.mark.parametrize(
    ("array", "sentence"),
    [
        (np.zeros(7), "features must be of shape (B,D) or (B,N,D), not (7,)"),
        (np.zeros((0, 7)), "features must be of shape (B,D) or (B,N,D), not (0, 7)"),
    ],
)
def test_invalid_features(
    shell: Shell, study: Path, tmp_path: Path, array: np.ndarray, sentence: str
) -> None:
    np.save(tmp_path / "f.npy", array)
    # the captions of earlier rows are printed as they are made
    status, _, err = shell("caption", "--run", study, "--features", tmp_path / "f.npy")
    assert status == 2
    assert f"prefixcap: --features {tmp_path / 'f.npy'}: {sentence}\n" in err


def test_a_file_without_features(shell: Shell, study: Path, tmp_path: Path) -> None:
    (tmp_path / "f.npy").write_text("hello")
    sentence = refused(shell, "caption", "--run", study, "--features", tmp_path / "f.npy")
    assert sentence.startswith(f"--features {tmp_path / 'f.npy'}: features must be a .npy or")


def test_a_missing_run(shell: Shell, tmp_path: Path) -> None:
    np.save(tmp_path / "f.npy", np.zeros((3, 7), np.float32))
    words = ["caption", "--features", tmp_path / "f.npy", "--run"]
    assert refused(shell, *words, tmp_path / "no").endswith("/no: the run does not exist")
    (tmp_path / "empty").mkdir()
    assert "has no config.json" in refused(shell, *words, tmp_path / "empty")


def test_a_run_of_another_version(shell: Shell, study: Path, tmp_path: Path) -> None:
    (model,) = [path.parent for path in study.glob("models/*/config.json")]
    shutil.copytree(model, tmp_path / "model")
    config = read_json(model / "config.json") or {}
    write_json(tmp_path / "model" / "config.json", {**config, "format": 99})
    np.save(tmp_path / "f.npy", np.zeros((3, 7), np.float32))
    words = ["caption", "--features", tmp_path / "f.npy", "--run", tmp_path / "model"]
    assert "is of format 99" in refused(shell, *words)


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("mapper = 3", "no mapper '3'; known: begin, deep, linear, llava, mlp"),
        (
            'dataset = ["scenes", "coco"]',
            "no dataset \"['scenes', 'coco']\"; did you mean 'scenes'?",
        ),
        ("training = 3", "'training': '3' is not of the form key=value"),
        ("limit = [1, 2]", "--limit: [1, 2] is not an integer"),
    ],
)
def test_a_study_file_with_a_wrong_type(
    shell: Shell, tmp_path: Path, line: str, sentence: str
) -> None:
    (tmp_path / "study.toml").write_text(line)
    assert refused(shell, "bench", tmp_path / "study.toml").startswith(sentence)


def test_a_study_of_another_version(shell: Shell, world: World, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"kind": "study", "format": 99}')
    sentence = refused(shell, *world.bench, "--out", tmp_path)
    assert "is a study of format 99" in sentence


def test_a_study_is_not_written_into_a_models_folder(
    shell: Shell, world: World, study: Path
) -> None:
    (model,) = [path.parent for path in study.glob("models/*/config.json")]
    sentence = refused(shell, *world.bench, "--out", model)
    assert sentence.endswith("holds a single model, not a study: choose another folder")


def test_an_out_that_is_a_file(shell: Shell, world: World, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    sentence = refused(shell, *world.bench, "--out", tmp_path / "file")
    assert sentence == f"--out {tmp_path / 'file'} cannot be a folder: it is a file"


def test_no_space_on_the_disk(
    shell: Shell, world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    replace = files_module.atomic_write

    def full(path: Path, content: bytes) -> None:
        if "captions" in path.name and path.parents[1].name == "cells":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        replace(path, content)

    monkeypatch.setattr(files_module, "atomic_write", full)
    words = [*world.bench, "--out", tmp_path / "run"]
    sentence = refused(shell, *words)
    assert sentence.startswith(f"no space is left on the disk for {tmp_path / 'run' / 'cells'}")
    assert "run the same command again with the same --out" in sentence
    monkeypatch.undo()
    status, out, _ = shell(*words, "--json")
    assert status == 0
    # what was finished before the disk was full is used
    assert json.loads(out)["work"]["trained_models"] == 0
    assert json.loads(out)["work"]["decoded_images"] == 0


def test_a_keyboard_interrupt_explains_how_to_resume(
    shell: Shell, world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(runner.Runner, "_run_cells", interrupted)
    status, out, err = shell(*world.bench, "--out", tmp_path / "run")
    assert (status, out) == (130, "")
    kept = f"everything finished so far is saved in {tmp_path / 'run'}"
    again = f"run the same command with --out {tmp_path / 'run'} to continue"
    assert err.splitlines()[-1] == f"prefixcap: stopped; {kept}: {again}"


def test_an_unreadable_image_is_an_error_by_default(
    shell: Shell, world: World, tmp_path: Path
) -> None:
    data = tmp_path / "data"
    shutil.copytree(world.data, data)
    (data / "features.npy").unlink()
    (data / "images" / "train-3.png").write_bytes(b"no image")
    words = [*World(data, world.lm).bench, "--out", tmp_path / "run", "--json"]
    words += ["--encoder", "scenes-clip"]
    sentence = refused(shell, *words)
    assert str(data / "images" / "train-3.png") in sentence
    assert "cannot be read" in sentence
    status, out, err = shell(*words, "--skip-unreadable")
    assert status == 0
    assert json.loads(out)["skipped_images"] == ["train-3.png"]
    assert "skipped 1 images that could not be read: train-3.png" in err


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB"),
        RuntimeError(
            "[enforce fail at alloc_cpu.cpp:124] DefaultCPUAllocator: can't allocate memory"
        ),
    ],
)
def test_too_little_memory_gets_advice(error: Exception) -> None:
    message = sentence_of(error)
    assert message is not None
    assert "there is not enough memory" in message
    assert "--encode-batch for encoding, --max-rows for captioning" in message


def test_a_bug_gets_no_sentence() -> None:
    assert sentence_of(ZeroDivisionError()) is None
