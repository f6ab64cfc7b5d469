from __future__ import annotations

import pytest
import torch
from cli_world import World, make_world

from prefixcap.plugin.registry import default_registry
from prefixcap.study.definition import options
from prefixcap.study.definition.study import Study

torch.set_num_threads(1)


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return make_world(tmp_path_factory.mktemp("world"))


@pytest.fixture(scope="session")
def small(world: World) -> Study:
    """A study of one model, two decoders and a metric without Java."""
    choices = {
        "dataset": f"jsonl:path={world.data}",
        "lm": f"hf:model={world.lm},init=random",
        "tuning": "full",
        "mapper": "linear",
        "prefix_len": "2",
        "epochs": 1,
        "decoder": ["greedy", "top-p"],
        "metrics": "length",
        "max_new_tokens": 6,
    }
    return options.study(choices, default_registry())
