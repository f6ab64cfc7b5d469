"""Config of the mapper that begins every caption with the same text."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import attrs
from typing_extensions import override

from prefixcap.interfaces.mapper import MapperConfig, MapperShape

if TYPE_CHECKING:
    from torch import nn


@attrs.frozen(kw_only=True)
class Begin(MapperConfig):
    """The same text for every image: its tokens' own embeddings, of which nothing is trained.

    For decoders that see the image themselves, as MAGIC's (Su et al. 2022, arXiv:2205.02655),
    which begins with one token, or ZeroCap's (Tewel et al. 2022, arXiv:2111.14447), which begins
    with "Image of a". With a frozen language model there is no training; one that is tuned learns
    the captions' style from texts alone. The prefix length must be the number of tokens.

    Attributes:
        text: Text before every caption, which is no part of it.
        start: Whether the end-of-text token comes first: GPT-2 has seen it before every text.
    """

    name: ClassVar[str] = "begin"
    learns: ClassVar[bool] = False

    text: str = ""
    start: bool = True

    def __attrs_post_init__(self) -> None:
        if not (self.text or self.start):
            raise ValueError("a prefix must have at least one token: give a text, or start=true")

    @override
    def build(self, shape: MapperShape) -> nn.Module:
        from prefixcap_mappers.begin import BeginMapper

        return BeginMapper(shape, self.text, start=self.start)
