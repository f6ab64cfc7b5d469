"""Runs a study: what is there is used, what is missing is made, in the order of its cost."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from prefixcap import runs, specs
from prefixcap.config import Component
from prefixcap.errors import PrefixcapError
from prefixcap.kinds import DecoderConfig, EncoderConfig, Example, LanguageModel, LMConfig
from prefixcap.runtime import device_named
from prefixcap.similarity import TextSide
from prefixcap.stats import bootstrap_interval
from prefixcap.study import baselines, captions, data, models, picture, resampling, scoring
from prefixcap.study.grid import FORMAT, Model, Study
from prefixcap.study.progress import Reporter, Silent
from prefixcap.study.results import Results
from prefixcap.study.store import read_json, write_json, write_lines

if TYPE_CHECKING:
    from torch import Tensor

    from prefixcap.captioner import Captioner

CONFIG = "config.json"


def run(
    study: Study, folder: Path, reporter: Reporter | None = None, *, correction: str = "holm"
) -> Results:
    """Runs a study, or goes on with it.

    Args:
        study: what to run.
        folder: where everything is kept; artifacts in it are used where they are of this study.
        reporter: who is told what is being done.
        correction: the correction for many comparisons, for the table.

    Returns:
        The rows, with everything written into `folder`.

    Raises:
        PrefixcapError: something in the study or its data is wrong.
    """
    runner = Runner(study, folder, reporter or Silent())
    runner.results.correction = correction
    return runner.run()


@attrs.frozen
class Parts:
    """What the models of one encoder and one language model share."""

    lm: LanguageModel
    lm_digest: str
    encoder_digest: str
    training: data.TrainingData
    test_key: str


class Runner:
    """One process's way through a study.

    Args:
        study: what to run.
        folder: where everything is kept.
        reporter: who is told what is being done.
    """

    def __init__(self, study: Study, folder: Path, reporter: Reporter) -> None:
        self.study = study
        self.folder = folder
        self.reporter = reporter
        self.device = device_named(study.device)
        self.results = Results(folder=folder, study=specs.digest(study.to_json()))
        self._done = 0

    def run(self) -> Results:
        """Runs everything and writes the results."""
        check_folder(self.folder)
        self.data = data.load(self.study)
        about = {"data_digest": self.data.digest, "versions": self._versions()}
        write_json(self.folder / CONFIG, {**self.study.to_json(), **about})
        for encoder in self.study.encoders:
            self._encoder(encoder)
        self.results.write()
        cells = self.results.captions
        labels = {
            row["cell"]: f"{row['mapper']} P={row['prefix_length']} {row['decoder']}"
            for row in self.results.rows
        }
        picture.draw(self.folder / "grid.png", self.results.test, cells, labels)
        return self.results

    def _encoder(self, config: EncoderConfig) -> None:
        encoder = config.build(self.device)
        self.text_side = TextSide(specs.to_spec(config), lambda: encoder)
        features = data.Features(
            folder=self.folder / "features",
            config=config,
            encoder=encoder,
            dataset=self.data.dataset,
            skip_unreadable=self.study.skip_unreadable,
            reporter=self.reporter,
        )
        training, lost = data.training_data(features, self.data)
        test = self.data.test
        kept, test_features, missing = data.readable(test, features.of(self.data.splits[2], test))
        self._left_out([*lost, *(example.image.id for example in missing)])
        self.results.work["encoded_images"] += features.encoded
        self._same_test(kept)
        test_key = data.test_key(features, kept)
        for lm_config in self.study.lms:
            lm = lm_config.build(self.device, self.study.dtype)
            made_of = Parts(lm, models.lm_key(lm), encoder.digest(), training, test_key)
            for model in self.study.models(config, lm_config):
                self._model(model, made_of, test_features)
        if self.study.baselines:
            self._baselines(config, test_key, training, test_features)

    def _left_out(self, ids: list[str]) -> None:
        new = [image for image in ids if image not in self.results.skipped]
        if new:
            self.results.skipped += new
            shown = ", ".join(new[:5])
            self.reporter.say(f"left out {len(new)} images that could not be read: {shown}")

    def _same_test(self, test: list[Example]) -> None:
        before = [example.image.id for example in self.results.test]
        if before and before != [example.image.id for example in test]:
            raise PrefixcapError(
                "the encoders cannot read the same images, so their cells cannot be compared"
            )
        self.results.test = test
        if not before:
            self.results.write_test()

    def _versions(self) -> dict[str, str]:
        study = self.study
        kinds = (study.encoders, study.lms, study.mappers, study.tunings, study.decoders)
        configs = [study.dataset, *(c for kind in kinds for c in kind), *study.metrics]
        return runs.versions() | {f"{c.kind} {c.name}": c.version for c in configs}

    def _model(self, model: Model, parts: Parts, features: Tensor) -> None:
        study = self.study
        key = model_key(study, model, parts.lm_digest, parts.training.key)
        folder = models.folder(self.folder, model, key)
        captioner, trained = models.train(
            folder,
            key,
            model,
            study,
            parts.lm,
            parts.encoder_digest,
            parts.training,
            self.reporter,
            self._what(f"training {model.name}"),
        )
        self.results.work["trained_models"] += trained
        for decoder in study.decoders:
            cell = cell_key(study, key, decoder, self.device, parts.test_key)
            captioner = self._cell(model, cell, folder, decoder, captioner, features)
            self._done += 1

    def _cell(
        self,
        model: Model,
        key: str,
        model_folder: Path,
        decoder: DecoderConfig,
        captioner: Captioner | None,
        features: Tensor,
    ) -> Captioner | None:
        study, test = self.study, self.results.test
        ids = [example.image.id for example in test]
        folder = cell_folder(self.folder, model, decoder, key)
        name = folder.name
        found = captions.finished(folder, key, ids)
        if found is None:
            captioner = captioner or self._load(model_folder)
            found, decoded = captions.make(
                folder,
                key,
                captioner,
                decoder,
                features,
                self.text_side,
                ids,
                max_new_tokens=study.max_new_tokens,
                seed=model.seed,
                about={"model": model_folder.name, "decoder": specs.to_json(decoder)},
                reporter=self.reporter,
                what=self._what(f"captioning {name[:-9]}"),
            )
            self.results.work["decoded_images"] += decoded
        scores, intervals = self._scores(folder, key, found.lines, features, self._what(name[:-9]))
        self.results.captions[name] = found.lines
        self.results.rows.append(
            {
                "mapper": study.label(model.mapper),
                "prefix_length": model.prefix_length,
                "decoder": study.label(decoder),
                "scores": scores,
                "intervals": intervals,
                "captions_per_second": found.per_second,
                **models.about(model_folder),
                "seed": model.seed,
                "tuning": study.label(model.tuning),
                "encoder": study.label(model.encoder),
                "lm": study.label(model.lm),
                "dataset": study.label(study.dataset),
                "images": len(ids),
                "model": f"models/{model_folder.name}",
                "cell": name,
            }
        )
        self.results.write_part()
        return captioner

    def _scores(
        self, folder: Path, key: str, lines: list[dict[str, Any]], features: Tensor, what: str
    ) -> tuple[dict[str, float], dict[str, list[float]]]:
        """Scores a cell; returns its scores and the ends of their intervals."""
        metrics = self.study.metrics
        key = scores_key(key, self.results.test)
        missing = len(scoring.missing(folder, key, metrics))
        reporter = self.reporter if missing else Silent()
        records = scoring.records(self.results.test, lines, features, self.text_side)
        with reporter.task(f"scoring {what}", missing, "metrics") as task:
            scores = scoring.cell_scores(folder, key, records, metrics, task.reach)
        for metric, reason in scores.left_out.items():
            self.reporter.say(f"{what}: {metric} left out: it {reason}")
        self.results.work["scored_metrics"] += scores.scored
        drawn = resampling.replicates(folder, records, metrics)
        if drawn is None:
            return scores.values, {}
        self.results.replicates[folder.name] = drawn
        intervals = {each.name: [each.low, each.high] for each in bootstrap_interval(drawn)}
        return scores.values, intervals

    def _baselines(
        self,
        encoder: EncoderConfig,
        test_key: str,
        training: data.TrainingData,
        features: Tensor,
    ) -> None:
        train, test = training.examples, self.results.test
        first = next(iter(self.results.captions))
        made = {
            "constant caption": baselines.constant(train, test),
            "random training caption": baselines.random_training(train, test, seed=0),
            "nearest training image": baselines.nearest_training(
                train, test, training.features, features
            ),
            "shuffled images": baselines.shuffled(test, self.results.captions[first]),
        }
        known = {row["name"] for row in self.results.baselines}
        for name, lines in made.items():
            if name in known and name != "nearest training image":
                continue
            key = specs.digest("baseline", test_key, lines)
            folder = self.folder / "baselines" / f"{name.replace(' ', '-')}-{key[:8]}"
            label = self.study.label(encoder)
            shown = f"{name} ({label})" if name in known else name
            if not (folder / captions.FINAL).exists():
                write_lines(folder / captions.FINAL, lines)
            scores, intervals = self._scores(folder, key, lines, features, name)
            self.results.baselines.append(
                {
                    "name": shown,
                    "encoder": label,
                    "scores": scores,
                    "intervals": intervals,
                    "cell": folder.name,
                }
            )

    def _load(self, folder: Path) -> Captioner:
        from prefixcap.captioner import Captioner

        return Captioner.load(folder, self.device, self.study.dtype)

    def _what(self, text: str) -> str:
        cells = self.study.cells
        return f"[{self._done + 1}/{cells}] {text}" if cells > 1 else text


def model_key(study: Study, model: Model, lm_digest: str, training_key: str) -> str:
    """Returns a digest of everything that makes a model."""
    return specs.digest(
        FORMAT,
        "model",
        training_key,
        model.lm,
        lm_digest,
        model.mapper,
        model.prefix_length,
        model.tuning,
        model.seed,
        study.training.to_json(),
        study.dtype,
    )


def cell_key(
    study: Study, model_key: str, decoder: DecoderConfig, device: str, test_key: str
) -> str:
    """Returns a digest of everything that makes a cell's captions."""
    made_by = specs.digest(decoder, *(_part(part, device) for part in decoder.parts()))
    return specs.digest("captions", model_key, made_by, study.max_new_tokens, device, test_key)


