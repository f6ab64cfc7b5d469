"""The page: a single HTML file without external resources."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any

import attrs

from prefixcap.report import tables
from prefixcap.report.content import Content, Curve, Gallery, ReportRow
from prefixcap.report.figures import matrix
from prefixcap.report.figures.base import Figure, headings
from prefixcap.report.figures.curves import smoothed
from prefixcap.report.figures.style import short
from prefixcap.report.gallery import as_json
from prefixcap.report.gaps import GapRow
from prefixcap.report.numbers import (
    column_decimals,
    counted,
    interval,
    number,
    probability,
    significant,
    table_decimals,
)
from prefixcap.util.text import visible_lines

if TYPE_CHECKING:
    from jinja2 import Environment

STRONGEST = 45  # percent of color for the largest difference
NUMERIC = ("P", "seed")
HEADING = 28  # letters of a heading of the matrix
LARGE = 10  # megabytes from which the page states the size of the gallery


@attrs.frozen
class Section:
    """A section of the page: its anchor, name in the navigation, heading, template and its data."""

    id: str
    link: str
    title: str
    template: str
    data: Any = None


def page(content: Content, figures: Mapping[str, Figure]) -> str:
    """Render the page."""
    values = {
        "report": content,
        "sections": _sections(content, figures),
        "numeric": NUMERIC,
        "decimals": table_decimals([*content.rows, *content.single]),
        "explained": tables.explained(content, "Bold", "underlined"),
        "seeds": max(len(row.seeds) for row in content.rows),
        "css": _static("report.css"),
        "js": _static("report.js"),
    }
    return _environment().get_template("page.html.j2").render(values)


def _sections(content: Content, figures: Mapping[str, Figure]) -> list[Section]:
    sections = [Section("table", "Table", "Scores", "table.html.j2")]
    for name, link in (("prefix-length", "Prefix length"), ("frontier", "Frontier")):
        if name in figures:
            data = _drawn(figures[name])
            sections.append(Section(name, link, figures[name].title, "figure.html.j2", data))
    if "differences" in figures:
        data = _matrix(content)
        title = f"Paired differences in {content.quality}"
        sections.append(Section("differences", "Differences", title, "differences.html.j2", data))
    if content.curves:
        data = _training(content.curves, figures.get("training"))
        sections.append(Section("training", "Training", "Training", "training.html.j2", data))
    if content.gaps:
        title = "Gap between texts and images"
        sections.append(Section("gap", "Gap", title, "gap.html.j2", _gaps(content.gaps)))
    if content.gallery is not None:
        data = _gallery(content.gallery, content.quality)
        sections.append(Section("gallery", "Gallery", "Captions", "gallery.html.j2", data))
    sections.append(Section("reproduce", "Reproduce", "How to reproduce it", "reproduce.html.j2"))
    return sections


def _drawn(figure: Figure) -> dict[str, Any]:
    return {"svgs": figure.svgs(), "caption": figure.caption}


def _matrix(content: Content) -> dict[str, Any]:
    rows = matrix.chosen(content)
    compared = {name for pair in content.pairs for name in pair}
    most = max(abs(pair.value) for pair in content.pairs.values()) or 1.0
    decimals = max(1, table_decimals(rows)[content.quality] - 1)

    def cell(one: ReportRow, two: ReportRow) -> dict[str, Any] | None:
        pair = matrix.between(content.pairs, one.id, two.id)
        if pair is None:
            return None
        title = f"{one.label} − {two.label}: {pair.value:+.4f}"
        title += f" {interval(pair)}, adjusted p {probability(pair.adjusted)}"
        # gray numbers need a paler background to be readable
        strongest = STRONGEST if pair.significant else STRONGEST / 3
        share = round(strongest * (abs(pair.value) / most) ** 0.5)
        return {"pair": pair, "share": share, "title": title, "text": f"{pair.value:+.{decimals}f}"}

    cells = [(row.label, [cell(row, column) for column in rows]) for row in rows]
    heads = zip(headings(rows), [row.label for row in rows], strict=True)
    return {"heads": list(heads), "cells": cells, "left_out": len(compared) - len(rows)}


def _training(curves: Sequence[Curve], figure: Figure | None) -> dict[str, Any]:
    losses = [loss for c in curves for loss in (*smoothed(c.steps, 40)[1], *c.train, *c.val)]
    low, high = min(losses, default=0.0), max(losses, default=1.0)

    def points(values: Sequence[float], places: Sequence[float]) -> str:
        height = (high - low) or 1.0
        return " ".join(
            f"{100 * x:.1f},{20 - 20 * (y - low) / height:.1f}"
            for x, y in zip(places, values, strict=True)
        )

    def line(curve: Curve) -> dict[str, Any]:
        places, steps = smoothed(curve.steps, 40)
        epochs = len(curve.train) or len(curve.val)
        # a line needs two points, so that of a single epoch is doubled
        val = curve.val * 2 if len(curve.val) == 1 else curve.val
        ends = [min(1.0, (number + 1) / epochs) for number in range(len(val))]
        numbers = {
            "train loss": curve.train[curve.best - 1] if curve.train else None,
            "val loss": curve.val[curve.best - 1] if curve.val else None,
            "best epoch": curve.best,
            **curve.facts,
        }
        return {
            "columns": curve.columns,
            "train": points(steps, places),
            "val": points(val, ends),
            "numbers": {name: value for name, value in numbers.items() if value is not None},
        }

    lines = [line(curve) for curve in curves]
    return {
        "figure": None if figure is None else _drawn(figure),
        "columns": list(curves[0].columns),
        "numbers": list(dict.fromkeys(name for each in lines for name in each["numbers"])),
        "decimals": column_decimals(each["numbers"] for each in lines),
        "lines": lines,
    }


def _gaps(rows: Sequence[GapRow]) -> dict[str, Any]:
    return {
        "rows": rows,
        "columns": list(rows[0].columns),
        "numbers": list(dict.fromkeys(name for row in rows for name in row.numbers)),
        "places": " and ".join(dict.fromkeys(row.place for row in rows)),
    }


def _gallery(gallery: Gallery, score: str) -> dict[str, Any]:
    numbered = list(enumerate(gallery.names))
    first_baseline = len(numbered) - gallery.baselines
    groups = [("cells", numbered[:first_baseline]), ("baselines", numbered[first_baseline:])]
    shown = len(gallery.images)
    data = as_json(gallery)
    note = f"{'All ' if shown > 1 else ''}{counted(shown, 'captioned image')}."
    if shown < gallery.total:
        note = (
            f"The first {shown:,} of {counted(gallery.total, 'image')}; --images sets the number."
        )
    size = len(data.encode("utf-8", "replace")) / 1e6
    if size > LARGE:
        note += f" They take {size:.0f} MB of this page; reduce --images for a smaller one."
    if not any(image["picture"] for image in gallery.images):
        note += " The dataset has no pictures, or they are not on this machine."
    scores = list(gallery.scores)
    return {
        "note": note,
        "first": gallery.first,
        "second": gallery.second,
        "groups": [group for group in groups if group[1]],
        "scores": scores,
        "score": score if score in scores else next(iter(scores), ""),
        "json": data,
    }


def _static(name: str) -> Any:
    from markupsafe import Markup

    return Markup(files("prefixcap.report").joinpath(f"static/{name}").read_text("utf-8").strip())


def _breakable(text: str) -> Any:
    """Allow line breaks in a spec such as `beam:num_beams=5,n=2` after its punctuation."""
    from markupsafe import Markup, escape

    parts = re.split(r"(?<=[:,/])", visible_lines(text))
    return Markup("<wbr>").join(escape(part) for part in parts)


def _shown(value: Any) -> Any:
    """Make control characters of a text visible; markup is the page's own."""
    return visible_lines(value) if type(value) is str else value


@cache
def _environment() -> Environment:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("prefixcap.report", "templates"),
        autoescape=True,
        finalize=_shown,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["number"] = number
    environment.filters["significant"] = significant
    environment.filters["short"] = lambda name: short(name, HEADING)
    environment.filters["breakable"] = _breakable
    environment.filters["shell"] = shlex.quote
    environment.globals["interval"] = interval
    return environment
