"""A tiny encoder with a text side: images and texts as counts of words."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256

import torch
from torch import Tensor

from prefixcap.interfaces.dataset import ImageItem
from prefixcap.interfaces.encoder import Encoder


class WordsEncoder(Encoder):
    """Encodes a text as the counts of its words, and an image as the embedding that it has.

    A text is near another one where they share words, so an image is near its captions where its
    embedding is `encode_text` of what it shows.

    Args:
        width: D; every word adds one to one of so many places.
    """

    def __init__(self, width: int = 64) -> None:
        self._width = width

    @property
    def width(self) -> int:
        """D, the number of places."""
        return self._width

    @property
    def tokens(self) -> None:
        """A feature is one vector."""
        return None

    def preprocess(self, image: ImageItem) -> Tensor:
        """Reads the image's embedding (D)."""
        assert image.embedding is not None
        return torch.from_numpy(image.embedding()).float()

    def encode(self, inputs: Tensor) -> Tensor:
        """Returns the embeddings (B,D) as they are."""
        return inputs

    def encode_text(self, texts: Sequence[str]) -> Tensor:
        """Counts the words of texts: (B,D), float32."""
        found = torch.zeros(len(texts), self._width)
        for row, text in zip(found, texts, strict=True):
            for word in text.lower().split():
                row[int.from_bytes(sha256(word.encode()).digest()[:4]) % self._width] += 1
        return found

    def digest(self) -> str:
        """Returns what defines the encoder."""
        return f"words {self._width}"
