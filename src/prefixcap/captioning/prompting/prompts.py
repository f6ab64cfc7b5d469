"""`Prompts`: text around the prefixes of a model, as tokens of one length for all images."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from prefixcap.captioning.feature_rows import AnyFeatures, chunks
from prefixcap.errors import PrefixcapError
from prefixcap.interfaces.retrieval.prompt import CaptionedImages, Datastore
from prefixcap.interfaces.retrieval.retriever import directions
from prefixcap.plugin import specs
from prefixcap.plugin.building import build

if TYPE_CHECKING:
    from prefixcap.interfaces.language_model import LanguageModel
    from prefixcap.interfaces.mapper import MapperShape
    from prefixcap.interfaces.retrieval.prompt import PromptConfig, Prompter
    from prefixcap.interfaces.text_encoder import TextEncoder

REMEMBERED = 100_000
"""The number of prompts whose tokens are remembered."""


def learn(
    config: PromptConfig,
    features: AnyFeatures,
    captions: Sequence[Sequence[str]],
    ids: Sequence[str],
    text_encoder: TextEncoder | None = None,
) -> Datastore:
    """Make the datastore of a model from its training images.

    Args:
        config: The prompt.
        features: (M,D) or (M,N,D).
        captions: M lists of captions.
        ids: The images' M names.
        text_encoder: The text tower of the encoder.

    Raises:
        PrefixcapError: If the images do not have what the prompt needs.
    """
    vectors = torch.cat([directions(chunk) for chunk in chunks(features)])
    images = CaptionedImages(vectors=vectors, captions=captions, ids=ids, text_encoder=text_encoder)
    return config.learn(images)


class Prompts:
    """The prompts of one model.

    Args:
        config: The prompt; its length is not 0.
        datastore: What it has learned.
        lm: The language model that embeds the tokens.
        shape: The sizes of the prefixes.

    Raises:
        PrefixcapError: If the language model has no tokenizer or no end-of-text token, or if the
            prompt is too short for its own words.
    """

    def __init__(
        self, config: PromptConfig, datastore: Datastore, lm: LanguageModel, shape: MapperShape
    ) -> None:
        if lm.tokenizer is None or lm.eos_id is None:
            raise PrefixcapError(
                f"the prompt {specs.to_spec(config)} needs a language model with a tokenizer and "
                "an end-of-text token"
            )
        self.config, self.datastore, self._lm = config, datastore, lm
        self._embeddings = shape.embeddings
        self._encode, self._padding = lm.tokenizer.encode, lm.eos_id
        self._prompter: Prompter = build(config, datastore)
        after = self._prompter.after
        self._after = self._encode(after) if after else []
        self._room = config.length - len(self._after)
        self._before = lru_cache(REMEMBERED)(self._fitted)
        self._before(())  # says early if nothing fits

    @property
    def length(self) -> int:
        """The number of tokens of a prompt."""
        return self.config.length

    def items(
        self, features: AnyFeatures, ids: Sequence[str] | None = None
    ) -> list[tuple[str, ...]]:
        """Choose what the prompts of images say, as `Prompter.items`.

        Features are (B,D) or (B,N,D), and `ids` the names of training images.
        """
        found: list[tuple[str, ...]] = []
        for chunk in chunks(features):
            part = None if ids is None else ids[len(found) : len(found) + len(chunk)]
            found += self._prompter.items(chunk, part)
        return found

    def tokens(self, items: Sequence[Sequence[str]]) -> Tensor:
        """Return the tokens (B,`length`) of prompts with these items.

        The last items that do not fit are left out whole. Before the text come end-of-text tokens,
        as many as make the prompts of all images equally long.
        """
        rows = [[*self._before(tuple(each)), *self._after] for each in items]
        return torch.tensor(rows, dtype=torch.long).view(len(rows), self.length)

    def around(self, prefix: Tensor, tokens: Tensor) -> Tensor:
        """Put the embeddings of tokens (B,`length`) around prefixes (B,P,E): (B,P',E).

        What prefixes hold behind their embeddings stays behind.
        """
        text = self._lm.embed(tokens.to(prefix.device)).to(prefix.dtype)
        first, rest = prefix[:, : self._embeddings], prefix[:, self._embeddings :]
        return torch.cat([text[:, : self._room], first, text[:, self._room :], rest], 1)

    def to_images(self, prefix: Tensor, features: Tensor) -> Tensor:
        """Put prompts for images with features (B,D) or (B,N,D) around prefixes (B,P,E)."""
        return self.around(prefix, self.tokens(self.items(features)))

    def _fitted(self, items: tuple[str, ...]) -> list[int]:
        for count in range(len(items), -1, -1):
            text = self._prompter.before(items[:count])
            ids = self._encode(text) if text else []
            if len(ids) <= self._room:
                return [self._padding] * (self._room - len(ids)) + ids
        needed = len(ids) + len(self._after)
        raise PrefixcapError(
            f"the prompt {specs.to_spec(self.config)} has {self.length} tokens, and its own words "
            f"take {needed} of this language model: raise tokens"
        )


class PromptRows:
    """The prompts of the images, or texts, that a model is trained on or validated by.

    In training, each item is left out with the config's probability, by torch's random state.

    Args:
        prompts: The model's prompts.
        items: What the prompt of each row says.
    """

    def __init__(self, prompts: Prompts, items: Sequence[tuple[str, ...]]) -> None:
        self._prompts, self.items = prompts, items

    def around(self, prefix: Tensor, rows: Tensor, *, training: bool) -> Tensor:
        """Put the prompts of rows (B) around their prefixes (B,P,E): (B,P',E)."""
        chosen = [self.items[row] for row in rows.tolist()]
        omitted = self._prompts.config.omitted
        if training and omitted:
            chosen = [_some(items, omitted) for items in chosen]
        return self._prompts.around(prefix, self._prompts.tokens(chosen))


def _some(items: tuple[str, ...], omitted: float) -> tuple[str, ...]:
    kept = torch.rand(len(items)) >= omitted
    return tuple(item for item, keep in zip(items, kept.tolist(), strict=True) if keep)
