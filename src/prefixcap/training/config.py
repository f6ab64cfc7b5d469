"""How a mapper is trained."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs

from prefixcap.errors import PrefixcapError, nearest
from prefixcap.interfaces.validators import above, at_least, between, one_of

WIDTH_TIMES_RATE = 0.4

_SCHEDULES = ("cosine", "linear", "constant")
_FORMATS = ("sentence", "plain")
_KEPT = ("best", "last")


@attrs.frozen(kw_only=True)
class TrainingConfig:
    """How a mapper (and what a tuning leaves open of the language model) is trained.

    The defaults are for a language model that stays frozen. The optimiser is AdamW (Loshchilov
    and Hutter 2019).

    Attributes:
        epochs: the most passes over the training captions.
        batch_size: captions a step.
        learning_rate: the mapper's peak rate; unless given 0.4 / E, because Adam's best rate
            falls as the width grows (Yang et al. 2022, "Tensor Programs V").
        lm_lr_scale: The peak rate of the trained LM parameters, as a fraction of the mapper's.
        warmup: the share of all steps in which the rate rises from zero.
        warmup_steps: the same as a number of steps; goes before `warmup` where it is given.
        schedule: how the rate falls afterwards: "cosine" or "linear" to zero, or "constant".
        weight_decay: AdamW's.
        eps: AdamW's.
        gradient_clip: the largest norm of a step's gradients; None does not limit it.
        normalize: whether features are divided by their norm first.
        center: Whether the mean of the training features is subtracted.
        feature_scale: what features are then multiplied by; goes before `feature_rms`.
        feature_rms: the root mean square that training features are brought to; None leaves them.
        feature_noise: the deviation of Gaussian noise that normalised features get at every step,
            for few images not to be learnt by heart (Bishop 1995, "Training with noise is
            equivalent to Tikhonov regularization").
        prefix_scale: the deviation that prefixes start with, in deviations of the language
            model's own embeddings; None leaves the mapper's output as it is.
        caption_format: "sentence" writes captions as "A dog runs.", "plain" only strips them.
        end: "eos" ends captions with the model's end-of-text token; any other text, such as ".",
            is where captions stop, and is part of them.
        max_tokens: where longer captions are cut.
        patience: epochs without a better loss on val after which training stops; None never stops.
        keep: which epoch's weights are kept: "best", by the loss on val, or "last". With few images
            captions can get better while the loss already rises, since it punishes being too sure.
        max_train_captions: how many captions to train on, the first of every image first; all
            unless given.
    """

    epochs: int = attrs.field(default=10, validator=at_least(1))
    batch_size: int = attrs.field(default=40, validator=at_least(1))
    learning_rate: float | None = attrs.field(default=None, validator=above(0))
    lm_lr_scale: float = attrs.field(default=0.1, validator=above(0))
    warmup: float = attrs.field(default=0.05, validator=between(0, 1))
    warmup_steps: int | None = attrs.field(default=None, validator=at_least(0))
    schedule: str = attrs.field(default="cosine", validator=one_of(_SCHEDULES))
    weight_decay: float = attrs.field(default=0.0, validator=at_least(0))
    eps: float = attrs.field(default=1e-8, validator=above(0))
    gradient_clip: float | None = attrs.field(default=1.0, validator=above(0))
    normalize: bool = False
    center: bool = True
    feature_scale: float | None = attrs.field(default=None, validator=above(0))
    feature_rms: float | None = attrs.field(default=0.3, validator=above(0))
    feature_noise: float = attrs.field(default=0.0, validator=at_least(0))
    prefix_scale: float | None = attrs.field(default=1.0, validator=above(0))
    caption_format: str = attrs.field(default="sentence", validator=one_of(_FORMATS))
    end: str = attrs.field(default="eos", validator=attrs.validators.min_len(1))
    max_tokens: int = attrs.field(default=64, validator=at_least(1))
    patience: int | None = attrs.field(default=2, validator=at_least(1))
    keep: str = attrs.field(default="best", validator=one_of(_KEPT))
    max_train_captions: int | None = attrs.field(default=None, validator=at_least(1))

    def to_json(self) -> dict[str, Any]:
        """Returns every setting, as JSON data."""
        return attrs.asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any], place: str = "training") -> TrainingConfig:
        """Makes a config of what `to_json` gave.

        Raises:
            PrefixcapError: a setting is unknown, or its value is out of range.
        """
        known = [field.name for field in attrs.fields(cls)]
        for key in data:
            if key not in known:
                raise PrefixcapError(f"{place}: no setting {key!r}{nearest(key, known)}")
        try:
            return cls(**data)
        except (ValueError, TypeError) as error:
            raise PrefixcapError(f"{place}: {error}") from error

    def rate(self, width: int) -> float:
        """Returns the mapper's peak learning rate for a language model of width E."""
        return self.learning_rate or WIDTH_TIMES_RATE / width

    def factor(self, step: int, total: int) -> float:
        """Returns the share of the peak rate at a step (from 0) of `total`."""
        from math import cos, pi

        warmup = round(self.warmup * total) if self.warmup_steps is None else self.warmup_steps
        if step < warmup:
            return step / warmup if self.warmup_steps is not None else (step + 1) / warmup
        done = (step - warmup) / max(1, total - warmup)
        if self.schedule == "constant":
            return 1.0
        return 1.0 - done if self.schedule == "linear" else 0.5 * (1 + cos(pi * done))
