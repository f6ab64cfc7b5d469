"""Try a study's components before anything is trained, so that their errors come early."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from threading import Timer
from typing import TYPE_CHECKING

import attrs

from prefixcap.decoding.decode import collect, iter_decode
from prefixcap.errors import PrefixcapError
from prefixcap.interfaces.bridge import BridgeConfig
from prefixcap.interfaces.component import Component
from prefixcap.interfaces.decoder import DecoderConfig
from prefixcap.interfaces.language_model import LanguageModel, ModelReader
from prefixcap.interfaces.mapper import MapperConfig, MapperShape
from prefixcap.interfaces.retrieval.prompt import PromptConfig
from prefixcap.plugin import specs
from prefixcap.plugin.building import build, is_foreign, naming_plugin
from prefixcap.study.artifacts.captions import count_missing
from prefixcap.study.artifacts.folder import StudyJob
from prefixcap.study.artifacts.keys import PlannedModel
from prefixcap.study.definition.study import Model, Study
from prefixcap.study.execution.encoding import EncodedImages
from prefixcap.util.progress import Reporter

if TYPE_CHECKING:
    from torch import Tensor

PATIENCE = 30.0
"""The seconds after which a message names the component that is being tried."""
IMAGES = 2
"""The number of images that mappers and decoders are tried on."""
TEXTS = 8
"""The number of texts that bridges are tried on."""
TOKENS = 4
"""The length of captions at which decoders are tried."""


def build_components(study: Study, reporter: Reporter, *, captioning: bool = True) -> None:
    """Build the components that need no data.

    Raises:
        PrefixcapError: If one cannot be built.
    """
    configs: list[Component] = [*study.tunings, *study.bridges]
    if captioning:
        configs += [*study.decoders, *study.metrics]
    for config in configs:
        with naming_slow(config, reporter):
            build(config)


def try_models(
    job: StudyJob, models: Sequence[PlannedModel], lm: LanguageModel, images: EncodedImages
) -> None:
    """Try the tunings, map and caption a few images with what is not trained and captioned yet.

    The weights are random, so only errors matter.

    Raises:
        PrefixcapError: If a tuning, a mapper or a decoder fails.
    """
    from prefixcap.captioning.tuned import trained_size  # imports torch
    from prefixcap.training.initialization import prefix_shape

    tried: set[Component] = set()
    for model in dict.fromkeys(_without_seed(each) for each in models if not each.is_trained):
        features = images.train_features[:IMAGES]
        shape = attrs.evolve(
            prefix_shape(lm, model.mapper, model.tuning, model.prefix_length, features),
            prompt_length=model.prompt.length,
        )
        if model.tuning not in tried:
            tried.add(model.tuning)
            with naming_slow(model.tuning, job.reporter):
                trained_size(lm, model.tuning, shape)
        if model.bridge is not None and model.bridge not in tried:
            tried.add(model.bridge)
            with naming_slow(model.bridge, job.reporter):
                _try_bridge(model.bridge, images)
        if model.prompt not in tried:
            tried.add(model.prompt)
            with naming_slow(model.prompt, job.reporter):
                _try_prompt(model.prompt, images, lm, shape)
        with naming_slow(model.mapper, job.reporter):
            _try_mapper(model.mapper, shape, features, lm)
    cells = {cell.decoder: cell for model in models for cell in model.cells}
    for decoder, cell in cells.items():
        if count_missing(cell, images.ids):
            with naming_slow(decoder, job.reporter):
                _try_decoder(decoder, job.study, lm, images, cell.model.prefix_length)


def _without_seed(planned: PlannedModel) -> Model:
    return attrs.evolve(planned.model, seed=0)


@contextmanager
def naming_slow(config: Component, reporter: Reporter) -> Iterator[None]:
    """Name a component that takes long, as one that never returns cannot be stopped here."""
    text = f"still trying the {config.kind} {specs.to_spec(config)!r}; Ctrl-C stops"
    timer = Timer(PATIENCE, reporter.message, [text])
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _try_bridge(config: BridgeConfig, images: EncodedImages) -> None:
    """Check that texts and images fit each other, and bridge a few of them.

    Raises:
        PrefixcapError: If they do not, or the bridge fails.
    """
    from prefixcap.training.texts import TextTraining

    texts, features = images.text_training(config), images.train_features
    texts.check(features, [example.references for example in images.train], None)
    few = TextTraining(bridge=config, features=texts.features[:TEXTS])
    with naming_plugin(config, "cannot bridge first texts and images"):
        bridge = few.fit(features[:IMAGES])
        bridge.image_side(features[:IMAGES])
        bridge.text_side(few.features[:])


def _try_mapper(
    config: MapperConfig, shape: MapperShape, features: Tensor, lm: LanguageModel
) -> None:
    """Build a mapper, and map features (B,D) or (B,N,D) of a few images."""
    import torch

    # built-in mappers are known to work without numbers, which takes neither time nor memory
    device = torch.device("cpu" if is_foreign(config) else "meta")
    with torch.random.fork_rng(devices=[]), torch.no_grad(), device:
        mapper = build(config, shape).eval()
        with naming_plugin(config, "cannot map a first image"):
            if isinstance(mapper, ModelReader):
                mapper.read_model(lm)
            prefix = mapper(features.to(device).float())
            width = shape.state_width or shape.embedding_width
            expected = (len(features), shape.prefix_length, width)
            if tuple(prefix.shape) != expected:
                raise TypeError(f"its prefixes are {tuple(prefix.shape)} instead of {expected}")


def _try_prompt(
    config: PromptConfig, images: EncodedImages, lm: LanguageModel, shape: MapperShape
) -> None:
    """Learn a prompt, which its models need anyway, and write it for a few images."""
    from prefixcap.captioning.prompting.prompts import Prompts

    with naming_plugin(config, "cannot be made for a first image"):
        prompting = images.prompting(config)
        if prompting is not None:
            prompts = Prompts(config, prompting.datastore, lm, shape)
            prompts.tokens(prompts.items(images.train_features[:IMAGES]))


def _try_decoder(
    config: DecoderConfig, study: Study, lm: LanguageModel, images: EncodedImages, length: int
) -> None:
    """Caption images from prefixes of token embeddings (B,P,E), with a few tokens."""
    import torch

    device = lm.device
    ids = images.ids[:IMAGES]
    tokens = torch.arange(len(ids) * length, device=device) % lm.vocab_size
    with torch.no_grad():
        prefix = lm.embed(tokens.view(len(ids), length)).float()

    features, count = images.test_features[:IMAGES], config.neighbor_captions()
    neighbors = images.neighbors(count).items(features) if count else None

    def caption(max_new_tokens: int) -> None:
        captions = iter_decode(
            lm,
            prefix,
            config,
            max_new_tokens=max_new_tokens,
            image_ids=ids,
            max_rows=study.max_rows,
            features=features,
            neighbors=neighbors,
            encoder=images.text_encoder,
            null_prefix=prefix[0],
        )
        collect(captions, len(ids))

    with naming_plugin(config, "cannot caption a first image"):
        try:
            caption(min(TOKENS, study.max_new_tokens))
        except PrefixcapError:  # perhaps because that is too short
            caption(study.max_new_tokens)
