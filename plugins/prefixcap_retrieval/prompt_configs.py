"""Configs of the prompts."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from typing import ClassVar

import attrs
from typing_extensions import override

from prefixcap.errors import PrefixcapError
from prefixcap.interfaces.component import PATH, Component
from prefixcap.interfaces.retrieval.prompt import (
    CaptionedImages,
    Datastore,
    PromptConfig,
    Prompter,
)
from prefixcap.interfaces.retrieval.retriever import RetrieverConfig
from prefixcap.interfaces.validators import above, at_least, between, one_of, path_text
from prefixcap.plugin.registry import default_registry
from prefixcap.plugin.specs import nested
from prefixcap.util.text_files import expanded, read_text

SIDES = ("image", "text")


@attrs.frozen(kw_only=True)
class NoPrompt(PromptConfig):
    """Nothing but the prefix."""

    name: ClassVar[str] = "none"

    @property
    @override
    def length(self) -> int:
        return 0

    @override
    def learn(self, images: CaptionedImages) -> Datastore:
        return Datastore()

    @override
    def build(self, datastore: Datastore) -> Prompter:
        from prefixcap_retrieval.prompters import NoText

        return NoText()


@attrs.frozen(kw_only=True)
class Retrieved(PromptConfig):
    """The nearest captions of other images (SmallCap, Ramos et al. 2022, arXiv:2209.15323).

    "Similar images show", the captions, the prefix, "This image shows", each on a line of its own.

    Attributes:
        k: The number of captions.
        by: "image" for captions of images with the nearest features, "text" for captions whose own
            embeddings are nearest to the image's, for which the encoder needs a text tower.
        per_image: The maximum number of captions of one image; None for any.
        duplicate: Images whose features have a higher cosine than this count as the same picture,
            and their captions are left out.
        retriever: The retriever, with ";" between its settings.
        tokens: The number of tokens of a prompt. Captions that do not fit are left out whole, and
            shorter prompts are padded on the left.
    """

    name: ClassVar[str] = "retrieved"

    k: int = attrs.field(default=4, validator=at_least(1))
    by: str = attrs.field(default="image", validator=one_of(SIDES))
    per_image: int | None = attrs.field(default=1, validator=at_least(1))
    duplicate: float = attrs.field(default=0.99, validator=between(0, 1))
    retriever: str = "exact"
    tokens: int = attrs.field(default=64, validator=at_least(1))

    @property
    @override
    def length(self) -> int:
        return self.tokens

    @override
    def subcomponents(self) -> Sequence[Component]:
        return (self.parsed_retriever(),)

    def parsed_retriever(self) -> RetrieverConfig:
        """Return the config of the retriever.

        Raises:
            PrefixcapError: If it is unknown or its settings are wrong.
        """
        try:
            return default_registry().parse(RetrieverConfig, nested(self.retriever))
        except PrefixcapError as error:
            raise PrefixcapError(f"retriever: {error}") from error

    @override
    def learn(self, images: CaptionedImages) -> Datastore:
        from prefixcap_retrieval.prompters import learn_captions

        return learn_captions(images, with_texts=self.by == "text")

    @override
    def build(self, datastore: Datastore) -> Prompter:
        from prefixcap_retrieval.prompters import NearestCaptions

        return NearestCaptions(
            datastore,
            retriever=self.parsed_retriever(),
            k=self.k,
            per_image=self.per_image,
            duplicate=self.duplicate,
        )


@attrs.frozen(kw_only=True)
class Entities(PromptConfig):
    """Names of what the image may show (ViECap, Fei et al. 2023, arXiv:2307.16525).

    "There are dog, ball in image.", then the prefix. Entities are ranked by the softmax of the
    cosines of the image's feature and the embeddings of "A photo of a dog.", so the encoder needs a
    text tower.

    Attributes:
        k: The maximum number of entities.
        threshold: The probability below which an entity is left out.
        temperature: Divides the cosines before the softmax.
        mask: The probability with which an entity is left out in a training step.
        words: A text file with an entity per line; default: the nouns of the training captions.
        vocabulary: The maximum number of such nouns, the most frequent ones.
        tokens: The number of tokens of a prompt. Entities that do not fit are left out whole, and
            shorter prompts are padded on the left.
    """

    name: ClassVar[str] = "entities"

    k: int = attrs.field(default=3, validator=at_least(1))
    threshold: float = attrs.field(default=0.2, validator=between(0, 1))
    temperature: float = attrs.field(default=0.01, validator=above(0))
    mask: float = attrs.field(default=0.4, validator=between(0, 1))
    words: str = attrs.field(default="", validator=path_text, metadata=PATH)
    vocabulary: int = attrs.field(default=500, validator=at_least(1))
    tokens: int = attrs.field(default=24, validator=at_least(1))

    @property
    @override
    def length(self) -> int:
        return self.tokens

    @property
    @override
    def omitted(self) -> float:
        return self.mask

    @override
    def external_digests(self) -> Sequence[str]:
        if not self.words:
            return ()
        return [sha256("\n".join(self.listed()).encode()).hexdigest()[:16]]

    def listed(self) -> list[str]:
        """Read the entities of the file `words`, each once.

        Raises:
            PrefixcapError: If it is missing or broken, or has no entity.
        """
        lines = read_text(expanded(self.words), "the entities").splitlines()
        entities = list(dict.fromkeys(line.strip() for line in lines if line.strip()))
        if not entities:
            raise PrefixcapError(f"{self.words}: the file of entities has none: write one per line")
        return entities

    @override
    def learn(self, images: CaptionedImages) -> Datastore:
        from prefixcap_retrieval.nouns import nouns
        from prefixcap_retrieval.prompters import learn_entities

        entities = self.listed() if self.words else nouns(images.captions, self.vocabulary)
        return learn_entities(images, entities)

    @override
    def build(self, datastore: Datastore) -> Prompter:
        from prefixcap_retrieval.prompters import NamedEntities

        settings = {key: getattr(self, key) for key in ("k", "threshold", "temperature")}
        return NamedEntities(datastore, **settings)
