"""The epochs of a training: their losses, early stopping, and the best weights."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from prefixcap.training.captions import Pair, batches, pad
from prefixcap.training.step import Trainer

if TYPE_CHECKING:
    from prefixcap.kinds import LanguageModel
    from prefixcap.prefixes import Prefixer
    from prefixcap.training.config import TrainingConfig

Progress = Callable[[int, int, Mapping[str, Any]], None]


class Epochs:
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

    def run(
        self,
        val: tuple[Tensor, Sequence[Pair]] | None,
        progress: Progress | None,
        on_epoch: Callable[[int], None] | None,
    ) -> None:
        """Trains until the last epoch, or until val has not improved for long enough.

        The weights of the best epoch are put back, unless those of the last are to be kept.
        """
        waited = 0
        for epoch in range(1, self._config.epochs + 1):
            begin = time.perf_counter()
            self._epoch(epoch, progress)
            if val is not None:
                self.history["val_loss"].append(self._evaluate(*val))
            self.history["seconds"].append(round(time.perf_counter() - begin, 3))
            waited = 0 if self._is_best() else waited + 1
            if not waited or self._config.keep == "last":
                self.history["kept_epoch"] = epoch
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
