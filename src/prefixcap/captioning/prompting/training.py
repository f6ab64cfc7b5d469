"""Training with prompts: text around the prefix of each image."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import attrs

from prefixcap.captioning.feature_rows import AnyFeatures
from prefixcap.captioning.prompting import prompts
from prefixcap.captioning.prompting.prompts import PromptRows, Prompts
from prefixcap.errors import PrefixcapError
from prefixcap.interfaces.retrieval.prompt import Datastore, PromptConfig
from prefixcap.plugin.registry import default_registry

if TYPE_CHECKING:
    from prefixcap.interfaces.language_model import LanguageModel
    from prefixcap.interfaces.mapper import MapperShape
    from prefixcap.interfaces.text_encoder import TextEncoder


def _prompt(value: str | PromptConfig) -> PromptConfig:
    return default_registry().parse(PromptConfig, value)


@attrs.frozen(kw_only=True, eq=False)
class PromptTraining:
    """The prompts that a model is trained with; `PromptTraining.learn` makes one.

    Attributes:
        prompt: The prompt's config or spec.
        datastore: What the prompt has learned from the training images.
        ids: The training images' B names, by which their own captions are left out.
    """

    prompt: PromptConfig = attrs.field(converter=_prompt)
    datastore: Datastore
    ids: Sequence[str]

    @classmethod
    def learn(
        cls,
        prompt: str | PromptConfig,
        features: AnyFeatures,
        captions: Sequence[Sequence[str]],
        ids: Sequence[str] | None = None,
        text_encoder: TextEncoder | None = None,
    ) -> PromptTraining:
        """Make the datastore of a prompt from training images.

        Args:
            prompt: The prompt's config or spec.
            features: (B,D) or (B,N,D).
            captions: B lists of captions.
            ids: The images' B names; by default row numbers.
            text_encoder: The text tower of the encoder, if the prompt compares texts with images.

        Raises:
            PrefixcapError: If the prompt is unknown, or the images lack what it needs.
        """
        config = _prompt(prompt)
        ids = [*map(str, range(len(features)))] if ids is None else ids
        datastore = prompts.learn(config, features, captions, ids, text_encoder)
        return cls(prompt=config, datastore=datastore, ids=ids)

    def apply(
        self,
        lm: LanguageModel,
        shape: MapperShape,
        features: AnyFeatures,
        captions: Sequence[Sequence[str]],
        val_features: AnyFeatures | None,
    ) -> Prompted:
        """Choose the prompts of training and validation images (B,D) or (B,N,D).

        They are around prefixes of a shape. Features may be those of all captions (T,D) instead.

        Raises:
            PrefixcapError: If there are not as many names as images, or the prompts do not fit.
        """
        if len(self.ids) != len(captions):
            raise PrefixcapError(
                f"the prompt knows the names of {len(self.ids)} training images, and there are "
                f"{len(captions)}"
            )
        if not self.prompt.length:
            return Prompted()
        ids = self.ids
        if len(features) != len(ids):  # each caption is a row
            ids = [name for name, texts in zip(ids, captions, strict=True) for _ in texts]
        prompts = Prompts(self.prompt, self.datastore, lm, shape)
        train = PromptRows(prompts, prompts.items(features, ids))
        if val_features is None:
            return Prompted(prompts, train)
        return Prompted(prompts, train, PromptRows(prompts, prompts.items(val_features)))


@attrs.frozen(eq=False)
class Prompted:
    """The prompts of a model in training, and those of its training and validation rows."""

    prompts: Prompts | None = None
    train: PromptRows | None = None
    val: PromptRows | None = None

    def items(self) -> list[Sequence[tuple[str, ...]]]:
        """What the prompts say."""
        return [rows.items for rows in (self.train, self.val) if rows is not None]
