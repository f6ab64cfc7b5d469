"""Prompts: text around the prefix of an image, made from what is known of the training images."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import attrs

from prefixcap.interfaces.component import Component

if TYPE_CHECKING:
    from torch import Tensor

    from prefixcap.interfaces.text_encoder import TextEncoder


@attrs.frozen(kw_only=True, eq=False)
class CaptionedImages:
    """The training images of a model, from which prompts are made.

    Attributes:
        vectors: (M,D), the directions of their features.
        captions: M lists of captions.
        ids: Their M names.
        text_encoder: The text tower of the encoder, which may have none; None without an encoder.
    """

    vectors: Tensor
    captions: Sequence[Sequence[str]]
    ids: Sequence[str]
    text_encoder: TextEncoder | None = None


@attrs.frozen(kw_only=True, eq=False)
class Datastore:
    """What prompts need of the training images; it is saved with the model.

    Attributes:
        vectors: Matrices by name.
        texts: Lists of texts, or lists of such, by name.
    """

    vectors: Mapping[str, Tensor] = attrs.field(factory=dict)
    texts: Mapping[str, Any] = attrs.field(factory=dict)


class Prompter(ABC):
    """Writes the text around the prefixes of images."""

    @abstractmethod
    def items(self, features: Tensor, ids: Sequence[str] | None = None) -> list[tuple[str, ...]]:
        """Choose what the prompts of images are made of.

        The items of an image do not depend on the other images.

        Args:
            features: (B,D) or (B,N,D).
            ids: The images' B names if they are training images, whose own captions must not be in
                their prompts; None for other images.

        Returns:
            The items of each image, the most important first; the last ones are left out if they
            do not fit.
        """

    @abstractmethod
    def before(self, items: Sequence[str]) -> str:
        """Return the text before a prefix."""

    @property
    @abstractmethod
    def after(self) -> str:
        """The text after a prefix, the same for all images."""


@attrs.frozen(kw_only=True)
class PromptConfig(Component):
    """The base of prompt configs."""

    kind: ClassVar[str] = "prompt"

    @property
    @abstractmethod
    def length(self) -> int:
        """The number of tokens of a prompt, the same for all images; 0 for no prompt."""

    @property
    def omitted(self) -> float:
        """The probability with which an item is left out in a training step."""
        return 0.0

    @abstractmethod
    def learn(self, images: CaptionedImages) -> Datastore:
        """Make the datastore of a model from its training images.

        Raises:
            PrefixcapError: If they do not have what is needed.
        """

    @abstractmethod
    def build(self, datastore: Datastore) -> Prompter:
        """Build the prompter of a model from its datastore."""
