from __future__ import annotations

from xml.etree import ElementTree

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from prefixcap.interfaces.metric import NO_SCALE
from prefixcap.report.content import Content, ReportRow
from prefixcap.report.figures import figures
from prefixcap.report.figures.base import headings
from prefixcap.report.figures.curves import smoothed
from prefixcap.report.figures.frontier import Measure, frontier
from prefixcap.report.figures.matrix import between
from prefixcap.report.figures.style import Looks

POINTS = st.lists(st.tuples(*[st.integers(0, 4)] * 3), min_size=1, max_size=12)


@given(POINTS)
def test_the_frontier_has_the_rows_that_no_other_dominates(
    points: list[tuple[int, int, int]],
) -> None:
    cells = [ReportRow(id=str(number), label="") for number in range(len(points))]
    measures = [
        Measure(str(axis), {str(n): float(point[axis]) for n, point in enumerate(points)})
        for axis in range(3)
    ]
    result = {points[int(cell.id)] for cell in frontier(cells, measures)}
    for point in set(points):
        beaten = any(
            all(a >= b for a, b in zip(other, point, strict=True)) and other != point
            for other in points
        )
        assert (point in result) is not beaten


@given(st.lists(st.floats(0, 10), min_size=1, max_size=400), st.integers(1, 60))
def test_smoothing_keeps_the_mean_and_the_order(values: list[float], points: int) -> None:
    places, means = smoothed(values, points)
    size = max(1, len(values) // points)
    sizes = [min(size, len(values) - start) for start in range(0, len(values), size)]
    total = sum(mean * count for mean, count in zip(means, sizes, strict=True))
    assert total == pytest.approx(sum(values))
    assert places == sorted(places)
    assert 0 < places[0] <= places[-1] < 1


def test_files_have_their_format_and_are_reproducible(content: Content) -> None:
    for figure in figures(content).values():
        assert figure.file("pdf").startswith(b"%PDF-")
        assert figure.file("svg") == figure.file("svg")
        assert ElementTree.fromstring(figure.file("svg")).tag.endswith("svg")


def test_a_difference_has_a_sign_for_each_direction(content: Content) -> None:
    pair = between(content.pairs, "c0", "c1")
    other = between(content.pairs, "c1", "c0")
    assert pair is not None
    assert other is not None
    assert (other.value, other.low, other.high) == (-pair.value, 0.01, 0.2)
    assert between(content.pairs, "c0", "c0") is None


def test_an_axis_of_speed_has_plain_numbers(content: Content) -> None:
    speeds = [attrs.evolve(c, facts={"captions/s": 10.0**n}) for n, c in enumerate(content.rows)]
    result = figures(attrs.evolve(content, rows=speeds))
    text = result["frontier"].file("svg").decode()
    assert "mathdefault" not in text
    assert ">100<" in text


def test_a_legend_longer_than_the_figure_is_omitted(content: Content) -> None:
    def of(count: int) -> Content:
        first = content.rows[0]
        cells = [
            attrs.evolve(first, id=f"c{n}", decoder=f"decoder {n}", prefix_length=1 + n % 2)
            for n in range(count)
        ]
        return attrs.evolve(content, rows=cells, pairs={}, curves=[])

    many, few = (figures(of(count))["prefix-length"] for count in (400, 30))
    assert "400 names are too many for a legend" in many.caption
    assert "legend" not in few.caption
    assert [svg.count("decoder 7<") for svg in many.svgs()] == [0]
    assert [svg.count("decoder 7<") for svg in few.svgs()] == [1]


def test_one_prefix_length_is_not_drawn(content: Content) -> None:
    assert "prefix-length" in figures(content)
    assert "prefix-length" not in figures(attrs.evolve(content, rows=content.rows[::2]))


def test_headings_of_the_matrix_tell_rows_apart() -> None:
    def row(decoder: str, **more: object) -> ReportRow:
        label = f"transformer P=10 {decoder}"
        columns = {"mapper": "transformer", "P": "10", "decoder": decoder}
        return ReportRow(id=decoder, label=label, columns=columns, **more)  # type: ignore[arg-type]

    rows = [row("beam"), row("greedy"), ReportRow(id="n", label="nearest", baseline=True)]
    assert headings(rows) == ["beam", "greedy", "nearest"]
    assert headings(rows[1:]) == ["transformer P=10 greedy", "nearest"]


def test_the_frontier_names_bridges_that_differ_in_one_number(content: Content) -> None:
    bridges = [f"bridge=close:shift=1,noise={n} train_on=texts" for n in ("0.06", "0.16")]
    rows = [
        attrs.evolve(content.rows[n], panel=f"mlp {bridge}", columns={"bridge": bridge})
        for n, bridge in enumerate(bridges)
    ]
    text = figures(attrs.evolve(content, rows=rows))["frontier"].file("svg").decode()
    assert all(f"mlp {bridge}" in text for bridge in bridges)


def test_a_score_of_which_lower_is_better_has_its_frontier_at_the_other_end() -> None:
    rows = [ReportRow(id=str(n), label="") for n in range(3)]
    errors = Measure("WER", {"0": 0.1, "1": 0.2, "2": 0.3}, sign=-1)
    speeds = Measure("captions/s", {"0": 1.0, "1": 2.0, "2": 1.5})
    assert [row.id for row in frontier(rows, (errors, speeds))] == ["0", "1"]


def test_a_score_without_a_direction_has_no_frontier(content: Content) -> None:
    neutral = attrs.evolve(content, scale=NO_SCALE)
    result = figures(neutral)["frontier"]
    assert [panel.title for panel in result.panels] == ["Distinct_2 against captions/s"]
    alone = attrs.evolve(neutral, diversity=None)
    assert "frontier" not in figures(alone)


def test_many_decoders_are_distinguished_by_colour_and_marker() -> None:
    names, kinds = [f"decoder {n}" for n in range(24)], ["mlp", "transformer"]
    looks = Looks(names, kinds)
    seen = {(looks.color(name), looks.shape(kind, name)) for name in names for kind in kinds}
    assert len(seen) == len(names) * len(kinds)
    assert [looks.shape(kind) for kind in kinds] == [looks.shape(kind, names[0]) for kind in kinds]
