from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cli_world import World, make_world

from prefixcap.util.files import new_folder

Shell = Callable[..., tuple[int, str, str]]


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_one_object_on_standard_output(shell: Shell, world: World, tmp_path: Path) -> None:
    words = [*world.bench, "--decoder", "beam:num_beams=2,length_penalty=0.8", "--json"]
    status, out, err = shell(*words, "--out", tmp_path / "run", "--mapper", "mlp")
    assert status == 0
    result = json.loads(out)
    assert result["run"] == str(tmp_path / "run")
    assert [(r["mapper"], r["prefix_length"], r["decoder"]) for r in result["rows"]] == [
        ("linear", 2, "greedy"),
        ("linear", 2, "beam:num_beams=2,length_penalty=0.8"),
        ("mlp", 2, "greedy"),
        ("mlp", 2, "beam:num_beams=2,length_penalty=0.8"),
    ]
    row = result["rows"][0]
    assert row["scores"]["Length"] > 0
    assert row["captions_per_second"] > 0
    assert row["trained_parameters"] > 0
    assert row["training_memory"] >= 0
    names = [baseline["name"] for baseline in result["baselines"]]
    assert names == [
        "constant caption",
        "random training caption",
        "nearest training image",
        "consensus of neighbors",
        "shuffled images",
    ]
    assert "training linear-p2-full-s0" in err
    assert "epoch 1:" not in err  # for people who watch
    assert "captioning mlp-p2-full-s0-beam" in err


def test_the_content_of_a_run_folder(study: Path) -> None:
    assert json.loads((study / "config.json").read_text())["prefix_lengths"] == [2]
    (model,) = [path for path in (study / "models").iterdir() if path.name != ".locks"]
    assert model.name.startswith("linear-p2-full-s0-")
    assert {"config.json", "weights.safetensors"} <= {path.name for path in model.iterdir()}
    rows = json.loads((study / "scores.json").read_text())["rows"]
    whole = lines(study / "captions.jsonl")
    assert len(whole) == 8 * len(rows)
    assert set(whole[0]) == {"image", "references", "cell", "captions"}
    for row in rows:
        cell = study / "cells" / row["cell"]
        captions = lines(cell / "captions.jsonl")
        assert [line["image"] for line in captions] == [f"test-{i}.png" for i in range(8)]
        scores = json.loads((cell / "scores.json").read_text())
        assert len(scores["length"]["per_image"]["Length"]) == 8
    assert "| mapper" in (study / "table.md").read_text()
    assert (study / "grid.png").read_bytes()[:4] == b"\x89PNG"


def test_the_table_and_the_captions_are_shown(shell: Shell, world: World, study: Path) -> None:
    words = [*world.bench, "--decoder", "beam:num_beams=2", "--out", study]
    _, out, _ = shell(*words)
    assert out.startswith("| mapper")
    assert "(nearest training image)" in out
    assert "test-0.png\n  linear P=2 greedy: " in out
    assert "  reference: A red ball." in out
    assert f"picture: {study / 'grid.png'}\nrun: {study}\n" in out


def test_a_study_of_one_model_is_loaded_by_its_own_folder(study: Path) -> None:
    from prefixcap.captioning.captioner import Captioner

    (model,) = (key.parent for key in (study / "models").glob("*/key.json"))
    result, expected = (Captioner.load(folder, device="cpu") for folder in (study, model))
    assert result.lm_digest == expected.lm_digest
    assert result.prefixer.state_dict().keys() == expected.prefixer.state_dict().keys()


