"""Imported runs against recordings of ClipCap's own code."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import pytest
import torch

from prefixcap.captioning.captioner import Captioner
from prefixcap.cli import main
from prefixcap.interfaces.session import SessionOptions

NAMES = ("mlp_k10", "transformer_k10")


@attrs.frozen
class Recording:
    name: str
    settings: dict[str, Any]
    features: Path
    run: Path

    @property
    def outputs(self) -> list[dict[str, Any]]:
        result: list[dict[str, Any]] = self.settings["outputs"]
        return result


@pytest.fixture(scope="module", params=NAMES)
def recording(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Recording:
    """An imported run and the features of the test images."""
    data = request.getfixturevalue("shared") / "data"
    folder = tmp_path_factory.mktemp(request.param)
    settings = json.loads((data / "clipcap" / f"{request.param}.json").read_text())
    lines = (data / "flickr8k_clip" / "captions.jsonl").read_text().splitlines()
    rows = {json.loads(line)["image"]: number for number, line in enumerate(lines)}
    embeddings = np.load(data / "flickr8k_clip" / "clip_vitb32.npy")
    np.save(folder / "test.npy", embeddings[[rows[o["image"]] for o in settings["outputs"]]])
    scale = ["--feature-scale", str(settings["feature_scale"])]
    words = [
        *("import-clipcap", str(data / "clipcap" / f"{request.param}.pt")),
        *("--mapping-type", settings["mapping_type"], "--lm", str(data / "clipcap")),
        *("--prefix-length", str(settings["prefix_length"])),
        *("--clip-length", str(settings["clip_length"])),
        *("--num-layers", str(settings["num_layers"])),
        *(["--normalize-prefix"] if settings["normalize_prefix"] else scale),
        *("--out", str(folder / "run")),
    ]
    assert main(words) == 0
    return Recording(request.param, settings, folder / "test.npy", folder / "run")


def captions(
    recording: Recording, capsys: pytest.CaptureFixture[str], *words: str
) -> list[dict[str, Any]]:
    capsys.readouterr()
    shared = ["--features", str(recording.features), "--run", str(recording.run)]
    limit = ["--max-new-tokens", str(recording.settings["entry_length"])]
    assert main(["caption", *shared, *limit, "--json", *words]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["image"] for line in lines] == list(range(100))
    return [line["captions"] for line in lines]


def test_all_five_beams_are_the_recorded_ones_in_their_order(
    recording: Recording, capsys: pytest.CaptureFixture[str]
) -> None:
    result = captions(recording, capsys, "--decoder", "clipcap-beam", "--n", "5")
    assert [[c["text"] for c in each] for each in result] == [o["beam5"] for o in recording.outputs]
    for each in result:
        assert [c["score"] for c in each] == sorted((c["score"] for c in each), reverse=True)
        assert all((c["finish"] == "stop") == c["text"].endswith(".") for c in each)


def test_generate2_writes_the_recorded_captions(
    recording: Recording, capsys: pytest.CaptureFixture[str]
) -> None:
    result = captions(recording, capsys, "--decoder", "clipcap-generate2")
    assert [[c["text"] for c in e] for e in result] == [[o["generate2"]] for o in recording.outputs]


def test_the_first_logits_are_the_recorded_ones(recording: Recording) -> None:
    captioner = Captioner.load(recording.run, device="cpu")
    prefix = captioner.prefixes(torch.from_numpy(np.load(recording.features)))
    with torch.inference_mode():
        session = captioner.lm.start(prefix, SessionOptions())
        session.admit()
        result = session.logits.topk(5)
    wanted = torch.tensor([output["first_logits_top5"] for output in recording.outputs])
    assert result.indices.tolist() == wanted[..., 0].long().tolist()
    torch.testing.assert_close(result.values, wanted[..., 1], atol=1e-4, rtol=0)


@pytest.mark.parametrize("max_rows", [5, 33])
def test_the_batch_changes_no_caption(recording: Recording, max_rows: int) -> None:
    from prefixcap import decode

    captioner = Captioner.load(recording.run, device="cpu")
    features = torch.from_numpy(np.load(recording.features))
    order = torch.randperm(30, generator=torch.Generator().manual_seed(max_rows))
    result = decode(
        captioner.lm,
        captioner.prefixes(features[order]),
        "clipcap-beam",
        max_new_tokens=recording.settings["entry_length"],
        stop_ids=captioner.stop_ids,
        stop_visible=True,
        max_rows=max_rows,
    )
    assert [[h.text for h in each] for each in result] == [
        recording.outputs[image]["beam5"] for image in order.tolist()
    ]
