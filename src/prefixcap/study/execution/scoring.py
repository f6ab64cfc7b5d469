"""Scores the cells of a study, and the captions beside them that need no model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from prefixcap.evaluation.evaluate import sample_warnings
from prefixcap.evaluation.stats import bootstrap_interval
from prefixcap.interfaces.metric import MetricConfig
from prefixcap.plugin import specs
from prefixcap.study.analysis.results import Results
from prefixcap.study.artifacts import keys, replicates
from prefixcap.study.artifacts import scores as scores_module
from prefixcap.study.artifacts.folder import CAPTIONS, StudyFolder
from prefixcap.study.artifacts.keys import Cell, scores_key
from prefixcap.study.definition.study import Study
from prefixcap.study.execution import baselines, checks, work
from prefixcap.study.execution.encoding import Images
from prefixcap.study.execution.estimate import Work, note
from prefixcap.util.files import write_lines
from prefixcap.util.progress import ProgressTask, Reporter, Silent


class Scorer:
    """Scores captions.

    Args:
        study: the study.
        folder: where it is kept.
        results: gets the resampled scores, the rows of captions that need no model, and warnings.
        reporter: who is told.
        begin: called with the pieces of work before they are begun.
    """

    def __init__(
        self,
        study: Study,
        folder: Path,
        results: Results,
        reporter: Reporter,
        begin: Callable[[Sequence[Work]], None],
    ) -> None:
        self._study, self._folder, self._begin = study, folder, begin
        self._results, self._reporter = results, reporter
        self._told: set[tuple[str, str]] = set()

    def try_out(self, images: Images, cells: Sequence[Cell]) -> None:
        """Tries the metrics that look at images, where a cell lacks them, before the training.

        Args:
            images: the images.
            cells: the cells whose captions are of them.

        Raises:
            PrefixcapError: a metric lacks what it needs, or two give one score.
        """
        wanted = [
            metric
            for metric in self._study.metrics
            if "image" in metric.requires
            and any(scores_module.missing(cell.folder, cell.scores_key, [metric]) for cell in cells)
        ]
        test, features = self._results.test[: checks.TRIED], images.test[: checks.TRIED]
        checks.try_out(wanted, test, features, images.text_encoder)

    def scores(
        self, folder: Path, key: str, lines: list[dict[str, Any]], images: Images, what: str
    ) -> tuple[dict[str, float], dict[str, list[float]]]:
        """Scores captions by each metric that they have not been scored by.

        Args:
            folder: where the scores are kept.
            key: a digest of what metrics see of the captions.
            lines: `image` and `captions` of each test image.
            images: the images.
            what: how the captions are called.

        Returns:
            The scores and the ends of their intervals.
        """
        metrics = self._study.metrics
        for warning in sample_warnings(self._results.test, metrics):
            self._results.warn(warning, self._reporter)
        missing = scores_module.missing(folder, key, metrics)
        works = work.scoring(missing, len(lines))
        if missing:
            self._begin(works)
        reporter = self._reporter if missing else Silent()
        records = scores_module.records(self._results.test, lines, images.test, images.text_encoder)
        with reporter.task(f"scoring {what}", len(missing), "metrics") as task:
            reached = self._noting(len(lines), task)
            scores = scores_module.cell_scores(folder, key, records, metrics, reached)
        for metric, reason in scores.left_out.items():
            if (metric, reason) not in self._told:
                self._told.add((metric, reason))
                self._reporter.message(f"left out {metric} of {what} and its like: it {reason}")
        self._results.work["scored_metrics"] += scores.scored
        drawn = replicates.replicates(folder, records, metrics)
        if drawn is None:
            return scores.values, {}
        self._results.replicates[folder.name] = drawn
        intervals = {each.name: [each.low, each.high] for each in bootstrap_interval(drawn)}
        return scores.values, intervals

    def baselines(self, images: Images) -> None:
        """Scores captions that need no model, and adds their rows.

        Other images' captions are among them as soon as a cell has captions.
        """
        train, test = images.training.examples, self._results.test
        first = next(iter(self._results.captions), None)
        made = {
            "constant caption": baselines.constant(train, test),
            "random training caption": baselines.random_training(train, test, seed=0),
            "nearest training image": baselines.nearest_training(
                train, test, images.training.features, images.test
            ),
        }
        if first is not None:
            made["shuffled images"] = baselines.shuffled(test, self._results.lines(first))
        known = {row["name"] for row in self._results.baselines}
        for name, lines in made.items():
            if name in known and name != "nearest training image":
                continue
            key = specs.digest("baseline", images.test_key, lines)
            folder = StudyFolder(self._folder).baselines / f"{name.replace(' ', '-')}-{key[:8]}"
            label = self._study.label(images.config)
            shown = f"{name} ({label})" if name in known else name
            if not (folder / CAPTIONS).exists():
                write_lines(folder / CAPTIONS, lines)
            scored = scores_key(key, keys.references_key(test))
            scores, intervals = self.scores(folder, scored, lines, images, name)
            self._results.baselines.append(
                {
                    "name": shown,
                    "encoder": label,
                    "scores": scores,
                    "intervals": intervals,
                    "cell": folder.name,
                }
            )

    def _noting(
        self, images: int, task: ProgressTask
    ) -> Callable[[int, MetricConfig, float], None]:
        """Notes how long each of the metrics took; another process may have scored some of them."""

        def reached(done: int, metric: MetricConfig, seconds: float) -> None:
            (piece,) = work.scoring([metric], images)
            note(self._folder, piece, seconds)
            task.update(done)

        return reached
