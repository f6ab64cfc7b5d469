from __future__ import annotations

import json
import re
import shlex
from collections import Counter
from collections.abc import Sequence
from html.parser import HTMLParser
from importlib.resources import files
from pathlib import Path
from typing import Any

import attrs
import pytest

from prefixcap.interfaces.metric import NO_SCALE
from prefixcap.report.content import Content, ReportRow
from prefixcap.report.figures import figures
from prefixcap.report.figures.base import Figure
from prefixcap.report.gallery import _scores as gallery_scores
from prefixcap.report.gallery import as_json
from prefixcap.report.page import page
from prefixcap.study.analysis.reader import SavedCell
from prefixcap.util.files import write_json

UNDRAWN: dict[str, Figure] = {}


class Elements(HTMLParser):
    """The elements of a page, their attributes, and its texts, as a browser parses them."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, Any]]] = []
        self.texts: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attributes)))

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    def all(self, name: str) -> list[dict[str, Any]]:
        return [attributes for tag, attributes in self.found if tag == name]


@pytest.fixture(scope="session")
def text(content: Content) -> str:
    return page(content, figures(content))


def test_texts_cannot_break_out(text: str, hostile: str) -> None:
    elements = Elements(text)
    assert len(elements.all("script")) == 3  # the theme, the data and the script of the package
    assert not any(
        "window.hacked = 1" in each for each in re.findall(r"<script>(.*?)</script>", text, re.S)
    )
    assert any(hostile in each for each in elements.texts)


def test_nothing_is_fetched(text: str) -> None:
    for tag, attributes in Elements(text).found:
        for name in ("src", "href", "xlink:href", "action", "data", "srcset", "poster"):
            value = attributes.get(name) or ""
            assert value.startswith(("#", "data:")) or not value, (tag, name, value)
    assert not re.search(r"@import|url\(\s*['\"]?(?!#)", text)


def test_ids_are_unique_and_links_resolve(text: str) -> None:
    elements = Elements(text)
    ids = Counter(result["id"] for _, result in elements.found if result.get("id"))
    assert max(ids.values()) == 1
    for link in elements.all("a"):
        assert link["href"].removeprefix("#") in ids
    for result in [result for _, result in elements.found if "aria-labelledby" in result]:
        assert result["aria-labelledby"] in ids
    for target in re.findall(r"url\(#([^)]+)\)|xlink:href=\"#([^\"]+)\"", text):
        assert "".join(target) in ids


def test_figures_have_descriptions_and_the_colours_of_the_page(text: str) -> None:
    drawn = re.findall(r"<svg xmlns.*?</svg>", text, re.S)
    assert len(drawn) == 2 + 3 + 1  # two mappers, three pairs of measures, one mapper trained
    for figure in drawn:
        assert re.search(r'role="img" aria-label="[^"]{20,}"', figure)
        assert "var(--s1)" in figure
        colours = set(re.findall(r"#[0-9a-f]{6}\b", figure))
        assert not colours, colours


def test_the_data_of_the_gallery_round_trips(content: Content, hostile: str) -> None:
    assert content.gallery is not None
    written = as_json(content.gallery)
    assert "<" not in written
    data = json.loads(written)
    first = data["images"][0]
    assert [[data["texts"][n] for n in column] for column in first["captions"]] == [
        [hostile, "A cat."],
        ["A cat."],
        [""],
    ]
    assert len(data["texts"]) == 3
    assert data["scores"] == {"CIDEr": [[0.1, 0.2], None, [0.0, 0.5]]}


def test_a_large_gallery_has_a_note_on_its_size(content: Content) -> None:
    assert content.gallery is not None
    large = {**content.gallery.images[0], "picture": "data:," + "x" * 12_000_000}
    gallery = attrs.evolve(content.gallery, images=[large], total=1)
    several = attrs.evolve(content, gallery=gallery)
    text = page(several, UNDRAWN)
    assert (
        "1 captioned image. They take 12 MB of this page; reduce --images for a smaller one."
        in text
    )


def test_a_small_gallery_does_not(text: str) -> None:
    assert "The first 2 of 7 images; --images sets the number." in text
    assert "MB of this page" not in text


def test_the_theme_is_set_before_the_first_paint(text: str) -> None:
    head = text.partition("</head>")[0]
    assert head.index('localStorage.getItem("prefixcap-theme")') < head.index("<style>")


def test_warnings_come_before_other_notes(content: Content, hostile: str) -> None:
    warned = attrs.evolve(content, warnings=[f"Warning: {hostile}."], notes=["Something is gone."])
    text = page(warned, UNDRAWN).partition("<nav")[0]
    message = [each for each in Elements(text).texts if each.strip()]
    assert message.index(f"Warning: {hostile}.") < message.index("Something is gone.")


def test_the_shell_reads_the_folder_as_one_word(content: Content) -> None:
    spaced = attrs.evolve(content, folder="runs/a b; rm -rf x")
    message = "".join(Elements(page(spaced, UNDRAWN)).texts)
    for command in ("prefixcap bench study.toml --out", "prefixcap report"):
        (line,) = (line for line in message.splitlines() if line.startswith(command))
        assert shlex.split(line)[len(command.split()) :] == ["runs/a b; rm -rf x"]


def test_a_score_without_a_direction_has_no_better_row(content: Content) -> None:
    assert "the row is better" in page(content, figures(content))
    neutral = attrs.evolve(
        content,
        scale=NO_SCALE,
        rows=unmarked(content.rows),
        findings=[],
    )
    result = figures(neutral)
    text = "".join(Elements(page(neutral, result)).texts)
    assert "the row is higher" in text
    shown = text[text.index("Skip to the table") : text.index('"use strict"')]
    caption = result["frontier"].caption  # of diversity and speed
    assert "CIDEr" not in caption
    shown = shown.replace(caption, "").replace("best epoch", "")
    assert not re.search(r"\b(best|better|worse|worst)\b", shown)


def unmarked(rows: Sequence[ReportRow]) -> list[ReportRow]:
    return [attrs.evolve(row, marks={}) for row in rows]


def test_the_differences_link_to_their_intervals(text: str) -> None:
    assert "<code>differences.csv</code>" in text
    headings = [result for result in Elements(text).all("th") if result.get("title")]
    assert "nearest training image" in [result["title"] for result in headings]


def test_landmarks_have_unique_names(text: str) -> None:
    titles = dict(re.findall(r'<h2 id="([^"]+)">([^<]+)<', text))
    names = [
        titles.get(result.get("aria-labelledby"), result.get("aria-label"))
        for tag, result in Elements(text).found
        if tag in ("section", "nav", "form") or result.get("role") == "region"
    ]
    assert len(names) == 12
    assert None not in names
    assert max(Counter(names).values()) == 1


def test_radio_buttons_are_not_restored_by_the_browser(content: Content) -> None:
    seeds = attrs.evolve(content, single=content.rows)
    inputs = Elements(page(seeds, UNDRAWN)).all("input")
    radios = [result for result in inputs if result["type"] == "radio"]
    assert len(radios) == 5
    assert {result.get("autocomplete") for result in radios} == {"off"}


def test_old_browsers_get_the_light_colours() -> None:
    css = files("prefixcap.report").joinpath("static/report.css").read_text("utf-8")
    both = re.search(r"@supports \(color: light-dark\(.*?\n}\n", css, re.S)
    assert both is not None
    rest = css.replace(both[0], "")
    assert rest.count("light-dark(") == rest.count("@supports not (color: light-dark(") == 1
    plain = dict(re.findall(r"^  (--\w+): (#\w+);", css, re.M))
    light = dict(re.findall(r"^    (--\w+): light-dark\((#\w+), ", both[0], re.M))
    assert plain == light
    assert len(light) == 17


def test_sections_without_content_are_omitted(content: Content) -> None:
    bare = attrs.evolve(content, pairs={}, curves=[], gallery=None, rows=content.rows[:1])
    ids = {result.get("id") for result in Elements(page(bare, figures(bare))).all("section")}
    assert ids == {"table", "reproduce"}


def test_marks_are_accessible_to_screen_readers(text: str) -> None:
    assert text.count('<span class="visually-hidden"> (best)</span>') == 1
    assert text.count('<span class="visually-hidden"> (tied)</span>') == 1


@pytest.mark.parametrize(
    "name", ["static/report.css", "static/report.js", "templates/page.html.j2"]
)
def test_the_package_has_its_files(name: str) -> None:
    assert files("prefixcap.report").joinpath(name).is_file()


def test_a_score_that_is_not_a_number_is_none(tmp_path: Path) -> None:
    cells = [SavedCell(name=name, folder=tmp_path / name, scores={"SPICE": 0.5}) for name in "ab"]
    scored = {"key": "", "values": {"SPICE": 0.5}, "per_image": {"SPICE": [0.5, float("nan"), 0.1]}}
    write_json(tmp_path / "a" / "scores.json", {"spice": scored})
    assert gallery_scores(cells, 2) == {"SPICE": [[0.5, None], None]}