def test_the_correction_is_saved_with_the_study(
    shell: Shell, world: World, study: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(study, folder)
    words = [*world.bench, "--decoder", "beam:num_beams=2", "--out", folder]
    _, out, _ = shell(*words, "--correction", "benjamini-hochberg", "--json")
    result = json.loads(out)
    assert set(result["work"].values()) == {0}
    assert result["table"]["correction"] == "benjamini-hochberg"
    used = [
        json.loads(shell("compare", folder, "--json", *more)[1])["correction"]
        for more in ([], ["--correction", "holm"])
    ]
    assert used == ["benjamini-hochberg", "holm"]
    status, _, err = shell(*words, "--correction", "home")
    assert (status, "--correction cannot be 'home'; did you mean 'holm'?" in err) == (2, True)


def test_a_data_set_without_a_test_split_gets_a_warning(
    shell: Shell, world: World, tmp_path: Path
) -> None:
    data = tmp_path / "data"
    shutil.copytree(world.data, data)
    file = data / "captions.jsonl"
    rows = [line for line in lines(file) if line["split"] != "test"]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    (data / "features.npy").unlink()
    words = [*world.bench, "--dataset", f"jsonl:path={data}", "--encoder", "scenes-clip"]
    message = "the data set has no split 'test': 'val' is captioned and scored, and no split stops"
    planned = shell(*words, "--out", tmp_path / "plan", "--dry-run", "--json")[1]
    assert message in json.loads(planned)["warnings"][0]
    status, out, err = shell(*words, "--out", tmp_path / "run", "--json")
    assert (status, message in err) == (0, True)
    assert message in json.loads(out)["warnings"][0]
    assert message in (tmp_path / "run" / "table.md").read_text()
    assert message in json.loads((tmp_path / "run" / "scores.json").read_text())["warnings"][0]
    rows = [row for row in rows if row["split"] == "train"]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    status, _, err = shell(*words, "--out", tmp_path / "other")
    assert (status, "has no split to caption beside 'train'" in err) == (2, True)


def test_a_loaded_run_captions_the_same(study: Path, world: World) -> None:
    import numpy as np

    from prefixcap.captioning.captioner import Captioner

    rows = json.loads((study / "scores.json").read_text())["rows"]
    captioner = Captioner.load(study / rows[0]["model"], device="cpu")
    features = np.load(world.data / "features.npy")[-8:]
    ids = [f"test-{i}.png" for i in range(8)]
    for row in rows:
        again = captioner.caption(
            features=features, decoder=row["decoder"], max_new_tokens=8, image_ids=ids
        )
        kept = lines(study / "cells" / row["cell"] / "captions.jsonl")
        assert [[h.text for h in each] for each in again] == [
            [caption["text"] for caption in line["captions"]] for line in kept
        ]


def test_another_decoder_metric_or_mapper_costs_only_itself(
    shell: Shell, world: World, study: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    shutil.copytree(study, folder)

    def work(*more: str) -> dict[str, int]:
        words = [*world.bench, "--decoder", "beam:num_beams=2", "--out", folder, "--json"]
        status, out, _ = shell(*words, "--no-baselines", *more)
        assert status == 0
        result: dict[str, int] = json.loads(out)["work"]
        return {what: count for what, count in result.items() if count}

    nothing: dict[str, int] = {}
    mapped = {"mapped_images": 8}
    assert work() == nothing
    assert work("--decoder", "top-p") == mapped | {"decoded_images": 8, "scored_metrics": 2}
    assert work("--metrics", "repetition") == nothing | {"scored_metrics": 2}
    # of each model prefixes are made once, for all its decoders
    more = mapped | {"trained_models": 1, "decoded_images": 16, "scored_metrics": 4}
    assert work("--mapper", "mlp") == more
    assert work("--seed", "0,1") == more
    # a changed training changes the model and what is made by it, and nothing before it
    assert work("--epochs", "2") == more
    assert work("--max-new-tokens", "5") == mapped | {"decoded_images": 16, "scored_metrics": 4}


def test_a_changed_data_set_is_encoded_and_trained_again(
    shell: Shell, world: World, tmp_path: Path
) -> None:
    data = tmp_path / "data"
    shutil.copytree(world.data, data)
    changed = World(data, world.lm)
    words = [*changed.bench, "--out", tmp_path / "run", "--json", "--no-baselines"]
    shell(*words)
    text = (data / "captions.jsonl").read_text()
    (data / "captions.jsonl").write_text(text.replace("A red ball.", "One red ball.", 1))
    _, out, _ = shell(*words)
    assert json.loads(out)["work"]["trained_models"] == 1


def test_a_dry_run_counts_and_writes_nothing(shell: Shell, world: World, study: Path) -> None:
    before = sorted(study.rglob("*"))
    words = [*world.bench, "--decoder", "beam:num_beams=2", "--out", study, "--dry-run"]
    _, out, _ = shell(*words)
    assert out.splitlines() == [
        "images to encode: 0 of 44",
        "models to train: 0 of 1",
        "images to caption: 0 of 16",
        "cells to score: 0 of 2",
        "nothing is missing",
    ]
    _, out, _ = shell(*words, "--prefix-len", "3", "--json")
    result = json.loads(out)
    assert result["missing"] == {
        "images to encode": 0,
        "models to train": 1,
        "images to caption": 16,
        "cells to score": 2,
    }
    assert result["seconds"] > 0
    assert sorted(study.rglob("*")) == before


def test_a_dry_run_of_a_new_study_estimates_from_neighbouring_studies(
    shell: Shell, world: World, study: Path, tmp_path: Path
) -> None:
    words = [*world.bench, "--dry-run"]
    _, out, _ = shell(*words, "--out", tmp_path / "alone" / "new")
    unknown = "time: unknown, as this study and those beside it have no measurements"
    assert out.splitlines()[-1] == unknown
    shutil.copytree(study, tmp_path / "runs" / "old")
    _, out, _ = shell(*words, "--out", tmp_path / "runs" / "new")
    assert out.splitlines()[-1].startswith("time: about ")
    assert "by measurements of studies beside it (encoding, training, captioning, scoring)" in out
    assert not (tmp_path / "runs" / "new").exists()


def test_a_study_file_is_the_same_study(
    shell: Shell, world: World, study: Path, tmp_path: Path
) -> None:
    file = tmp_path / "study.toml"
    words = [*world.bench, "--decoder", "beam:num_beams=2", "--save-study", file]
    shell(*words, "--out", tmp_path / "new", "--dry-run")
    _, out, _ = shell("bench", file, "--out", study, "--json")
    result = json.loads(out)
    assert set(result["work"].values()) == {0}
    assert [row["decoder"] for row in result["rows"]] == ["greedy", "beam:num_beams=2"]
    # what was not chosen stands there too, so that another version's defaults change nothing
    text = file.read_text()
    assert 'encoder = ["precomputed"]' in text
    assert 'correction = "holm"' in text
    assert "max_new_tokens = 8" in text


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("mappr = ['mlp']", "no key 'mappr'; did you mean 'mapper'? known: "),
        ("mapper = ", "is not TOML: "),
        ("mapper = [1.5]", "'mapper' must be a text, a number or a list of these, not [1.5]"),
    ],
)
def test_a_broken_study_file(shell: Shell, tmp_path: Path, text: str, sentence: str) -> None:
    (tmp_path / "study.toml").write_text(text)
    status, _, err = shell("bench", tmp_path / "study.toml")
    assert status == 2
    assert sentence in err
    assert str(tmp_path / "study.toml") in err


