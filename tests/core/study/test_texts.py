"""Studies that train on texts alone: their grid, keys, files and errors."""

from __future__ import annotations

import json
import math
import random
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import pytest
import torch
from cli_world import COLOURS, THINGS, World, outcome
from core.study.test_guards import Recorder
from core.study.test_interrupted import killed
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from prefixcap.captioning.gap import gap_of, measure_gap
from prefixcap.errors import PrefixcapError
from prefixcap.plugin.registry import default_registry
from prefixcap.study.analysis.reader import load_study
from prefixcap.study.analysis.rows import FIELDS
from prefixcap.study.artifacts.text_features import TextFeatures
from prefixcap.study.definition import options
from prefixcap.study.definition.study import Study
from prefixcap.study.execution.plan import plan
from prefixcap.study.execution.prune import UNUSED, of_study
from prefixcap.study.execution.runner import run_study
from prefixcap.util.files import read_json, write_json

BRIDGES = ["none", "shift:noise=0.05", "memory:size=9"]


def hot(caption: str) -> np.ndarray:
    """Embed a caption as the world's images are, at a distance from them."""
    words = caption.lower().replace(".", "").replace(",", "").split()
    known = (*COLOURS, *THINGS)
    return np.array([float(word in words) for word in known]) + 0.5


@pytest.fixture(scope="session")
def texts(world: World, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with the embeddings of all captions of the world."""
    folder = tmp_path_factory.mktemp("texts")
    lines = (world.data / "captions.jsonl").read_text().splitlines()
    captions = sorted({text for line in lines for text in json.loads(line)["captions"]})
    np.save(folder / "texts.npy", np.array([hot(text) for text in captions], np.float16))
    (folder / "captions.txt").write_text("\n".join(captions) + "\n")
    return folder


def encoder(texts: Path) -> str:
    return f"precomputed:texts={texts / 'texts.npy'},captions={texts / 'captions.txt'}"


@pytest.fixture(scope="session")
def on_texts(world: World, texts: Path) -> Study:
    choices = {
        "dataset": f"jsonl:path={world.data}",
        "encoder": encoder(texts),
        "lm": f"hf:model={world.lm},init=random",
        "tuning": "full",
        "mapper": "linear",
        "prefix_len": "2",
        "epochs": 1,
        "train_on": ["images", "texts"],
        "bridge": BRIDGES,
        "decoder": ["greedy", "top-p"],
        "metrics": "length",
        "max_new_tokens": 6,
        "no_baselines": True,
    }
    return options.study(choices, default_registry())


@pytest.fixture(scope="session")
def run(on_texts: Study, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    run_study(on_texts, folder)
    return folder


def test_bridges_are_an_axis_of_the_models_that_are_trained_on_texts(
    on_texts: Study, run: Path
) -> None:
    study = load_study(run)
    assert on_texts.cells == len(study.rows) == 8
    sources = [(row["train_on"], row["bridge"]) for row in study.rows[::2]]
    assert sources == [("images", "none"), *(("texts", bridge) for bridge in BRIDGES)]
    names = [Path(row["model"]).name[:-9] for row in study.rows[::2]]
    assert names == ["linear-p2-full-s0", *(f"linear-p2-full-texts-{b}-s0" for b in NAMES)]
    assert {f"train_on={s} bridge={b}" for s, b in sources} == {
        label.partition("greedy ")[2] for label in labels(study) if "greedy" in label
    }
    digests = [study.models[row["model"]].get("bridge_digest") for row in study.rows]
    # the same for both decoders, and none without a bridge
    assert digests[:2] == [None, None]
    assert digests[4] == digests[5] != digests[6] == digests[7]


NAMES = [bridge.partition(":")[0] for bridge in BRIDGES]


def labels(study: Any) -> list[str]:
    from prefixcap.study.analysis.rows import table_rows

    return [row.label for row in table_rows(study.rows, study.baselines)]


def test_models_trained_on_images_are_those_of_a_study_without_texts(
    on_texts: Study, run: Path, tmp_path: Path
) -> None:
    images = attrs.evolve(on_texts, train_on=("images",), bridges=on_texts.bridges[:1])
    run_study(images, tmp_path)
    (model,) = (tmp_path / "models").glob("linear*")
    twin = run / "models" / model.name
    for file in ("weights.safetensors", "key.json"):
        assert (twin / file).read_bytes() == (model / file).read_bytes()
    assert "bridge" not in (read_json(model / "config.json") or {})
    again = run_study(images, run)
    assert not any(again.work.values())


def test_captions_are_encoded_once_and_kept(on_texts: Study, run: Path, tmp_path: Path) -> None:
    (folder,) = run.glob("features/*-texts")
    before = {file: file.stat().st_mtime_ns for file in folder.glob("*.safetensors")}
    assert before
    assert not any(run_study(on_texts, run).work.values())
    assert {file: file.stat().st_mtime_ns for file in folder.glob("*.safetensors")} == before
    states = {artifact.path: artifact.state for artifact in of_study(run)}
    assert UNUSED not in states.values()
    assert before.keys() <= states.keys()
    missing = plan(on_texts, run)["missing"]
    assert missing["texts to encode"] == 0
    planned = plan(on_texts, tmp_path / "new")
    assert planned["missing"]["texts to encode"] == planned["all"]["texts to encode"] == 24


def test_an_altered_file_of_captions_is_made_again(on_texts: Study, tmp_path: Path) -> None:
    from prefixcap.study.artifacts.folder import StudyJob
    from prefixcap.study.execution import data, encoding

    recorder = Recorder()
    job = StudyJob(on_texts, tmp_path, recorder)
    splits = data.load(on_texts)
    features = next(encoding.open_features(job, splits))
    images, _ = encoding.encode_images(features, splits)
    assert images.texts is not None
    wanted = images.texts.rows(images.train)[:]
    file = next(iter(images.texts.shards(images.train)))
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    fresh = TextFeatures(features=features)
    fresh.encode("train", images.train)
    assert torch.equal(fresh.rows(images.train)[:], wanted)
    assert any(file.name in message for message in recorder.messages)


def test_a_study_on_texts_that_is_killed_ends_in_the_same_way(
    on_texts: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = attrs.evolve(
        on_texts, train_on=("texts",), bridges=on_texts.bridges[2:], decoders=on_texts.decoders[:1]
    )
    run_study(study, tmp_path / "whole")
    whole = outcome(tmp_path / "whole")
    for after in sorted(random.Random(0).sample(range(20), 3)):
        folder = tmp_path / str(after)
        assert killed(study, folder, monkeypatch, after)
        run_study(study, folder)
        assert outcome(folder) == whole, f"killed at write {after}"


def test_the_gap_is_in_the_history_and_does_not_depend_on_the_mapper(run: Path) -> None:
    study = load_study(run)
    gaps = [study.histories[row["model"]].get("gap") for row in study.rows[::2]]
    assert gaps[0] is None
    assert [gap["split"] for gap in gaps[1:]] == ["val"] * 3
    assert len({json.dumps(gap["before"]) for gap in gaps[1:]}) == 1
    none, shift, memory = (gap["after"] for gap in gaps[1:])
    assert none == pytest.approx(gaps[1]["before"], abs=1e-6)
    assert shift["mean distance"] < none["mean distance"]
    assert memory["cosine"] > none["cosine"]
    assert 1 <= gaps[3]["measures"]["memory entries"] <= 9


def test_without_a_val_split_the_gap_is_that_of_test_images(
    on_texts: Study, world: World, tmp_path: Path
) -> None:
    data = tmp_path / "data"
    data.mkdir()
    lines = (world.data / "captions.jsonl").read_text().splitlines()
    rows = np.load(world.data / "features.npy")
    kept = [n for n, line in enumerate(lines) if json.loads(line)["split"] != "val"]
    (data / "captions.jsonl").write_text("\n".join(lines[n] for n in kept))
    np.save(data / "features.npy", rows[kept])
    dataset = options.study({"dataset": f"jsonl:path={data}"}, default_registry()).dataset
    study = attrs.evolve(
        on_texts, dataset=dataset, train_on=("texts",), decoders=on_texts.decoders[:1], labels={}
    )
    run_study(study, tmp_path / "run")
    saved = load_study(tmp_path / "run")
    assert {saved.histories[row["model"]]["gap"]["split"] for row in saved.rows} == {"test"}


def test_studies_without_bridges_are_still_read(run: Path, tmp_path: Path) -> None:
    import shutil

    shutil.copytree(run, tmp_path / "old")
    path = tmp_path / "old" / "scores.json"
    saved = read_json(path) or {}
    saved["rows"] = [
        {k: v for k, v in row.items() if k not in ("train_on", "bridge")}
        for row in saved["rows"][:2]
    ]
    saved["complete"] = False
    write_json(path, saved)
    config = read_json(tmp_path / "old" / "config.json") or {}
    write_json(
        tmp_path / "old" / "config.json",
        {k: v for k, v in config.items() if k not in ("train_on", "bridges")},
    )
    study = load_study(tmp_path / "old")
    assert [(row["train_on"], row["bridge"]) for row in study.rows] == [("images", "none")] * 2
    assert Study.from_json(study.config).train_on == ("images",)
    assert {"train_on", "bridge"} < set(FIELDS)


@pytest.mark.parametrize(
    ("choices", "sentence"),
    [
        ({"bridge": "shift"}, "--bridge shift is for models that are trained on texts alone"),
        ({"train_on": "text"}, "--train-on cannot be 'text'; did you mean 'texts'?"),
        ({"train_on": "texts", "bridge": "shiftt"}, "did you mean 'shift'?"),
        ({"train_on": "texts", "bridge": "noise:noise=-1"}, "noise must be at least 0"),
    ],
)
def test_wrong_choices_get_a_sentence(choices: dict[str, str], sentence: str) -> None:
    with pytest.raises(PrefixcapError) as caught:
        options.study(choices, default_registry())
    assert sentence in str(caught.value)


def broken(texts: Path, folder: Path, change: str) -> str:
    rows = np.load(texts / "texts.npy")
    captions = (texts / "captions.txt").read_text()
    if change == "width":
        rows = rows[:, :-1]
    if change == "count":
        rows = rows[1:]
    if change == "unknown":
        captions = captions.replace("red", "purple")
    if change == "nan":
        rows[:] = np.nan
    if change == "tokens":
        rows = rows[:, None]
    np.save(folder / "texts.npy", rows)
    (folder / "captions.txt").write_text(captions)
    return encoder(folder)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ("none", "the encoder precomputed has no text side: use one of images and texts such as"),
        ("width", "(60, 6) and the images' (30, 7): both must be rows of one width, of one enco"),
        ("count", "there are 24 captions for 23 rows of"),
        ("unknown", "has no embedding of the text 'A red ball.': stored embeddings serve only"),
        ("nan", "an embedding that is not finite"),
        ("tokens", "must have a row per text, but is (24, 1, 7)"),
    ],
)
def test_embeddings_that_cannot_be_trained_on_get_a_sentence(
    on_texts: Study, texts: Path, tmp_path: Path, change: str, sentence: str
) -> None:
    spec = "precomputed" if change == "none" else broken(texts, tmp_path, change)
    config = options.study({"encoder": spec}, default_registry()).encoders
    with pytest.raises(PrefixcapError) as caught:
        run_study(attrs.evolve(on_texts, encoders=config), tmp_path / "run")
    assert sentence in str(caught.value)
    assert not list((tmp_path / "run").glob("models/*/weights.safetensors"))


def test_an_encoder_of_tokens_is_refused_before_images_are_encoded(
    on_texts: Study, texts: Path, world: World, tmp_path: Path
) -> None:
    np.save(tmp_path / "tokens.npy", np.ones((44, 3, 7), np.float32))
    spec = f"{encoder(texts)},path={tmp_path / 'tokens.npy'}"
    config = options.study({"encoder": spec}, default_registry()).encoders
    with pytest.raises(PrefixcapError, match=r"needs one vector per image, and the encoder prec"):
        run_study(attrs.evolve(on_texts, encoders=config), tmp_path / "run")
    assert not list((tmp_path / "run").glob("features/*/*"))


# ------------------------------------------------------------------------------------ the gap


def plain_gap(images: list[list[float]], texts: list[list[float]], rows: list[int]) -> Any:
    def cosine(one: list[float], two: list[float]) -> float:
        product = sum(a * b for a, b in zip(one, two, strict=True))
        return product / math.hypot(*one) / math.hypot(*two)

    pairs = [(texts[n], images[row]) for n, row in enumerate(rows)]
    differences = [[a - b for a, b in zip(t, v, strict=True)] for t, v in pairs]
    mean = [sum(column) / len(rows) for column in zip(*differences, strict=True)]
    width = len(mean)
    rest = [sum((x - m) ** 2 for x, m in zip(d, mean, strict=True)) for d in differences]
    to_image = [
        sum(cosine(t, v) >= cosine(t, images[row]) for n, v in enumerate(images) if n != row)
        for t, row in zip(texts, rows, strict=True)
    ]
    to_text = []
    for number, image in enumerate(images):
        own = [cosine(t, image) for t, row in zip(texts, rows, strict=True) if row == number]
        others = [cosine(t, image) for t, row in zip(texts, rows, strict=True) if row != number]
        to_text.append(sum(each >= max(own) for each in others))
    return {
        "mean distance": sum(m * m for m in mean),
        "mean distance per dimension": sum(m * m for m in mean) / width,
        "residual per dimension": sum(rest) / len(rest) / width,
        "cosine": sum(cosine(t, v) for t, v in pairs) / len(pairs),
        **{f"text to image R@{k}": sum(r < k for r in to_image) / len(to_image) for k in (1, 5)},
        **{f"image to text R@{k}": sum(r < k for r in to_text) / len(to_text) for k in (1, 5)},
    }


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 8), st.lists(st.integers(1, 3), min_size=8, max_size=8), st.integers(0, 99))
def test_the_gap_is_that_of_plain_loops(images: int, counts: list[int], seed: int) -> None:
    stream = torch.Generator().manual_seed(seed)
    rows = [row for row in range(images) for _ in range(counts[row])]
    v, t = (torch.randn(n, 3, generator=stream) for n in (images, len(rows)))
    t += v[rows]
    found = gap_of(v, t, torch.tensor(rows))
    assert found == pytest.approx(plain_gap(v.tolist(), t.tolist(), rows), abs=1e-5)


def test_equal_images_are_not_told_apart() -> None:
    images, texts = torch.ones(6, 4), torch.ones(6, 4)
    found = gap_of(images, texts, torch.arange(6))
    assert found["cosine"] == pytest.approx(1)
    assert found["text to image R@1"] == found["image to text R@5"] == 0


def test_only_the_first_images_are_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    from prefixcap_mappers.bridge_configs import NoBridge

    from prefixcap.captioning import gap
    from prefixcap.captioning.bridging import Bridging

    monkeypatch.setattr(gap, "MOST_IMAGES", 3)
    stream = torch.Generator().manual_seed(0)
    images, texts = (torch.randn(n, 4, generator=stream) for n in (5, 9))
    captions = [["a"], ["a", "b"], ["a", "b", "c"], ["a"], ["a", "b"]]
    bridge = Bridging.fit(NoBridge(), texts, images).eval()
    found = measure_gap(bridge, images, texts, captions)
    assert (found["images"], found["captions"]) == (3, 6)
    rows = torch.tensor([0, 1, 1, 2, 2, 2])
    assert found["before"] == pytest.approx(
        gap_of(unit(images[:3]), unit(texts[:6]), rows), abs=1e-6
    )


def unit(rows: Tensor) -> Tensor:
    return torch.nn.functional.normalize(rows, dim=-1)
