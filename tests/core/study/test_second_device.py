"""A study whose models are on another device, from images to captions."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from second_device import PLACE, second_device

from prefixcap.captioning.captioner import Captioner
from prefixcap.plugin.registry import default_registry
from prefixcap.study.analysis.results import Results
from prefixcap.study.definition import options
from prefixcap.study.execution.runner import run_study


@pytest.fixture
def replaced_parameters() -> Iterator[None]:
    """Allow replacing a module's parameters by tensors of another type."""
    torch.__future__.set_overwrite_module_params_on_conversion(True)
    yield
    torch.__future__.set_overwrite_module_params_on_conversion(False)


def results(folder: Path, device: str, tuning: str, bridge: str) -> Results:
    choices = {
        "dataset": "scenes:train=40,val=8,test=6",
        "mapper": "mlp",
        "prefix_len": "2",
        "tuning": tuning,
        **({"train_on": "texts", "bridge": bridge} if bridge else {}),
        "epochs": 2,
        "decoder": ["greedy", "beam:num_beams=2"],
        "metrics": "length,clipscore",
        "no_baselines": True,
        "max_new_tokens": 8,
        "device": device,
    }
    return run_study(options.study(choices, default_registry()), folder)


@pytest.mark.usefixtures("replaced_parameters")
@pytest.mark.parametrize(
    ("tuning", "bridge"), [("frozen", ""), ("full", ""), ("frozen", "memory:size=20")]
)
def test_a_study_is_the_same_on_another_device(tmp_path: Path, tuning: str, bridge: str) -> None:
    torch.set_num_threads(1)
    wanted = results(tmp_path / "here", "cpu", tuning, bridge)
    with second_device():
        result = results(tmp_path / "there", str(PLACE), tuning, bridge)
        assert result.work == wanted.work
        (model,) = (tmp_path / "there" / "models").glob("*/key.json")
        captioner = Captioner.load(model.parent, str(PLACE))
        assert {p.device for p in captioner.lm.module.parameters()} == {PLACE}
        assert {p.device for p in captioner.prefixer.parameters()} == {PLACE}
    texts = [
        [[caption["text"] for caption in line["captions"]] for line in lines]
        for study in (result, wanted)
        for lines in study.captions.values()
    ]
    assert texts[:2] == texts[2:]
    for ours, theirs in zip(result.rows, wanted.rows, strict=True):
        for score, value in theirs["scores"].items():
            assert ours["scores"][score] == pytest.approx(value, abs=1e-4), score
    losses = [
        Captioner.load(next((tmp_path / at / "models").glob("*/key.json")).parent).history["loss"]
        for at in ("here", "there")
    ]
    np.testing.assert_allclose(*losses, atol=1e-3)
