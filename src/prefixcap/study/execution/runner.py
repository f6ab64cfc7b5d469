"""Runs a study: what is there is used, what is missing is made, in the order of its cost."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from prefixcap.captioning import checkpoint
from prefixcap.errors import PrefixcapError
from prefixcap.interfaces.language_model import LanguageModel, LMConfig
from prefixcap.plugin import specs
from prefixcap.study.analysis import contact_sheet
from prefixcap.study.analysis.results import Results
from prefixcap.study.artifacts import captions, keys, models
from prefixcap.study.artifacts import features as features_module
from prefixcap.study.artifacts.folder import KEY, PARTIAL_CAPTIONS, TRAINING, StudyFolder
from prefixcap.study.artifacts.keys import (
    Cell,
    InputDigests,
    PlannedModel,
    in_order,
    model_key,
    places,
)
from prefixcap.study.artifacts.locks import shared
from prefixcap.study.definition.study import Study
from prefixcap.study.execution import checks, data, training, work
from prefixcap.study.execution.ahead import Ahead
from prefixcap.study.execution.encoding import Encoding, Images
from prefixcap.study.execution.estimate import Work, note
from prefixcap.study.execution.scoring import Scorer
from prefixcap.study.execution.workers import at_work
from prefixcap.util import versions
from prefixcap.util.files import write_json
from prefixcap.util.progress import Reporter, Silent, Whole
from prefixcap.util.runtime import device_named

if TYPE_CHECKING:
    from torch import Tensor

    from prefixcap.captioning.captioner import Captioner


def run_study(study: Study, folder: Path, reporter: Reporter | None = None) -> Results:
    """Runs a study, or goes on with it.

    Args:
        study: what to run.
        folder: where everything is kept; artifacts in it are used where they are of this study.
        reporter: who is told what is being done.

    Returns:
        The rows, with everything written into `folder`.

    Raises:
        PrefixcapError: something in the study or its data is wrong.
    """
    return Runner(study, folder, reporter or Silent()).run()


@attrs.frozen(kw_only=True)
class Group:
    """The models of one encoder and one language model."""

    images: Images
    lm: LMConfig
    places: list[PlannedModel]


class Runner:
    """One process's way through a study.

    Where several work on one study, each takes what no other is making; what is left when nothing
    else is to be done is waited for.

    Args:
        study: what to run.
        folder: where everything is kept.
        reporter: who is told what is being done.
    """

    def __init__(self, study: Study, folder: Path, reporter: Reporter) -> None:
        self.study = study
        self.folder = folder
        self.files = StudyFolder(folder)
        self.reporter = reporter
        self.device = device_named(study.device)
        self.results = Results(folder=folder, correction=study.correction)
        self._rows: dict[str, dict[str, Any]] = {}
        self._shown: dict[str, list[dict[str, Any]]] = {}
        self._lm: tuple[LMConfig, LanguageModel] | None = None
        self._captioner: tuple[Path, Captioner] | None = None
        self._prefix: tuple[Path, Tensor] | None = None
        self._groups: list[Group] = []
        self._ahead = Ahead(folder, self._left)
        self._scorer = Scorer(study, folder, self.results, reporter, self._whole)

    def run(self) -> Results:
        """Runs everything and writes the results."""
        self.files.find_config()
        self.data = data.load(self.study)
        for warning in checks.check(self.study, self.data.test):
            self.results.warn(warning, self.reporter)
        with at_work(self.folder):
            return self._run()

    def _run(self) -> Results:
        # until it is known what the scores are to be of, those that are there are of another study
        self._write_config(None)
        if self.data.warning:
            self.results.warn(self.data.warning, self.reporter)
        if slow := checks.slow_dtype(self.device, self.study.dtype):
            self.reporter.message(slow)  # of this machine, not of the results
        self._encode()
        for group in self._groups:
            self._scorer.try_out(group.images, in_order(group.places))
        cells = [cell for group in self._groups for cell in in_order(group.places)]
        self.results.study = specs.digest(
            [cell.scores_key for cell in cells], list(self.study.metrics), self.study.baselines
        )
        self._write_config(self.results.study)
        self._baselines()
        for wait in (False, True):
            for group in self._groups:
                self._make(group, wait=wait)
        self._collect()
        self._baselines()
        self.results.write()
        labels = {
            row["cell"]: f"{row['mapper']} P={row['prefix_length']} {row['decoder']}"
            for row in self.results.rows
        }
        contact_sheet.draw(
            self.files.contact_sheet, self.results.test, self.results.captions, labels
        )
        return self.results

    def _baselines(self) -> None:
        """Scores what every table is read against, that of an unfinished study too."""
        self.results.baselines = []
        if self.study.baselines:
            for images in {id(group.images): group.images for group in self._groups}.values():
                self._scorer.baselines(images)

    def _write_config(self, study: str | None) -> None:
        about = {
            "study": study,
            "data_digest": self.data.digest,
            "versions": self._versions(),
            "ran_on": self.device,
        }
        write_json(self.files.config, {**self.study.to_json(), **about})

    def _encode(self) -> None:
        """Encodes every image, and lays out the grid."""
        encoding = Encoding(
            self.study, self.folder, self.device, self.data, self.results, self.reporter
        )
        seen = [encoding.images(config) for config in self.study.encoders]
        references = keys.references_key(self.results.test)
        for lm_config in self.study.lms:
            lm = models.lm_key(self._language_model(lm_config))
            for images in seen:
                made = InputDigests(
                    training=images.training.key,
                    test=images.test_key,
                    references=references,
                    lm=lm,
                )
                found = places(self.study, self.folder, self.device, images.config, lm_config, made)
                self._groups.append(Group(images=images, lm=lm_config, places=found))
        order = [images.config for images in seen]
        self._groups.sort(key=lambda group: order.index(group.images.config))

    def _language_model(self, config: LMConfig) -> LanguageModel:
        if self._lm is None or self._lm[0] != config:
            self._lm = None  # the memory of one is freed before the next is loaded
            self._lm = config, config.build(self.device, self.study.dtype)
        return self._lm[1]

    def _make(self, group: Group, *, wait: bool) -> None:
        """Trains, captions and scores what is missing of a group and no other process makes."""
        untrained = [place for place in group.places if not place.is_trained]
        without = {place.folder for place in untrained}
        decoded = [
            cell
            for cell in self._missing(group)
            if cell.model_folder not in without
            and captions.finished(cell.folder, cell.key, self._ids)
        ]
        for cell in shared(decoded, lambda cell: cell.folder, wait=False):
            self._cell(group, cell)
        while place := self._next_trained(group, untrained, wait=wait):
            for cell in shared(place.cells, lambda cell: cell.folder, wait=False):
                self._cell(group, cell)
        trained = {place.folder for place in group.places if place.is_trained}
        for folder in trained:  # left by a process that was killed after it had saved the model
            (folder / TRAINING).unlink(missing_ok=True)
        left = [cell for cell in self._missing(group) if cell.model_folder in trained]
        for cell in shared(left, lambda cell: cell.folder, wait=wait, waiting=self._waits_for_cell):
            self._cell(group, cell)

    def _next_trained(
        self, group: Group, untrained: list[PlannedModel], *, wait: bool
    ) -> PlannedModel | None:
        """Trains a model that no other process is at; its cells may be shared then."""
        works = shared(untrained, lambda p: p.folder, wait=wait, waiting=self._waits_for_model)
        with contextlib.closing(works):
            for place in works:
                self._train(group, place)
                untrained.remove(place)
                return place
        return None

    def _waits_for_model(self, place: PlannedModel) -> None:
        self.reporter.message(f"waiting for another process, which trains {place.model.name}")

    def _waits_for_cell(self, cell: Cell) -> None:
        self.reporter.message(f"waiting for another process, which captions {cell.name}")

    def _missing(self, group: Group) -> list[Cell]:
        return [cell for cell in in_order(group.places) if cell.name not in self._rows]

    @property
    def _ids(self) -> list[str]:
        return [example.image.id for example in self.results.test]

    def _whole(self, present: Sequence[Work]) -> None:
        """Tells the reporter what is left beside the present work."""
        after = self._ahead.beside(present)
        self.reporter.whole = Whole(done=len(self._rows), cells=self.study.cells, after=after)

    def _left(self) -> list[Work]:
        """Finds what is left to do, by whichever process."""
        return [
            piece
            for group in self._groups
            for piece in work.left(
                self.study, group.images.training, group.places, self._ids, set(self._rows)
            )
        ]

    def _collect(self) -> None:
        """Puts the rows into the order of the grid."""
        order = [cell.name for group in self._groups for cell in in_order(group.places)]
        names = [name for name in order if name in self._rows]
        self.results.rows = [self._rows[name] for name in names]
        self.results.captions = {name: self._shown[name] for name in names}

    def _versions(self) -> dict[str, str]:
        study = self.study
        kinds = (study.encoders, study.lms, study.mappers, study.tunings, study.decoders)
        configs = [study.dataset, *(c for kind in kinds for c in kind), *study.metrics]
        return versions.versions() | {f"{c.kind} {c.name}": c.version for c in configs}

    def _train(self, group: Group, place: PlannedModel) -> None:
        steps = work.training(self.study, group.images.training, place)
        self._whole([steps])
        captioner, trained = training.train(
            place.folder,
            place.key,
            place.model,
            self.study,
            self._language_model(group.lm),
            group.images.digest,
            group.images.training,
            self.reporter,
            self._what(f"training {place.model.name}"),
        )
        self.results.work["trained_models"] += trained
        if captioner is not None:
            self._captioner = place.folder, captioner
            history = captioner.history
            done = attrs.evolve(steps, units=len(history["loss"]))
            note(self.folder, done, sum(history["seconds"]))

    def _cell(self, group: Group, cell: Cell) -> None:
        study, ids, images = self.study, self._ids, group.images
        found = captions.finished(cell.folder, cell.key, ids)
        if found is not None:  # left by a process that was killed after it had made them
            (cell.folder / PARTIAL_CAPTIONS).unlink(missing_ok=True)
        else:
            captioner, prefix = self._load(cell.model_folder, images)
            decoding = work.captioning(study, cell, len(ids))
            self._whole([decoding])
            begin = time.perf_counter()
            found, decoded = captions.make(
                cell.folder,
                cell.key,
                captioner,
                cell.decoder,
                images.test,
                prefix,
                images.text_encoder,
                ids,
                max_new_tokens=study.max_new_tokens,
                max_rows=study.max_rows,
                seed=cell.model.seed,
                about={"model": cell.model_folder.name, "decoder": specs.to_json(cell.decoder)},
                reporter=self.reporter,
                what=self._what(f"captioning {cell.name[:-9]}"),
            )
            seconds = time.perf_counter() - begin
            note(self.folder, attrs.evolve(decoding, units=decoded), seconds)
            self.results.work["decoded_images"] += decoded
        scores, intervals = self._scorer.scores(
            cell.folder, cell.scores_key, found.lines, images, self._what(cell.name[:-9])
        )
        self._shown[cell.name] = found.lines[: contact_sheet.IMAGES]
        model = cell.model
        self._rows[cell.name] = {
            "mapper": study.label(model.mapper),
            "prefix_length": model.prefix_length,
            "decoder": study.label(cell.decoder),
            "scores": scores,
            "intervals": intervals,
            "captions_per_second": found.per_second,
            "decoding_flops": found.flops,
            **models.about(cell.model_folder),
            "seed": model.seed,
            "tuning": study.label(model.tuning),
            "encoder": study.label(model.encoder),
            "lm": study.label(model.lm),
            "dataset": study.label(study.dataset),
            "images": len(ids),
            "model": f"models/{cell.model_folder.name}",
            "cell": cell.name,
        }
        self._collect()
        self.results.write_part()

    def _load(self, folder: Path, images: Images) -> tuple[Captioner, Tensor]:
        """Returns a model, and the prefixes (B,P,E) of the test images, mapped once."""
        from prefixcap.captioning.captioner import Captioner

        if self._captioner is None or self._captioner[0] != folder:
            self._captioner = self._prefix = None
            self._captioner = folder, Captioner.load(folder, self.device, self.study.dtype)
        captioner = self._captioner[1]
        if self._prefix is None or self._prefix[0] != folder:
            if unlike := captioner.check_feature_shift(images.test):
                self.results.warn(f"warning: {folder.name}: {unlike}", self.reporter)
            self._prefix = folder, captioner.prefixes(images.test)
            self.results.work["mapped_images"] += len(images.test)
        return captioner, self._prefix[1]

    def _what(self, text: str) -> str:
        cells = self.study.cells
        return f"[{len(self._rows) + 1}/{cells}] {text}" if cells > 1 else text


def train_one(study: Study, folder: Path, reporter: Reporter) -> dict[str, Any]:
    """Trains the first model of a study into a folder of its own.

    Args:
        study: what to train.
        folder: where the model goes; its features are kept there too, so a killed training does
            not encode again.
        reporter: who is told what is being done.

    Returns:
        What tables say of the model.

    Raises:
        PrefixcapError: the folder holds another model or a study, or something does not fit.
    """
    device = device_named(study.device)
    if slow := checks.slow_dtype(device, study.dtype):
        reporter.message(slow)
    loaded = data.load(study)
    encoder = study.encoders[0].build(device)
    lm = study.lms[0].build(device, study.dtype)
    features = features_module.Features.of_study(
        study, folder, study.encoders[0], encoder, loaded.dataset, reporter
    )
    (model,) = study.models(study.encoders[0], study.lms[0])
    lm_key = models.lm_key(lm)
    # a training that was killed while its model was saved has left its state, and no key
    saving = (folder / TRAINING).exists() and not (folder / KEY).exists()
    if (folder / checkpoint.CONFIG).exists() and not saving:
        readable = features.known_readable(loaded.train), features.known_readable(loaded.val)
        expected = model_key(study, model, lm_key, keys.training_key(features, *readable))
        if not models.is_trained(folder, expected):
            raise PrefixcapError(f"{folder} holds another run: choose another --out")
    found, lost = data.training_data(features, loaded)
    key = model_key(study, model, lm_key, found.key)
    if lost:
        reporter.message(
            f"left out {len(lost)} images that could not be read: {', '.join(lost[:5])}"
        )
    training.train(
        folder, key, model, study, lm, encoder.digest(), found, reporter, f"training {model.name}"
    )
    return models.about(folder)
