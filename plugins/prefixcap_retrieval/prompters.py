"""What prompts say: nothing, the nearest captions, or entities."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor
from typing_extensions import override

from prefixcap.errors import PrefixcapError
from prefixcap.interfaces.retrieval.prompt import CaptionedImages, Datastore, Prompter
from prefixcap.interfaces.retrieval.retriever import directions
from prefixcap.interfaces.text_encoder import TextEncoder
from prefixcap_retrieval.search import CaptionSearch

VOWELS = "aeiouAEIOU"


class NoText(Prompter):
    """Says nothing."""

    @override
    def items(self, features: Tensor, ids: Sequence[str] | None = None) -> list[tuple[str, ...]]:
        return [()] * len(features)

    @override
    def before(self, items: Sequence[str]) -> str:
        return ""

    @property
    @override
    def after(self) -> str:
        return ""


class NearestCaptions(Prompter):
    """Shows the nearest captions; the settings are those of `CaptionSearch`."""

    def __init__(self, datastore: Datastore, **settings: Any) -> None:
        vectors, texts = datastore.vectors, datastore.texts
        self._search = CaptionSearch(
            vectors["images"].float(),
            texts["captions"],
            texts["ids"],
            vectors["texts"].float() if "texts" in vectors else None,
            **settings,
        )

    @override
    def items(self, features: Tensor, ids: Sequence[str] | None = None) -> list[tuple[str, ...]]:
        return self._search.nearest(features, ids)

    @override
    def before(self, items: Sequence[str]) -> str:
        return "".join(f"{line}\n\n" for line in ("Similar images show", *items))

    @property
    @override
    def after(self) -> str:
        return "\n\nThis image shows\n\n"


class NamedEntities(Prompter):
    """Names the entities whose probability, given the image, is high."""

    def __init__(
        self, datastore: Datastore, *, k: int, threshold: float, temperature: float
    ) -> None:
        self._entities: list[str] = datastore.texts["entities"]
        self._vectors = datastore.vectors["entities"].double()
        self._k, self._threshold, self._temperature = k, threshold, temperature

    @override
    def items(self, features: Tensor, ids: Sequence[str] | None = None) -> list[tuple[str, ...]]:
        cosines = directions(features).double() @ self._vectors.T
        shares = (cosines / self._temperature).softmax(1)
        order = cosines.argsort(dim=1, descending=True, stable=True)[:, : self._k]
        return [
            tuple(self._entities[row] for row in rows if share[row] >= self._threshold)
            for rows, share in zip(order.tolist(), shares.tolist(), strict=True)
        ]

    @override
    def before(self, items: Sequence[str]) -> str:
        return f"There are {', '.join(items) or 'something'} in image."

    @property
    @override
    def after(self) -> str:
        return ""


def learn_captions(images: CaptionedImages, *, with_texts: bool) -> Datastore:
    """Store the captions of images, and their own embeddings if they are to be found by them.

    Vectors are rounded to float16, as which they are saved.

    Raises:
        PrefixcapError: If there is no text tower, or no caption.
    """
    captions = [list(texts) for texts in images.captions]
    every = [text for texts in captions for text in texts]
    if not every:
        raise PrefixcapError("captions are to be retrieved, and the images have none")
    vectors = {"images": images.vectors.half()}
    if with_texts:
        vectors["texts"] = _encoded(images, "retrieved:by=text", every)
    return Datastore(vectors=vectors, texts={"captions": captions, "ids": list(images.ids)})


def learn_entities(images: CaptionedImages, entities: Sequence[str]) -> Datastore:
    """Store entities with the embeddings of sentences that name them.

    Raises:
        PrefixcapError: If there is no text tower.
    """
    sentences = [f"A photo of a{'n' if e[0] in VOWELS else ''} {e}." for e in entities]
    vectors = _encoded(images, "entities", sentences)
    return Datastore(vectors={"entities": vectors}, texts={"entities": list(entities)})


def _encoded(images: CaptionedImages, prompt: str, texts: Sequence[str]) -> Tensor:
    encoder: TextEncoder | None = images.text_encoder
    if encoder is None:
        raise PrefixcapError(f"the prompt {prompt} needs an encoder with a text tower")
    if encoder.encoder.encode_text(texts[:1]) is None:
        raise PrefixcapError(
            f"the prompt {prompt} compares images with texts, and the encoder {encoder.name!r} has "
            "no text tower: use retrieved:by=image, or another encoder"
        )
    vectors = encoder.encode(texts)
    encoder.compare(images.vectors[:1], vectors[:1])
    return directions(vectors).half()
