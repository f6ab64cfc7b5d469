"""Pack a finished study: its configs, captions, references, scores, tables, figures and page.

Weights, features, images and measured times per step stay behind, and so do replicates, which
`verify` computes again. A bundle that is unpacked is a study's folder: `compare` and `report` read
it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs

from prefixcap.captioning.checkpoint import CONFIG
from prefixcap.errors import PrefixcapError
from prefixcap.interfaces.metric import MetricConfig
from prefixcap.plugin import specs
from prefixcap.publication.bundle import container, manifest
from prefixcap.publication.bundle.local_paths import LocalPaths
from prefixcap.report.content import Content
from prefixcap.report.gather import gather
from prefixcap.report.writing import IMAGES, write_content
from prefixcap.study.analysis.analysis import Analysis, correction_for
from prefixcap.study.analysis.analyze import analyze, metrics_of
from prefixcap.study.analysis.reader import SavedCell, SavedStudy, load_study
from prefixcap.study.analysis.tables import page
from prefixcap.study.artifacts import captions
from prefixcap.study.artifacts.folder import EPOCHS, KEY, LOCKS, REPLICATES, SCORES, StudyFolder
from prefixcap.util.files import atomic_write, read_json, write_json, write_lines, write_text
from prefixcap.util.progress import Reporter, Silent
from prefixcap.util.storage.temporary import temporary_folder

REPORT = "report"
"""The folder of a bundle's page, figures and tables."""


@attrs.frozen(kw_only=True)
class WrittenBundle:
    """A bundle that was written.

    Attributes:
        path: The archive or the folder.
        digest: The SHA-256 of its manifest, which a paper can state.
        files: The number of files, without the manifest.
        bytes: Their size, unpacked.
        study: The digest of the study.
    """

    path: Path
    digest: str
    files: int
    bytes: int
    study: str


def bundle(
    folder: Path, out: Path | None = None, *, reporter: Reporter | None = None
) -> WrittenBundle:
    """Pack what a paper needs of a finished study.

    Args:
        folder: The study's folder.
        out: An archive, which ends in .zip, or a folder that is new or empty; by default
            `bundle.zip` in the study's folder.
        reporter: Receives progress messages.

    Raises:
        AlteredError: If a file of the study was altered.
        PrefixcapError: If the folder holds no finished study, or `out` is something else.
    """
    target = folder / f"bundle{container.ZIP}" if out is None else out
    container.check_target(target)
    study = load_study(folder)
    if not study.complete:
        raise PrefixcapError(
            f"{folder} is not finished: run `prefixcap bench` with --out {folder} to finish it"
        )
    with temporary_folder() as place:
        copy = StudyFolder(place / "bundle")
        renamed = _copy_study(study, copy)
        analysis = _write_results(copy, reporter or Silent())
        names = [name for name in container.names_in(copy.path) if not _is_left_behind(name)]
        digest = str(study.config.get("study"))
        manifest.write(
            copy.path,
            names,
            study=digest,
            renamed=renamed,
            correction=correction_for(study),
            level=analysis.level,
        )
        _remove_others(copy.path, {*names, manifest.NAME})
        container.write(copy.path, target)
        return WrittenBundle(
            path=target,
            digest=manifest.read(copy.path, target).digest,
            files=len(names),
            bytes=sum((copy.path / name).stat().st_size for name in names),
            study=digest,
        )


def _is_left_behind(name: str) -> bool:
    parts = Path(name).parts
    return LOCKS in parts or parts[-1] == REPLICATES


def _remove_others(folder: Path, names: set[str]) -> None:
    for name in container.names_in(folder):
        if name not in names:
            (folder / name).unlink()


def _copy_study(study: SavedStudy, copy: StudyFolder) -> bool:
    """Copy the files that others need, without paths of this machine.

    Returns:
        Whether images or settings of metrics had such paths, which keys of scores depend on.
    """
    files = StudyFolder(study.folder)
    models = {name: read_json(study.folder / name / CONFIG) or {} for name in study.models}
    saved = read_json(files.scores) or {}
    paths = LocalPaths(dict(study.config), models, study.ids)
    write_json(copy.config, paths.removed(study.config))
    lines = ({"image": i.id, "references": list(i.references)} for i in study.images)
    digest = write_lines(copy.test, map(paths.removed, lines))
    write_json(copy.scores, {**paths.removed(saved), "digests": {copy.test.name: digest}})
    for name, config in models.items():
        _copy_model(study.folder / name, copy.models / Path(name).name, paths.removed(config))
    metrics = metrics_of(study)
    for cell in study.cells.values():
        parent = copy.baselines if cell.baseline else copy.cells
        _copy_cell(cell, parent / cell.name, paths, metrics)
    keyed = [*study.ids], study.config["metrics"]
    return bool(paths.removed(keyed) != [*keyed])


def _copy_model(folder: Path, copy: Path, config: Mapping[str, Any]) -> None:
    if not config:  # it was deleted
        return
    write_json(copy / CONFIG, config)
    for name in (KEY, EPOCHS):
        if (folder / name).is_file():
            atomic_write(copy / name, (folder / name).read_bytes())


def _copy_cell(
    cell: SavedCell, copy: Path, paths: LocalPaths, metrics: Sequence[MetricConfig]
) -> None:
    lines, info = captions.read(cell.folder)
    captions.write(copy, paths.removed(lines), paths.removed(info))
    scores = read_json(cell.folder / SCORES) or {}
    names = {specs.to_spec(metric) for metric in metrics}
    kept = {spec: each for spec, each in scores.items() if spec in names}
    write_json(copy / SCORES, paths.removed(kept))
    replicates = cell.folder / REPLICATES
    if replicates.is_file():  # so that the analysis need not compute them
        atomic_write(copy / REPLICATES, replicates.read_bytes())


def _write_results(copy: StudyFolder, reporter: Reporter) -> Analysis:
    """Write the analysis, the table and the report of a copied study."""
    study = load_study(copy.path)
    analysis = analyze(study)
    write_text(copy.table, table_text(study, analysis))
    content = report_content(copy.path, IMAGES, reporter)
    write_content(content, copy.path / REPORT)
    return analysis


def table_text(study: SavedStudy, analysis: Analysis) -> str:
    """Return the content of a study's `table.md`."""
    return page(analysis, study.rows, correction_for(study), study.warnings)


def report_content(folder: Path, images: int, reporter: Reporter | None = None) -> Content:
    """Return the content of a bundle's report: without date, pictures and its folder's name."""
    content = gather(folder, None, images, None, reporter, pictures=False)
    return attrs.evolve(content, folder="study", date="")
