"""The initial prefixer: features are normalized, and prefixes scaled to the model's embeddings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from prefixcap.captioning.prefixer import FeatureNorm, Prefixer
from prefixcap.errors import PrefixcapError
from prefixcap.interfaces.language_model import ModelReader
from prefixcap.interfaces.mapper import MapperShape
from prefixcap.training.ridge import start_with_ridge

if TYPE_CHECKING:
    from prefixcap.captioning.feature_rows import AnyFeatures
    from prefixcap.interfaces.language_model import LanguageModel
    from prefixcap.interfaces.mapper import MapperConfig
    from prefixcap.interfaces.tuning import TuningConfig
    from prefixcap.training.config import TrainingConfig


def prefix_shape(
    lm: LanguageModel,
    mapper: MapperConfig,
    tuning: TuningConfig,
    prefix_length: int,
    features: Tensor,
) -> MapperShape:
    """Return the sizes of prefixes for features (B,D) or (B,N,D).

    Raises:
        PrefixcapError: If the language model does not take what the mapper or the tuning gives it.
    """
    shape = MapperShape(
        feature_width=features.shape[-1],
        feature_tokens=features.shape[1] if features.ndim == 3 else None,
        prefix_length=prefix_length,
        embedding_width=lm.width,
        state_width=lm.state_width if mapper.gives_states else None,
        reads_features=tuning.reads_features,
    )
    if mapper.gives_states and shape.state_width is None:
        raise PrefixcapError(
            f"the mapper {mapper.name!r} gives keys and values for each layer, which "
            f"{type(lm).__name__} does not take: use another mapper, or a model of transformers"
        )
    return shape


def build_prefixer(
    lm: LanguageModel,
    mapper_config: MapperConfig,
    shape: MapperShape,
    features: AnyFeatures,
    config: TrainingConfig,
    captions: Sequence[Sequence[Sequence[int]]] = (),
) -> Prefixer:
    """Build an untrained prefixer whose normalization and scale fit the training features.

    Features are (B,D) or (B,N,D). The mapper's weights are drawn from torch's global random state;
    with `config.start` "ridge", its last layer is fitted to the images' captions, as token ids.
    """
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
    if config.start == "ridge" and shape.state_width is not None:
        raise PrefixcapError(
            "the training's start=ridge fits prefixes to the embeddings of captions, and the "
            f"mapper {mapper_config.name!r} gives keys and values: set start=random"
        )
    if config.start == "ridge":
        start_with_ridge(lm, prefixer, features, captions)
    if config.prefix_scale is not None:
        with torch.no_grad():
            target = config.prefix_scale * _usual_deviation(lm, shape)
            _scale_output_to(prefixer, features[:64].float(), target)
    prefixer.noise = config.feature_noise
    prefixer.condition_dropout = config.condition_dropout
    return prefixer


def _usual_deviation(lm: LanguageModel, shape: MapperShape) -> float:
    """Return the standard deviation of a language model's embeddings, or of its keys and values."""
    tokens = torch.arange(min(4096, lm.vocab_size), device=lm.device)
    if shape.state_width is None:
        return lm.embed(tokens).float().std().item()
    return lm.states(tokens[:64]).float().std().item()


def _scale_output_to(prefixer: Prefixer, features: Tensor, target: float) -> None:
    """Scale the prefixes of features (B,D) or (B,N,D) to a standard deviation."""
    before = prefixer.mapped(features)
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
        after = prefixer.mapped(features)
        if torch.allclose(after, before * factor, rtol=1e-3, atol=1e-3 * target):
            return
        for parameter in linear[-1].parameters():
            parameter.div_(factor)
    prefixer.gain.fill_(factor)
