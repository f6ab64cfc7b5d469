"""The rows, intervals, comparisons and tables of a bundle, computed again from its scores."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from prefixcap.errors import PrefixcapError, shown
from prefixcap.evaluation.stats import Replicates
from prefixcap.publication.bundle.findings import Verified
from prefixcap.publication.bundle.manifest import Manifest
from prefixcap.publication.bundle.packing import REPORT, report_content, table_text
from prefixcap.report.writing import table_files
from prefixcap.study.analysis.analysis import LEVEL, Analysis
from prefixcap.study.analysis.analyze import compute, metrics_of, replicates, scales_of
from prefixcap.study.analysis.reader import SavedStudy, load_study
from prefixcap.study.artifacts.folder import StudyFolder
from prefixcap.study.artifacts.replicates import score_intervals
from prefixcap.study.artifacts.shapes import ANALYSIS
from prefixcap.study.execution import baselines
from prefixcap.util.files import AlteredError, read_json, write_json
from prefixcap.util.runtime import version_of
from prefixcap.util.storage.tensor_files import read_tensors

SHUFFLED = "shuffled images"
SINGLE = 1e-4
"""The relative difference of numbers in single precision, and of p-values."""
_ARRAYS = ("value", "low", "high", "p")


def check(
    study: SavedStudy, values: Mapping[str, Mapping[str, float]], stated: Manifest, found: Verified
) -> None:
    """Compare rows, intervals, comparisons and tables with those that the scores give.

    `values` has the recomputed scores of each cell. The folder's files are replaced.
    """
    drawn = replicates(study, found.not_recomputed)
    fresh = [_row(row, values[row["cell"]], drawn, study) for row in _rows(study)]
    for row, again in zip(_rows(study), fresh, strict=True):
        place = f"scores.json, {shown(row['cell'])}"
        found.checked["intervals"] += len(again["intervals"])
        found.compare("score", place, row["scores"], again["scores"])
        found.compare("interval", place, row.get("intervals", {}), again["intervals"])
    _check_shuffled(study, found)
    rows, others = fresh[: len(study.rows)], fresh[len(study.rows) :]
    analysis = compute(rows, others, drawn, scales=scales_of(study), level=LEVEL)
    _check_analysis(StudyFolder(study.folder), analysis, found)
    _check_tables(study.folder, rows, others, analysis, stated, found)


def _rows(study: SavedStudy) -> list[dict[str, Any]]:
    return [*study.rows, *study.baselines]


def _row(
    row: Mapping[str, Any],
    scores: Mapping[str, float],
    drawn: Mapping[str, Replicates],
    study: SavedStudy,
) -> dict[str, Any]:
    known = drawn.get(row["cell"])
    intervals = {} if known is None else score_intervals(known, metrics_of(study))
    return {**row, "scores": dict(scores), "intervals": intervals}


def _check_shuffled(study: SavedStudy, found: Verified) -> None:
    """Compare the captions of the only baseline that needs neither training data nor features."""
    for row in study.baselines:
        if row["name"] == SHUFFLED:
            first = study.cells[study.rows[0]["cell"]]
            expected = [
                each["captions"][0]["text"]
                for each in baselines.shuffled(study.examples, first.lines)
            ]
            texts = study.cells[row["cell"]].texts
            found.compare("caption", f"baselines/{row['cell']}", texts, expected)


def _check_analysis(files: StudyFolder, analysis: Analysis, found: Verified) -> None:
    stored = read_json(files.analysis, ANALYSIS)
    if stored is None:
        return  # the manifest tells that it is missing
    again = analysis.to_json()
    for key in again.keys() - {"key"}:  # the key covers the last bits of scores
        found.compare("comparison", files.analysis.name, stored[key], _plain(again[key]))
    written = _arrays(files.pairs, found)
    if written is None:
        return
    for score, pairs in analysis.pairs.items():
        found.checked["comparisons"] += len(pairs)
        for name in _ARRAYS:
            _compare_array(f"{score}/{name}", getattr(pairs, name), written, found)
    for name in written.keys() - {f"{s}/{name}" for s in analysis.pairs for name in _ARRAYS}:
        found.add("comparison", files.pairs.name, f"{shown(name)} is of no score of the study")


def _arrays(path: Path, found: Verified) -> Mapping[str, np.ndarray] | None:
    """Read the comparisons of a bundle; None if there are none, or the file is damaged."""
    from safetensors import SafetensorError

    try:
        stored = read_tensors(path)
    except AlteredError as error:
        found.add("comparison", path.name, str(error.reason))
        return None
    except (SafetensorError, ValueError, KeyError, TypeError) as error:
        found.add("comparison", path.name, f"it cannot be read: {error}")
        return None
    return None if stored is None else stored[0]


def _compare_array(
    name: str, again: np.ndarray, written: Mapping[str, np.ndarray], found: Verified
) -> None:
    stored = written.get(name)
    if stored is None or stored.shape != again.shape or stored.dtype != again.dtype:
        found.add("comparison", f"pairs.safetensors, {shown(name)}", "it is not as many as found")
        return
    close = np.isclose(stored, again, rtol=SINGLE, atol=SINGLE * 1e-3, equal_nan=True)
    if count := int((~close).sum()):
        place = int(np.flatnonzero(~close)[0])
        found.add(
            "comparison",
            f"pairs.safetensors, {shown(name)}",
            f"{count} of {len(again)} differ; in the pair {place + 1}, {stored[place]} is written, "
            f"{again[place]} was found",
        )


def _plain(data: Any) -> Any:
    """Return data as it is after JSON was written and read, whose keys are texts."""
    if isinstance(data, Mapping):
        return {str(key): _plain(value) for key, value in data.items()}
    return [*map(_plain, data)] if isinstance(data, list | tuple) else data


def _check_tables(
    folder: Path,
    rows: list[dict[str, Any]],
    others: list[dict[str, Any]],
    analysis: Analysis,
    stated: Manifest,
    found: Verified,
) -> None:
    """Write the tables of the recomputed numbers, and compare them with those of the bundle."""
    here = version_of("prefixcap")
    if stated.versions.get("prefixcap") != here:
        found.note(f"the tables were not compared, as prefixcap {here} may write them differently")
        return
    files = StudyFolder(folder)
    saved = read_json(files.scores) or {}
    write_json(files.scores, {**saved, "rows": rows, "baselines": others})
    analysis.write(folder)
    study = load_study(folder)
    texts: dict[str, str] = {files.table.name: table_text(study, analysis)}
    try:
        content = report_content(folder, 0)
    except PrefixcapError as error:
        found.note(f"the report's tables were not compared: {error}")
    else:
        for name, text in table_files(content).items():
            texts[f"{REPORT}/tables/{name}"] = text if isinstance(text, str) else "".join(text)
    for name, text in texts.items():
        if (folder / name).is_file():
            found.checked["tables"] += 1
            _compare_text(name, _text_of(folder / name), text, found)


def _text_of(path: Path) -> str:
    return path.read_bytes().decode("utf-8", "replace")


def _compare_text(name: str, written: str, found_text: str, found: Verified) -> None:
    pairs = _lines(written, found_text)
    changed = [(number, one, two) for number, one, two in pairs if one != two]
    if changed:
        number, one, two = changed[0]
        text = f"{shown(one)} is written, {shown(two)} was found"
        more = f"; {len(changed)} lines differ" if len(changed) > 1 else ""
        found.add("table", f"{name}, line {number}", text + more)


def _lines(one: str, two: str) -> Iterator[tuple[int, str, str]]:
    first, second = one.split("\n"), two.split("\n")
    count = max(len(first), len(second))
    for number in range(count):
        yield (
            number + 1,
            first[number] if number < len(first) else "",
            second[number] if number < len(second) else "",
        )
