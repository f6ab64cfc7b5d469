"""Greedy search."""

from __future__ import annotations

from typing import ClassVar

import attrs

from prefixcap.interfaces.decoder import Decoder
from prefixcap_decoders.logits.settings import Controlled


@attrs.frozen(kw_only=True)
class Greedy(Controlled):
    """Takes the likeliest token at each step; all captions of an image are the same one.

    It is the beam search of one beam (Vinyals et al. 2015, "Show and Tell", section 3).
    """

    name: ClassVar[str] = "greedy"

    def build(self) -> Decoder:
        """Makes the decoder."""
        from prefixcap_decoders.greedy.decoder import GreedyDecoder

        return GreedyDecoder(self)