def test_each_study_without_out_has_a_folder_of_its_own(
    shell: Shell, world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("time.strftime", lambda _: "TIME")
    runs = [json.loads(shell(*world.bench, "--seed", n, "--json")[1])["run"] for n in (0, 1)]
    assert runs == [f"runs/TIME-jsonl-linear{suffix}" for suffix in ("", "-2")]
    assert [len(list(Path(run, "cells").glob("*-s?-*"))) for run in runs] == [1, 1]
    # a study that cannot start leaves no folder
    assert shell(*world.bench, "--dataset", "jsonl:path=nowhere")[0] == 2
    assert len(list(Path("runs").iterdir())) == 2


def test_a_new_folder_is_given_to_one_alone(tmp_path: Path) -> None:
    def take(number: int) -> str:
        with new_folder(tmp_path / "a" / "run") as folder:
            (folder / str(number)).touch()
        return folder.name

    with ThreadPoolExecutor(8) as pool:
        names = list(pool.map(take, range(40)))
    assert set(names) == {"run", *(f"run-{n}" for n in range(2, 41))}
    assert all(len(list((tmp_path / "a" / name).iterdir())) == 1 for name in names)


def test_an_image_without_finite_logits(shell: Shell, tmp_path: Path) -> None:
    world = make_world(tmp_path / "world")
    features = np.load(world.data / "features.npy")
    features[-3] = 3e38  # finite, but its prefix overflows
    np.save(world.data / "features.npy", features)
    words = [*world.bench, "--decoder", "beam", "--out", tmp_path / "run"]
    for _ in range(2):  # what is saved is used again
        status, out, err = shell(*words, "--json")
        assert (status, out) == (2, "")
        assert "2 of 2 cells have no scores; linear-p2-full-s0-greedy: the language model's" in err
        assert "are not finite for the image 'test-5.png': if the model runs in float16, use" in err
        partial = sorted((tmp_path / "run" / "cells").glob("*/captions.partial.jsonl"))
        assert len(partial) == 2
        for path in partial:
            text = path.read_text()
            assert len(text.splitlines()) == 7
            assert not {"NaN", "Infinity", "test-5.png"} & set(text.replace('"', " ").split())
            assert all(line["captions"][0]["logprob"] < 0 for line in lines(path))


@pytest.mark.parametrize("tuning", ["deep-prefix:length=55", "prompt:length=55"])
def test_a_trained_prefix_that_leaves_no_room_for_captions(
    shell: Shell, world: World, tmp_path: Path, tuning: str
) -> None:
    words = [*world.bench, "--out", tmp_path / "run", "--tuning", f"frozen,{tuning}"]
    for more in ("--dry-run", "--json"):
        status, _, err = shell(*words, more)
        assert status == 2
        assert (
            "a prefix of 2, 55 trained positions and 8 new tokens need 65 positions; the language "
            "model has 64: lower the study's prefix lengths (--prefix-len), the tuning's length "
            "(--tuning) or max_new_tokens (--max-new-tokens)" in err
        )
    assert not list((tmp_path / "run" / "models").glob("*"))


def test_a_prefix_that_leaves_no_room_for_captions(
    shell: Shell, world: World, tmp_path: Path
) -> None:
    words = [*world.bench, "--out", tmp_path / "run", "--prefix-len", "60"]
    status, _, err = shell(*words)
    assert status == 2
    assert (
        "a prefix of 60 and 8 new tokens need 68 positions; the language model has 64: lower" in err
    )
    assert not list((tmp_path / "run" / "models").glob("*"))
