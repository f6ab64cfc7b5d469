"""Config of lexically constrained beam search."""

from __future__ import annotations

from typing import ClassVar

import attrs
from typing_extensions import override

from prefixcap.interfaces.decoder import Decoder
from prefixcap_decoders.beam.config import BeamBase
from prefixcap_decoders.beam.ranking import PENALTY
from prefixcap_decoders.logits.settings import are_words


@attrs.frozen(kw_only=True)
class Constrained(BeamBase):
    """Beam search for captions that contain given words or phrases.

    Hokamp and Liu 2017, "Lexically Constrained Decoding" (arXiv:1704.07138), with the dynamic beam
    allocation of Post and Vilar 2018 (arXiv:1804.06609). Every caption contains the words: no token
    is taken after which the limit would be too short for them.

    Attributes:
        force_words: Words or phrases that every caption contains, in any case and anywhere, joined
            by "+"; alternatives are joined by "|": `red+dog|dogs`. Only whole words count: "red"
            is not in "reddish".
        length_penalty: As in `beam`, but 0 (the sum) by default: in a mean, the one unlikely step
            that continues a finished caption to add a word weighs too little.
    """

    name: ClassVar[str] = "constrained"
    version: ClassVar[str] = "2"

    force_words: tuple[str, ...] = attrs.field(default=(), validator=are_words)
    length_penalty: float = attrs.field(default=0.0, converter=float, validator=PENALTY)

    @override
    def build(self) -> Decoder:
        from prefixcap_decoders.constrained.decoder import ConstrainedDecoder

        return ConstrainedDecoder(self)
