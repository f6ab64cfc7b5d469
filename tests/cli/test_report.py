"""`prefixcap report` on small real studies."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cli_world import World
from report_world import HOSTILE, gallery_data

from prefixcap.cli import main
from prefixcap.util.files import read_json, write_json
from prefixcap.util.text import visible_lines

Shell = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def written(graded: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report of the study, with figures as SVG."""
    out = tmp_path_factory.mktemp("report")
    assert main(["report", str(graded), "--out", str(out), "--format", "svg"]) == 0
    return out


def test_page_figures_and_tables_are_written(written: Path) -> None:
    result = {str(path.relative_to(written)) for path in written.rglob("*") if path.is_file()}
    assert result == {
        "report.html",
        *(f"figures/{n}.svg" for n in ("frontier", "differences", "training")),
        *(f"tables/{n}" for n in ("table.md", "table.tex", "table.csv", "seeds.csv")),
        "tables/differences.csv",
    }


def test_the_table_is_that_of_the_study(graded: Path, written: Path) -> None:
    scores = json.loads((graded / "scores.json").read_text())
    rows = list(csv.DictReader((written / "tables" / "seeds.csv").read_text().splitlines()))
    cells = rows[: len(scores["rows"])]
    assert len(rows) == len(scores["rows"]) + len(scores["baselines"])
    assert sorted(float(row["Length"]) for row in cells) == sorted(
        row["scores"]["Length"] for row in scores["rows"]
    )
    assert all(float(row["Length_low"]) <= float(row["Length"]) for row in cells)
    grouped = list(csv.DictReader((written / "tables" / "table.csv").read_text().splitlines()))
    assert [row["seeds"] for row in grouped] == ["0 1", "0 1", "", "", "", "", ""]


def test_the_gallery_has_every_caption_of_every_cell(graded: Path, written: Path) -> None:
    data = gallery_data(written / "report.html")
    lines = [json.loads(line) for line in (graded / "captions.jsonl").read_text().splitlines()]
    assert data["cells"][:2] == ["linear P=2 greedy seed 0", "linear P=2 greedy seed 1"]
    assert data["cells"][-1] == "shuffled images"
    shown = [
        data["texts"][image["captions"][cell][0]] for cell in range(4) for image in data["images"]
    ]
    assert sorted(shown) == sorted(visible_lines(line["captions"][0]["text"]) for line in lines)
    assert all(image["picture"].startswith("data:image/webp;base64,") for image in data["images"])
    assert HOSTILE in data["images"][0]["references"]


def test_the_study_file_of_the_page_gives_the_study_again(
    graded: Path, written: Path, shell: Shell, tmp_path: Path
) -> None:
    from html import unescape

    page = (written / "report.html").read_text("utf-8")
    start = page.index("dataset = ", page.index('id="reproduce"'))
    text = unescape(page[start : page.index("</code>", start)])
    (tmp_path / "study.toml").write_text(text)
    again = tmp_path / "again"
    shutil.copytree(graded, again)
    status, out, err = shell("bench", tmp_path / "study.toml", "--out", again, "--json")
    assert status == 0, err
    assert set(json.loads(out)["work"].values()) == {0}


def test_json_lists_the_written_files(graded: Path, shell: Shell, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    warnings = json.loads((graded / "scores.json").read_text())["warnings"]
    status, out, _ = shell("report", graded, "--out", page, "--images", 3, "--json")
    assert status == 0
    assert json.loads(out) == {
        "page": str(page),
        "figures": [],
        "tables": [],
        "images": 3,
        "notes": [f"{text[0].upper()}{text[1:]}." for text in warnings],
    }
    assert warnings  # the study is of eight images, and one has more references than the others
    assert len(gallery_data(page)["images"]) == 3
    assert "The first 3 of 8 images" in page.read_text("utf-8")
    assert list(tmp_path.iterdir()) == [page]


def test_without_pictures_the_gallery_has_captions(
    world: World, shell: Shell, tmp_path: Path
) -> None:
    data = tmp_path / "data"
    shutil.copytree(world.data, data)
    shutil.rmtree(data / "images")
    study = tmp_path / "study"
    assert shell(*World(data, world.lm).bench, "--out", study)[0] == 0
    status, out, _ = shell("report", study, "--score", "Distinct_2")
    assert status == 0
    page = study / "report" / "report.html"
    assert f"page: {page}" in out
    assert {image["picture"] for image in gallery_data(page)["images"]} == {None}
    assert "The dataset has no pictures" in page.read_text("utf-8")


def test_without_images_there_is_no_gallery(study: Path, shell: Shell, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    assert shell("report", study, "--out", page, "--images", 0)[0] == 0
    assert 'id="gallery"' not in page.read_text("utf-8")


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--format", "pfd"], "--format cannot be 'pfd'; did you mean 'pdf'? known: pdf, svg"),
        (["--images", "-1"], "--images must be at least 0, not -1"),
        (["--score", "Lenght"], "--score Lenght: no cell was scored by it; did you mean 'Length'?"),
        (["--out", "{file}"], "--out {file} cannot be a folder: it is a file"),
    ],
)
def test_wrong_options_are_sentences(
    words: list[str], sentence: str, study: Path, shell: Shell, tmp_path: Path
) -> None:
    file = tmp_path / "file"
    file.write_text("")
    status, out, err = shell("report", study, *(word.format(file=file) for word in words))
    assert (status, out) == (2, "")
    assert sentence.format(file=file) in err
    assert "Traceback" not in err


