"""TODO."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from prefixcap.errors import PrefixcapError
from prefixcap.interfaces.encoder import Encoder

if TYPE_CHECKING:
    from torch import Tensor


BATCH = 256


REMEMBERED = 100_000


class TextEncoder:
    """The texts' side of an encoder, which compares image features with captions.

    Args:
        name: which encoder it is, for messages and for the names of scores.
        make: gives the encoder; called when it is first needed.
        device: where it is, and where another encoder that is used beside it belongs.
    """

    def __init__(self, name: str, make: Callable[[], Encoder], device: str = "auto") -> None:
        self.name = name
        self.device = device
        self._make = make
        self._encoder: Encoder | None = None
        self._known: dict[str, Tensor] = {}

    @property
    def encoder(self) -> Encoder:
        """The encoder."""
        if self._encoder is None:
            self._encoder = self._make()
        return self._encoder

    def encode(self, texts: Sequence[str], *, remember: bool = False) -> Tensor:
        """Encodes texts into vectors (T,D) of length 1, on the CPU.

        Args:
            texts: T texts.
            remember: whether they come again, such as the references of every cell of a study.

        Raises:
            PrefixcapError: the encoder has no text side.
        """
        import torch

        if not texts:
            return torch.empty(0, self.encoder.width)
        found = {text: self._known.get(text) for text in texts}
        new = [text for text, vector in found.items() if vector is None]
        for start in range(0, len(new), BATCH):
            part = new[start : start + BATCH]
            found.update(zip(part, self._encode(part), strict=True))
        vectors = {text: vector for text, vector in found.items() if vector is not None}
        if remember and len(self._known) + len(new) <= REMEMBERED:
            self._known |= vectors
        return torch.stack([vectors[text] for text in texts])

    def cosines(self, features: Tensor, texts: Sequence[str]) -> list[float]:
        """Computes the cosine of each image's feature (T,D) and its text.

        Raises:
            PrefixcapError: the encoder has no text side, or its texts are of another width.
        """
        return self.compare(features, self.encode(texts))

    def compare(self, features: Tensor, vectors: Tensor) -> list[float]:
        """Computes the cosine of each image's feature (T,D) and its encoded text (T,D).

        Raises:
            PrefixcapError: the two are of different widths, or features have several tokens.
        """
        from torch.nn.functional import normalize

        if features.ndim != 2:
            raise PrefixcapError(
                f"a caption is compared with one vector an image, and the features are of shape "
                f"{tuple(features.shape)}"
            )
        if vectors.shape[1] != features.shape[1]:
            raise PrefixcapError(
                f"the image features have width {features.shape[1]} and the texts of "
                f"{self.name!r} {vectors.shape[1]}: they are not of one space"
            )
        images = normalize(features.float().cpu(), dim=-1)
        found: list[float] = (images * vectors).sum(-1).tolist()
        return found

    def _encode(self, texts: Sequence[str]) -> Iterator[Tensor]:
        from torch.nn.functional import normalize

        found = self.encoder.encode_text(texts)
        if found is None:
            raise PrefixcapError(
                f"the encoder {self.name!r} has no text side, so its features cannot be compared "
                "with captions; where they are a CLIP's, name it, as in text=clip:model=ViT-B/32"
            )
        yield from normalize(found.float().cpu(), dim=-1)
