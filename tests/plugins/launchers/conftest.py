"""A small study that launchers do, and its folder if one process does it all."""

from __future__ import annotations

from pathlib import Path

import pytest
from cli_world import World, make_world

from prefixcap.plugin.registry import default_registry
from prefixcap.study.definition import options
from prefixcap.study.definition.study import Study
from prefixcap.study.execution.runner import run_study


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return make_world(tmp_path_factory.mktemp("world"))


@pytest.fixture(scope="module")
def grid(world: World) -> Study:
    """A study of two models and two decoders."""
    choices = {
        "dataset": f"jsonl:path={world.data}",
        "lm": f"hf:model={world.lm},init=random",
        "tuning": "full",
        "mapper": "linear",
        "prefix_len": "2,3",
        "epochs": 3,
        "decoder": ["greedy", "top-p"],
        "metrics": "length,distinct",
        "max_new_tokens": 6,
    }
    return options.study(choices, default_registry())


@pytest.fixture(scope="module")
def alone(grid: Study, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The study's folder, if one process does it all."""
    folder = tmp_path_factory.mktemp("alone") / "study"
    run_study(grid, folder)
    return folder
