"""`prefixcap compare`: a study's table, and comparisons of rows, files and studies."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cli_world import World

from prefixcap.cli import main
from prefixcap.evaluation.stats import holm
from prefixcap.study.analysis.analyze import analyze
from prefixcap.study.analysis.compare import compare
from prefixcap.study.analysis.reader import load_study
from prefixcap.study.analysis.selectors import select
from prefixcap.util.files import read_json, write_json

Shell = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def seeds(world: World, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study of two seeds and two decoders; tests only read it."""
    folder = tmp_path_factory.mktemp("seeds") / "run"
    assert main([*world.bench, "--decoder", "top-p", "--seed", "0,1", "--out", str(folder)]) == 0
    return folder


def write(path: Path, shift: int = 0, images: int = 30, **more: Any) -> Path:
    """Write predictions, copies of the references without the last `shift` words."""
    words = ["a", "small", "brown", "dog", "runs", "over", "the", "green", "grass", "today"]
    lines = []
    for number in range(images):
        reference = [*words, str(number)]
        kept = reference[: len(reference) - shift - number % 3]
        lines.append(
            {
                "image": f"{number}",
                "references": [" ".join(reference)],
                "prediction": " ".join(kept),
            }
            | more
        )
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def rows(out: str) -> list[list[str]]:
    lines = [line for line in out.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_a_studys_table_pools_seeds_in_one_row(shell: Shell, seeds: Path) -> None:
    status, out, _ = shell("compare", seeds)
    assert status == 0
    header, _, *body = rows(out)
    assert header[:4] == ["mapper", "P", "decoder", "seeds"]
    assert [line[:4] for line in body[:2]] == [["linear", "2", d, "2"] for d in ("greedy", "top-p")]
    assert len(body) == 2 + 5
    legend = "±: half the 95% interval, over other images like these 8 of 'test' and other seeds"
    assert legend in " ".join(out.split())
    _, out, _ = shell("compare", f"{seeds}::greedy", "--scores", "length", "--json")
    result = json.loads(out)
    labels = [entry["label"] for entry in result["entries"]]
    assert labels[0] == "linear P=2 greedy"
    assert all(label.startswith("(") for label in labels[1:])  # the baselines
    assert len(labels) == 1 + 5
    assert result["entries"][0]["seeds"] == [0, 1]


def test_two_rows_of_a_study(shell: Shell, seeds: Path) -> None:
    status, out, _ = shell("compare", f"{seeds}::greedy", "::top-p")
    assert status == 0
    assert f"A: {seeds}::linear P=2 greedy (2 seeds)" in out
    assert "  decoder: greedy | top-p" in out
    (line,) = [line for line in rows(out) if line[0] == "Length"]
    _, out, _ = shell("compare", f"{seeds}::greedy", "::top-p", "--json")
    result = json.loads(out)
    (pair,) = result["pairs"]
    (score,) = pair["scores"]
    assert pair["seeds"] == [2, 2]
    assert float(line[3].split()[0]) == pytest.approx(score["difference"], abs=0.006)
    assert score["low"] <= score["difference"] <= score["high"]
    assert score["higher"] + score["equal"] + score["lower"] == 8
    assert result["config_diff"] == {"decoder": ["greedy", "top-p"]}
    values = [each["difference"] for each in result["by_image"]]
    assert sum(values) / 8 == pytest.approx(score["difference"])
    # the pair is tested as in the study's own table
    _, out, _ = shell("compare", seeds, "--json")
    entries = json.loads(out)["entries"]
    kept = analyze(load_study(seeds)).pairs["Length"]
    assert [entry["label"] for entry in entries][:2] == ["linear P=2 greedy", "linear P=2 top-p"]
    assert score["p"] == pytest.approx(kept.p[0], rel=1e-5)


def test_other_rows_of_the_study_contribute_the_variance_between_their_seeds(seeds: Path) -> None:
    model, baseline = f"{seeds}::greedy", f"{seeds}::constant"
    together = compare(model, baseline)["Length"]
    assert compare(select(model), select(baseline))["Length"] == together
    result = analyze(load_study(seeds))
    there = result.difference(0, 2, "Length", "holm")
    assert (together.low, together.p) == pytest.approx((there.low, there.p), rel=1e-5)


def test_one_seed_and_a_baseline_are_rows_too(shell: Shell, seeds: Path) -> None:
    status, out, _ = shell(
        "compare", f"{seeds}::greedy seed=1", "::(constant caption)", "--images", "1"
    )
    assert status == 0
    assert "linear P=2 greedy seed 1\n" in out
    assert "(constant caption)\n" in out
    assert "other images like these 8 (one seed: others may differ)" in out
    assert 1 <= out.count("  reference: ") <= 2


def test_two_studies_are_compared_row_by_row(
    shell: Shell, world: World, seeds: Path, study: Path
) -> None:
    status, out, _ = shell("compare", f"{seeds}::seed=0", study)
    assert status == 0
    assert "  decoder: greedy, top-p | greedy, beam:num_beams=2" in out
    assert f"A: {seeds}::linear P=2 greedy seed 0\n" in out
    assert [line[0] for line in rows(out)[2:]] == ["Length"]
    assert "only in A: linear P=2 top-p seed 0" in out
    assert "only in B: linear P=2 beam:num_beams=2" in out
    # a single pair is adjusted over its scores
    words = ["--metrics", "length,repetition", "--json"]
    (pair,) = json.loads(shell("compare", f"{seeds}::seed=0", study, *words)[1])["pairs"]
    assert len(pair["scores"]) > 1
    expected = holm([score["p"] for score in pair["scores"]])
    assert [score["adjusted"] for score in pair["scores"]] == expected
    _, out, _ = shell("compare", seeds, study, "--json")
    result = json.loads(out)
    assert result["config_diff"]["seed"] == ["0, 1", "0"]
    assert [pair["label"] for pair in result["pairs"]] == [
        "linear P=2 greedy",
        "(constant caption)",
        "(random training caption)",
        "(nearest training image)",
        "(consensus of neighbors)",
        "(shuffled images)",
    ]
    # captions that need no model are the same in both
    assert result["pairs"][1]["scores"][0]["difference"] == 0
    assert result["b"]["unmatched"] == ["linear P=2 beam:num_beams=2"]


def test_files_of_predictions(shell: Shell, tmp_path: Path) -> None:
    one, two = write(tmp_path / "one.jsonl"), write(tmp_path / "two.jsonl", shift=3)
    words = ["compare", one, two, "--metrics", "length,distinct", "--correction"]
    status, out, _ = shell(*words, "benjamini-hochberg", "--json")
    assert status == 0
    (score,) = json.loads(out)["pairs"][0]["scores"]
    assert (score["score"], score["difference"]) == ("Length", pytest.approx(3))
    assert (score["higher"], score["equal"], score["lower"]) == (30, 0, 0)
    assert score["p"] < 0.01
    _, out, _ = shell(*words, "holm")
    assert "A is higher: Length (level 0.05)" in out
    assert f"B: {two}\n" in out
    assert "0  A - B +3.000" in out


def test_files_of_predictions_without_references(shell: Shell, tmp_path: Path, seeds: Path) -> None:
    whole = write(tmp_path / "one.jsonl"), write(tmp_path / "two.jsonl", shift=3)
    lines = [[json.loads(line) for line in file.read_text().splitlines()] for file in whole]
    human = tmp_path / "human.jsonl"
    human.write_text("".join(json.dumps(line) + "\n" for line in lines[0]))
    bare = tmp_path / "a.jsonl", tmp_path / "b.jsonl"
    for file, rows in zip(bare, lines, strict=True):
        kept = [{key: row[key] for key in ("image", "prediction")} for row in rows]
        file.write_text("".join(json.dumps(row) + "\n" for row in kept))
    words = ["--metrics", "length", "--json"]
    result = json.loads(shell("compare", *bare, "--references", human, *words)[1])
    expected = json.loads(shell("compare", *whole, *words)[1])
    assert result["pairs"][0]["scores"] == expected["pairs"][0]["scores"]
    status, _, err = shell("compare", seeds, "--references", human)
    assert (status, "a study has its own" in err) == (2, True)


def test_different_images_are_refused_without_common(
    shell: Shell, tmp_path: Path, seeds: Path
) -> None:
    one, two = write(tmp_path / "one.jsonl"), write(tmp_path / "two.jsonl", 2, images=20)
    words = ["compare", one, two, "--metrics", "length"]
    status, _, err = shell(*words)
    assert status == 2
    assert (
        f"the test images differ: 30 in {one}, 20 in {two}, 20 in both; --common compares on those"
    ) in err
    status, out, _ = shell(*words, "--common", "--json")
    assert status == 0
    assert json.loads(out)["images"] == 20
    status, _, err = shell("compare", one, f"{seeds}::greedy")
    assert status == 2
    assert "have no test image in common (such as '0' and 'test-0.png')" in err
    other = write(tmp_path / "other.jsonl", references=["something else"])
    status, _, err = shell("compare", one, other, "--metrics", "length")
    assert status == 2
    assert "the references of 30 images differ, such as '0', so no score of" in err


def test_common_images_of_studies_are_scored_again(
    shell: Shell, seeds: Path, tmp_path: Path
) -> None:
    lines = [json.loads(line) for line in (seeds / "captions.jsonl").read_text().splitlines()]
    cell = lines[0]["cell"]
    few = [line for line in lines if line["cell"] == cell][:6]
    file = tmp_path / "few.jsonl"
    made = [
        {**{k: line[k] for k in ("image", "references")}, "prediction": line["captions"][0]["text"]}
        for line in few
    ]
    file.write_text("".join(json.dumps(line) + "\n" for line in made))
    status, out, _ = shell("compare", f"{seeds}::greedy s0", file, "--common", "--json")
    assert status == 0
    result = json.loads(out)
    assert result["images"] == 6
    # the same captions: no difference at all
    assert [(s["difference"], s["p"], s["equal"]) for s in result["pairs"][0]["scores"]] == [
        (0, 1, 6)
    ]


def test_wrong_names_are_sentences(shell: Shell, seeds: Path, tmp_path: Path) -> None:
    def message(*words: object) -> str:
        status, out, err = shell("compare", *words)
        assert (status, out) == (2, "")
        return err

    assert "did you mean 'greedy'? known:" in message(f"{seeds}::gready")
    assert "no row of" in message(f"{seeds}::linear 7")
    assert "with 'linear' has '7'" in message(f"{seeds}::linear 7")
    assert "there is no file or folder" in message(tmp_path / "nothing")
    assert f"did you mean '{seeds}'?" in message(f"{seeds}s")
    assert "selects 7 rows of the study, but one is needed" in message(f"{seeds}::greedy", seeds)
    assert "are the same row of one study" in message(f"{seeds}::greedy", "::greedy")
    assert "did you mean 'Length'?" in message(seeds, "--scores", "Lenght")
    assert "--correction cannot be 'home'; did you mean 'holm'?" in message(
        seeds, "--correction", "home"
    )
    file = write(tmp_path / "one.jsonl")
    assert "is a file: name another one to compare it with" in message(file)
    assert "none of the metrics gives a score that can be resampled" in message(
        file, file, "--metrics", "distinct"
    )


def test_an_unfinished_study_has_a_note(shell: Shell, seeds: Path, tmp_path: Path) -> None:
    import shutil

    copy = tmp_path / "copy"
    shutil.copytree(seeds, copy)
    data = read_json(copy / "scores.json") or {}
    write_json(copy / "scores.json", {**data, "complete": False})
    _, out, _ = shell("compare", copy)
    assert f"{copy} is not finished: only finished cells are shown" in out


def test_images_meet_by_their_names(shell: Shell, tmp_path: Path) -> None:
    one, two = write(tmp_path / "one.jsonl"), write(tmp_path / "two.jsonl", shift=3)
    words = ["--metrics", "length", "--json"]
    expected = json.loads(shell("compare", one, two, *words)[1])["pairs"]
    rows = [json.loads(line) for line in two.read_text().splitlines()]
    for row in rows:
        row["image"] = f"val2014/COCO_val2014_{int(row['image']):012}.jpg"
    two.write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = json.loads(shell("compare", one, two, *words)[1])["pairs"]
    assert found[0]["scores"] == expected[0]["scores"]
    rows[0]["image"] = "1.jpg"
    two.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert "the image '1' appears 2 times" in shell("compare", one, two, *words)[2]


def test_captions_without_spaces_are_warned_of(shell: Shell, tmp_path: Path) -> None:
    files = [tmp_path / "a.jsonl", tmp_path / "b.jsonl"]
    for file, text in zip(files, ("一只狗在跑", "狗在跑"), strict=True):
        rows = [{"image": n, "references": ["一只狗在跑"], "prediction": text} for n in "12"]
        file.write_text("\n".join(map(json.dumps, rows)), "utf-8")
    for metric, count in (("rouge", 1), ("rouge:tokenizer=characters", 0)):
        status, _, err = shell("compare", *files, "--metrics", metric)
        assert status == 0
        assert err.count("100% of the captions (8 of 8) have no spaces between words") == count
