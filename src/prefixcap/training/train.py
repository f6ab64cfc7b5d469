"""`train`: fit a mapper, and the parameters of the language model that a tuning selects."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from hashlib import sha256

import attrs
import torch
from torch import Tensor

from prefixcap.captioning.bridging import bridged
from prefixcap.captioning.captioner import Captioner
from prefixcap.captioning.feature_rows import AnyFeatures, FeatureRows
from prefixcap.captioning.prompting.training import Prompted, PromptTraining
from prefixcap.captioning.tuned import tuned
from prefixcap.engine.prefixes.packing import blank
from prefixcap.errors import DivergedError, PrefixcapError
from prefixcap.interfaces.language_model import LanguageModel, LMConfig
from prefixcap.interfaces.mapper import MapperConfig, MapperShape
from prefixcap.interfaces.tuning import TuningConfig
from prefixcap.plugin import specs
from prefixcap.plugin.registry import default_registry
from prefixcap.training.batches import TokenizedCaption, find_end
from prefixcap.training.checkpoint import TrainingCheckpoint, own_randomness
from prefixcap.training.config import VAL_LOSS, TrainingConfig
from prefixcap.training.initialization import build_prefixer, prefix_shape
from prefixcap.training.loop import Progress, TrainingLoop
from prefixcap.training.processes import Processes
from prefixcap.training.texts import TextTraining, tokenize_rows
from prefixcap.training.trainer import checkpointed, fused_activations
from prefixcap.training.val_captions import ValCaptions
from prefixcap.util.memory import PeakMemory, out_of_memory

SHOWN_IMAGES = 10_000
"""The number of training images whose size after a bridge is measured."""


def train(
    lm: str | LMConfig | LanguageModel,
    mapper: str | MapperConfig,
    prefix_length: int,
    tuning: str | TuningConfig,
    features: AnyFeatures,
    captions: Sequence[Sequence[str]],
    *,
    config: TrainingConfig | None = None,
    seed: int = 0,
    texts: TextTraining | None = None,
    prompt: PromptTraining | None = None,
    val_features: AnyFeatures | None = None,
    val_captions: Sequence[Sequence[str]] | None = None,
    val_ids: Sequence[str] | None = None,
    progress: Progress | None = None,
    on_epoch: Callable[[int, Captioner], None] | None = None,
    on_last: Callable[[Captioner], None] | None = None,
    checkpoint: TrainingCheckpoint | None = None,
    processes: Processes | None = None,
) -> Captioner:
    """Train a mapper, and the parameters of the language model that the tuning selects.

    The given language model is not changed: a tuned one is a copy. The global random states of
    torch, numpy and Python are neither read nor changed.

    Args:
        lm: The language model, its config or its spec.
        mapper: The mapper's config or spec.
        prefix_length: P.
        tuning: Selects the parameters of the language model that are trained.
        features: (B,D) or (B,N,D), one per image; rows of files are read when they are needed.
        captions: B lists of captions.
        config: The settings.
        seed: The seed of the mapper's initial weights, the batches' order and noise.
        texts: The embeddings of the captions, to train on them alone. The features of the training
            images are then only for the bridge and to know their size, and the loss of validation
            captions is that of their own embeddings; captions during the training are of images.
        prompt: Text around the prefixes, made from the training images.
        val_features: Features of the validation images, for early stopping and `keep_by`.
        val_captions: Captions of the validation images.
        val_ids: Names of the validation images, for sample captions; by default row numbers.
        progress: Called after every step with the number of steps done, the total, and "epoch",
            "loss" and, if available, "val_loss".
        on_epoch: Called after every epoch with its number (from 1) and the current model, whose
            `history` says how the epoch went.
        on_last: Called at the end with the model of the last epoch, if another one is returned. Its
            weights are replaced afterwards, so it has to be saved or used at once.
        checkpoint: Stores the state, so that the same call resumes after an interruption and ends
            with bitwise the same weights. It is not removed at the end.
        processes: The result of `join` if a launcher started several processes, each of which
            calls this function with the same arguments and returns the same model. Only the main
            one calls `progress`, `on_epoch` and `on_last` and writes the checkpoint, which all
            read.

    Returns:
        The model of the epoch that `config.keep` selects; without validation data the last one.
        To save it, or to caption images, set its `encoder_config`, and its `lm_config` if `lm`
        is a model.

    Raises:
        DivergedError: If the loss, a gradient or a weight is not finite; its `model` is that of
            the finished epoch that `config.keep` selects.
        PrefixcapError: If a component is unknown, or arguments do not fit each other.
    """
    _check(prefix_length, features, captions, val_features, val_captions)
    if texts is not None:
        texts.check(features, captions, val_captions)
    registry, config = default_registry(), config or TrainingConfig()
    mapper_config = registry.parse(MapperConfig, mapper)
    tuning_config = registry.parse(TuningConfig, tuning)
    lm_config = None
    if not isinstance(lm, LanguageModel):
        lm_config = registry.parse(LMConfig, lm)
        lm = lm_config.build()
    device = lm.device
    memory = PeakMemory(device)
    with own_randomness(seed, device), ExitStack() as stack:
        digest = lm.digest()
        shape = attrs.evolve(
            prefix_shape(lm, mapper_config, tuning_config, prefix_length, features[:1]),
            prompt_length=0 if prompt is None else prompt.prompt.length,
        )
        lm = tuned(lm, tuning_config, shape).for_prefixes(shape)
        end = find_end(lm, config.end)
        # what the mapper sees in training has a row each
        rows, val_rows, inputs, bridge = features, val_features, features, None
        if texts is not None:
            rows, val_rows, bridge = texts.features, texts.val_features, texts.fit(features)
            inputs = bridged(rows, bridge.text_side)
        tokenized = tokenize_rows(lm, captions, config, each=texts is not None)
        tokenized = tokenized[: config.max_train_captions]
        ids: list[list[Sequence[int]]] = [[] for _ in range(len(rows))]
        for caption in tokenized:
            ids[caption.row].append(caption.ids if end.visible else caption.ids[:-1])
        prefixer = build_prefixer(lm, mapper_config, shape, inputs, config, ids)
        prefixer.bridge = bridge
        prefixer = prefixer.to(device)
        val = None
        if val_rows is not None and val_captions is not None:
            purpose, each = "validate on", texts is not None
            val = val_rows, tokenize_rows(lm, val_captions, config, purpose, each=each)
        prompted = Prompted()
        if prompt is not None:
            prompted = prompt.apply(lm, shape, rows, captions, None if val is None else val[0])
        _check_lengths(lm, shape, [*tokenized, *(val[1] if val else ())])
        stack.enter_context(fused_activations(lm.module))
        if config.gradient_checkpointing:
            stack.enter_context(checkpointed(lm.module))
        _try_out(lm, shape, tokenized[0])
        if checkpoint is not None:
            settings = (mapper_config, prefix_length, tuning_config, config.to_json(), seed)
            data = [_digest(*part) for part in ((rows, tokenized), val) if part is not None]
            if texts is not None:
                data.append(specs.digest(texts.bridge, _digest(features, ())))
            data += [specs.digest(items) for items in prompted.items()]
            checkpoint.key = specs.digest(digest, *settings, *data)
        if not (mapper_config.learns or tuning_config.trains_lm):
            config = attrs.evolve(config, epochs=0)
        rate = tuning_config.peak_rate()
        loop = TrainingLoop(
            *(lm, prefixer, config, tokenized, rows, seed, checkpoint, processes, rate, memory),
            prompted=prompted,
        )
        # a large memory takes long for each image, and these show the size of all
        images = features if bridge is None else prefixer.of_images(features[:SHOWN_IMAGES])
        loop.history["features"] = prefixer.norm.measure(images)
        captioner = Captioner(
            lm=lm,
            prefixer=prefixer,
            prompts=prompted.prompts,
            mapper_config=mapper_config,
            tuning_config=tuning_config,
            lm_config=lm_config,
            bridge_config=None if texts is None else texts.bridge,
            lm_digest=digest,
            training=config.to_json(),
            seed=seed,
            stop_ids=(end.token,),
            stop_visible=end.visible,
            trained_parameters=sum(p.numel() for p in loop.trainer.parameters),
            history=loop.history,
        )
        watched = None
        if val_features is not None and val_captions is not None:
            watched = ValCaptions(captioner, val_features, val_captions, val_ids, config)
        elif config.keep_by != VAL_LOSS:
            raise PrefixcapError(f"keep_by={config.keep_by} needs val images, and there are none")
        ended = None if on_epoch is None else (lambda n: on_epoch(n, captioner))
        try:
            loop.run(val, progress, ended, watched)
            last = len(loop.history["train_loss"])
            is_main = processes is None or processes.is_main
            if on_last is not None and is_main and loop.history.get("best_epoch", last) != last:
                history = {**loop.history, "best_epoch": last}
                on_last(attrs.evolve(captioner, history=history))
            loop.use_best()
        except DivergedError as error:
            error.model = captioner if error.epoch else None
            raise
        except (MemoryError, RuntimeError) as error:
            if out_of_memory(error):
                raise PrefixcapError(
                    f"there is not enough memory to train with batch_size={config.batch_size}: "
                    "lower the training's batch_size, or max_tokens if captions are long"
                ) from error
            raise
    return captioner


def _digest(features: AnyFeatures, captions: Sequence[TokenizedCaption]) -> str:
    if isinstance(features, FeatureRows):
        content = sha256(features.digest().encode())
    else:
        content = sha256(features.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes())
    for caption in captions:
        content.update(repr((caption.row, caption.ids)).encode())
    return content.hexdigest()


def _try_out(lm: LanguageModel, shape: MapperShape, caption: TokenizedCaption) -> None:
    """Run a language model once, for it to refuse what it cannot train on before the first step.

    What it tries of itself is then not counted as operations of the training.
    """
    device = lm.device
    ids = torch.tensor([caption.ids[:1]], device=device)
    prefix = blank(1, shape).to(device)
    with torch.no_grad():
        lm.caption_loss(prefix, torch.zeros_like(ids[0]), ids, torch.ones_like(ids).bool())


def _check_lengths(
    lm: LanguageModel, shape: MapperShape, captions: Sequence[TokenizedCaption]
) -> None:
    prefix_length = lm.positions(blank(1, shape).to(lm.device))
    longest, prompted = max(len(caption.ids) for caption in captions), shape.prompt_length > 0
    cure = ", the prompt's tokens" if prompted else ""
    if lm.max_positions is not None and prefix_length + longest > lm.max_positions:
        raise PrefixcapError(
            f"train: a prefix of {prefix_length}{' with its prompt' if prompted else ''} and a "
            f"caption of {longest} tokens do not fit the language model's {lm.max_positions} "
            f"positions: lower the prefix length{cure} or the training's max_tokens"
        )


def _check(
    prefix_length: int,
    features: AnyFeatures,
    captions: Sequence[Sequence[str]],
    val_features: AnyFeatures | None,
    val_captions: Sequence[Sequence[str]] | None,
) -> None:
    if prefix_length < 1:
        raise PrefixcapError(f"prefix_length must be at least 1, not {prefix_length}")
    if features.ndim not in (2, 3):
        raise PrefixcapError(
            f"features must be of shape (B,D) or (B,N,D), not {tuple(features.shape)}"
        )
    for split, rows, texts in (("train", features, captions), ("val", val_features, val_captions)):
        if (rows is None) != (texts is None):
            raise PrefixcapError("validation needs both features and captions")
        if rows is None or texts is None:
            continue
        if len(rows) != len(texts):
            raise PrefixcapError(
                f"{split}: {len(rows)} features were given for the captions of {len(texts)} images"
            )
        if not math.prod(rows.shape):
            nothing = "there is no image" if not len(rows) else "the features have no values"
            raise PrefixcapError(f"{split}: {nothing}: their shape is {tuple(rows.shape)}")
        if rows.shape[1:] != features.shape[1:]:
            raise PrefixcapError(
                f"{split}: features of shape {tuple(rows.shape)} do not fit those of the training, "
                f"{tuple(features.shape)}"
            )
        if text := next((each for each in texts if isinstance(each, str)), None):
            raise PrefixcapError(
                f"{split}: each image needs a list of captions, such as [{text[:40]!r}], not a text"
            )
        if isinstance(rows, Tensor) and not torch.isfinite(rows).all():
            row = int((~torch.isfinite(rows)).flatten(1).any(1).nonzero()[0])
            raise PrefixcapError(f"{split}: the feature in row {row} is not finite")
