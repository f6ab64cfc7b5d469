"""`TrainingConfig`: the settings of a training."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs

from prefixcap.errors import PrefixcapError, nearest
from prefixcap.interfaces.validators import above, at_least, between, one_of
from prefixcap.util.runtime import DTYPES

WIDTH_TIMES_RATE = 0.4
"""The default learning rate times the width of the language model."""
VAL_LOSS = "val_loss"
"""The value of `keep_by` that needs no captions."""


@attrs.frozen(kw_only=True)
class TrainingConfig:
    """The settings for training a mapper, and the parameters that a tuning selects.

    The defaults suit a frozen language model. The optimizer is AdamW (Loshchilov and Hutter 2019).

    Attributes:
        epochs: The maximum number of passes over the training captions; 0 does not train.
        batch_size: Captions per step.
        micro_batch_size: Captions that are computed at once; the gradients of a batch's parts are
            added up, which needs less memory. None computes the whole batch at once.
        precision: The type of matrix products: "float32", or "bfloat16" or "float16" with all
            weights, sums and the optimizer in float32 (Micikevicius et al. 2018, "Mixed precision
            training"). A frozen model may have the dtype itself instead.
        gradient_checkpointing: Whether the layers of the language model are computed again in the
            backward pass instead of kept (Chen et al. 2016, "Training deep nets with sublinear
            memory cost"); a third slower, with less memory.
        group_captions: Whether a batch has all captions of its images, which then share a prefix,
            rather than captions of any images.
        learning_rate: The mapper's peak learning rate; by default 0.4 / E, because Adam's best
            rate falls as the width grows (Yang et al. 2022, "Tensor Programs V").
        lm_lr_scale: The peak rate of the trained LM parameters, as a fraction of the mapper's, if
            the tuning has no rate of its own.
        warmup: The share of all steps in which the rate rises from zero.
        warmup_steps: The same as a number of steps; takes precedence over `warmup`.
        schedule: How the rate decays afterwards: "cosine" or "linear" to zero, or "constant".
        weight_decay: AdamW's weight decay.
        eps: AdamW's epsilon.
        gradient_clip: The maximum norm of a step's gradients; None does not clip.
        normalize: Whether features are divided by their norm first.
        center: Whether the mean of the training features is subtracted.
        feature_scale: The factor that features are then multiplied by; takes precedence over
            `feature_rms`.
        feature_rms: The root mean square that training features are scaled to; None does not.
        feature_noise: The standard deviation of Gaussian noise added to normalized features at
            every step, against overfitting to few images (Bishop 1995, "Training with noise is
            equivalent to Tikhonov regularization").
        condition_dropout: The share of images whose features are replaced by zeros after
            normalization in a step, each image on its own, so that the model also learns captions
            without an image, for the decoder `guidance` (Kornblith et al. 2023, arXiv:2307.16686).
        prefix_scale: The initial standard deviation of prefixes, in units of that of the language
            model's own embeddings; None leaves the mapper's output as it is.
        start: "random", the mapper's own initial weights, or "ridge", which then fits its last
            linear layer in closed form to the mean token embeddings of the images' captions.
        caption_format: "sentence" writes captions as "A dog runs.", "plain" only strips them.
        end: "eos" ends captions with the model's end-of-text token. Any other text, such as ".",
            is the token at which captions stop, and part of them.
        max_tokens: The number of tokens at which longer captions are cut.
        patience: Training stops after this many epochs that are not better, as `keep_by` says;
            None never stops early.
        keep: The epoch whose weights are used: "best" or "last".
        keep_by: What the best epoch is best by: "val_loss", or a score of greedy captions of val
            images, such as "CIDEr", or a metric, whose main score is used. With few images,
            captions can improve while the loss already rises, as it punishes confidence.
        val_images: The number of val images, the first ones, that are captioned and scored after
            every epoch if `keep_by` is not the loss; None takes all.
        sample_images: The number of val images, the first ones, that are captioned after every
            epoch by greedy search, to show and record.
        max_train_captions: The maximum number of training captions, the first ones of all images
            first; by default all.
    """

    epochs: int = attrs.field(default=10, validator=at_least(0))
    batch_size: int = attrs.field(default=40, validator=at_least(1))
    micro_batch_size: int | None = attrs.field(default=None, validator=at_least(1))
    precision: str = attrs.field(default="float32", validator=one_of(DTYPES))
    gradient_checkpointing: bool = False
    group_captions: bool = False
    learning_rate: float | None = attrs.field(default=None, validator=above(0))
    lm_lr_scale: float = attrs.field(default=0.1, validator=above(0))
    warmup: float = attrs.field(default=0.05, validator=between(0, 1))
    warmup_steps: int | None = attrs.field(default=None, validator=at_least(0))
    schedule: str = attrs.field(
        default="cosine", validator=one_of(("cosine", "linear", "constant"))
    )
    weight_decay: float = attrs.field(default=0.0, validator=at_least(0))
    eps: float = attrs.field(default=1e-8, validator=above(0))
    gradient_clip: float | None = attrs.field(default=1.0, validator=above(0))
    normalize: bool = False
    center: bool = True
    feature_scale: float | None = attrs.field(default=None, validator=above(0))
    feature_rms: float | None = attrs.field(default=0.3, validator=above(0))
    feature_noise: float = attrs.field(default=0.0, validator=at_least(0))
    condition_dropout: float = attrs.field(default=0.0, validator=between(0, 1))
    prefix_scale: float | None = attrs.field(default=1.0, validator=above(0))
    start: str = attrs.field(default="random", validator=one_of(("random", "ridge")))
    caption_format: str = attrs.field(default="sentence", validator=one_of(("sentence", "plain")))
    end: str = attrs.field(default="eos", validator=attrs.validators.min_len(1))
    max_tokens: int = attrs.field(default=64, validator=at_least(1))
    patience: int | None = attrs.field(default=2, validator=at_least(1))
    keep: str = attrs.field(default="best", validator=one_of(("best", "last")))
    keep_by: str = attrs.field(default=VAL_LOSS, validator=attrs.validators.min_len(1))
    val_images: int | None = attrs.field(default=500, validator=at_least(1))
    sample_images: int = attrs.field(default=3, validator=at_least(0))
    max_train_captions: int | None = attrs.field(default=None, validator=at_least(1))

    def to_json(self) -> dict[str, Any]:
        """Return all settings as JSON data."""
        return attrs.asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any], place: str = "training") -> TrainingConfig:
        """Build a config from the result of `to_json`.

        Raises:
            PrefixcapError: If a setting is unknown or its value is out of range.
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
        """Return the mapper's peak learning rate for a language model of width E."""
        return self.learning_rate or WIDTH_TIMES_RATE / width

    def factor(self, step: int, total: int) -> float:
        """Return the fraction of the peak rate at a step (from 0) of `total`."""
        from math import cos, pi

        warmup = round(self.warmup * total) if self.warmup_steps is None else self.warmup_steps
        if step < warmup:
            return step / warmup if self.warmup_steps is not None else (step + 1) / warmup
        done = (step - warmup) / max(1, total - warmup)
        if self.schedule == "constant":
            return 1.0
        return 1.0 - done if self.schedule == "linear" else 0.5 * (1 + cos(pi * done))
