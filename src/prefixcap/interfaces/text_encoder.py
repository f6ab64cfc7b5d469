"""`TextEncoder`: the text tower of an image encoder such as CLIP."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from typing import TYPE_CHECKING

from prefixcap.errors import PrefixcapError
from prefixcap.interfaces.encoder import Encoder

if TYPE_CHECKING:
    from torch import Tensor

_BATCH = 256
_MAX_CACHED = 100_000


class TextEncoder:
    """The text tower of an encoder, built on first use: compares image features with captions.

    Its `name` is for messages and the names of scores, and its `device` is also that of any other
    encoder used together with it.
    """

    def __init__(self, name: str, build: Callable[[], Encoder], device: str = "auto") -> None:
        self.name = name
        self.device = device
        self._build = build
        self._cached: dict[str, Tensor] = {}

    @cached_property
    def encoder(self) -> Encoder:
        """The encoder, built on first use."""
        return self._build()

    def encode(self, texts: Sequence[str], *, remember: bool = False) -> Tensor:
        """Encode T texts into vectors (T,D) of length 1, on the CPU.

        With `remember`, the vectors are cached, as for the references of a study's cells.

        Raises:
            PrefixcapError: If the encoder has no text tower.
        """
        import torch

        if not texts:
            return torch.empty(0, self.encoder.width)
        vectors = {text: self._cached[text] for text in texts if text in self._cached}
        new = [text for text in dict.fromkeys(texts) if text not in vectors]
        for start in range(0, len(new), _BATCH):
            part = new[start : start + _BATCH]
            vectors.update(zip(part, self._encode(part), strict=True))
        if remember and len(self._cached) + len(new) <= _MAX_CACHED:
            self._cached |= vectors
        return torch.stack([vectors[text] for text in texts])

    def cosines(self, features: Tensor, texts: Sequence[str]) -> list[float]:
        """Compute the cosine similarity of each image's feature (T,D) and its text.

        Raises:
            PrefixcapError: If the encoder has no text tower, or its texts have another width.
        """
        return self.compare(features, self.encode(texts))

    def compare(self, features: Tensor, vectors: Tensor) -> list[float]:
        """Compute the cosine similarity of each image's feature (T,D) and encoded text (T,D).

        Raises:
            PrefixcapError: If the widths differ, or the features have several tokens.
        """
        from torch.nn.functional import normalize

        if features.ndim != 2:
            raise PrefixcapError(
                f"captions are compared with one vector per image, but the features have shape "
                f"{tuple(features.shape)}"
            )
        if vectors.shape[1] != features.shape[1]:
            raise PrefixcapError(
                f"the image features have width {features.shape[1]} and the texts of "
                f"{self.name!r} {vectors.shape[1]}: they do not share one space"
            )
        images = normalize(features.float().cpu(), dim=-1)
        cosines: list[float] = (images * vectors).sum(-1).tolist()
        return cosines

    def _encode(self, texts: Sequence[str]) -> Iterator[Tensor]:
        from torch.nn.functional import normalize

        vectors = self.encoder.encode_text(texts)
        if vectors is None:
            raise PrefixcapError(
                f"the encoder {self.name!r} has no text tower, so its features cannot be compared "
                "with captions; if they come from CLIP, name it, as in text=clip:model=ViT-B/32"
            )
        yield from normalize(vectors.float().cpu(), dim=-1)
