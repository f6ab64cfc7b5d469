"""`Trainer`: single steps of teacher forcing through a language model that may be frozen."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.checkpoint import checkpoint

from prefixcap.engine.teacher_forcing.frozen_linear import FrozenLinears
from prefixcap.errors import DivergedError, PrefixcapError
from prefixcap.training.processes import Processes
from prefixcap.util.runtime import dtype_named

if TYPE_CHECKING:
    from prefixcap.captioning.prefixer import Prefixer
    from prefixcap.captioning.prompting.prompts import PromptRows
    from prefixcap.interfaces.language_model import LanguageModel
    from prefixcap.training.batches import CaptionBatch
    from prefixcap.training.config import TrainingConfig

_GELUS = ("NewGELUActivation", "FastGELUActivation")


class Trainer:
    """A model with its optimizer, trained on one batch at a time.

    The language model has its tuning applied; `total_steps` is for the learning-rate schedule, and
    `lm_rate` the tuning's own peak rate. Each of several processes has such a trainer, and they
    take each step together.
    """

    def __init__(
        self,
        lm: LanguageModel,
        prefixer: Prefixer,
        config: TrainingConfig,
        total_steps: int,
        processes: Processes | None = None,
        lm_rate: float | None = None,
    ) -> None:
        self._lm, self._prefixer = lm, prefixer
        # a model with a bridge is trained on texts
        self._map = prefixer if prefixer.bridge is None else prefixer.of_texts
        self._config = config
        self._device = lm.device
        self._processes = processes or Processes()
        # autocast would not convert for the products of frozen layers
        float32 = config.precision == "float32"
        self._frozen = FrozenLinears(lm.module) if float32 else nullcontext()
        trained = [p for p in lm.module.parameters() if p.requires_grad]
        mapper = list(prefixer.parameters())
        self.parameters: list[nn.Parameter] = [*mapper, *trained]
        rate = config.rate(lm.width)
        groups = [
            {"params": mapper, "lr": rate},
            {"params": trained, "lr": lm_rate or rate * config.lm_lr_scale},
        ]
        # torch refuses an optimizer of nothing, which a model without anything to train has
        nothing: dict[str, Any] = {"params": [nn.Parameter(torch.empty(0))]}
        self._optimizer = torch.optim.AdamW(
            [group for group in groups if group["params"]] or [nothing],
            eps=config.eps,
            weight_decay=config.weight_decay,
            # Takes a tenth of the time for a mapper of 33 million parameters.
            fused=self._device.type in ("cpu", "cuda"),
        )
        # In float16, small gradients would be rounded to zero.
        self._scaler = torch.amp.GradScaler(
            self._device.type, enabled=config.precision == "float16"
        )
        self._schedule = torch.optim.lr_scheduler.LambdaLR(
            self._optimizer, lambda step: config.factor(step, total_steps)
        )

    def loss(
        self, features: Tensor, batch: CaptionBatch, prompts: PromptRows | None = None
    ) -> Tensor:
        """Compute the mean cross-entropy (), float32, of the tokens of a batch's captions.

        Features are those of the batch's images: (B,D) or (B,N,D), and `prompts` those of all.
        """
        images, ids, mask = (
            part.to(self._device) for part in (batch.images, batch.ids, batch.mask)
        )
        with self._autocast(), self._frozen, self._attention():
            prefix = self._map(features.to(self._device))
            if prompts is not None:
                prefix = prompts.around(prefix, batch.rows, training=self._prefixer.training)
            return self._lm.caption_loss(prefix, images, ids, mask) / batch.tokens

    def step(
        self,
        features: Tensor,
        batch: CaptionBatch,
        tokens: int | None = None,
        prompts: PromptRows | None = None,
    ) -> float:
        """Take one step on a batch, or on a batch of which each process has a share.

        Args:
            features: Those of the batch's images (see `loss`).
            batch: The captions, or this process's share of them, which may be empty.
            tokens: The number of tokens of the whole batch, by default those of `batch`.
            prompts: Those of all images (see `loss`).

        Returns:
            The mean loss of the tokens of the whole batch.

        Raises:
            DivergedError: If the loss or a gradient is not finite; the weights are as before.
        """
        self._optimizer.zero_grad(set_to_none=True)
        tokens = tokens or batch.tokens
        value = 0.0
        for images, part in batch.parts(self._config.micro_batch_size):
            loss = self.loss(features[images], part, prompts) * (part.tokens / tokens)
            value += loss.item()
            if not math.isfinite(value):
                break
            with self._frozen, self._attention():  # for layers that are computed again
                self._scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        (value,) = self._processes.totals(value)
        if not math.isfinite(value):
            raise DivergedError(f"the loss became {value}")
        self._processes.add_gradients(self.parameters)
        if self._config.gradient_clip is not None:
            self._scaler.unscale_(self._optimizer)
            norm = nn.utils.clip_grad_norm_(self.parameters, self._config.gradient_clip)
            # The scaler of float16 itself leaves out such steps.
            if not self._scaler.is_enabled() and not math.isfinite(norm):
                raise DivergedError(f"the norm of the gradients became {norm.item()}")
        self._scaler.step(self._optimizer)
        self._scaler.update()
        self._schedule.step()
        return value

    def _autocast(self) -> AbstractContextManager[object]:
        if self._config.precision == "float32":
            return nullcontext()
        return torch.autocast(self._device.type, dtype_named(self._config.precision))

    def _attention(self) -> AbstractContextManager[None]:
        # On a CPU, the backward pass of the fused kernel is slower than plain products for texts
        # as short as captions, by a fifth of a step of SmolLM2-135M.
        return sdpa_kernel(SDPBackend.MATH) if self._device.type == "cpu" else nullcontext()

    def state(self) -> dict[str, Any]:
        """Return the trained parameters and the optimizer's state, for `set_state`."""
        return {
            "parameters": [parameter.detach() for parameter in self.parameters],
            "optimizer": self._optimizer.state_dict(),
            "schedule": self._schedule.state_dict(),
            "scaler": self._scaler.state_dict(),
        }

    def set_state(self, state: dict[str, Any]) -> None:
        """Restore a result of `state`."""
        with torch.no_grad():
            for parameter, saved in zip(self.parameters, state["parameters"], strict=True):
                parameter.copy_(saved)
        self._optimizer.load_state_dict(state["optimizer"])
        self._schedule.load_state_dict(state["schedule"])
        if self._scaler.is_enabled():
            self._scaler.load_state_dict(state["scaler"])


