"""ClipCap's own two decoders, as its published code decodes."""

from __future__ import annotations

from typing import ClassVar

import attrs

from prefixcap.interfaces.decoder import Decoder, DecoderConfig
from prefixcap.interfaces.validators import at_least, between


@attrs.frozen(kw_only=True)
class ClipCapBeam(DecoderConfig):
    """The beam search of ClipCap's code (Mokady et al. 2021, `generate_beam`).

    It differs from a proper beam search: an ended beam keeps its place among the `num_beams` and
    competes, at each step, with what the others grow into; nothing that once fell out is
    remembered, and the search goes on until every beam has ended. Beams are ranked by their mean
    log-probability, stop token included.

    Attributes:
        num_beams: the beams an image, all of which are captions in the end.
    """

    name: ClassVar[str] = "clipcap-beam"
    num_beams: int = attrs.field(default=5, validator=at_least(1))

    def build(self) -> Decoder:
        """Makes the decoder."""
        from prefixcap_clipcap.decoders import ClipCapBeamDecoder

        return ClipCapBeamDecoder(self.num_beams)


@attrs.frozen(kw_only=True)
class ClipCapGenerate2(DecoderConfig):
    """The `generate2` of ClipCap's code (Mokady et al. 2021): greedy search, whatever `top_p` says.

    Its code filters the logits by top-p and then takes the likeliest token that is left. That token
    is never filtered out, so nothing is sampled, `top_p` changes nothing and all captions of an
    image are the same one; `top-p` samples truly.

    Attributes:
        top_p: accepted as ClipCap accepts it, and without effect.
    """

    name: ClassVar[str] = "clipcap-generate2"
    top_p: float = attrs.field(default=0.8, converter=float, validator=between(0.0, 1.0))

    def build(self) -> Decoder:
        """Makes the decoder."""
        from prefixcap_clipcap.decoders import ClipCapGenerate2Decoder

        return ClipCapGenerate2Decoder()
