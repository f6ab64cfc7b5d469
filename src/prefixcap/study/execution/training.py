"""Trains the models of a study, and single models for `prefixcap train`."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from prefixcap.captioning.checkpoint import CONFIG, read_config
from prefixcap.errors import DivergedError, PrefixcapError
from prefixcap.interfaces.language_model import LanguageModel
from prefixcap.plugin import specs
from prefixcap.plugin.building import build
from prefixcap.plugin.events import Events, listening, parse_trackers
from prefixcap.study.artifacts import timings
from prefixcap.study.artifacts.folder import EPOCHS, KEY, LAST, LAST_GOOD, TRAINING, StudyJob
from prefixcap.study.artifacts.keys import PlannedModel
from prefixcap.study.artifacts.locks import locked
from prefixcap.study.definition.study import Study
from prefixcap.study.execution import checks, data, encoding, grid, prune, trial
from prefixcap.study.execution.encoding import EncodedImages
from prefixcap.study.execution.training_events import TrainingEvents
from prefixcap.training import epochs
from prefixcap.training.launcher import join
from prefixcap.training.processes import Processes
from prefixcap.util.files import AlteredError, atomic_write, read_bytes, write_json, write_text
from prefixcap.util.progress import Reporter
from prefixcap.util.runtime import device_named

if TYPE_CHECKING:
    from prefixcap.captioning.captioner import Captioner


def train(
    job: StudyJob,
    planned: PlannedModel,
    lm: LanguageModel,
    images: EncodedImages,
    title: str,
    processes: Processes | None = None,
) -> Captioner | None:
    """Train a model and save it; return None if it exists already.

    Of several processes the main one saves the model; the others return None.

    Raises:
        DivergedError: If the loss, a gradient or a weight is not finite; the model of the finished
            epochs is then in a folder of its own, and this model stays unfinished.
    """
    from prefixcap.training.checkpoint import TrainingCheckpoint
    from prefixcap.training.train import train as fit

    processes = processes or Processes()
    with locked(planned.folder) if processes.is_main else nullcontext():
        if processes.chosen(processes.is_main and _exists(job, planned)):
            return None
        model = planned.model

        def save(captioner: Captioner, folder: Path) -> None:
            if not processes.is_main:
                return
            captioner.lm_config, captioner.encoder_config = model.lm, model.encoder
            captioner.encoder_digest = images.features.encoder.digest()
            if (gap := images.gap(captioner.prefixer.bridge)) is not None:
                captioner.history["gap"] = gap
            captioner.save(folder)

        if processes.is_main:
            shutil.rmtree(planned.folder / LAST, ignore_errors=True)  # of another training
        events = TrainingEvents(job, planned)
        events.started()
        last_good = _saving_last_good(planned, save, processes, events)
        with job.reporter.task(title, 1, "steps") as task, last_good:
            captioner = fit(
                lm,
                model.mapper,
                model.prefix_length,
                model.tuning,
                images.train_features,
                [example.references for example in images.train],
                config=job.study.training,
                prompt=images.prompting(model.prompt),
                seed=model.seed,
                texts=None if model.bridge is None else images.text_training(model.bridge),
                val_features=images.val_features,
                val_captions=[e.references for e in images.val] if images.val else None,
                val_ids=[each.image.id for each in images.val],
                progress=partial(events.step, task),
                on_epoch=lambda _, captioner: _record(planned, events, captioner.history),
                on_last=lambda captioner: save(captioner, planned.folder / LAST),
                checkpoint=TrainingCheckpoint(
                    planned.folder / TRAINING, report=job.reporter.message
                ),
                processes=processes,
            )
        if not processes.is_main:
            return None
        if captioner.history["train_loss"]:  # also for epochs before a process was killed
            write_text(planned.folder / EPOCHS, epochs.to_csv(captioner.history))
        save(captioner, planned.folder)
        # Last, so that a killed process leaves no incomplete model.
        write_json(planned.folder / KEY, {"key": planned.key})
        planned.discard_training_state()
        steps, seconds = len(captioner.history["loss"]), sum(captioner.history["seconds"])
        timings.record(job, timings.TRAINING, specs.to_spec(model.mapper), steps, seconds)
        events.ended(training_summary(planned.folder))
        return captioner


def _exists(job: StudyJob, planned: PlannedModel) -> bool:
    """Return whether a model is trained; an altered one is reported, to be trained again."""
    try:
        exists = planned.read()
    except AlteredError as error:
        job.reporter.message(error.remade)
        return False
    if exists:
        check_files(job, planned)
    return exists


def check_files(job: StudyJob, planned: PlannedModel) -> None:
    """Write the record of a trained model's epochs again if it was altered; delete leftovers."""
    planned.discard_training_state()
    history, path = read_config(planned.folder)["history"], planned.folder / EPOCHS
    expected = epochs.to_csv(history).encode() if history["train_loss"] else None
    content = read_bytes(path)
    if expected is not None and content != expected:
        if content is not None:
            job.reporter.message(AlteredError(path, "it differs from the history").remade)
        atomic_write(path, expected)


