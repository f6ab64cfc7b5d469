"""A study's images as each of its encoders sees them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import attrs

from prefixcap.errors import PrefixcapError
from prefixcap.interfaces.bridge import BridgeConfig
from prefixcap.interfaces.dataset import Example
from prefixcap.interfaces.encoder import EncoderConfig
from prefixcap.interfaces.retrieval.prompt import PromptConfig, Prompter
from prefixcap.interfaces.text_encoder import TextEncoder
from prefixcap.plugin import specs
from prefixcap.plugin.building import build
from prefixcap.plugin.registry import default_registry
from prefixcap.study.artifacts.features import Features
from prefixcap.study.artifacts.folder import StudyJob
from prefixcap.study.artifacts.text_features import TextFeatures, texts_of
from prefixcap.study.definition.study import TEXTS
from prefixcap.study.execution import baselines
from prefixcap.study.execution.data import StudyData

if TYPE_CHECKING:
    from torch import Tensor

    from prefixcap.captioning.bridging import Bridging
    from prefixcap.captioning.feature_rows import FeatureRows
    from prefixcap.captioning.prompting.training import PromptTraining
    from prefixcap.training.texts import TextTraining


@attrs.define(kw_only=True, slots=False)
class EncodedImages:
    """A study's readable images and their features by one encoder.

    `texts` are the embeddings of their captions, if the study trains on texts.
    """

    features: Features
    texts: TextFeatures | None
    train: Sequence[Example]
    val: Sequence[Example]
    test: Sequence[Example]
    split: str
    """The name of the split that is captioned and scored."""
    _prompting: dict[PromptConfig, PromptTraining] = attrs.field(
        factory=dict, init=False, repr=False, eq=False
    )
    _neighbors: dict[int, Prompter] = attrs.field(factory=dict, init=False, repr=False, eq=False)

    @property
    def encoder(self) -> EncoderConfig:
        """The encoder's config."""
        return self.features.config

    @property
    def ids(self) -> list[str]:
        """The ids of the images to caption."""
        return [example.image.id for example in self.test]

    @cached_property
    def train_features(self) -> FeatureRows:
        """(B,D) or (B,N,D), not in memory."""
        return self.features.rows(self.train)

    @cached_property
    def val_features(self) -> FeatureRows | None:
        """(B,D) or (B,N,D), not in memory; None without validation images."""
        return self.features.rows(self.val) if self.val else None

    @cached_property
    def test_features(self) -> FeatureRows:
        """(B,D) or (B,N,D), not in memory."""
        return self.features.rows(self.test)

    @cached_property
    def nearest_images(self) -> list[list[int]]:
        """The rows of each test image's nearest training images."""
        return baselines.nearest_images(self.train_features, self.test_features)

    @cached_property
    def loaded_test_features(self) -> Tensor:
        """(B,D) or (B,N,D), for metrics, which see all images together."""
        return self.test_features[:]

    @cached_property
    def text_encoder(self) -> TextEncoder:
        """The text tower of the encoder."""
        return TextEncoder(
            specs.to_spec(self.encoder), lambda: self.features.encoder, self.features.job.device
        )

    @property
    def captioned(self) -> dict[str, Sequence[Example]]:
        """The examples by split whose captions are trained on, or stop the training."""
        return {"train": self.train, "val": self.val} if self.val else {"train": self.train}

    def count_captions(self) -> tuple[int, int]:
        """Count the captions that are to be encoded yet, and all of them."""
        every = [example for examples in self.captioned.values() for example in examples]
        if self.texts is None:
            return 0, 0
        return len(self.texts.missing(every)), len(set(texts_of(every)))

    def text_training(self, bridge: BridgeConfig) -> TextTraining:
        """Return the captions' embeddings, to train on them with a bridge."""
        from prefixcap.training.texts import TextTraining

        assert self.texts is not None
        return TextTraining(
            bridge=bridge,
            features=self.texts.rows(self.train),
            val_features=self.texts.rows(self.val) if self.val else None,
        )

    def gap(self, bridge: Bridging | None) -> dict[str, Any] | None:
        """Measure the gap between texts and images, on val images, or else on test images.

        Returns:
            The result of `measure_gap` with the name of the split; None without a bridge, or
            without embeddings of these captions.
        """
        from prefixcap.captioning.gap import measure_gap

        split, examples = ("val", self.val) if self.val else (self.split, self.test)
        if bridge is None or self.texts is None or not examples or self.texts.missing(examples):
            return None
        captions = [example.references for example in examples]
        texts = self.texts.rows(examples)
        return {"split": split} | measure_gap(bridge, self.features.rows(examples), texts, captions)

    def prompting(self, prompt: PromptConfig) -> PromptTraining | None:
        """Return a prompt with what it has learned from the training images; None without text.

        Raises:
            PrefixcapError: If the images, or the encoder, lack what the prompt needs.
        """
        from prefixcap.captioning.prompting.training import PromptTraining

        if not prompt.length:
            return None
        if prompt not in self._prompting:
            self._prompting[prompt] = PromptTraining.learn(
                prompt,
                self.train_features,
                [example.references for example in self.train],
                [example.image.id for example in self.train],
                self.text_encoder,
            )
        return self._prompting[prompt]

    def neighbors(self, count: int) -> Prompter:
        """Return what finds `count` captions of the nearest training images, as its items.

        Raises:
            PrefixcapError: If the training images do not have as many.
        """
        if count not in self._neighbors:
            spec = f"retrieved:k={count},per_image=none"
            prompting = self.prompting(default_registry().parse(PromptConfig, spec))
            assert prompting is not None  # it has a length
            try:
                self._neighbors[count] = build(prompting.prompt, prompting.datastore)
            except PrefixcapError as error:
                raise PrefixcapError(f"the decoder's neighbors: {error}") from error
        return self._neighbors[count]

    @cached_property
    def training_key(self) -> str:
        """A digest of the features and captions to train on."""
        key = self.features.image_key
        splits = [[[key(e.image), e.references] for e in part] for part in (self.train, self.val)]
        return specs.digest(self.features.key, splits)

    @cached_property
    def test_key(self) -> str:
        """A digest of the test images' features."""
        images = [self.features.image_key(example.image) for example in self.test]
        return specs.digest(self.features.key, images)


