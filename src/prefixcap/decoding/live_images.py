"""The images that a search is working on, for decoders whose hypotheses compete."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Self

import attrs

if TYPE_CHECKING:
    from torch import Tensor


@attrs.define(eq=False)
class LiveImages:
    """The base of a search's state: attrs classes with the images (M) as first dimension.

    Attributes:
        images: Numbers of the M live images.
    """

    images: list[int]

    def join(self, other: Self) -> Self:
        """Return these images followed by those of `other`."""
        import torch

        tensors = {name: torch.cat([own, getattr(other, name)]) for name, own in self._tensors()}
        return attrs.evolve(self, images=self.images + other.images, **tensors)

    def select(self, mask: Tensor) -> Self:
        """Return the images of a mask (M)."""
        slots = mask.nonzero().squeeze(1)
        tensors = {name: tensor[slots] for name, tensor in self._tensors()}
        return attrs.evolve(self, images=[self.images[slot] for slot in slots.tolist()], **tensors)

    def _tensors(self) -> Iterator[tuple[str, Tensor]]:
        fields = (field.name for field in attrs.fields(type(self)) if field.name != "images")
        return ((name, getattr(self, name)) for name in fields)


def is_stop(tokens: Tensor, stop_ids: Iterable[int]) -> Tensor:
    """Return which tokens (...) are stop tokens (...)."""
    import torch

    # faster than `torch.isin` for one or two stop tokens
    stopped = torch.zeros_like(tokens, dtype=torch.bool)
    for stop in stop_ids:
        stopped |= tokens == stop
    return stopped


def gather_texts(texts: Tensor, slots: Tensor) -> Tensor:
    """Return the texts (M,C,T) of slots (M,C) among texts (M,K,T)."""
    return texts.gather(1, slots[:, :, None].expand(-1, -1, texts.shape[2]))
