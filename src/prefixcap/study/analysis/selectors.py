"""Selectors, which name parts of studies: `runs/x`, `runs/x::mlp 10 beam`, `::seed=0 greedy`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import attrs

from prefixcap.errors import PrefixcapError, nearest
from prefixcap.study.analysis.reader import SavedStudy, load_study
from prefixcap.study.analysis.rows import FIELDS, TableRow, table_rows
from prefixcap.study.artifacts.folder import StudyFolder

SEPARATOR = "::"
KEYS = {
    **{field: field for field in FIELDS},
    "seed": "seed",
    "p": "prefix_length",
    "prefix_len": "prefix_length",
    "prefix-len": "prefix_length",
}


@attrs.frozen(kw_only=True)
class Selection:
    """Some table rows of a study, or a file of predictions.

    Attributes:
        text: The selector.
        path: The study's folder, or the file.
        study: The study; None for a file.
        rows: The selected table rows, with the selected seeds.
        complete: Whether all rows of the study are selected.
    """

    text: str
    path: Path
    study: SavedStudy | None = None
    rows: tuple[TableRow, ...] = ()
    complete: bool = True

    @property
    def row(self) -> TableRow:
        """The only row.

        Raises:
            PrefixcapError: If several are selected; they are listed.
        """
        if len(self.rows) == 1:
            return self.rows[0]
        labels = ", ".join(repr(row.label) for row in self.rows)
        raise PrefixcapError(
            f"{self.text!r} selects {len(self.rows)} rows of the study, but one is needed: "
            f"select it as in {self.path}{SEPARATOR}{self.rows[0].label!r}, one of {labels}"
        )


def select(selector: str | Path | SavedStudy, other: Selection | None = None) -> Selection:
    """Find what a selector names.

    Args:
        selector: A study or its folder; a folder, `::` and words that select some of its rows; a
            cell's folder; or a file of predictions.
        other: The other selection, whose study is meant if there is no folder before `::`.

    Raises:
        PrefixcapError: If nothing has that name; the nearest name is suggested.
    """
    if isinstance(selector, SavedStudy):
        return _select(str(selector.folder), selector, ())
    text = str(selector)
    place, separator, words = text.partition(SEPARATOR)
    if not place and separator and other is not None:
        place = str(other.path)
    path = Path(place)
    if path.is_file():
        return Selection(text=text, path=path)
    if not path.is_dir():
        raise PrefixcapError(f"{text!r}: there is no file or folder {place!r}{_nearest_path(path)}")
    parent = StudyFolder(path.parent.parent)
    if not StudyFolder(path).config.exists() and path.parent in (parent.cells, parent.baselines):
        path, words = path.parent.parent, path.name
    known = other.study if other is not None and other.path == path else None
    return _select(text, known or load_study(path), words.split())


def _select(text: str, study: SavedStudy, words: Sequence[str]) -> Selection:
    rows = [*study.rows, *study.baselines]
    whole = " ".join(words)
    if any(whole in _names(row) for row in rows):  # a baseline's name, as the table has it
        words = [whole]
    selected: Sequence[Mapping[str, Any]] = rows
    for number, word in enumerate(words):
        matching = _matching(selected, word)
        if not matching:
            known = dict.fromkeys(name for row in selected for name in _names(row)[:-1])
            where = f" with {' '.join(words[:number])!r}" if number else ""
            raise PrefixcapError(
                f"{text!r}: no row of {study.folder}{where} has {word!r}{nearest(word, known)}"
            )
        selected = matching
    cells = {row["cell"] for row in selected}
    reduced = [_reduce(row, cells) for row in table_rows(study.rows, study.baselines)]
    return Selection(
        text=text,
        path=study.folder,
        study=study,
        rows=tuple(row for row in reduced if row is not None),
        complete=len(selected) == len(rows),
    )


def _reduce(row: TableRow, cells: set[str]) -> TableRow | None:
    """Return a table row with its selected seeds; None if no seed is selected."""
    indices = [n for n, cell in enumerate(row.cells) if cell in cells]
    if len(indices) in (0, len(row.cells)):
        return row if indices else None
    seeds = tuple(row.seeds[n] for n in indices)
    label = f"{row.label} seed {', '.join(map(str, seeds))}"
    remaining = tuple(row.cells[n] for n in indices)
    return attrs.evolve(row, label=label, seeds=seeds, cells=remaining, seed_std={})


def _matching(rows: Sequence[Mapping[str, Any]], word: str) -> list[Mapping[str, Any]]:
    """Return the rows of which a name equals the word or, if there are none, starts with it."""
    key, equals, value = word.partition("=")
    field = KEYS.get(key.lower()) if equals else None
    if field is not None:
        names, word = [[str(row.get(field, ""))] for row in rows], value
    else:
        names = [_names(row) for row in rows]
    exact = [row for row, known in zip(rows, names, strict=True) if word in known]
    return exact or [
        row
        for row, known in zip(rows, names, strict=True)
        if any(name.startswith(word) for name in known)
    ]


def _names(row: Mapping[str, Any]) -> list[str]:
    if "name" in row:  # a baseline
        return [*row["name"].split(), f"({row['name']})", row["cell"]]
    fields = [str(row[field]) for field in FIELDS]
    return [*fields, f"P={row['prefix_length']}", f"s{row['seed']}", row["cell"]]


def _nearest_path(path: Path) -> str:
    folder = path.parent
    names = [each.name for each in folder.iterdir()] if folder.is_dir() else []
    close = get_close_matches(path.name, names, n=1, cutoff=0.5)
    return f"; did you mean {str(folder / close[0])!r}?" if close else ""