def _part(config: Component, device: str) -> str:
    """Returns a digest of a component that a decoder names, with its weights."""
    weights = ""
    if isinstance(config, LMConfig):
        weights = models.lm_key(config.build(device))
    elif isinstance(config, EncoderConfig):
        weights = config.build(device).digest()
    return specs.digest(config, weights)


def scores_key(captions_key: str, test: Sequence[Example]) -> str:
    """Returns a digest of what metrics see: captions and references."""
    return specs.digest("scores", captions_key, data.references_key(test))


def cell_folder(study_folder: Path, model: Model, decoder: DecoderConfig, key: str) -> Path:
    """Returns where a cell is kept."""
    return study_folder / "cells" / f"{model.name}-{decoder.name}-{key[:8]}"


def check_folder(folder: Path) -> None:
    """Checks that a folder can hold a study.

    Raises:
        PrefixcapError: it holds a single model, or a study of another format.
    """
    known = read_json(folder / CONFIG)
    if known is None:
        return
    if known.get("kind") != "study":
        raise PrefixcapError(f"{folder} holds a single model, not a study: choose another --out")
    if known.get("format") != FORMAT:
        raise PrefixcapError(
            f"{folder} is a study of format {known.get('format')!r}, and this version of prefixcap "
            f"knows format {FORMAT}: choose another --out"
        )