def open_features(job: StudyJob, data: StudyData) -> Iterator[Features]:
    """Build each encoder of a study and yield its stored features."""
    for config in job.study.encoders:
        encoder = build(config, job.device)
        yield Features(job=job, config=config, encoder=encoder, dataset=data.dataset)


def known_images(features: Features, data: StudyData) -> EncodedImages:
    """Return the images of an encoder without encoding any.

    Those that are not encoded yet count as readable.
    """
    train, val, test = map(features.readable, (data.train, data.val, data.test))
    return EncodedImages(
        features=features,
        texts=TextFeatures(features=features) if TEXTS in features.job.study.train_on else None,
        train=train,
        val=val,
        test=test,
        split=data.names[2],
    )


def encode_images(features: Features, data: StudyData) -> tuple[EncodedImages, list[str]]:
    """Encode the images that are missing.

    Returns:
        The images, and the ids of those that cannot be read.

    Raises:
        PrefixcapError: If an image cannot be read and the study does not skip such images, or if
            no image of a split can be read.
    """
    if texts := known_images(features, data).texts:
        texts.check(data.train)
    for split, examples in data.splits.items():
        features.encode(split, examples)
    images = known_images(features, data)
    if images.texts:
        for split, examples in images.captioned.items():
            images.texts.encode(split, examples)
        if not images.val and images.test:
            try:
                images.texts.encode(images.split, images.test)  # only to measure the gap
            except PrefixcapError as error:
                reason = f"the gap between texts and images is not measured: {error}"
                features.job.reporter.message(reason)
    readable = {example.image.id for example in (*images.train, *images.val, *images.test)}
    every = (example.image.id for examples in data.splits.values() for example in examples)
    return images, [image for image in every if image not in readable]


def encode_part(features: Features, data: StudyData, part: tuple[int, int]) -> None:
    """Encode a part of the images that are missing: its number, and how many parts there are."""
    for split, examples in data.splits.items():
        features.encode(split, examples, part)


def unreadable_message(ids: Sequence[str]) -> str:
    """Return the message that images were skipped."""
    return f"skipped {len(ids)} images that could not be read: {', '.join(ids[:5])}"
