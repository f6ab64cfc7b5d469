"""Scores the cells of a study and its baselines."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from prefixcap.errors import PrefixcapError
from prefixcap.evaluation.evaluate import sample_warnings
from prefixcap.plugin import specs
from prefixcap.study.analysis.results import Results
from prefixcap.study.artifacts import captions, keys, replicates, scores
from prefixcap.study.artifacts.folder import StudyJob
from prefixcap.study.artifacts.keys import PlannedCell
from prefixcap.study.execution import baselines, checks
from prefixcap.study.execution.encoding import EncodedImages
from prefixcap.util.files import AlteredError

NEAREST, CONSENSUS = "nearest training image", "consensus of neighbors"
CAPTION = "nearest training caption"
BY_ENCODER = (NEAREST, CONSENSUS, CAPTION)
"""The baselines that depend on the encoder."""
Lines = list[dict[str, Any]]


class Scorer:
    """Scores captions."""

    def __init__(self, job: StudyJob, results: Results) -> None:
        self._job, self._results = job, results
        self._reported: set[tuple[str, str]] = set()
        self._new_baselines = False

    def try_out(self, images: EncodedImages, cells: Sequence[PlannedCell]) -> None:
        """Try the metrics that look at images and by which a cell of them is not scored yet.

        Raises:
            PrefixcapError: If a metric lacks what it needs, or two metrics return the same score.
        """
        pending = [
            metric
            for metric in self._job.study.metrics
            if "image" in metric.requires
            and any(scores.missing(cell.folder, cell.scores_key, [metric]) for cell in cells)
        ]
        features = images.test_features[: checks.TRIED]
        checks.try_out(pending, images.test[: checks.TRIED], features, images.text_encoder)

    def score(
        self, folder: Path, key: str, lines: list[dict[str, Any]], images: EncodedImages, name: str
    ) -> dict[str, Any]:
        """Score captions by each metric by which they have not been scored.

        `key` is a digest of captions and references; `name` names the captions in messages.

        Returns:
            `scores`, and the `intervals` of those that can be resampled.
        """
        metrics = self._job.study.metrics
        for warning in sample_warnings(images.test, metrics):
            self._results.warn(warning, self._job.reporter)
        seen = any("image" in metric.requires for metric in metrics)
        features = images.loaded_test_features if seen else None
        records = scores.records(images.test, lines, features, images.text_encoder)
        scored = scores.score_cell(self._job, folder, key, records, f"scoring {name}")
        for metric, reason in scored.skipped.items():
            if (metric, reason) not in self._reported:
                self._reported.add((metric, reason))
                self._job.reporter.message(
                    f"skipped {metric} for {name} and similar captions: it {reason}"
                )
        self._results.work["scored_metrics"] += scored.scored
        drawn = replicates.replicates(
            folder, tuple(images.ids), lambda: records, metrics, self._job.reporter.message
        )
        if drawn is None:
            return {"scores": scored.values, "intervals": {}}
        self._results.replicates[folder.name] = drawn
        intervals = replicates.score_intervals(drawn, metrics)
        return {"scores": scored.values, "intervals": intervals}

    def score_baselines(self, images: EncodedImages) -> None:
        """Score the baselines that the results lack, and add their rows."""
        encoder = self._job.study.label(images.encoder)
        known = {row["name"] for row in self._results.baselines}
        for name, key, lines in self._baselines(images):
            if name in known and name not in BY_ENCODER:
                continue
            folder = self._folder(name, key)
            self._write_baseline(folder, key, lines)
            scores_key = keys.scores_key(key, keys.references_key(images.test))
            self._results.baselines.append(
                {
                    "name": f"{name} ({encoder})" if name in known else name,
                    "encoder": encoder,
                    **self.score(folder, scores_key, lines, images, name),
                    "cell": folder.name,
                }
            )

    def _folder(self, name: str, key: str) -> Path:
        return self._job.files.baselines / f"{name.replace(' ', '-')}-{key[:8]}"

    def _write_baseline(self, folder: Path, key: str, lines: list[dict[str, Any]]) -> None:
        if not self._stored(folder, key):
            captions.write(folder, lines, {"key": key})

    def _stored(self, folder: Path, key: str) -> list[dict[str, Any]]:
        try:
            return captions.read(folder, key)[0]
        except AlteredError as error:
            self._job.reporter.message(error.remade)
            return []

    def _baselines(self, images: EncodedImages) -> Iterator[tuple[str, str, list[dict[str, Any]]]]:
        """Yield the name, the key and the captions of each baseline."""

        def keyed(name: str, lines: Lines) -> tuple[str, str, Lines]:
            return name, specs.digest("baseline", images.test_key, lines), lines

        train, test = images.train, images.test
        yield keyed("constant caption", baselines.constant(train, test))
        yield keyed("random training caption", baselines.random_training(train, test, seed=0))
        rows = images.nearest_images
        yield keyed(NEAREST, baselines.nearest_training(train, test, rows))
        yield self._once(CONSENSUS, images, lambda: baselines.consensus(train, test, rows))
        if (nearest := self._nearest_caption(images)) is not None:
            yield nearest
        # shuffled captions, once a cell has captions
        first = next(iter(self._results.captions), None)
        if first is not None:
            yield keyed("shuffled images", baselines.shuffled(test, self._results.lines(first)))

    def _nearest_caption(self, images: EncodedImages) -> tuple[str, str, Lines] | None:
        """Compare images with captions, or report why that cannot be done."""
        train, test, features = images.train, images.test, images.test_features
        encoder = images.text_encoder
        reason = baselines.without_texts(encoder, features, train)
        if reason is None:
            try:
                return self._once(
                    CAPTION,
                    images,
                    lambda: baselines.nearest_caption(train, test, features, encoder),
                )
            except PrefixcapError as error:  # such as captions without stored embeddings
                reason = str(error)
        # a study that is resumed has said so before
        if self._new_baselines and (CAPTION, reason) not in self._reported:
            self._reported.add((CAPTION, reason))
            self._job.reporter.message(f"skipped the baseline {CAPTION!r}: {reason}")
        return None

    def _once(
        self, name: str, images: EncodedImages, make: Callable[[], Lines]
    ) -> tuple[str, str, Lines]:
        """Make the captions of a baseline that takes long, unless they are stored."""
        key = specs.digest(
            "baseline", name, baselines.VERSION, images.training_key, images.test_key
        )
        folder = self._folder(name, key)
        lines = self._stored(folder, key)
        if not lines:
            self._new_baselines = True
            captions.write(folder, lines := make(), {"key": key})
        return name, key, lines
