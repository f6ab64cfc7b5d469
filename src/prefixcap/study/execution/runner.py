"""Run a study: reuse existing artifacts and compute missing ones, cheap work first."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from prefixcap.errors import DivergedError, NonFiniteError, PrefixcapError
from prefixcap.interfaces.component import Component
from prefixcap.interfaces.dataset import Dataset, Example
from prefixcap.interfaces.events import CellScored, StudyEnded, StudyStarted
from prefixcap.interfaces.language_model import LanguageModel, LMConfig
from prefixcap.interfaces.launching.launcher import Launcher, LauncherConfig
from prefixcap.plugin import specs
from prefixcap.plugin.building import build
from prefixcap.plugin.events import listening, parse_trackers
from prefixcap.plugin.provenance import component_version
from prefixcap.plugin.registry import default_registry
from prefixcap.study.analysis import contact_sheet
from prefixcap.study.analysis.results import Results
from prefixcap.study.analysis.rows import FIELDS
from prefixcap.study.artifacts import captions, integrity, scores
from prefixcap.study.artifacts.folder import StudyJob
from prefixcap.study.artifacts.keys import PlannedCell, PlannedModel
from prefixcap.study.artifacts.locks import shared
from prefixcap.study.definition.study import TEXTS, Study
from prefixcap.study.execution import checks, data, encoding, grid, prune, training, trial
from prefixcap.study.execution.cells import CellRunner
from prefixcap.study.execution.grid import ModelGroup
from prefixcap.study.execution.launching.worker import Task
from prefixcap.study.execution.launching.works import StudyLaunch
from prefixcap.study.execution.scoring import Scorer
from prefixcap.util import runtime
from prefixcap.util.files import write_json
from prefixcap.util.progress import Reporter, Silent


def run_study(
    study: Study,
    folder: Path | str,
    reporter: Reporter | None = None,
    *,
    trackers: Sequence[str] = (),
    launcher: str | LauncherConfig = "local",
) -> Results:
    """Run a study, or resume it, reusing the artifacts in the folder.

    Args:
        study: The study.
        folder: Its folder.
        reporter: Shows the progress; by default nothing does.
        trackers: Trackers that record what happens, such as "tensorboard".
        launcher: Starts other processes that share the work, such as "local:processes=4".

    Returns:
        The results, which are also written into `folder`.

    Raises:
        PrefixcapError: If something in the study or its data is wrong.
    """
    reporter, configs = reporter or Silent(), parse_trackers(trackers)
    with listening(configs, Path(folder), reporter.message) as events:
        launched = build(default_registry().parse(LauncherConfig, launcher))
        return Runner(StudyJob(study, Path(folder), reporter, events=events)).run(launched)


CELL_SETTINGS = (*FIELDS, "seed")
"""The columns of a row that say which cell it is."""


class Runner:
    """One process's work on a study.

    Several processes may run one study in one folder: each takes work that no other is doing, and
    waits for the others only when there is nothing else to do.
    """

    def __init__(self, job: StudyJob) -> None:
        self._job, self._study, self._reporter = job, job.study, job.reporter
        self._results = Results(
            folder=job.files.path, metrics=job.study.metrics, correction=job.study.correction
        )
        self._scorer = Scorer(job, self._results)
        self._cell_runner = CellRunner(job, self._scorer, self._results)
        self._rows: dict[str, dict[str, Any]] = {}
        self._samples: dict[str, list[dict[str, Any]]] = {}  # captions to show, by cell
        self._failed: dict[str, NonFiniteError] = {}  # by cell
        self._diverged: dict[Path, str] = {}  # why models could not be trained, by folder
        self._groups: list[ModelGroup] = []
        self._lm: tuple[LMConfig, LanguageModel] | None = None  # the last one that was built

    @property
    def work(self) -> dict[str, int]:
        """The work that this process did so far, as in `Results`."""
        return dict(self._results.work)

    def run(self, launcher: Launcher | None = None) -> Results:
        """Do all work that is missing, as far as a launcher's workers do not; write the results."""
        if launcher is not None:
            self._launch(launcher)
        self.prepare()
        folder, events = self._job.files.path, self._job.events
        events.send(StudyStarted(folder=folder, settings=self._study.to_json()))
        self._score_baselines()
        for wait in (False, True):
            for group in self._groups:
                self._run_group(group, wait=wait)
        self._collect()
        self._check_failed()
        self._score_baselines()
        self._results.write()
        self._draw()
        events.send(StudyEnded(folder=folder, cells=len(self._cells)))
        return self._results

    def prepare(self) -> None:
        """Read the data, encode the images and plan the grid, unless that is done already."""
        if self._groups:
            return
        integrity.report_altered(self._job)
        prune.remove_leftovers(self._job.files)
        splits = data.load(self._study)
        checks.check_keep(self._study, splits.val)
        trial.build_components(self._study, self._reporter)
        for warning in checks.check_metrics(self._study, splits.test):
            self._results.warn(warning, self._reporter)
        # scores in the folder may be another study's until the digest of this one is known
        self._write_config(splits.dataset, None)
        if splits.warning:
            self._results.warn(splits.warning, self._reporter)
        if splits.unused:
            self._reporter.message(splits.unused)
        if slow := checks.slow_dtype(self._job.device, self._study.dtype):
            self._reporter.message(slow)  # about this machine, not about the results
        self._groups = self._encode(splits)
        self._cells = [cell for group in self._groups for cell in group.cells]
        for group in self._groups:
            self._scorer.try_out(group.images, group.cells)
        # the language model that was loaded last comes first
        for group in sorted(self._groups, key=lambda g: self._study.lms.index(g.lm), reverse=True):
            lm = self._language_model(group.lm)
            trial.try_models(self._job, group.models, lm, group.images)
        self._results.study = specs.digest(
            [cell.scores_key for cell in self._cells],
            list(self._study.metrics),
            self._study.baselines,
        )
        self._write_config(splits.dataset, self._results.study)

    def encode(self, part: tuple[int, int]) -> None:
        """Encode a part of the images, without the other work of `prepare`."""
        splits = data.load(self._study)
        for features in encoding.open_features(self._job, splits):
            encoding.encode_part(features, splits, part)
            self._results.work["encoded_images"] += features.encoded

    def do(self, task: Task, target: str, part: tuple[int, int]) -> str:
        """Do a piece of work (`StudyWork`); return why a model could not be trained, or ""."""
        if task == "train":
            group, model = next(
                (group, model)
                for group in self._groups
                for model in group.models
                if model.folder.name == target
            )
            self._train_next(group, [model], wait=True)
            return self._diverged.get(model.folder, "")
        if task != "prepare":
            group, cell = self._cells_by_name[target]
            if task == "images":
                self._cell_runner.caption_part(cell, group.images, *part)
            else:
                self._run_cells(group, [cell], wait=True)
        return ""

    @cached_property
    def _cells_by_name(self) -> dict[str, tuple[ModelGroup, PlannedCell]]:
        return {cell.name: (group, cell) for group in self._groups for cell in group.cells}

    def _launch(self, launcher: Launcher) -> None:
        """Do the work on a launcher's workers, as far as they do it."""

        def models() -> list[PlannedModel]:
            self.prepare()
            return [model for group in self._groups for model in group.models]

        def missing(cell: PlannedCell) -> int | None:
            if not scores.missing(cell.folder, cell.scores_key, self._study.metrics):
                return None
            group, _ = self._cells_by_name[cell.name]
            return captions.count_missing(cell, group.images.ids)

        launch = StudyLaunch(self._job, launcher, Runner, models, missing)
        launch.run()
        self._diverged |= launch.diverged
        for name, count in launch.counts.items():
            self._results.work[name] += count

    def _write_config(self, dataset: Dataset, study_digest: str | None) -> None:
        study = self._study
        kinds = (study.encoders, study.lms, study.mappers, study.tunings, study.prompts)
        bridges = study.bridges if TEXTS in study.train_on else ()
        grid = (config for kind in (*kinds, study.decoders, bridges) for config in kind)
        configs: list[Component] = [study.dataset, *grid, *study.metrics]
        info = {
            "study": study_digest,
            "data_digest": specs.digest(dataset.digest(), study.limit),
            "versions": runtime.versions()
            | {f"{c.kind} {c.name}": component_version(c) for c in configs},
            "ran_on": self._job.device,
        }
        write_json(self._job.files.config, {**study.to_json(), **info})

    def _encode(self, splits: data.StudyData) -> list[ModelGroup]:
        """Encode all images, then plan the grid, whose keys depend on the readable images."""
        seen = []
        for features in encoding.open_features(self._job, splits):
            images, unreadable = encoding.encode_images(features, splits)
            self._report_unreadable(unreadable)
            self._results.work["encoded_images"] += features.encoded
            self._check_same_test(images.test)
            overlap = checks.find_overlap(
                images.train, images.test, images.train_features, images.test_features
            )
            if overlap:
                warning = checks.overlap_warning(overlap, splits.names[-1])
                self._results.warn(warning, self._reporter)
            seen.append(images)
        groups = grid.resolve(self._job, seen, build_lm=self._language_model)
        for warning in (warning for group in groups for warning in group.warnings):
            self._results.warn(warning, self._reporter)
        return groups

    def _report_unreadable(self, ids: Sequence[str]) -> None:
        new = [image for image in ids if image not in self._results.skipped]
        if new:
            self._results.skipped += new
            self._reporter.message(encoding.unreadable_message(new))

    def _check_same_test(self, test: Sequence[Example]) -> None:
        ids = [example.image.id for example in test]
        if not self._results.test:
            self._results.test = test
            self._results.write_test()
        elif ids != [example.image.id for example in self._results.test]:
            raise PrefixcapError(
                "the encoders cannot read the same images, so their cells cannot be compared"
            )

    def _score_baselines(self) -> None:
        """Score the baselines; also at the start, so that unfinished studies have them."""
        self._results.baselines = []
        if self._study.baselines:
            for images in {id(group.images): group.images for group in self._groups}.values():
                self._scorer.score_baselines(images)

    def _run_group(self, group: ModelGroup, *, wait: bool) -> None:
        """Do the missing work of a group that no other process is doing."""
        untrained = [
            model
            for model in group.models
            if model.folder not in self._diverged and not model.is_trained
        ]
        existing = [cell for model in group.models if model.is_trained for cell in model.cells]
        # cells with captions first: they need no model in memory
        captioned = [cell for cell in self._missing(existing) if captions.load(cell)]
        self._run_cells(group, captioned)
        while model := self._train_next(group, untrained, wait=wait):
            self._run_cells(group, model.cells)
        trained = [model for model in group.models if model.is_trained]
        for model in trained:
            training.check_files(self._job, model)
        cells = [cell for model in trained for cell in model.cells]
        self._run_cells(group, self._missing(cells), wait=wait)

    def _missing(self, cells: Sequence[PlannedCell]) -> list[PlannedCell]:
        done = self._rows.keys() | self._failed
        return [cell for cell in cells if cell.name not in done]

    def _check_failed(self) -> None:
        """Raise an error if a model or captions are missing; all other work is done.

        Raises:
            PrefixcapError: With the reason of the first one.
        """
        if self._diverged:
            first = next(iter(self._diverged.values()))
            raise PrefixcapError(
                f"{len(self._diverged)} of the study's models could not be trained; {first}; "
                f"everything else is saved in {self._job.files.path}"
            )
        for name, error in self._failed.items():
            raise PrefixcapError(
                f"{len(self._failed)} of {len(self._cells)} cells have no scores; {name[:-9]}: "
                f"{error}; everything else, also the captions of this cell's other images, is "
                f"saved in {self._job.files.path}"
            )

    def _train_next(
        self, group: ModelGroup, untrained: list[PlannedModel], *, wait: bool
    ) -> PlannedModel | None:
        """Train a model that no other process trains, and release it so that all may caption."""
        pending = shared(
            untrained,
            lambda planned: planned.folder,
            wait=wait,
            on_wait=lambda planned: self._reporter.message(
                f"waiting for another process, which trains {planned.model.name}"
            ),
        )
        with contextlib.closing(pending):
            for planned in pending:
                lm, title = self._language_model(group.lm), f"training {planned.model.name}"
                untrained.remove(planned)
                title = self._title(title)
                try:
                    captioner = training.train(self._job, planned, lm, group.images, title)
                except DivergedError as error:
                    self._diverged[planned.folder] = str(error)
                    self._reporter.message(str(error))
                    continue
                if captioner is not None:
                    self._cell_runner.reuse(planned.folder, captioner)
                    self._results.work["trained_models"] += 1
                return planned
        return None

    def _run_cells(
        self, group: ModelGroup, cells: Sequence[PlannedCell], *, wait: bool = False
    ) -> None:
        """Caption and score cells, add their rows, and write the results so far."""
        for cell in shared(
            cells,
            lambda cell: cell.folder,
            wait=wait,
            on_wait=lambda cell: self._reporter.message(
                f"waiting for another process, which captions {cell.name}"
            ),
        ):
            try:
                row, lines = self._cell_runner.run(cell, group.images, self._title)
            except NonFiniteError as error:
                self._failed[cell.name] = error
                self._reporter.message(f"{cell.name[:-9]}: {error}")
                continue
            self._rows[cell.name] = row
            settings = {key: row[key] for key in CELL_SETTINGS}
            self._job.events.send(
                CellScored(
                    folder=self._job.files.path,
                    cell=cell.name,
                    settings=settings,
                    scores=row["scores"],
                )
            )
            self._samples[cell.name] = lines[: contact_sheet.IMAGES]
            self._collect()
            self._results.write_part()

    def _language_model(self, config: LMConfig) -> LanguageModel:
        if self._lm is None or self._lm[0] != config:
            self._lm = None  # free the memory of one model before the next is loaded
            self._lm = config, build(config, self._job.device, self._study.dtype)
            checks.check_positions(self._study, self._lm[1])
        return self._lm[1]

    def _collect(self) -> None:
        """Put the rows into the order of the grid."""
        names = [cell.name for cell in self._cells if cell.name in self._rows]
        self._results.rows = [self._rows[name] for name in names]
        self._results.captions = {name: self._samples[name] for name in names}

    def _draw(self) -> None:
        labels = {
            row["cell"]: f"{row['mapper']} P={row['prefix_length']} {row['decoder']}"
            for row in self._results.rows
        }
        shown = self._results.captions
        contact_sheet.draw(self._job.files.contact_sheet, self._results.test, shown, labels)

    def _title(self, text: str) -> str:
        cells = len(self._cells)
        return f"[{len(self._rows) + 1}/{cells}] {text}" if cells > 1 else text
