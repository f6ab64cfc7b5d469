from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
from cli_world import World

from prefixcap.study.artifacts.shards import FeatureShard

Shell = Callable[..., tuple[int, str, str]]


def test_features_give_one_object_per_line(shell: Shell, study: Path, world: World) -> None:
    features = world.data / "features.npy"
    words = ["caption", "--run", study, "--features", features, "--decoder", "beam", "--n", "3"]
    status, out, _ = shell(*words, "--max-new-tokens", "4", "--json")
    assert status == 0
    rows = [json.loads(line) for line in out.splitlines()]
    assert [row["image"] for row in rows] == list(range(44))
    for row in rows:
        assert len(row["captions"]) == 3
        assert set(row["captions"][0]) == {"text", "logprob", "score", "finish", "tokens"}
        scores = [caption["score"] for caption in row["captions"]]
        assert scores == sorted(scores, reverse=True)
        assert row["captions"][0]["finish"] in ("stop", "length")


def test_safetensors_and_npy_of_any_name_give_the_same(
    shell: Shell, study: Path, world: World, tmp_path: Path
) -> None:
    from safetensors.numpy import save_file

    features = np.load(world.data / "features.npy")[:3]
    np.save(tmp_path / "f.npy", features)
    save_file({"features": features}, tmp_path / "f.safetensors")
    words = ["caption", "--run", study, "--decoder", "greedy", "--features"]
    shutil.copy(tmp_path / "f.npy", tmp_path / "f")
    one, *others = (shell(*words, tmp_path / name)[1] for name in ("f.npy", "f.safetensors", "f"))
    assert others == [one, one]
    assert one.splitlines()[2].startswith("2: ")


def test_captions_depend_on_the_seed(shell: Shell, study: Path, world: World) -> None:
    features = world.data / "features.npy"
    words = ["caption", "--run", study, "--features", features, "--decoder", "top-p"]
    answers = [shell(*words, "--seed", seed)[1] for seed in (1, 1, 2)]
    assert answers[0] == answers[1] != answers[2]


def test_images_through_an_encoder(shell: Shell, world: World, tmp_path: Path) -> None:
    data = tmp_path / "data"
    shutil.copytree(world.data, data)
    (data / "features.npy").unlink()
    run = tmp_path / "run"
    options = [*World(data, world.lm).options, "--encoder", "scenes-clip", "--out", run]
    status, out, _ = shell("train", *options, "--json")
    assert status == 0
    assert json.loads(out)["run"] == str(run)
    folders = {path.name for path in run.iterdir()}
    assert folders == {
        *("config.json", "weights.safetensors", "key.json", "epochs.csv", "features"),
    }
    shards = (FeatureShard.read(file) for file in run.glob("features/*/*.safetensors"))
    assert sum(len(shard.images) for shard in shards) == 30 + 6  # no test images
    images = [data / "images" / f"test-{i}.png" for i in range(2)]
    words = ["caption", *images, "--run", run, "--decoder", "greedy", "--json"]
    _, out, _ = shell(*words, "--max-new-tokens", "5")
    assert [json.loads(line)["image"] for line in out.splitlines()] == [str(i) for i in images]


def test_rows_can_have_ids(shell: Shell, study: Path, world: World, tmp_path: Path) -> None:
    features, ids = world.data / "features.npy", tmp_path / "ids.txt"
    count = len(np.load(features))
    ids.write_text("".join(f"{number}.jpg\n" for number in range(count)))
    words = ["caption", "--features", features, "--run", study, "--json", "--max-new-tokens", "4"]
    status, out, _ = shell(*words, "--ids", ids)
    assert status == 0
    result = [json.loads(line)["image"] for line in out.splitlines()]
    assert result == [f"{number}.jpg" for number in range(count)]
    ids.write_text("0.jpg\n")
    assert f"there are 1 ids for {count} rows of features" in shell(*words, "--ids", ids)[2]
    assert "the image ids" in (missing := shell(*words, "--ids", tmp_path / "no")[2])
    assert "does not exist" in missing
    assert "needs --features too" in shell("caption", "x.png", "--run", study, "--ids", ids)[2]


def test_a_study_of_several_models_names_them(shell: Shell, world: World, tmp_path: Path) -> None:
    run = tmp_path / "run"
    assert shell(*world.bench, "--prefix-len", "1,3", "--no-baselines", "--out", run)[0] == 0
    features = world.data / "features.npy"
    status, _, err = shell("caption", "--run", run, "--features", features)
    assert status == 2
    assert f"{run} holds 3 models; choose one in {run / 'models'}: linear-p1-full-s0-" in err
    (one,) = (run / "models").glob("linear-p3-*")
    assert shell("caption", "--run", one, "--features", features)[0] == 0


def test_train_again_is_done_and_other_settings_need_another_out(
    shell: Shell, world: World, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    words = ["train", *world.options, "--out", run]
    status, _, err = shell(*words, "--tracker", "tensorboard")
    assert status == 0
    assert list(run.glob("tensorboard/linear-p2-full-s0/events.*"))
    assert "linear-p2-full-s0, epoch 1: learning rate 0." in err
    assert "\n  val-2.png: " in err
    assert len((run / "epochs.csv").read_text().splitlines()) == 2
    before = (run / "weights.safetensors").stat().st_mtime_ns
    assert shell(*words)[0] == 0
    assert (run / "weights.safetensors").stat().st_mtime_ns == before
    status, _, err = shell(*words, "--seed", "3")
    assert status == 2
    assert err.splitlines()[-1] == f"prefixcap: {run} holds another run: choose another --out"
    # an altered run is trained again, if it is known which one it is
    weights, key = (run / name for name in ("weights.safetensors", "key.json"))
    trained = weights.read_bytes()
    weights.write_bytes(trained[:-1] + b"x")
    status, _, err = shell(*words)
    assert (status, f"{weights} was altered after it was written" in err) == (0, True)
    assert weights.read_bytes() == trained
    key.write_text(key.read_text().replace("key", "kez"))
    status, _, err = shell(*words)
    assert status == 2
    assert f"{key} was altered after it was written" in err
    assert err.endswith(": choose another --out\n")


def test_train_makes_one_captioner(shell: Shell, world: World, tmp_path: Path) -> None:
    words = ["train", *world.options, "--out", tmp_path / "run", "--seed", "1,2"]
    status, _, err = shell(*words)
    assert status == 2
    assert "train makes one captioner, and --seed has 2 values: use bench" in err
