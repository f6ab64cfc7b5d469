"""Captions and scores one cell of a study after another."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prefixcap.study.analysis.results import Results
from prefixcap.study.analysis.rows import NO_BRIDGE
from prefixcap.study.artifacts import captions
from prefixcap.study.artifacts.captions import CellCaptions, LoadedModel
from prefixcap.study.artifacts.folder import StudyJob
from prefixcap.study.artifacts.keys import PlannedCell
from prefixcap.study.execution.encoding import EncodedImages
from prefixcap.study.execution.scoring import Scorer
from prefixcap.study.execution.training import training_summary

if TYPE_CHECKING:
    from prefixcap.captioning.captioner import Captioner


class CellRunner:
    """Captions and scores cells; consecutive cells of one model share it."""

    def __init__(self, job: StudyJob, scorer: Scorer, results: Results) -> None:
        self._job, self._scorer, self._results = job, scorer, results
        self._captioner: tuple[Path, Captioner] | None = None
        self._model: tuple[Path, LoadedModel] | None = None

    def reuse(self, folder: Path, captioner: Captioner) -> None:
        """Keep a model that has just been trained, so that its cells need not load it."""
        self._model, self._captioner = None, (folder, captioner)

    def run(
        self, cell: PlannedCell, images: EncodedImages, title: Callable[[str], str]
    ) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        """Caption and score a cell, whose lock is held, as far as that is not done yet.

        `title` completes a description of work for the reporter.

        Returns:
            The cell's row, as `bench --json` prints it, and its captions, a line per image.
        """
        name = cell.name[:-9]  # without its hash
        captioned = captions.load(cell)
        if captioned is None:
            model = self._load(cell, images)
            captioned, decoded = captions.caption_cell(
                self._job, cell, model, title(f"captioning {name}")
            )
            self._results.work["decoded_images"] += decoded
        captions.discard_partial(cell)
        scores = self._scorer.score(
            cell.folder, cell.scores_key, captioned.lines, images, title(name)
        )
        return self._row(cell, images, captioned, scores), captioned.lines

    def caption_part(
        self, cell: PlannedCell, images: EncodedImages, number: int, parts: int
    ) -> None:
        """Caption every `parts`-th image of a cell, from image `number` on."""
        model = self._load(cell, images)
        decoded = captions.caption_part(self._job, cell, model, number, parts)
        self._results.work["decoded_images"] += decoded

    def _load(self, cell: PlannedCell, images: EncodedImages) -> LoadedModel:
        """Load a cell's model and map the test images to prefixes, unless that was done last."""
        from prefixcap.captioning.captioner import Captioner
        from prefixcap.captioning.feature_rows import CHUNK

        folder = cell.model_folder
        if self._model is not None and self._model[0] == folder:
            return self._model[1]
        self._model = None  # free the memory of one model before the next is loaded
        if self._captioner is None or self._captioner[0] != folder:
            self._captioner = None
            device, dtype = self._job.device, self._job.study.dtype
            # the language model of the training may be elsewhere now
            captioner = Captioner.load(folder, device, dtype, lm=cell.model.lm)
            self._captioner = folder, captioner
        captioner, features = self._captioner[1], images.test_features
        if shift := captioner.check_feature_shift(features[:CHUNK]):
            self._results.warn(f"warning: {folder.name}: {shift}", self._job.reporter)
        model = LoadedModel(
            captioner=captioner,
            image_ids=images.ids,
            features=features,
            prefix=captioner.prefixes(features),
            text_encoder=images.text_encoder,
            neighbors=images.neighbors,
        )
        self._results.work["mapped_images"] += len(features)
        self._model = folder, model
        return model

    def _row(
        self,
        cell: PlannedCell,
        images: EncodedImages,
        captioned: CellCaptions,
        scores: dict[str, Any],
    ) -> dict[str, Any]:
        label, model = self._job.study.label, cell.model
        return {
            "mapper": label(model.mapper),
            "prefix_length": model.prefix_length,
            "decoder": label(cell.decoder),
            **scores,
            "captions_per_second": captioned.per_second,
            "decoding_flops": captioned.flops,
            **training_summary(cell.model_folder),
            "seed": model.seed,
            "tuning": label(model.tuning),
            "train_on": model.train_on,
            "bridge": label(model.bridge) if model.bridge else NO_BRIDGE,
            "prompt": label(model.prompt),
            "encoder": label(model.encoder),
            "lm": label(model.lm),
            "dataset": label(self._job.study.dataset),
            "split": images.split,
            "images": len(images.test),
            "model": cell.model_folder.relative_to(self._job.files.path).as_posix(),
            "cell": cell.name,
        }
