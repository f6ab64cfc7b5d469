"""Training on texts alone: the embeddings of captions instead of those of their images."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import TYPE_CHECKING

import attrs
import torch
from torch import Tensor

from prefixcap.captioning.bridging import Bridging
from prefixcap.captioning.feature_rows import AnyFeatures
from prefixcap.errors import PrefixcapError
from prefixcap.interfaces.bridge import BridgeConfig
from prefixcap.plugin.registry import default_registry
from prefixcap.training.batches import TokenizedCaption, tokenize

if TYPE_CHECKING:
    from prefixcap.interfaces.language_model import LanguageModel
    from prefixcap.training.config import TrainingConfig


def _bridge(value: str | BridgeConfig) -> BridgeConfig:
    return default_registry().parse(BridgeConfig, value)


@attrs.frozen(kw_only=True, eq=False)
class TextTraining:
    """The embeddings of captions that a model is trained on, and the bridge to images.

    Attributes:
        bridge: The bridge's config or spec.
        features: (T,D), a row for each training caption: those of the first image, then those of
            the second, and so on.
        val_features: The same of the validation captions.
    """

    bridge: BridgeConfig = attrs.field(converter=_bridge)
    features: AnyFeatures
    val_features: AnyFeatures | None = None

    def fit(self, images: AnyFeatures) -> Bridging:
        """Build the bridge, which learns from the texts and from training images (B,D)."""
        return Bridging.fit(self.bridge, self.features, images).eval()

    def check(
        self,
        images: AnyFeatures,
        captions: Sequence[Sequence[str]],
        val_captions: Sequence[Sequence[str]] | None,
    ) -> None:
        """Check that the embeddings fit images (B,D) and captions.

        Raises:
            PrefixcapError: If they do not.
        """
        if images.ndim != 2:
            raise PrefixcapError(
                f"training on texts needs one vector per image, and the features are "
                f"{tuple(images.shape)}: use an encoder's pooled features"
            )
        if val_captions is not None and self.val_features is None:
            raise PrefixcapError("val: the captions' embeddings are missing: give val_features")
        parts = (("train", self.features, captions), ("val", self.val_features, val_captions))
        for split, rows, texts in parts:
            if rows is None or texts is None:
                continue
            count = sum(map(len, texts))
            if len(rows) != count:
                raise PrefixcapError(
                    f"{split}: {len(rows)} embeddings were given for {count} captions"
                )
            if rows.ndim != 2 or rows.shape[1] != images.shape[1] or not prod(rows.shape):
                raise PrefixcapError(
                    f"{split}: the captions' embeddings are {tuple(rows.shape)} and the images' "
                    f"{tuple(images.shape)}: both must be rows of one width, of one encoder"
                )
            if isinstance(rows, Tensor) and not torch.isfinite(rows).all():
                row = int((~torch.isfinite(rows)).any(1).nonzero()[0])
                raise PrefixcapError(f"{split}: the caption's embedding in row {row} is not finite")


def tokenize_rows(
    lm: LanguageModel,
    captions: Sequence[Sequence[str]],
    config: TrainingConfig,
    purpose: str = "train on",
    *,
    each: bool,
) -> list[TokenizedCaption]:
    """Tokenize the captions of images, as `tokenize`; with `each`, a caption has its own row.

    The first captions of all images come first in both cases.
    """
    if not each:
        return tokenize(lm, captions, config, purpose)
    alone = [[text] for texts in captions for text in texts]
    number = [number for texts in captions for number in range(len(texts))]
    tokenized = tokenize(lm, alone, config, purpose)
    return sorted(tokenized, key=lambda caption: number[caption.row])
