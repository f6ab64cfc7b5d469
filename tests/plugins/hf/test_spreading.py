"""Models that are spread over the memory and the disk, on small ones."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from families import END, START, family, prefixes, save_family
from prefixcap_hf.configs import HF
from second_device import PLACE, moved, second_device

import prefixcap
from prefixcap import Captioner, PrefixcapError, TrainingConfig, train
from prefixcap.engine.cache_session import CacheSession
from prefixcap.interfaces.session import SessionOptions

torch.set_num_threads(1)
pytest.importorskip("accelerate")

CAPTIONS = [["a dog runs", "dogs"], ["the cat is on a mat", "two cats"]]
LITTLE: dict[str, Any] = {"device_map": "auto", "max_memory": "cpu=20KB"}
FEATURES = torch.eye(2, 6) + 0.1
TRAINING = TrainingConfig(epochs=2, batch_size=4, warmup_steps=0, learning_rate=3e-3)


def captions(lm: Any, decoder: str) -> Any:
    return prefixcap.decode(lm, prefixes(4), decoder, max_new_tokens=6, stop_ids=(END, 3))


@pytest.mark.parametrize("name", ["gpt2", "llama-tied", "gemma2"])
def test_a_model_on_the_disk_is_like_one_in_memory(name: str, tmp_path: Path) -> None:
    save_family(tmp_path, name, starts=True)
    whole, spread = HF(model=str(tmp_path)).build(), HF(model=str(tmp_path), **LITTLE).build()
    assert "disk" in spread.module.hf_device_map.values()
    assert any(parameter.is_meta for parameter in spread.module.parameters())
    assert (spread.device, spread.digest()) == (torch.device("cpu"), whole.digest())
    for decoder in ("greedy", "beam:num_beams=3", "hf-generate:options=num_beams=2"):
        for ours, theirs in zip(captions(spread, decoder), captions(whole, decoder), strict=True):
            assert [h.ids for h in ours] == [h.ids for h in theirs]
    prefix = prefixes(2).requires_grad_()
    gradients = []
    for lm in (whole, spread):
        logits = lm.teacher_forced(prefix, torch.tensor([[1, 2], [3, 4]]), torch.ones(2, 2) > 0)
        gradients += torch.autograd.grad(logits.square().sum(), prefix)
    torch.testing.assert_close(*gradients)


def test_a_mapper_is_trained_and_loaded_with_a_model_on_the_disk(tmp_path: Path) -> None:
    save_family(tmp_path / "lm", "llama", starts=True)
    whole, spread = HF(model=str(tmp_path / "lm")), HF(model=str(tmp_path / "lm"), **LITTLE)
    models = [
        train(lm, "mlp", 2, "frozen", FEATURES, CAPTIONS, config=TRAINING) for lm in (whole, spread)
    ]
    assert models[1].history["loss"] == pytest.approx(models[0].history["loss"], abs=1e-5)
    models[1].save(tmp_path / "run")
    results = []
    # A run that was trained with one of them can be used with the other.
    for lm in (None, whole):
        run = Captioner.load(tmp_path / "run", lm=lm)
        results.append(prefixcap.decode(run.lm, run.prefixes(FEATURES), "beam", max_new_tokens=6))
    assert [h.ids for h, *_ in results[0]] == [h.ids for h, *_ in results[1]]
    with pytest.raises(PrefixcapError, match="'full' trains the language model, and device_map"):
        train(spread, "mlp", 2, "full", FEATURES, CAPTIONS, config=TRAINING)


def on_two_devices(model: Any) -> Any:
    """Spread a Llama as Accelerate does: its last layer and its head on the second device."""
    from accelerate.hooks import AlignDevicesHook, add_hook_to_module

    for part in (model.model.layers[-1], model.model.norm, model.lm_head):
        hook = AlignDevicesHook(execution_device=PLACE, skip_keys="past_key_values")
        add_hook_to_module(moved(part), hook)
    outer = AlignDevicesHook(io_same_device=True, skip_keys="past_key_values")
    return add_hook_to_module(model, outer)


def test_decoding_on_two_devices() -> None:
    """The second device stands for a GPU: tensors of the two cannot be mixed."""
    whole = prefixcap.from_transformers(family("llama"), prepend=[START])
    lm = prefixcap.from_transformers(family("llama"), prepend=[START])
    with second_device():
        on_two_devices(lm.model)
        assert {p.device.type for p in lm.module.parameters()} == {"cpu", PLACE.type}
        session = lm.start(prefixes(1), SessionOptions())
        assert isinstance(session, CacheSession)
        for decoder in ("greedy", "beam:num_beams=3"):
            result = [[h.ids for h in hypotheses] for hypotheses in captions(lm, decoder)]
            wanted = [[h.ids for h in hypotheses] for hypotheses in captions(whole, decoder)]
            assert result == wanted
        ids, mask = torch.tensor([[1, 2], [3, 4]]), torch.ones(2, 2, dtype=torch.bool)
        with torch.no_grad():
            logits = [model.teacher_forced(prefixes(2), ids, mask) for model in (whole, lm)]
        torch.testing.assert_close(*logits)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"device_map": "atuo"}, "device_map cannot be 'atuo'; did you mean 'auto'"),
        ({"max_memory": "gpu=3GB"}, "max_memory: 'gpu=3GB' is not a device and its memory"),
    ],
)
def test_settings_that_cannot_be(settings: Any, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        HF(**settings)


def test_what_a_spread_model_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(PrefixcapError, match="from files: remove init=random"):
        HF(device_map="auto", init="random").build()
    monkeypatch.setitem(sys.modules, "accelerate", None)
    with pytest.raises(PrefixcapError, match=r"pip install 'prefixcap\[device-map\]'"):
        HF(device_map="auto").build()
