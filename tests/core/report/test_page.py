from __future__ import annotations

import json
import re
from collections import Counter
from html.parser import HTMLParser
from importlib.resources import files
from pathlib import Path
from typing import Any

import attrs
import pytest

from prefixcap.report.content import Content
from prefixcap.report.figures import figures
from prefixcap.report.gallery import _scores as gallery_scores
from prefixcap.report.gallery import as_json
from prefixcap.report.page import page
from prefixcap.study.finished import Cell


class Elements(HTMLParser):
    """What a browser would make of a page: its elements, their attributes, and its texts."""

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
    assert len(elements.all("script")) == 2  # the data and the script of the package
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


def test_ids_are_unique_and_links_lead_somewhere(text: str) -> None:
    elements = Elements(text)
    ids = Counter(found["id"] for _, found in elements.found if found.get("id"))
    assert max(ids.values()) == 1
    for link in elements.all("a"):
        assert link["href"].removeprefix("#") in ids
    for found in [found for _, found in elements.found if "aria-labelledby" in found]:
        assert found["aria-labelledby"] in ids
    for target in re.findall(r"url\(#([^)]+)\)|xlink:href=\"#([^\"]+)\"", text):
        assert "".join(target) in ids


def test_figures_say_what_they_show_and_take_the_colours_of_the_page(text: str) -> None:
    drawn = re.findall(r"<svg xmlns.*?</svg>", text, re.S)
    assert len(drawn) == 2 + 3 + 1  # two mappers, three pairs of measures, one mapper trained
    for figure in drawn:
        assert re.search(r'role="img" aria-label="[^"]{20,}"', figure)
        assert "var(--s1)" in figure
        colours = set(re.findall(r"#[0-9a-f]{6}\b", figure))
        assert not colours, colours


def test_the_data_of_the_gallery_is_what_it_was(content: Content, hostile: str) -> None:
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


def test_sections_without_content_are_left_out(content: Content) -> None:
    bare = attrs.evolve(content, pairs={}, curves=[], gallery=None, cells=content.cells[:1])
    ids = {found.get("id") for found in Elements(page(bare, figures(bare))).all("section")}
    assert ids == {"table", "prefix-length", "reproduce"}


def test_marks_are_said_and_not_only_seen(text: str) -> None:
    assert text.count('<span class="visually-hidden"> (best)</span>') == 1
    assert text.count('<span class="visually-hidden"> (tied)</span>') == 1


@pytest.mark.parametrize(
    "name", ["static/report.css", "static/report.js", "templates/page.html.j2"]
)
def test_the_package_has_its_files(name: str) -> None:
    assert files("prefixcap.report").joinpath(name).is_file()


def test_a_score_that_is_not_a_number_is_none(tmp_path: Path) -> None:
    cells = [Cell(name="a", folder=tmp_path, scores={}), Cell(name="b", folder=tmp_path, scores={})]
    vars(cells[0])["per_image"] = {"SPICE": [0.5, float("nan")]}
    vars(cells[1])["per_image"] = {}
    assert gallery_scores(cells, 2) == {"SPICE": [[0.5, None], None]}
