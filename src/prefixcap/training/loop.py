"""`TrainingLoop`: epochs with early stopping, the best weights, and resuming."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from prefixcap.captioning.prompting.training import Prompted
from prefixcap.errors import DivergedError
from prefixcap.training import epochs
from prefixcap.training.batches import (
    CaptionBatch,
    TokenizedCaption,
    batches,
    in_order_of_length,
)
from prefixcap.training.checkpoint import random_state, seed_randomness, set_random_state
from prefixcap.training.processes import Processes
from prefixcap.training.trainer import Trainer
from prefixcap.util.flops import counting
from prefixcap.util.memory import PeakMemory
from prefixcap.util.runtime import dtype_of

if TYPE_CHECKING:
    from prefixcap.captioning.feature_rows import AnyFeatures
    from prefixcap.captioning.prefixer import Prefixer
    from prefixcap.interfaces.language_model import LanguageModel
    from prefixcap.training.checkpoint import TrainingCheckpoint
    from prefixcap.training.config import TrainingConfig
    from prefixcap.training.val_captions import ValCaptions

Progress = Callable[[int, int, Mapping[str, Any]], None]
LENGTHS = 8
"""The numbers of tokens at which a position is taken to need as many operations.

Counting them takes as long as a third of a step.
"""


class TrainingLoop:
    """The epochs of one training, with its history and the best weights so far.

    The language model has its tuning applied, whose own peak rate is `lm_rate`, and features are
    (B,D) or (B,N,D), with `prompted` text around prefixes. Training resumes from a state that the
    checkpoint already holds.
    """

    def __init__(
        self,
        lm: LanguageModel,
        prefixer: Prefixer,
        config: TrainingConfig,
        captions: Sequence[TokenizedCaption],
        features: AnyFeatures,
        seed: int,
        checkpoint: TrainingCheckpoint | None = None,
        processes: Processes | None = None,
        lm_rate: float | None = None,
        memory: PeakMemory | None = None,
        prompted: Prompted | None = None,
    ) -> None:
        self._processes = processes or Processes()
        self._modules = (lm.module, prefixer)
        self._lm_width, self._dtype = lm.width, dtype_of(lm.module)
        self._config = config
        self._captions = captions
        self._features = features
        self._prompted = prompted or Prompted()
        self._device = lm.device
        self._seed = seed
        self._generator = torch.Generator().manual_seed(seed)
        self._steps = math.ceil(len(captions) / config.batch_size)
        self._total = self._steps * config.epochs
        self.trainer = Trainer(lm, prefixer, config, self._total, self._processes, lm_rate)
        self._tuned = any(p.requires_grad for p in lm.module.parameters())
        self.history = epochs.new_history()
        self._prefix_length = prefixer.shape.prefix_length + prefixer.shape.prompt_length
        self._flops: dict[str, float] = {}
        self._best: list[Tensor] = []
        self._checkpoint = checkpoint
        self._memory = memory or PeakMemory(lm.device)
        self._epoch = 1
        # Epochs since the best one, and seconds of the current epoch before it was interrupted.
        self._stale = 0
        self._order = self._generator.get_state()
        self._elapsed = 0.0

    def run(
        self,
        val: tuple[AnyFeatures, Sequence[TokenizedCaption]] | None,
        progress: Progress | None,
        on_epoch: Callable[[int], None] | None,
        val_captions: ValCaptions | None = None,
    ) -> None:
        """Train until the last epoch, or until no epoch is better any more.

        Afterwards the model has the weights of the last epoch; `use_best` sets those to keep.

        Raises:
            DivergedError: If a loss, a gradient or a weight is not finite. The model then has the
                weights that are kept of the finished epochs, and the checkpoint remembers it, as
                the same training would end in the same way.
        """
        state = self._checkpoint.read() if self._checkpoint is not None else None
        if state is not None:
            self._resume(state)
        starts = [*self.trainer.parameters, *self._modules[1].buffers()]
        self._processes.start(len(self.history["loss"]), starts)
        try:
            if state is not None and state.get("diverged"):
                raise DivergedError(state["diverged"])
            self._run(val, progress, on_epoch, val_captions)
        except DivergedError as error:
            raise self._stop(error.found) from error

    def _run(
        self,
        val: tuple[AnyFeatures, Sequence[TokenizedCaption]] | None,
        progress: Progress | None,
        on_epoch: Callable[[int], None] | None,
        val_captions: ValCaptions | None,
    ) -> None:
        patience = math.inf if self._config.patience is None else self._config.patience
        while self._epoch <= self._config.epochs and self._stale < patience:
            self._run_epoch(val, progress, val_captions)
            if on_epoch is not None and self._processes.is_main:
                on_epoch(self._epoch - 1)
            if self._due(epoch_ended=True):
                self._write()
        if not self._config.epochs and val is not None:
            # the model as it starts, a baseline with start=ridge
            self.history["val_loss"].append(self._evaluate(*val))

    def use_best(self) -> None:
        """Set the weights of the best or the last epoch, as `config.keep` says."""
        with torch.no_grad():
            # nothing is kept before the end of an epoch
            for parameter, best in zip(self.trainer.parameters, self._best, strict=False):
                parameter.copy_(best)

    def _stop(self, found: str) -> DivergedError:
        """Return to the weights and the history of the finished epochs; return the error."""
        epochs.cut(self.history, self._epoch - 1, self._steps)
        self._train_mode(False)
        self.use_best()
        self._write(found)
        config, rate = self._config, self._config.rate(self._lm_width)
        cure = f"lower the training's learning_rate ({rate:.3g})"
        if config.gradient_clip is None:
            cure += ", or set gradient_clip=1.0"
        if "float16" in (config.precision, self._dtype):
            cure = "train in bfloat16 or float32, as float16 has no large numbers"
        return DivergedError(found, cure, epoch=self.history.get("best_epoch", 0))

    def _run_epoch(
        self,
        val: tuple[AnyFeatures, Sequence[TokenizedCaption]] | None,
        progress: Progress | None,
        val_captions: ValCaptions | None,
    ) -> None:
        self._begin = time.perf_counter() - self._elapsed
        self._train(progress)
        if val is not None:
            self.history["val_loss"].append(self._evaluate(*val))
        self.history["seconds"].append(round(time.perf_counter() - self._begin, 3))
        if (peak := self._memory.mib()) is not None:
            self.history["memory"].append(peak)
        if not all(bool(p.isfinite().all()) for p in self.trainer.parameters):
            raise DivergedError(f"a weight is not finite after epoch {self._epoch}")
        rate = self._config.factor(self._steps * self._epoch - 1, self._total)
        self.history["learning_rate"].append(rate * self._config.rate(self._lm_width))
        costs = self.history["val_loss"]
        if val_captions is not None:
            samples, scores = val_captions.caption()
            if samples:
                self.history["samples"].append(samples)
            if scores is not None:
                self.history["val_scores"].append(scores)
                costs = val_captions.costs(self.history["val_scores"])
        is_best = self._processes.chosen(not costs or costs[-1] <= min(costs))
        self._stale = 0 if is_best else self._stale + 1
        if not self._stale or self._config.keep == "last":
            self.history["best_epoch"] = self._epoch
            self._best = [p.detach().clone() for p in self.trainer.parameters]
        self._epoch += 1
        self._elapsed = 0.0
        self._order = self._generator.get_state()

    def _train(self, progress: Progress | None) -> None:
        self._train_mode(True)
        losses = self.history["loss"]
        first = self._steps * (self._epoch - 1)
        self._generator.set_state(self._order)
        epoch = batches(
            self._captions,
            self._config.batch_size,
            self._generator,
            together=self._config.group_captions,
        )
        for batch in islice(epoch, len(losses) - first, None):
            try:
                losses.append(self._step(batch))
            except DivergedError as error:
                place = f"in step {len(losses) + 1} (epoch {self._epoch})"
                raise DivergedError(f"{error.found} {place}") from error
            if progress is not None and self._processes.is_main:
                info = {"epoch": self._epoch, "loss": losses[-1]}
                if self.history["val_loss"]:
                    info["val_loss"] = self.history["val_loss"][-1]
                progress(len(losses), self._total, info)
            if self._due():
                self._elapsed = time.perf_counter() - self._begin
                self._write()
        self._train_mode(False)
        self.history["train_loss"].append(sum(losses[first:]) / (len(losses) - first))

    def _step(self, batch: CaptionBatch) -> float:
        """Take a step; operations are counted in the first step of each length."""
        processes, length = self._processes, str(batch.longest // LENGTHS)
        # of a batch all images are padded to one length
        positions = len(batch.rows) * (self._prefix_length + batch.longest)
        if processes.count > 1:
            # no process may draw the numbers of another, and a resumed one draws its own again
            seed_randomness(processes.seed(self._seed, len(self.history["loss"])), self._device)
        share = batch.share(processes.number, processes.count)
        features = self._features[share.rows]
        if length in self._flops:
            loss = self.trainer.step(features, share, batch.tokens, self._prompted.train)
        else:
            with counting() as flops:
                loss = self.trainer.step(features, share, batch.tokens, self._prompted.train)
            (count,) = processes.totals(flops.count)
            self._flops[length] = count / positions
        self.history["flops"] += round(self._flops[length] * positions)
        return loss

    def _due(self, *, epoch_ended: bool = False) -> bool:
        return self._checkpoint is not None and self._checkpoint.due(epoch_ended=epoch_ended)

    def _write(self, diverged: str = "") -> None:
        if self._checkpoint is None or not self._processes.is_main:
            return
        self._checkpoint.write(
            {
                "diverged": diverged,
                "epoch": self._epoch,
                "waited": self._stale,
                "seconds": self._elapsed,
                "order": self._order,
                "history": self.history,
                "flops": self._flops,
                "best": self._best,
                "buffers": dict(self._modules[1].named_buffers()),
                "trainer": self.trainer.state(),
                "random": random_state(self._device),
            }
        )

    def _resume(self, state: dict[str, Any]) -> None:
        self._epoch, self._stale = state["epoch"], state["waited"]
        self._elapsed, self._order = state["seconds"], state["order"]
        self.history |= state["history"]
        self._flops = state["flops"]
        self._best = [best.to(self._device) for best in state["best"]]
        for name, buffer in self._modules[1].named_buffers():
            buffer.copy_(state["buffers"][name])
        self.trainer.set_state(state["trainer"])
        set_random_state(state["random"], self._device)

    def _evaluate(self, features: AnyFeatures, captions: Sequence[TokenizedCaption]) -> float:
        total, count = 0.0, 0.0
        # in evaluation, grouping costs nothing
        size = self._config.micro_batch_size or self._config.batch_size
        processes = self._processes
        groups = in_order_of_length(captions, size, together=True)
        own = islice(groups, processes.number, None, processes.count)
        with torch.no_grad():
            for batch in map(CaptionBatch.of, own):
                loss = self.trainer.loss(features[batch.rows], batch, self._prompted.val)
                total += loss.item() * batch.tokens
                count += batch.tokens
        total, count = processes.totals(total, count)
        if not math.isfinite(total):
            raise DivergedError(f"the val loss became {total} (epoch {self._epoch})")
        return total / count

    def _train_mode(self, mode: bool) -> None:
        module, prefixer = self._modules
        prefixer.train(mode)
        # A frozen model runs without dropout, as in decoding.
        module.train(mode and self._tuned)