def _record(planned: PlannedModel, events: TrainingEvents, history: Mapping[str, Any]) -> None:
    """Write the finished epochs into the model's folder, and show the last one."""
    write_text(planned.folder / EPOCHS, epochs.to_csv(history))
    events.epoch(history)


@contextmanager
def _saving_last_good(
    planned: PlannedModel,
    save: Callable[[Captioner, Path], None],
    processes: Processes,
    events: TrainingEvents,
) -> Iterator[None]:
    """Save what is left of a training that diverges, and complete the error with its place."""
    try:
        yield
    except DivergedError as error:
        folder, state = planned.folder / LAST_GOOD, planned.folder / TRAINING
        kept = "no epoch was finished before, so no model is kept"
        if error.model is not None:
            save(error.model, folder)
            kept = f"the model of epoch {error.epoch} is saved in {folder} (for caption --run)"
            error.model = None  # free the memory
        events.ended({}, str(error))
        processes.wait()  # a launcher ends all of them when the first one fails
        raise DivergedError(
            f"training {planned.model.name}: {error}; {kept}; the same settings would end in the "
            f"same way, so they are not tried again while {state} exists",
            epoch=error.epoch,
        ) from error


def train_one(
    study: Study, folder: Path, reporter: Reporter, *, trackers: Sequence[str] = ()
) -> dict[str, Any] | None:
    """Train the first model of a study into a separate folder.

    The folder also stores the features, so that a killed training does not encode them again.
    Test images are not encoded, since nothing is captioned. Processes that a launcher started
    share the encoding and the training, and the main one writes the model.

    Returns:
        The model's columns of a table; None in other processes than the main one.

    Raises:
        PrefixcapError: If the folder holds another model or a study, or something does not fit.
    """
    configs, processes = parse_trackers(trackers), join(device_named(study.device))
    study = attrs.evolve(study, device=processes.device)
    silent = nullcontext(Events())
    heard = listening(configs, folder, reporter.message) if processes.is_main else silent
    with heard as events:
        job = StudyJob(study, folder, reporter, timed=False, events=events)
        return _train_one(job, processes)


def _train_one(job: StudyJob, processes: Processes) -> dict[str, Any] | None:
    study, folder, reporter = job.study, job.files.path, job.reporter
    prune.remove_leftovers(job.files)
    if slow := checks.slow_dtype(job.device, study.dtype):
        reporter.message(slow)
    splits = data.load(study)
    checks.check_keep(study, splits.val)
    if splits.unused:
        reporter.message(splits.unused)
    splits = splits.without_test()
    trial.build_components(study, reporter, captioning=False)
    features = next(encoding.open_features(job, splits))
    lm = build(study.lms[0], job.device, study.dtype)
    if processes.count > 1 and getattr(lm.module, "hf_device_map", None):
        raise PrefixcapError(
            f"device_map spreads the language model over the places of one process, and the "
            f"launcher has started {processes.count}: train without it, or without the launcher"
        )

    def plan(images: EncodedImages) -> PlannedModel:
        (group, *_) = grid.resolve(job, [images], build_lm=lambda _: lm)
        for warning in group.warnings:
            reporter.message(warning)
        return attrs.evolve(group.models[0], folder=folder)

    # a process that was killed while it saved its model left its training state and no key
    saving = (folder / TRAINING).exists() and not (folder / KEY).exists()
    if (folder / CONFIG).exists() and not saving:
        _check_is_same(plan(encoding.known_images(features, splits)))
    images, unreadable = encoding.encode_images(features, splits)
    if unreadable:
        reporter.message(encoding.unreadable_message(unreadable))
    planned = plan(images)
    trial.try_models(job, [attrs.evolve(planned, cells=())], lm, images)
    train(job, planned, lm, images, f"training {planned.model.name}", processes)
    processes.wait()
    if not processes.is_main:
        return None
    gap = read_config(folder)["history"].get("gap")
    return training_summary(folder) | ({} if gap is None else {"gap": gap})


def _check_is_same(known: PlannedModel) -> None:
    """Raise an error if a folder's run is another one; altered weights are trained again."""
    try:
        if not known.read():
            raise PrefixcapError(f"{known.folder} holds another run: choose another --out")
    except AlteredError as error:
        if error.path.name == KEY:  # says which run it is
            raise AlteredError(error.path, error.reason, "choose another --out") from None


def training_summary(folder: Path) -> dict[str, Any]:
    """Return a trained model's columns of a table: parameters, costs, epochs and loss."""
    config = read_config(folder)
    history = config["history"]
    losses, best = history.get("val_loss"), history.get("best_epoch")
    return {
        "trained_parameters": config["trained_parameters"],
        "training_seconds": round(sum(history.get("seconds", [])), 3),
        "training_flops": history.get("flops"),
        "training_memory": max(history.get("memory", []), default=None),
        "epochs": len(history.get("train_loss", [])) or None,
        "best_epoch": best,
        # without an epoch, that of the model as it starts
        "val_loss": losses[(best or 1) - 1] if losses else None,
    }
