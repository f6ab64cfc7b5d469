"""How people name parts of studies: `runs/x`, `runs/x::mlp 10 beam`, `runs/x::seed=0 greedy`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import attrs

from prefixcap.errors import PrefixcapError, nearest
from prefixcap.study.analysis.reader import SavedStudy, read
from prefixcap.study.analysis.rows import FIELDS, TableRow, entries
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
class Part:
    """Some entries of a study, or a file of predictions.

    Attributes:
        text: how it was asked for.
        path: the study's folder, or the file.
        finished: the study; None of a file.
        entries: the entries that were asked for, with the seeds that were.
        whole: whether nothing was left out of the study.
        references: a file of references, where the file of predictions has none.
    """

    text: str
    path: Path
    finished: SavedStudy | None = None
    entries: tuple[TableRow, ...] = ()
    whole: bool = True
    references: Path | None = None

    def single(self) -> TableRow:
        """Returns the one entry.

        Raises:
            PrefixcapError: there are more; they are named.
        """
        if len(self.entries) == 1:
            return self.entries[0]
        labels = ", ".join(repr(entry.label) for entry in self.entries)
        raise PrefixcapError(
            f"{self.text!r} names {len(self.entries)} lines of the study, and one is wanted; "
            f"say which, as in {self.path}{SEPARATOR}{self.entries[0].label!r}: {labels}"
        )


def part(text: str, beside: Part | None = None, references: Path | None = None) -> Part:
    """Finds what a text names.

    Args:
        text: a study's folder; a folder, `::` and words that choose among its lines; a cell's
            folder; or a file of predictions. Without a folder before `::` it is that of `beside`.
        beside: what was named before.
        references: a file of references for a file of predictions without them.

    Raises:
        PrefixcapError: there is nothing of that name; the nearest name is said.
    """
    place, found, words = text.partition(SEPARATOR)
    if not place and found and beside is not None:
        place = str(beside.path)
    path = Path(place)
    if path.is_file():
        return Part(text=text, path=path, references=references)
    if not path.is_dir():
        raise PrefixcapError(f"{text!r}: there is no file or folder {place!r}{_beside(path)}")
    parent = StudyFolder(path.parent.parent)
    if not StudyFolder(path).config.exists() and path.parent in (parent.cells, parent.baselines):
        path, words = path.parent.parent, path.name
    study = beside.finished if beside is not None and beside.path == path else None
    return _chosen(text, path, study or read(path), words.split())


def _chosen(text: str, path: Path, finished: SavedStudy, words: Sequence[str]) -> Part:
    rows: list[Mapping[str, Any]] = [*finished.rows]
    rows += (row for row in finished.baselines if "cell" in row)
    left = rows
    for word in words:
        chosen = _matching(left, word)
        if not chosen:
            known = dict.fromkeys(name for row in left for name in _names(row)[:-1])
            first = words[: words.index(word)]
            where = f" with {' '.join(first)!r}" if first else ""
            raise PrefixcapError(
                f"{text!r}: no line of {path}{where} has {word!r}{nearest(word, known)}"
            )
        left = chosen
    cells = {row["cell"] for row in left}
    lines = [entry for entry in entries(finished.rows, finished.baselines) if entry.cells]
    kept = [_kept(entry, cells) for entry in lines]
    return Part(
        text=text,
        path=path,
        finished=finished,
        entries=tuple(entry for entry in kept if entry is not None),
        whole=len(left) == len(rows),
    )


def _kept(entry: TableRow, cells: set[str]) -> TableRow | None:
    """Returns an entry with those of its seeds that were chosen; None where none was."""
    numbers = [n for n, cell in enumerate(entry.cells) if cell in cells]
    if len(numbers) in (0, len(entry.cells)):
        return entry if numbers else None
    seeds = tuple(entry.seeds[n] for n in numbers)
    shown = f"{entry.label} seed {', '.join(map(str, seeds))}"
    kept = tuple(entry.cells[n] for n in numbers)
    return attrs.evolve(entry, label=shown, seeds=seeds, cells=kept, seed_std={})


def _matching(rows: Sequence[Mapping[str, Any]], word: str) -> list[Mapping[str, Any]]:
    """Returns the rows that a word is a name of, or else those of which one begins with it."""
    key, equals, value = word.partition("=")
    field = KEYS.get(key.lower()) if equals else None
    if field is not None:
        exact = [row for row in rows if str(row.get(field, "")) == value]
        return exact or [row for row in rows if str(row.get(field, "")).startswith(value)]
    exact = [row for row in rows if word in _names(row)]
    return exact or [row for row in rows if any(n.startswith(word) for n in _names(row))]


def _names(row: Mapping[str, Any]) -> list[str]:
    if "name" in row:
        return [*row["name"].split(), f"({row['name']})", row["cell"]]
    fields = [str(row[field]) for field in FIELDS]
    return [*fields, f"P={row['prefix_length']}", f"s{row['seed']}", row["cell"]]


def _beside(path: Path) -> str:
    folder = path.parent
    names = [each.name for each in folder.iterdir()] if folder.is_dir() else []
    close = get_close_matches(path.name, names, n=1, cutoff=0.5)
    return f"; did you mean {str(folder / close[0])!r}?" if close else ""
