"""What a language model runs for prefixes: embeddings, with states and features for its layers."""

from __future__ import annotations

from collections.abc import Sequence

import attrs
import torch
from torch import Tensor


@attrs.frozen(kw_only=True)
class PrefixInputs:
    """The prefixes of B images, as a model takes them.

    Attributes:
        embeddings: (B,P,E), of all positions; those with given keys and values come first.
        keys: (B,L,P',K,D), the keys of the first P' positions in each layer, or None.
        values: Their values.
        features: (B,N,D) for layers that read them, or None.
    """

    embeddings: Tensor
    keys: Tensor | None = None
    values: Tensor | None = None
    features: Tensor | None = None

    def rows(self, chosen: Sequence[int] | slice) -> PrefixInputs:
        """Return the inputs of some images."""
        others = (self.keys, self.values, self.features)
        keys, values, features = (None if part is None else part[chosen] for part in others)
        return PrefixInputs(
            embeddings=self.embeddings[chosen], keys=keys, values=values, features=features
        )

    @property
    def is_plain(self) -> bool:
        """Whether there are only embeddings."""
        return self.keys is None and self.features is None

    def replaced(self, layer: int, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Put the given keys and values into the first positions of a layer's (b,P,K,D).

        There may be several rows for each image, side by side.
        """
        if self.keys is None or self.values is None:
            return keys, values
        new = [
            torch.cat([_for_rows(given[:, layer], len(whole)).to(whole), whole[:, length:]], 1)
            for given, whole, length in (
                (self.keys, keys, self.keys.shape[2]),
                (self.values, values, self.values.shape[2]),
            )
        ]
        return new[0], new[1]


def _for_rows(images: Tensor, rows: int) -> Tensor:
    return images if len(images) == rows else images.repeat_interleave(rows // len(images), 0)
