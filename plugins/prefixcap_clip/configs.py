"""Configs of the encoders."""

from __future__ import annotations

from typing import ClassVar

import attrs
from typing_extensions import override

from prefixcap.errors import PrefixcapError
from prefixcap.interfaces.component import PART, PATH
from prefixcap.interfaces.encoder import Encoder, EncoderConfig
from prefixcap.interfaces.validators import path_text
from prefixcap.util.text_files import expanded


@attrs.frozen(kw_only=True)
class CLIP(EncoderConfig):
    """OpenAI's CLIP (Radford et al. 2021, arXiv:2103.00020), loaded by clip-anytorch.

    Features are image embeddings (B,D), not normalized.

    Attributes:
        model: Name of one of OpenAI's models, such as ViT-B/32, or a file: the state dict of such a
            model, or one of OpenAI's own files. Any other file that holds code has to be trusted.
        download_root: Folder of downloaded models; default: `~/.cache/clip`.
    """

    name: ClassVar[str] = "clip"
    version: ClassVar[str] = "2"  # 2: images are turned upright, on white, grays scaled

    model: str = attrs.field(
        default="ViT-B/32", validator=[attrs.validators.min_len(1), path_text], metadata=PATH
    )
    download_root: str = attrs.field(default="", validator=path_text, metadata=PATH)

    @property
    @override
    def depends_on_index(self) -> bool:
        return False

    @override
    def build(self, device: str = "cpu") -> Encoder:
        from prefixcap_clip.clip_encoder import load

        return load(self.model, self.download_root, device)


@attrs.frozen(kw_only=True)
class Precomputed(EncoderConfig):
    """Precomputed embeddings (B,D) or (B,N,D), read from a file or from the data set.

    Attributes:
        path: A store that `prefixcap features` made, or a .npy or .safetensors file whose row i
            belongs to image i of the data set, counted over all splits; default: the embeddings in
            the data set.
        key: Name of the tensor in a .safetensors file; default: its only tensor.
        ids: A text file with the image id of each row, one per line, which allows any order of
            rows; default: the order of the data set.
        texts: A .npy or .safetensors file of text embeddings (T,D) of the same encoder, which are
            then the embeddings of the `captions`, such as for training on texts alone.
        captions: A text file with the caption of each row of `texts`, one per line.
    """

    name: ClassVar[str] = "precomputed"

    path: str = attrs.field(default="", validator=path_text, metadata=PATH)
    key: str = attrs.field(default="", metadata=PART)
    ids: str = attrs.field(default="", validator=path_text, metadata=PATH)
    texts: str = attrs.field(default="", validator=path_text, metadata=PATH)
    captions: str = attrs.field(default="", validator=path_text, metadata=PATH)

    def __attrs_post_init__(self) -> None:
        if bool(self.texts) != bool(self.captions):
            raise PrefixcapError(
                "precomputed: 'texts' are the embeddings of the lines of 'captions': give both"
            )

    @ids.validator
    def _needs_path(self, _: object, value: str) -> None:
        if value and not self.path:
            raise PrefixcapError(
                "precomputed: 'ids' names the rows of an embedding file: give its 'path' too"
            )

    @property
    @override
    def depends_on_index(self) -> bool:
        return bool(self.path) and not self.ids and not expanded(self.path).is_dir()

    @override
    def build(self, device: str = "cpu") -> Encoder:
        from prefixcap_clip.precomputed import PrecomputedEncoder

        return PrecomputedEncoder(self.path, self.key, self.ids, self.texts, self.captions)
