"""A tiny encoder of images and texts: counts of words."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256

import attrs
import torch
from torch import Tensor
from typing_extensions import override

from prefixcap.interfaces.dataset import ImageItem
from prefixcap.interfaces.encoder import Encoder


@attrs.define(eq=False)
class WordsEncoder(Encoder):
    """Encodes a text as the counts of its words, and an image as its given embedding.

    Texts are similar if they share words. An image is similar to its captions if its embedding is
    `encode_text` of a description. Each word adds one to one of D places, the `width`.
    """

    width: int = 64
    tokens = None

    @override
    def preprocess(self, image: ImageItem) -> Tensor:
        assert image.embedding is not None
        return torch.from_numpy(image.embedding()).float()

    @override
    def encode(self, inputs: Tensor) -> Tensor:
        return inputs

    @override
    def encode_text(self, texts: Sequence[str]) -> Tensor:
        counts = torch.zeros(len(texts), self.width)
        for row, text in zip(counts, texts, strict=True):
            for word in text.lower().split():
                row[int.from_bytes(sha256(word.encode()).digest()[:4]) % self.width] += 1
        return counts

    @override
    def digest(self) -> str:
        return f"words {self.width}"
