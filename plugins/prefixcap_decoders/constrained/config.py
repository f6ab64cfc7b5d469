"""Lexically constrained beam search."""

from __future__ import annotations

from typing import ClassVar

import attrs

from prefixcap.interfaces.decoder import Decoder
from prefixcap_decoders.beam.config import BeamBase
from prefixcap_decoders.beam.length_penalty import PENALTY
from prefixcap_decoders.logits.settings import are_words


@attrs.frozen(kw_only=True)
class Constrained(BeamBase):
    """Beam search for captions that have some words or phrases, and lack others.

    Hokamp and Liu 2017, "Lexically Constrained Decoding for Sequence Generation Using Grid Beam
    Search"; the beam is shared among hypotheses by how much they still lack, as in Post and Vilar
    2018, "Fast Lexically Constrained Decoding with Dynamic Beam Allocation". Every caption has the
    words: the search never takes a token after which the limit would be too short for them.

    Attributes:
        force_words: words or phrases that every caption contains, in any case and anywhere, joined
            by "+"; alternatives are joined by "|": `red+dog|dogs`. Only whole words count: "red"
            is not in "reddish".
        length_penalty: as in `beam`, but the plain sum unless given: a mean makes little of the one
            bad step by which a caption goes on behind its end to fetch a word.
    """

    name: ClassVar[str] = "constrained"

    force_words: tuple[str, ...] = attrs.field(default=(), validator=are_words)
    length_penalty: float = attrs.field(default=0.0, converter=float, validator=PENALTY)

    def build(self) -> Decoder:
        """Makes the decoder."""
        from prefixcap_decoders.constrained.decoder import ConstrainedDecoder

        return ConstrainedDecoder(self)
