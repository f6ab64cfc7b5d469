"""The training loop: teacher forcing through a language model that need not be trained itself."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import attrs
import torch
from torch import Tensor, nn

from prefixcap.errors import PrefixcapError
from prefixcap.kinds import LanguageModel, MapperConfig, MapperShape, TuningConfig
from prefixcap.prefixes import FeatureNorm, Prefixer
from prefixcap.training.captions import End, Pair, batches, find_end, pad, tokenize
from prefixcap.training.config import TrainingConfig

if TYPE_CHECKING:
    from prefixcap.captioner import Captioner
    from prefixcap.kinds import EncoderConfig, LMConfig

Progress = Callable[[int, int, Mapping[str, Any]], None]


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
            given) and "seconds"; "best_epoch" (from 1).
    """

    lm: LanguageModel
    lm_digest: str
    prefixer: Prefixer
    mapper_config: MapperConfig
    tuning_config: TuningConfig
    config: TrainingConfig
    seed: int
    end: End
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
        from prefixcap.captioner import Captioner

        return Captioner(
            lm=self.lm,
            prefixer=self.prefixer,
            mapper_config=self.mapper_config,
            tuning_config=self.tuning_config,
            lm_config=lm_config,
            lm_digest=self.lm_digest,
            encoder_config=encoder_config,
            encoder_digest=encoder_digest,
            training=self.config,
            seed=self.seed,
            stop_ids=(self.end.token,),
            stop_visible=self.end.visible,
            trained_parameters=self.trained_parameters,
            history=self.history,
        )


class Trainer:
    """One model with its optimiser: a step at a time, on batches that the caller deals.

    Args:
        lm: the language model, its tuning applied.
        prefixer: from features to prefixes.
        config: how to train.
        total_steps: how many steps there will be, for the schedule.
    """

    def __init__(
        self, lm: LanguageModel, prefixer: Prefixer, config: TrainingConfig, total_steps: int
    ) -> None:
        self._lm = lm
        self._prefixer = prefixer
        self._clip = config.gradient_clip
        self._device = next(lm.module.parameters()).device
        opened = [p for p in lm.module.parameters() if p.requires_grad]
        mapper = list(prefixer.parameters())
        self.parameters: list[nn.Parameter] = [*mapper, *opened]
        rate = config.rate(lm.width)
        groups = [{"params": mapper, "lr": rate}, {"params": opened, "lr": rate * config.lm_rate}]
        self._optimizer = torch.optim.AdamW(
            [group for group in groups if group["params"]],
            eps=config.eps,
            weight_decay=config.weight_decay,
        )
        self._schedule = torch.optim.lr_scheduler.LambdaLR(
            self._optimizer, lambda step: config.factor(step, total_steps)
        )

    def loss(self, features: Tensor, ids: Tensor, mask: Tensor) -> Tensor:
        """Computes the mean cross-entropy of the captions' tokens.

        Args:
            features: (B,D) or (B,N,D).
            ids: (B,T), padded on the right with any id.
            mask: (B,T), True where `ids` is real and counts.

        Returns:
            (), float32.
        """
        ids, mask = ids.to(self._device), mask.to(self._device)
        prefix = self._prefixer(features.to(self._device))
        logits = self._lm.teacher_forced(prefix, ids, mask)
        return nn.functional.cross_entropy(logits[mask].float(), ids[mask])

    def step(self, features: Tensor, ids: Tensor, mask: Tensor) -> float:
        """Takes one step on a batch (see `loss`) and returns its loss.

        Raises:
            PrefixcapError: the loss is not a number.
        """
        loss = self.loss(features, ids, mask)
        value = loss.item()
        if not math.isfinite(value):
            raise PrefixcapError(
                f"the loss became {value}: lower the learning rate, or train in float32"
            )
        self._optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        if self._clip is not None:
            nn.utils.clip_grad_norm_(self.parameters, self._clip)
        self._optimizer.step()
        self._schedule.step()
        return value


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
) -> Trained:
    """Trains a mapper, and what the tuning opens of the language model.

    The language model that is given stays as it is: one that is tuned is a copy. torch's global
    random state is neither read nor changed.

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

    Returns:
        The model of the epoch with the lowest loss on val, or of the last one without val.

    Raises:
        PrefixcapError: arguments do not fit each other, or the loss is not a number.
    """
    config = config or TrainingConfig()
    _check(lm, features, captions, val_features, val_captions)
    device = next(lm.module.parameters()).device
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(seed)
        digest = lm.digest()
        lm = _tuned(lm, tuning_config)
        prefixer = build_prefixer(lm, mapper_config, prefix_length, features, config).to(device)
        end = find_end(lm, config.end)
        pairs = tokenize(lm, captions, config)[: config.max_train_captions]
        run = _Run(lm, prefixer, config, pairs, features, seed)
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
        val = None
        if val_features is not None and val_captions is not None:
            val = (val_features, tokenize(lm, val_captions, config))
        run.epochs(val, progress, (lambda n: on_epoch(n, trained)) if on_epoch else None)
    return trained


