"""Which rows of two studies are compared with each other, and by which metrics."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from prefixcap.errors import PrefixcapError
from prefixcap.interfaces.metric import MetricConfig
from prefixcap.study.analysis import comparison
from prefixcap.study.analysis.comparison import Side
from prefixcap.study.analysis.rows import FIELDS, TableRow
from prefixcap.study.analysis.selectors import SEPARATOR, Part


def _side(one: Part) -> Side:
    if one.finished is None:
        return Side.of_file(one.path, one.references)
    return Side.of_entry(one.finished, one.single())


def _name(one: Part) -> str:
    return one.text if one.finished is None else f"{one.path}{SEPARATOR}{one.single().label}"


def _all(one: Part) -> Sequence[TableRow]:
    from prefixcap.study.analysis.rows import entries

    assert one.finished is not None
    known = entries(one.finished.rows, one.finished.baselines)
    return [entry for entry in known if entry.cells]


def _cells(side: Side) -> tuple[str, ...]:
    return side.entry.cells if side.entry is not None else ()


def _metrics(
    sides: tuple[Side, Side], metrics: Sequence[MetricConfig] | None, default: Sequence[str]
) -> Sequence[MetricConfig]:
    if metrics is not None:
        return metrics
    if sides[0].finished is None and sides[1].finished is None:
        from prefixcap.plugin.registry import default_registry

        registry = default_registry()
        return [registry.parse(MetricConfig, name) for name in default]
    shared = comparison.shared_metrics(*sides)
    if not shared:
        raise PrefixcapError(
            f"{sides[0].label} and {sides[1].label} were scored by no metric that both have: "
            "--metrics says by what to compare them"
        )
    return shared


def _likes(
    one: Sequence[TableRow], two: Sequence[TableRow]
) -> tuple[list[tuple[TableRow, TableRow]], tuple[list[str], list[str]]]:
    """Pairs entries that are alike in all fields but those that only tell the studies apart."""
    apart = [
        field
        for field in FIELDS
        if (found := [_values(side, field) for side in (one, two)])[0] != found[1]
        and all(len(each) == 1 for each in found)
    ]

    def key(entry: TableRow) -> tuple[str, ...]:
        if entry.baseline:
            return (entry.label,)
        return tuple(str(entry.fields[field]) for field in FIELDS if field not in apart)

    second: Mapping[tuple[str, ...], TableRow] = {key(entry): entry for entry in two}
    likes = [(entry, second[key(entry)]) for entry in one if key(entry) in second]
    taken = [{entry.label for entry, _ in likes}, {entry.label for _, entry in likes}]
    alone = [
        [entry.label for entry in side if entry.label not in known]
        for side, known in zip((one, two), taken, strict=True)
    ]
    return likes, (alone[0], alone[1])


def _values(entries: Sequence[TableRow], field: str) -> set[str]:
    return {str(entry.fields[field]) for entry in entries if not entry.baseline}
