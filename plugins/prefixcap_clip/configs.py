"""The configs of the encoders; what they build is in `clip_encoder` and `precomputed`."""

from __future__ import annotations

from typing import ClassVar

import attrs

from prefixcap.errors import PrefixcapError
from prefixcap.interfaces.encoder import Encoder, EncoderConfig


@attrs.frozen(kw_only=True)
class CLIP(EncoderConfig):
    """OpenAI's CLIP (Radford et al. 2021, arXiv:2103.00020), through clip-anytorch.

    Features are the image side's embeddings (B,D), not normalised.

    Attributes:
        model: the name of one of OpenAI's models, such as ViT-B/32, or a checkpoint file in
            OpenAI's format.
        download_root: where OpenAI's models are kept; clip's own folder unless given.
    """

    name: ClassVar[str] = "clip"

    model: str = attrs.field(default="ViT-B/32", validator=attrs.validators.min_len(1))
    download_root: str = ""

    @property
    def depends_on_index(self) -> bool:
        """An image's embedding depends on nothing but the image."""
        return False

    def build(self, device: str = "cpu") -> Encoder:
        """Loads the model, downloading it when it is one of OpenAI's and not there.

        Raises:
            PrefixcapError: there is no such model, or it cannot be downloaded or read.
        """
        from prefixcap_clip.clip_encoder import load

        return load(self, device)


@attrs.frozen(kw_only=True)
class Precomputed(EncoderConfig):
    """Embeddings that were computed before, read instead of images.

    Attributes:
        path: a .npy or .safetensors file whose row i belongs to the data set's image i, all splits
            together; "" takes the embeddings that the data set brings along.
        key: the tensor's name in a .safetensors file; its only one unless given.
        ids: a text file with the image that each row belongs to, an id a line, so that rows may be
            in any order; without it rows follow the data set's order.
    """

    name: ClassVar[str] = "precomputed"

    path: str = ""
    key: str = ""
    ids: str = attrs.field(default="")

    @ids.validator
    def _has_rows(self, _: object, value: str) -> None:
        if value and not self.path:
            raise PrefixcapError(
                "precomputed: 'ids' names the rows of a file of embeddings: give its 'path' too"
            )

    @property
    def depends_on_index(self) -> bool:
        """Rows without ids follow the data set's order."""
        return bool(self.path) and not self.ids

    def build(self, device: str = "cpu") -> Encoder:
        """Opens the file.

        Raises:
            PrefixcapError: there is no such file, it does not hold (B,D) or (B,N,D) numbers, or
                it has another number of rows than there are ids.
        """
        from prefixcap_clip.precomputed import PrecomputedEncoder

        return PrecomputedEncoder(self.path, self.key, self.ids)
