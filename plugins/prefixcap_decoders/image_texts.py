"""Similarity of captions and images in CLIP's space, for decoders that are guided or rank by it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Self

import attrs
import torch
from torch import Tensor

from prefixcap.errors import NonFiniteError, PrefixcapError
from prefixcap.interfaces.decoder import DecodingTask
from prefixcap.interfaces.text_encoder import TextEncoder
from prefixcap.plugin.text_encoders import named_text_encoder


@attrs.frozen
class ImageTexts:
    """The images of a task by their features, and the text tower that captions are encoded by.

    Attributes:
        encoder: The text tower.
        features: (B,D).
        images: The B names of the images.
    """

    encoder: TextEncoder
    features: Tensor
    images: Mapping[int, str]

    @classmethod
    def of(cls, task: DecodingTask, text: str, decoder: str) -> Self:
        """Return the images of a task.

        Args:
            task: Task.
            text: The encoder whose text tower is used; if empty, that of the features.
            decoder: The decoder's name, for messages.

        Raises:
            PrefixcapError: If the features or the encoder are missing.
        """
        encoder = task.text_encoder
        if text:
            encoder = named_text_encoder(text, str(task.prefix.device))
        if encoder is None or task.features is None:
            missing = "feature" if task.features is None else "features' encoder"
            raise PrefixcapError(
                f"{decoder} compares captions with the image, but the {missing} is missing: "
                "give both features and encoder"
            )
        return cls(encoder, task.features, dict(enumerate(task.image_ids)))

    def cosines(self, images: Sequence[int], texts: Sequence[str]) -> Tensor:
        """Return the cosine similarities (T), float32 on the CPU, of images and texts.

        Args:
            images: The number of each text's image.
            texts: T texts.

        Raises:
            NonFiniteError: If they are NaN or infinite for an image.
            PrefixcapError: If the encoder has no text tower, or its texts have another width.
        """
        return self.compare(images, self.encoder.encode(texts))

    def compare(self, images: Sequence[int], vectors: Tensor) -> Tensor:
        """Return what `cosines` does, for encoded texts (T,D)."""
        cosines = torch.tensor(self.encoder.compare(self.features[list(images)], vectors))
        broken = sorted({images[row] for row in (~cosines.isfinite()).nonzero().flatten().tolist()})
        if broken:
            names = {image: self.images[image] for image in broken}
            raise NonFiniteError(names, "the similarities of image and caption")
        return cosines


def with_prompt(prompt: str, caption: str) -> str:
    """Return a caption after a prompt, which may be empty."""
    return f"{prompt} {caption}" if prompt else caption


def require_text(task: DecodingTask, decoder: str) -> None:
    """Check that a task's tokens have texts.

    Raises:
        PrefixcapError: If the language model has no tokenizer.
    """
    if task.lm.tokenizer is None:
        raise PrefixcapError(
            f"{decoder} compares the texts of captions, but the language model has no tokenizer: "
            "give its `tokenizer`"
        )