@pytest.fixture
def edited(graded: Path, tmp_path: Path) -> Callable[..., Path]:
    """Copy the study and change one of its files."""

    def edit(name: str, change: Callable[[dict[str, Any]], object]) -> Path:
        copy = tmp_path / "study"
        shutil.copytree(graded, copy)
        data = read_json(copy / name) or {}
        change(data)
        write_json(copy / name, data)
        return copy

    return edit


def test_the_correction_is_that_of_the_study(edited: Callable[..., Path], shell: Shell) -> None:
    folder = edited("config.json", lambda data: data.update(correction="benjamini-hochberg"))
    page = folder / "report" / "report.html"
    for words, name in (((), "Benjamini-Hochberg"), (("--correction", "holm"), "Holm")):
        assert shell("report", folder, "--images", 0, *words)[0] == 0
        assert f"paired bootstrap, {name} over 21 pairs" in page.read_text("utf-8")


def test_warnings_of_the_study_are_shown(edited: Callable[..., Path], shell: Shell) -> None:
    folder = edited("scores.json", lambda data: data.update(warnings=["warning: 2 are the same"]))
    status, out, _ = shell("report", folder, "--images", 0, "--json")
    assert status == 0
    assert json.loads(out)["notes"] == ["Warning: 2 are the same."]
    report = folder / "report"
    assert (
        '<li class="warning">Warning: 2 are the same.</li>' in (report / "report.html").read_text()
    )
    for name in ("table.md", "table.tex"):
        assert "Warning: 2 are the same." in (report / "tables" / name).read_text()


def test_a_score_of_some_seeds_only_is_not_the_main_score(
    edited: Callable[..., Path], shell: Shell
) -> None:
    folder = edited("scores.json", lambda data: data["rows"][0]["scores"].update(Rare=1.0))
    status, _, err = shell("report", folder, "--score", "Rare", "--images", 0)
    assert status == 2
    assert "--score Rare: no cell has it for all of its seeds; known: Distinct_1, " in err
    assert shell("report", folder, "--score", "length", "--images", 2)[0] == 0
    assert "has the highest Length" in (folder / "report" / "report.html").read_text("utf-8")
    assert "Rare" in (folder / "report" / "tables" / "seeds.csv").read_text()


def test_broken_or_missing_files_leave_gaps(world: World, shell: Shell, tmp_path: Path) -> None:
    data = tmp_path / "data"
    shutil.copytree(world.data, data)
    (data / "images" / "test-0.png").unlink()
    whole = (data / "images" / "test-1.png").read_bytes()
    (data / "images" / "test-1.png").write_bytes(whole[: len(whole) // 2])
    study = tmp_path / "study"
    words = [*World(data, world.lm).bench, "--encoder", "precomputed", "--out", study]
    status, _, err = shell(*words)
    assert status == 0, err
    assert (study / "grid.png").is_file()
    status, _, err = shell("report", study)
    assert status == 0, err
    images = gallery_data(study / "report" / "report.html")["images"]
    assert [image["picture"] is None for image in images] == [True, True, *[False] * 6]


def test_a_folder_without_a_study_is_an_error(study: Path, shell: Shell, tmp_path: Path) -> None:
    status, _, err = shell("report", tmp_path / "gone")
    assert (status, err) == (2, f"prefixcap: {tmp_path / 'gone'}: there is no such folder\n")
    (model,) = (study / "models").glob("linear-*")
    status, _, err = shell("report", model)
    assert status == 2
    assert "holds a single model, not a study" in err


def test_bench_explains_how_to_get_a_report(study: Path, world: World, shell: Shell) -> None:
    words = [*world.bench, "--decoder", "beam:num_beams=2", "--out", study]
    assert f"report: prefixcap report {study}" in shell(*words)[1]


def test_a_study_from_before_an_axis_existed_has_a_page(
    edited: Callable[..., Path], shell: Shell
) -> None:
    def without(data: dict[str, Any]) -> None:
        for axis in ("prompts", "bridges", "train_on"):
            del data[axis]

    folder = edited("config.json", without)
    assert shell("report", folder, "--images", 0)[0] == 0
    assert "linear" in (folder / "report" / "report.html").read_text("utf-8")
