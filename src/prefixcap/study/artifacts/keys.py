"""Keys of a study's artifacts: digests of everything that an artifact depends on.

A key decides the name of an artifact's folder, so a changed input leads to another folder, and
undoing the change finds the old artifact again.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import attrs

from prefixcap.captioning import checkpoint
from prefixcap.interfaces.component import Component
from prefixcap.interfaces.dataset import DatasetConfig, Example
from prefixcap.interfaces.decoder import DecoderConfig
from prefixcap.interfaces.encoder import EncoderConfig
from prefixcap.interfaces.language_model import LanguageModel, LMConfig
from prefixcap.plugin import specs
from prefixcap.study.artifacts.folder import KEY, LAST, LAST_GOOD, TRAINING, StudyJob
from prefixcap.study.definition.study import FORMAT, Model, Study
from prefixcap.training.sentences import VERSION as SENTENCES
from prefixcap.util.files import AlteredError, read_json


@attrs.frozen(kw_only=True)
class PlannedCell:
    """The captions to make with one model and one decoder.

    Attributes:
        key: A digest of everything that the captions depend on.
        scores_key: A digest of what metrics see: captions and references.
    """

    model: Model
    model_folder: Path
    decoder: DecoderConfig
    key: str
    scores_key: str
    folder: Path

    @property
    def name(self) -> str:
        """The name of the cell's folder, unique in its study."""
        return self.folder.name


@attrs.frozen(kw_only=True)
class PlannedModel:
    """A model to train, with its cells; `key` digests everything that it depends on."""

    model: Model
    key: str
    folder: Path
    cells: tuple[PlannedCell, ...]

    @property
    def is_trained(self) -> bool:
        """Whether the model exists, as it was written."""
        try:
            return self.read()
        except AlteredError:
            return False

    def read(self) -> bool:
        """Return whether the model exists.

        Raises:
            AlteredError: If it does, but a file of it was altered.
        """
        if (read_json(self.folder / KEY) or {}).get("key") != self.key:
            return False
        checkpoint.check(self.folder)
        if (self.folder / LAST).exists():
            checkpoint.check(self.folder / LAST)
        return True

    def discard_training_state(self) -> None:
        """Delete the state from which a killed training would resume, and that of a failed one."""
        (self.folder / TRAINING).unlink(missing_ok=True)
        shutil.rmtree(self.folder / LAST_GOOD, ignore_errors=True)


@attrs.frozen(kw_only=True)
class InputDigests:
    """Digests of what models depend on: training data, test features, references and LM."""

    training: str
    test: str
    references: str
    lm: str


def planned_models(
    job: StudyJob,
    encoder: EncoderConfig,
    lm: LMConfig,
    inputs: InputDigests,
    *,
    models: Sequence[Model] | None = None,
    decoded_on: str | None = None,
) -> list[PlannedModel]:
    """Plan the models and cells of one encoder and one language model.

    The models are by default those of the study, with the sizes that it names. Components are
    loaded on the job's device to be digested; `decoded_on` is the device of the captions, if it is
    not the job's.
    """
    # all GPUs count as one device
    device_type = (decoded_on or job.device).partition(":")[0]
    study = job.study
    decoders = [(decoder, decoder_key(decoder, job.device)) for decoder in study.decoders]
    planned = []
    for model in study.models(encoder, lm) if models is None else models:
        key = model_key(study, model, inputs)
        folder = job.files.models / f"{model.name}-{key[:8]}"
        cells = []
        for decoder, digest in decoders:
            captions_key = specs.digest(
                "captions", key, digest, study.max_new_tokens, device_type, inputs.test
            )
            name = f"{model.name}-{decoder.name}-{captions_key[:8]}"
            cells.append(
                PlannedCell(
                    model=model,
                    model_folder=folder,
                    decoder=decoder,
                    key=captions_key,
                    scores_key=scores_key(captions_key, inputs.references),
                    folder=job.files.cells / name,
                )
            )
        planned.append(PlannedModel(model=model, key=key, folder=folder, cells=tuple(cells)))
    return planned


def model_key(study: Study, model: Model, inputs: InputDigests) -> str:
    """Digest everything that a trained model depends on.

    The training data's digest covers images and captions, and the encoder of both.
    """
    # nothing is added for models trained on images, whose keys are older than bridges
    bridge = [] if model.bridge is None else specs.fingerprint_inputs(model.bridge)
    return specs.digest(
        FORMAT,
        "model",
        SENTENCES,
        inputs.training,
        *specs.fingerprint_inputs(model.lm),
        inputs.lm,
        *specs.fingerprint_inputs(model.mapper),
        model.prefix_length,
        *specs.fingerprint_inputs(model.tuning),
        *_prompt_inputs(model),
        model.seed,
        study.training.to_json(),
        study.dtype,
        *bridge,
    )


def _prompt_inputs(model: Model) -> list[object]:
    # without a prompt, the key is that of the time before there were prompts
    return [*specs.fingerprint_inputs(model.prompt)] if model.prompt.length else []


def lm_key(lm: LanguageModel) -> str:
    """Digest a language model's weights, its vocabulary and how it splits text."""
    from prefixcap.captioning.loading import probe

    return specs.digest(lm.digest(), probe(lm))


def decoder_key(decoder: DecoderConfig, device: str) -> str:
    """Digest a decoder with all components that its settings name."""
    parts = (component_key(part, device) for part in decoder.subcomponents())
    return specs.digest(decoder, *parts, *decoder.external_digests())


def component_key(config: Component, device: str) -> str:
    """Digest a component that another one names, with its weights or data."""
    content = ""
    if isinstance(config, LMConfig):
        content = lm_key(config.build(device))
    elif isinstance(config, EncoderConfig):
        content = config.build(device).digest()
    elif isinstance(config, DatasetConfig):
        content = config.build().digest()
    elif isinstance(config, DecoderConfig):
        return decoder_key(config, device)
    plain = specs.identity(config) if content else config
    return specs.digest(plain, content, *config.external_digests())


def scores_key(captions_key: str, references_key: str) -> str:
    """Digest what metrics see: captions and references."""
    return specs.digest("scores", captions_key, references_key)


def references_key(examples: Sequence[Example]) -> str:
    """Digest the reference captions that cells are scored against."""
    return specs.digest([[example.image.id, example.references] for example in examples])
