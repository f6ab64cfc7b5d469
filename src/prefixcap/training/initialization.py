"""The initial prefixer: features are normalized, and prefixes scaled to the model's embeddings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from prefixcap.captioning.prefixer import FeatureNorm, Prefixer
from prefixcap.interfaces.mapper import MapperShape, ModelReader
from prefixcap.training.ridge import start_with_ridge

if TYPE_CHECKING:
    from prefixcap.captioning.feature_rows import AnyFeatures
    from prefixcap.interfaces.language_model import LanguageModel
    from prefixcap.interfaces.mapper import MapperConfig
    from prefixcap.training.config import TrainingConfig


def build_prefixer(
    lm: LanguageModel,
    mapper_config: MapperConfig,
    prefix_length: int,
    features: AnyFeatures,
    config: TrainingConfig,
    captions: Sequence[Sequence[Sequence[int]]] = (),
) -> Prefixer:
    """Build an untrained prefixer whose normalization and scale fit the training features.

    Features are (B,D) or (B,N,D). The mapper's weights are drawn from torch's global random state;
    with `config.start` "ridge", its last layer is fitted to the images' captions, as token ids.
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
        center=config.center,
        scale=config.feature_scale,
        rms=config.feature_rms,
    )
    mapper = mapper_config.build(shape)
    if isinstance(mapper, ModelReader):
        mapper.read_model(lm)
    prefixer = Prefixer(norm, mapper, shape)
    if not mapper_config.learns:
        return prefixer
    if config.start == "ridge":
        start_with_ridge(lm, prefixer, features, captions)
    if config.prefix_scale is not None:
        tokens = torch.arange(min(4096, lm.vocab_size), device=lm.device)
        with torch.no_grad():
            target = config.prefix_scale * lm.embed(tokens).float().std().item()
            _scale_output_to(prefixer, features[:64].float(), target)
    prefixer.noise = config.feature_noise
    prefixer.condition_dropout = config.condition_dropout
    return prefixer


def _scale_output_to(prefixer: Prefixer, features: Tensor, target: float) -> None:
    """Scale the prefixes of features (B,D) or (B,N,D) to a standard deviation."""
    before = prefixer(features)
    deviation = before.std().item()
    linear = [m for m in prefixer.mapper.modules() if isinstance(m, nn.Linear)]
    if not (deviation > 0 and target > 0):
        return
    factor = target / deviation
    # The mapper's last linear layer is scaled if that scales the output by the same factor. A gain
    # after the mapper would multiply Adam's steps too, and is only set for other mappers.
    if linear:
        for parameter in linear[-1].parameters():
            parameter.mul_(factor)
        if torch.allclose(prefixer(features), before * factor, rtol=1e-3, atol=1e-3 * target):
            return
        for parameter in linear[-1].parameters():
            parameter.div_(factor)
    prefixer.gain.fill_(factor)
