"""Scores of a bundle's captions, computed again without models and images."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from prefixcap.errors import PrefixcapError, shown
from prefixcap.evaluation.evaluate import score, unmet_requirement
from prefixcap.interfaces.encoder import EncoderConfig
from prefixcap.interfaces.language_model import LMConfig
from prefixcap.interfaces.metric import MetricConfig, Record, Scores
from prefixcap.plugin import specs
from prefixcap.plugin.provenance import component_version
from prefixcap.publication.bundle.findings import Verified, differences
from prefixcap.study.analysis.analyze import metrics_of, records
from prefixcap.study.analysis.reader import SavedCell, SavedStudy
from prefixcap.study.artifacts import keys
from prefixcap.study.artifacts.folder import CAPTIONS, CELL, SCORES
from prefixcap.study.artifacts.scores import metric_key
from prefixcap.study.artifacts.shapes import CELL_SCORES
from prefixcap.util.files import AlteredError, read_json, write_json
from prefixcap.util.shapes import Maybe, mismatch

LINE = {
    "image": str,
    "captions": [
        {
            "text": str,
            "logprob": Maybe(float),
            "tokens": Maybe(int),
            "finish": Maybe(str),
        }
    ],
}
"""The shape of a line of captions."""
NAMED = 3
"""Images that are named if their scores differ."""


def recompute(
    study: SavedStudy, renamed: bool, found: Verified, progress: Callable[[int], None]
) -> dict[str, dict[str, float]]:
    """Score the captions of all cells again, and write the scores in place of those in the folder.

    `renamed` is whether keys of scores are those of other names of images.

    Returns:
        The scores of each cell. Those that cannot be computed again are the stored ones.

    Raises:
        AlteredError: If the captions or scores of a cell cannot be read.
        PrefixcapError: If a metric is not installed.
    """
    metrics = metrics_of(study)
    values = {}
    for done, (name, cell) in enumerate(study.cells.items(), 1):
        values[name] = _cell(study, cell, metrics, renamed, found)
        progress(done)
    return values


def _cell(
    study: SavedStudy,
    cell: SavedCell,
    metrics: Sequence[MetricConfig],
    renamed: bool,
    found: Verified,
) -> dict[str, float]:
    captions = _records(study, cell)
    found.checked["captions"] += len(captions)
    stored = read_json(cell.folder / SCORES, CELL_SCORES) or {}
    references = keys.references_key(study.examples)
    key = keys.scores_key(str((read_json(cell.folder / CELL) or {}).get("key")), references)
    values: dict[str, float] = {}
    for metric in metrics:
        spec, place = specs.to_spec(metric), f"{cell.name}/{SCORES}"
        if spec not in stored:
            found.add("score", place, f"there is none by {spec!r}")
            continue
        entry = stored[spec]
        reason = not_recomputable(metric)
        if reason is None:
            try:
                fresh, left_out = _scored(metric, captions)
            except PrefixcapError as error:  # Java or a download is missing
                reason = str(error)
        if reason is not None:
            found.not_recomputed[spec] = reason
            values |= entry["values"]
            continue
        _compare(entry, fresh, left_out, place, study.ids, found)
        if not renamed and entry["key"] != metric_key(key, metric):
            _explain(study, metric, place, found)
        entry["values"] = dict(fresh.values)
        entry["per_image"] = {name: list(each) for name, each in fresh.per_image.items()}
        values |= fresh.values
    for spec in stored.keys() - {specs.to_spec(metric) for metric in metrics}:
        found.add("score", f"{cell.name}/{SCORES}", f"the study has no metric {shown(spec)}")
    write_json(cell.folder / SCORES, stored)
    return values


def _explain(study: SavedStudy, metric: MetricConfig, place: str, found: Verified) -> None:
    """Tell why the key of a metric's scores is not that of what they are computed from here."""
    name, here = f"{metric.kind} {metric.name}", component_version(metric)
    ran = (study.config.get("versions") or {}).get(name)
    if ran == here:
        text = f"the references or the settings of {specs.to_spec(metric)!r} are not those scored"
        found.add("setting", place, text)
    else:
        text = f"the study was scored with version {ran} of the metric {metric.name!r}"
        found.note(f"{text}, and {here} is installed")


def not_recomputable(metric: MetricConfig) -> str | None:
    """Return why a metric needs more than captions and references; None if it does not."""
    if "image" in metric.requires:
        return "it needs the images"
    for part in metric.subcomponents():
        if isinstance(part, LMConfig | EncoderConfig):
            return f"it needs the {part.kind} {specs.to_spec(part)!r}"
    return "it needs files besides the captions" if metric.external_digests() else None


def _records(study: SavedStudy, cell: SavedCell) -> list[Record]:
    """Read a cell's captions, after checking their shape and their images."""
    lines = cell.read()
    path = cell.folder / CAPTIONS
    for number, line in enumerate(lines, 1):
        if problem := mismatch(line, LINE) or (not line["captions"] and "it has no caption"):
            raise AlteredError(path, f"line {number}: {problem}")
    if [line["image"] for line in lines] != [*study.ids]:
        raise AlteredError(path, "its images are not those of test.jsonl")
    return records(study, cell)


def _scored(metric: MetricConfig, captions: Sequence[Record]) -> tuple[Scores, str | None]:
    reason = unmet_requirement(captions, metric)
    scores = Scores(values={}) if reason else score(captions, metric)
    return scores, reason or scores.undefined or None


def _compare(
    entry: Mapping[str, Any],
    fresh: Scores,
    left_out: str | None,
    place: str,
    images: Sequence[str],
    found: Verified,
) -> None:
    found.checked["scores"] += len(fresh.values)
    found.compare("score", place, entry["values"], dict(fresh.values))
    if entry.get("left_out") != left_out:
        found.compare("score", f"{place}, left_out", entry.get("left_out"), left_out)
    for name in dict.fromkeys((*fresh.per_image, *entry["per_image"])):
        written, again = entry["per_image"].get(name), fresh.per_image.get(name)
        if written is None or again is None or len(written) != len(again):
            found.add("score", f"{place}, {name}", "the scores of images are not as many as found")
            continue
        found.checked["scores of images"] += len(again)
        pairs = zip(images, written, again, strict=True)
        changed = [(i, w, a) for i, w, a in pairs if any(differences(w, a))]
        for image, one, two in changed[:NAMED]:
            text = f"{one} is written, {two} was found for its caption"
            found.add("caption", f"{place}, {name} of {shown(image)}", text)
        if len(changed) > NAMED:
            found.add("caption", f"{place}, {name}", f"{len(changed)} images differ")
