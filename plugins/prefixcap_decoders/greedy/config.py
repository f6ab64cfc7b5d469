"""Config of greedy search."""

from __future__ import annotations

from typing import ClassVar

import attrs
from typing_extensions import override

from prefixcap.interfaces.decoder import Decoder
from prefixcap_decoders.logits.settings import Controlled


@attrs.frozen(kw_only=True)
class Greedy(Controlled):
    """Greedy search: take the most likely token at each step.

    The special case of beam search with one beam (Vinyals et al. 2015, "Show and Tell",
    arXiv:1411.4555, section 3). Several captions of an image are copies.
    """

    name: ClassVar[str] = "greedy"

    @override
    def build(self) -> Decoder:
        from prefixcap_decoders.greedy.decoder import GreedyDecoder

        return GreedyDecoder(self)
