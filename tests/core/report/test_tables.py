from __future__ import annotations

import csv
import io
import re
import subprocess
from pathlib import Path
from shutil import which

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from prefixcap.evaluation.stats import Estimate
from prefixcap.report import tables
from prefixcap.report.content import Content
from prefixcap.report.numbers import digits, number


def rows(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def test_csv_has_every_digit_the_ends_and_the_marks(content: Content, hostile: str) -> None:
    result = rows(tables.as_csv(content, content.rows))
    assert [row["mapper"] for row in result] == [
        "mlp",
        "mlp",
        hostile,
        hostile,
        result[-1]["mapper"],
    ]
    best = result[3]
    assert float(best["CIDEr"]) == content.rows[3].scores["CIDEr"].value
    assert float(best["CIDEr_low"]) == content.rows[3].scores["CIDEr"].low
    assert [row["CIDEr_mark"] for row in result] == ["", "", "tied", "best", ""]
    assert result[-1]["captions/s"] == result[-1]["seeds"] == ""


def test_every_pair_is_in_the_differences(content: Content) -> None:
    result = rows("".join(tables.differences_as_csv(content)))
    assert len(result) == 10
    assert {row["significant"] for row in result} == {"True"}
    assert {float(row["low"]) for row in result} == {-0.2}
    assert (result[0]["first"], result[0]["second"]) == ("mlp P=1 greedy", "mlp P=10 greedy")


def test_markdown_marks_and_explains(content: Content) -> None:
    text = tables.as_markdown(content)
    lines = [line for line in text.splitlines() if line.startswith("|")]
    assert len(lines) == 2 + len(content.rows)
    assert "**0.800** [0.700, 0.900]" in lines[5]
    assert "0.700† [0.600, 0.800]" in lines[4]
    assert "†: not significantly different from the best" in text
    assert "1,234,567" in lines[2]


def test_latex_is_a_booktabs_table_whose_texts_are_escaped(content: Content) -> None:
    text = tables.as_latex(content)
    assert text.count(r"\toprule") == text.count(r"\bottomrule") == 1
    assert text.count(r"\midrule") == 2  # below the header, and above the baseline
    assert r"\textbf{0.800}\,{\tiny$\pm$.100}" in text
    assert "7 images, 2 seeds. $\\pm$: half of the 95 \\% confidence interval." in text
    assert r"\underline{0.700}" in text
    body = text.partition(r"\toprule")[2].partition(r"\bottomrule")[0]
    lines = [line for line in body.splitlines() if line.endswith(r"\\")]
    assert len(lines) == 1 + len(content.rows)
    assert [len(re.findall(r"(?<!\\)&", line)) for line in lines] == [4, 4, 4, 4, 4, 2]
    assert r"\multicolumn{3}{l}{nearest training image} &" in lines[-1]


@pytest.mark.skipif(which("pdflatex") is None, reason="LaTeX is not installed")
def test_the_table_fits_the_text_of_an_article(content: Content, tmp_path: Path) -> None:
    names = [f"Score_{n}" for n in range(9)]
    wide = [
        attrs.evolve(row, scores=dict.fromkeys(names, row.scores["CIDEr"])) for row in content.rows
    ]
    wide[0] = attrs.evolve(
        wide[0], columns={**wide[0].columns, "decoder": "contrastive:top_k=45,penalty_alpha=0.6"}
    )
    made = attrs.evolve(content, rows=wide, quality=names[0], score_names=names, headlines=names)
    (tmp_path / "table.tex").write_text(tables.as_latex(made))
    (tmp_path / "paper.tex").write_text(
        r"\documentclass{article}\usepackage{booktabs,graphicx}"
        r"\begin{document}\input{table.tex}\end{document}"
    )
    command = ["pdflatex", "-interaction=batchmode", "-halt-on-error", "paper.tex"]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    assert "Overfull" not in (tmp_path / "paper.log").read_text(errors="replace")


def test_a_spec_is_written_in_words() -> None:
    spec = "beam:num_beams=5,length_penalty=0.8"
    assert tables.readable(spec) == "beam (num beams 5, length penalty 0.8)"
    assert tables.readable("greedy") == "greedy"
    assert tables.readable("mine: long") == "mine: long"


@given(st.text())
def test_latex_leaves_no_special_character(text: str) -> None:
    written = tables.latex(text)
    bare = re.sub(
        r"\\(textbackslash|textasciitilde|textasciicircum|textless|textgreater|textbar){}",
        "",
        written,
    )
    assert not re.search(r"(?<!\\)[&%$#_{}~^<>|]", bare)


def test_without_comparisons_marks_are_not_explained(content: Content) -> None:
    plain = [attrs.evolve(row, marks={}) for row in content.rows]
    assert "best" not in tables.explained(attrs.evolve(content, rows=plain), "bold", "underlined")


def test_brackets_are_explained_if_there_are_any(content: Content) -> None:
    assert tables.explained(content, "bold", "underlined").startswith("In brackets: 95 %")
    bare = [
        attrs.evolve(cell, scores={"CIDEr": Estimate(value=cell.scores["CIDEr"].value)}, marks={})
        for cell in content.rows
    ]
    plain = attrs.evolve(content, rows=bare, score_names=["CIDEr"])
    assert tables.explained(plain, "bold", "underlined") == ""
    assert r"\caption{Captions of" in tables.as_latex(plain)
    assert tables.as_markdown(plain).endswith("|\n\n\n")


def test_warnings_are_below_the_tables(content: Content) -> None:
    warned = attrs.evolve(content, warnings=["Warning: 2 images_of 5 % are the same."])
    assert tables.as_markdown(warned).endswith(" Warning: 2 images_of 5 % are the same.\n")
    caption = next(line for line in tables.as_latex(warned).splitlines() if "caption{" in line)
    assert caption.endswith(r" Warning: 2 images\_of 5 \% are the same.}")


def test_a_papers_table_has_the_scores_of_any_clip(content: Content) -> None:
    names = ["CLIPScore[scenes-clip]", "RefCLIPScore[scenes-clip]", "Rep_2", "CIDEr"]
    cells = [
        attrs.evolve(cell, scores={name: Estimate(value=0.5) for name in names})
        for cell in content.rows
    ]
    text = tables.as_latex(
        attrs.evolve(content, rows=cells, score_names=names, headlines=[*names[:2], "CIDEr"])
    )
    header = text.partition("\\toprule\n")[2].partition("\n")[0]
    assert header == (
        r"mapper & P & decoder & CLIPScore[scenes-clip] & RefCLIPScore[scenes-clip] & CIDEr \\"
    )


@given(st.lists(st.floats(-1e6, 1e6), min_size=1))
def test_a_column_has_as_many_decimals_as_its_largest_number_needs(values: list[float]) -> None:
    decimals = digits(values)
    assert 0 <= decimals <= 3
    largest = max(values, key=abs)
    if all(value.is_integer() for value in values):
        assert decimals == 0
    else:
        assert len(re.sub(r"\D", "", number(largest, decimals))) >= 4 or largest == 0
