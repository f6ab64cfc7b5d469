"""Configs of the two decoders of ClipCap's published code."""

from __future__ import annotations

from typing import ClassVar

import attrs
from typing_extensions import override

from prefixcap.interfaces.decoder import Decoder, DecoderConfig
from prefixcap.interfaces.validators import at_least, between


@attrs.frozen(kw_only=True)
class ClipCapBeam(DecoderConfig):
    """ClipCap's `generate_beam`: beam search in which ended beams keep their place.

    Mokady et al. 2021, "ClipCap: CLIP Prefix for Image Captioning" (arXiv:2111.09734). Unlike in
    `beam`, an ended beam occupies one of the `num_beams` places and competes with the others at
    each step; one that drops out is lost, and the search ends only when all beams have ended.
    Beams are ranked by mean log-probability, stop token included.

    Attributes:
        num_beams: Number of beams per image, all of which are returned.
    """

    name: ClassVar[str] = "clipcap-beam"
    num_beams: int = attrs.field(default=5, validator=at_least(1))

    @override
    def build(self) -> Decoder:
        from prefixcap_clipcap.decoders import ClipCapBeamDecoder

        return ClipCapBeamDecoder(self.num_beams)


@attrs.frozen(kw_only=True)
class ClipCapGenerate2(DecoderConfig):
    """ClipCap's `generate2`: greedy search for every `top_p`.

    Mokady et al. 2021, "ClipCap: CLIP Prefix for Image Captioning" (arXiv:2111.09734). Its code
    filters the logits by top-p and then takes the most likely token, which the filter never
    removes. Several captions of an image are copies; `top-p` is actual nucleus sampling.

    Attributes:
        top_p: Accepted as in ClipCap, without effect; 0 to 1.
    """

    name: ClassVar[str] = "clipcap-generate2"
    top_p: float = attrs.field(default=0.8, converter=float, validator=between(0.0, 1.0))

    @override
    def build(self) -> Decoder:
        from prefixcap_clipcap.decoders import ClipCapGenerate2Decoder

        return ClipCapGenerate2Decoder()
