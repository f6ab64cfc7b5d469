"""Training on texts alone, through the shell, from the drawn scenes to a page."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from cli_world import World

Shell = Callable[..., tuple[int, str, str]]
SMALL = ("--limit", 12, "--epochs", 1, "--mapper", "linear", "--prefix-len", 2)
SHARED = Path(__file__).parents[2].parent / "shared" / "data" / "coco_clip_text"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from prefixcap.cli import main

    folder = tmp_path_factory.mktemp("zero") / "run"
    words = ["bench", *SMALL, "--train-on", "images,texts", "--bridge", "none,memory:size=20"]
    words += ["--decoder", "greedy", "--metrics", "length", "--max-new-tokens", 6]
    assert main([*map(str, words), "--out", str(folder)]) == 0
    return folder


def test_a_study_compares_bridges_with_training_on_images(shell: Shell, run: Path) -> None:
    table = (run / "table.md").read_text()
    assert re.search(r"\| texts +\| memory:size=20 +\| linear", table)
    status, out, _ = shell("compare", f"{run}::texts memory", "::train_on=images", "--json")
    assert status == 0
    differs = json.loads(out)["config_diff"]
    assert {"train_on", "bridge"} <= set(differs)
    status, _, _ = shell("report", run, "--out", run / "page.html")
    assert status == 0
    page = (run / "page.html").read_text()
    assert "Gap between texts and images" in page
    assert "12 val images and their 60 captions" in page
    assert page.count('<th scope="row">memory:<wbr>size=20') == 1


def test_a_run_on_texts_captions_images(shell: Shell, run: Path, tmp_path: Path) -> None:
    words = ("--train-on", "texts", "--bridge", "shift:noise=0.05")
    status, out, _ = shell("train", *SMALL, *words, "--out", tmp_path / "one", "--json")
    assert status == 0
    answer = json.loads(out)
    assert answer["gap"]["after"]["mean distance"] < answer["gap"]["before"]["mean distance"]
    assert answer["gap"]["split"] == "val"
    again, out, _ = shell("train", *SMALL, *words, "--out", tmp_path / "one")
    assert again == 0
    assert "the bridge, on 12 images of val and their captions: cosine 0." in out
    drawn = tmp_path / "image.png"
    from prefixcap_scenes.configs import Scenes

    opened = Scenes(train=1, val=1, test=1).build().examples("test")[0].image.open
    assert opened is not None
    opened().save(drawn)
    status, out, err = shell("caption", drawn, "--run", tmp_path / "one", "--decoder", "greedy")
    assert status == 0
    assert out.strip()
    assert "warning" not in err


def test_choices_that_do_not_fit_get_a_sentence(shell: Shell, tmp_path: Path) -> None:
    status, _, err = shell("train", "--bridge", "noise", "--out", tmp_path)
    assert status == 2
    assert "--bridge noise is for models that are trained on texts alone" in err
    status, _, err = shell("train", "--train-on", "images,texts", "--out", tmp_path)
    assert status == 2
    assert "--train-on has 2 values: use bench" in err


@pytest.mark.skipif(not SHARED.exists(), reason=f"{SHARED} is not there")
def test_real_embeddings_of_both_sides(shell: Shell, world: World, tmp_path: Path) -> None:
    data, rows = tmp_path / "data", (SHARED / "rows.jsonl").read_text().splitlines()
    data.mkdir()
    captions, lines = [], []
    for number, row in enumerate(map(json.loads, rows)):
        captions.append(" ".join(row["captions"][row["text_row_caption"]].split()))
        split = "val" if number < 60 else row["split"]
        lines.append(json.dumps({"image": row["image"], "split": split, "captions": captions[-1:]}))
    (data / "captions.jsonl").write_text("\n".join(lines))
    (data / "captions.txt").write_text("\n".join(captions))
    # the data set's own embeddings are those of its images, in the order of its lines
    shutil.copy(SHARED / "images_vitb16.npy", data / "images.npy")
    texts = f"texts={SHARED / 'texts_vitb16.npy'},captions={data / 'captions.txt'}"
    status, out, err = shell(
        *("train", "--dataset", f"jsonl:path={data}", "--lm", f"hf:model={world.lm},init=random"),
        *(
            "--encoder",
            f"precomputed:{texts}",
            "--train-on",
            "texts",
            "--training",
            "max_tokens=20",
        ),
        *("--bridge", "memory", "--epochs", 1, "--mapper", "linear", "--prefix-len", 2),
        *("--out", tmp_path / "run", "--json"),
    )
    assert status == 0, err
    gap = json.loads(out)["gap"]
    assert (gap["images"], gap["captions"]) == (60, 60)
    images, texts = (
        np.load(SHARED / f"{name}_vitb16.npy")[:60].astype(float) for name in ("images", "texts")
    )
    difference = texts - images
    assert gap["before"]["mean distance"] == pytest.approx(
        (difference.mean(0) ** 2).sum(), rel=1e-2
    )
    assert gap["before"]["cosine"] == pytest.approx(0.31, abs=0.02)
    assert gap["after"]["cosine"] > 0.6
    assert 1 < gap["measures"]["memory entries"] < 240


def test_a_bundle_notices_another_bridge(run: Path, tmp_path: Path) -> None:
    from prefixcap.publication.bundle.packing import bundle
    from prefixcap.publication.bundle.verifying import reseal, verify

    bundle(run, tmp_path / "bundle")
    assert verify(tmp_path / "bundle").is_sound
    scores = tmp_path / "bundle" / "scores.json"
    data = json.loads(scores.read_text())
    one, two = (row for row in data["rows"] if row["train_on"] == "texts")
    one["train_on"], two["bridge"] = "images", "shift"
    scores.write_text(json.dumps(data))
    reseal(tmp_path / "bundle", {"scores.json"})
    found = [str(each) for each in verify(tmp_path / "bundle").discrepancies]
    assert any("train_on" in each for each in found)
    assert any("the bridge 'shift' is not in the study's config.json" in each for each in found)
