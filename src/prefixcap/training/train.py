"""`train`: a mapper, and what a tuning opens of the language model."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import attrs
import torch
from torch import Tensor

from prefixcap.captioning.prefixer import Prefixer
from prefixcap.errors import PrefixcapError
from prefixcap.interfaces.language_model import LanguageModel
from prefixcap.interfaces.mapper import MapperConfig
from prefixcap.interfaces.tuning import TuningConfig
from prefixcap.plugin import specs
from prefixcap.training.batches import CaptionEnd, TokenizedCaption, find_end, tokenize
from prefixcap.training.checkpoint import TrainingCheckpoint, own_randomness
from prefixcap.training.config import TrainingConfig
from prefixcap.training.initialization import build_prefixer
from prefixcap.training.loop import Progress, TrainingLoop
from prefixcap.training.trainer import fused_activations

if TYPE_CHECKING:
    from prefixcap.captioning.captioner import Captioner
    from prefixcap.interfaces.encoder import EncoderConfig
    from prefixcap.interfaces.language_model import LMConfig


@attrs.frozen(kw_only=True)
class Trained:
    """What training gives.

    Attributes:
        lm: the language model, with its trained parameters where the tuning opened some.
        lm_digest: the language model's digest before training.
        prefixer: from features to prefixes, the trained mapper within.
        mapper_config: what the mapper was built from.
        tuning_config: what was trained of the language model.
        config: how it was trained.
        seed: of all randomness.
        end: what ends a caption.
        trained_parameters: how many numbers were trained.
        history: "loss" of each step, and for each epoch "train_loss", "val_loss" (where val was
            given) and "seconds"; "best_epoch" (from 1); "flops" of all steps, forward and
            backward; "features", what `FeatureNorm.measure` says of the training images'.
    """

    lm: LanguageModel
    lm_digest: str
    prefixer: Prefixer
    mapper_config: MapperConfig
    tuning_config: TuningConfig
    config: TrainingConfig
    seed: int
    end: CaptionEnd
    trained_parameters: int
    history: dict[str, Any]

    def captioner(
        self,
        *,
        lm_config: LMConfig | None = None,
        encoder_config: EncoderConfig | None = None,
        encoder_digest: str | None = None,
    ) -> Captioner:
        """Makes a captioner, which can be saved where the configs are given."""
        from prefixcap.captioning.captioner import Captioner

        return Captioner(
            lm=self.lm,
            prefixer=self.prefixer,
            mapper_config=self.mapper_config,
            tuning_config=self.tuning_config,
            lm_config=lm_config,
            lm_digest=self.lm_digest,
            encoder_config=encoder_config,
            encoder_digest=encoder_digest,
            training=self.config.to_json(),
            seed=self.seed,
            stop_ids=(self.end.token,),
            stop_visible=self.end.visible,
            trained_parameters=self.trained_parameters,
            history=self.history,
        )


def train(
    lm: LanguageModel,
    mapper_config: MapperConfig,
    prefix_length: int,
    tuning_config: TuningConfig,
    features: Tensor,
    captions: Sequence[Sequence[str]],
    *,
    config: TrainingConfig | None = None,
    seed: int = 0,
    val_features: Tensor | None = None,
    val_captions: Sequence[Sequence[str]] | None = None,
    progress: Progress | None = None,
    on_epoch: Callable[[int, Trained], None] | None = None,
    checkpoint: TrainingCheckpoint | None = None,
) -> Trained:
    """Trains a mapper, and what the tuning opens of the language model.

    The language model that is given stays as it is: one that is tuned is a copy. The global random
    states (torch's, numpy's and Python's) are neither read nor changed.

    Args:
        lm: the language model.
        mapper_config: the mapper.
        prefix_length: P.
        tuning_config: what is trained of the language model.
        features: (B,D) or (B,N,D), one an image.
        captions: B lists of captions.
        config: how to train.
        seed: of the mapper's initial weights and of the batches' order.
        val_features: the same of the validation images, for early stopping.
        val_captions: their captions.
        progress: called after every step with the steps done, all steps, and what is known:
            "epoch", "loss" and, once there is one, "val_loss".
        on_epoch: called after every epoch with its number (from 1) and the model as it is.
        checkpoint: where the state is kept, so that the same call goes on after it was killed, and
            ends with the same bits. It is not removed at the end.

    Returns:
        The model of the epoch with the lowest loss on val, or of the last one without val.

    Raises:
        PrefixcapError: arguments do not fit each other, or the loss is not a number.
    """
    config = config or TrainingConfig()
    _check(lm, features, captions, val_features, val_captions)
    device = next(lm.module.parameters()).device
    with own_randomness(seed, device), ExitStack() as stack:
        digest = lm.digest()
        lm = _tuned(lm, tuning_config)
        prefixer = build_prefixer(lm, mapper_config, prefix_length, features, config).to(device)
        end = find_end(lm, config.end)
        pairs = tokenize(lm, captions, config)[: config.max_train_captions]
        val = None
        if val_features is not None and val_captions is not None:
            val = val_features, tokenize(lm, val_captions, config)
        _check_lengths(lm, prefix_length, [*pairs, *(val[1] if val else ())])
        stack.enter_context(fused_activations(lm.module))
        if checkpoint is not None:
            made_of = (mapper_config, prefix_length, tuning_config, config.to_json(), seed)
            seen = [_content(*each) for each in ((features, pairs), val) if each is not None]
            checkpoint.key = specs.digest(digest, *made_of, *seen)
        run = TrainingLoop(lm, prefixer, config, pairs, features, seed, checkpoint)
        run.history["features"] = prefixer.norm.measure(features)
        trained = Trained(
            lm=lm,
            lm_digest=digest,
            prefixer=prefixer,
            mapper_config=mapper_config,
            tuning_config=tuning_config,
            config=config,
            seed=seed,
            end=end,
            trained_parameters=sum(p.numel() for p in run.trainer.parameters),
            history=run.history,
        )
        run.run(val, progress, (lambda n: on_epoch(n, trained)) if on_epoch else None)
    return trained


def _content(features: Tensor, pairs: Sequence[TokenizedCaption]) -> str:
    """Returns a hash of what is trained on."""
    found = sha256(features.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes())
    for pair in pairs:
        found.update(repr((pair.row, pair.ids)).encode())
    return found.hexdigest()


def _tuned(lm: LanguageModel, tuning_config: TuningConfig) -> LanguageModel:
    if tuning_config.trains_lm:
        lm = copy.deepcopy(lm)
    tuning_config.build().apply(lm.module)
    opened = [p for p in lm.module.parameters() if p.requires_grad]
    if opened and not tuning_config.trains_lm:
        raise PrefixcapError(
            f"the tuning {tuning_config.name!r} opened parameters of the language model although "
            "its config says trains_lm = False"
        )
    if any(p.dtype != torch.float32 for p in opened):
        raise PrefixcapError(
            f"the tuning {tuning_config.name!r} trains the language model, and small steps are "
            f"lost in {str(opened[0].dtype).removeprefix('torch.')}: use dtype float32"
        )
    return lm


def _check_lengths(
    lm: LanguageModel, prefix_length: int, pairs: Sequence[TokenizedCaption]
) -> None:
    longest = max(len(pair.ids) for pair in pairs)
    if lm.max_positions is not None and prefix_length + longest > lm.max_positions:
        raise PrefixcapError(
            f"train: a prefix of {prefix_length} and a caption of {longest} tokens do not fit the "
            f"language model's {lm.max_positions} positions: lower the training's max_tokens"
        )


def _check(
    lm: LanguageModel,
    features: Tensor,
    captions: Sequence[Sequence[str]],
    val_features: Tensor | None,
    val_captions: Sequence[Sequence[str]] | None,
) -> None:
    if features.ndim not in (2, 3):
        raise PrefixcapError(
            f"features must be of shape (B,D) or (B,N,D), not {tuple(features.shape)}"
        )
    for split, found, texts in (
        ("train", features, captions),
        ("val", val_features, val_captions),
    ):
        if (found is None) != (texts is None):
            raise PrefixcapError("val needs features and captions both")
        if found is None or texts is None:
            continue
        if len(found) != len(texts):
            raise PrefixcapError(
                f"{split}: {len(found)} features were given for the captions of {len(texts)} images"
            )
        if not torch.isfinite(found).all():
            row = int((~torch.isfinite(found)).flatten(1).any(1).nonzero()[0])
            raise PrefixcapError(f"{split}: the feature in row {row} is not finite")
