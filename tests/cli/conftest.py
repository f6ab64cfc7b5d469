from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from cli_world import World, make_world
from report_world import make_study

from prefixcap.cli import main

torch.set_num_threads(1)


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return make_world(tmp_path_factory.mktemp("world"))


@pytest.fixture
def shell(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Run a command in this process; return its status, output and errors."""

    def run(*words: object) -> tuple[int, str, str]:
        capsys.readouterr()
        status = main([str(word) for word in words])
        out, err = capsys.readouterr()
        return status, out, err

    return run


@pytest.fixture(scope="session")
def study(world: World, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished study of one model and two decoders; tests only read it."""
    folder = tmp_path_factory.mktemp("study") / "run"
    words = [*world.bench, "--decoder", "beam:num_beams=2", "--out", str(folder)]
    assert main(words) == 0
    return folder


@pytest.fixture(scope="session")
def graded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study of two decoders and two seeds with a caption that tries to break out of a page."""
    return make_study(tmp_path_factory.mktemp("graded"))