def build_prefixer(
    lm: LanguageModel,
    mapper_config: MapperConfig,
    prefix_length: int,
    features: Tensor,
    config: TrainingConfig,
) -> Prefixer:
    """Makes an untrained prefixer whose normalisation and gain fit training features.

    Args:
        lm: the language model that will read the prefixes.
        mapper_config: the mapper; its weights are drawn from torch's global random state.
        prefix_length: P.
        features: (B,D) or (B,N,D), the training features.
        config: how features are normalised, and how large prefixes begin.
    """
    shape = MapperShape(
        feature_width=features.shape[-1],
        feature_tokens=features.shape[1] if features.ndim == 3 else None,
        prefix_length=prefix_length,
        embedding_width=lm.width,
    )
    norm = FeatureNorm.fit(
        features,
        normalize=config.normalize,
        centre=config.centre,
        scale=config.feature_scale,
        rms=config.feature_rms,
    )
    prefixer = Prefixer(norm, mapper_config.build(shape), shape)
    if config.prefix_scale is not None:
        with torch.no_grad():
            found = prefixer(features[:64].float()).std().item()
            some = torch.arange(min(4096, lm.vocab_size))
            target = lm.embed(some.to(next(lm.module.parameters()).device)).float().std().item()
        if found > 0 and target > 0:
            prefixer.gain.fill_(config.prefix_scale * target / found)
    return prefixer


class _Run:
    """The epochs of one training, with its history and the best weights so far."""

    def __init__(
        self,
        lm: LanguageModel,
        prefixer: Prefixer,
        config: TrainingConfig,
        pairs: Sequence[Pair],
        features: Tensor,
        seed: int,
    ) -> None:
        self._modules = (lm.module, prefixer)
        self._config = config
        self._pairs = pairs
        self._features = features
        self._generator = torch.Generator().manual_seed(seed)
        self._steps = math.ceil(len(pairs) / config.batch_size)
        self._total = self._steps * config.epochs
        self.trainer = Trainer(lm, prefixer, config, self._total)
        self._tuned = any(p.requires_grad for p in lm.module.parameters())
        self.history: dict[str, Any] = {"loss": [], "train_loss": [], "val_loss": [], "seconds": []}
        self._best: list[Tensor] = []

    def epochs(
        self,
        val: tuple[Tensor, Sequence[Pair]] | None,
        progress: Progress | None,
        on_epoch: Callable[[int], None] | None,
    ) -> None:
        """Trains until the last epoch, or until val has not improved for long enough."""
        waited = 0
        for epoch in range(1, self._config.epochs + 1):
            begin = time.perf_counter()
            self._epoch(epoch, progress)
            if val is not None:
                self.history["val_loss"].append(self._evaluate(*val))
            self.history["seconds"].append(round(time.perf_counter() - begin, 3))
            waited = 0 if self._is_best() else waited + 1
            if not waited:
                self.history["best_epoch"] = epoch
                self._best = [p.detach().clone() for p in self.trainer.parameters]
            if on_epoch is not None:
                on_epoch(epoch)
            if self._config.patience is not None and waited >= self._config.patience:
                break
        with torch.no_grad():
            for parameter, best in zip(self.trainer.parameters, self._best, strict=True):
                parameter.copy_(best)

    def _epoch(self, epoch: int, progress: Progress | None) -> None:
        self._train_mode(True)
        losses = self.history["loss"]
        first = len(losses)
        for batch in batches(self._pairs, self._config.batch_size, self._generator):
            rows, ids, mask = pad(batch)
            losses.append(self.trainer.step(self._features[rows], ids, mask))
            if progress is not None:
                info = {"epoch": epoch, "loss": losses[-1]}
                if self.history["val_loss"]:
                    info["val_loss"] = self.history["val_loss"][-1]
                progress(len(losses), self._total, info)
        self._train_mode(False)
        self.history["train_loss"].append(sum(losses[first:]) / (len(losses) - first))

    def _evaluate(self, features: Tensor, pairs: Sequence[Pair]) -> float:
        ordered = sorted(pairs, key=lambda pair: len(pair.ids))
        total, count = 0.0, 0
        with torch.no_grad():
            for start in range(0, len(ordered), self._config.batch_size):
                rows, ids, mask = pad(ordered[start : start + self._config.batch_size])
                tokens = int(mask.sum())
                total += self.trainer.loss(features[rows], ids, mask).item() * tokens
                count += tokens
        return total / count

    def _is_best(self) -> bool:
        losses = self.history["val_loss"]
        return not losses or losses[-1] <= min(losses)

    def _train_mode(self, on: bool) -> None:
        module, prefixer = self._modules
        prefixer.train(on)
        # a frozen model stays as it will be used, without dropout
        module.train(on and self._tuned)


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