@contextmanager
def fused_activations(module: nn.Module) -> Iterator[None]:
    """Replace transformers' GELUs of several operations by torch's single kernel.

    They compute the same function; the separate operations take a fifth of a small GPT-2's steps.
    """
    replaced = [
        (parent, name, child)
        for parent in module.modules()
        for name, child in parent.named_children()
        if type(child).__name__ in _GELUS
    ]
    for parent, name, _ in replaced:
        setattr(parent, name, nn.GELU("tanh"))
    try:
        yield
    finally:
        for parent, name, child in replaced:
            setattr(parent, name, child)


@contextmanager
def checkpointed(module: nn.Module) -> Iterator[None]:
    """Compute the layers of a model of transformers again in the backward pass.

    Raises:
        PrefixcapError: If the model has no layers that are known to allow it.
    """
    from transformers.modeling_layers import GradientCheckpointingLayer

    layers = [part for part in module.modules() if isinstance(part, GradientCheckpointingLayer)]
    if not layers:
        raise PrefixcapError(
            f"{type(module).__name__} cannot compute its layers again: set the training's "
            "gradient_checkpointing to false, and lower micro_batch_size to save memory"
        )
    # transformers' own switch does nothing to a frozen model, which is in evaluation mode
    for layer in layers:
        layer.forward = partial(checkpoint, layer.forward, use_reentrant=False)
    try:
        yield
    finally:
        for layer in layers:
            del layer.forward
