"""transformers' own `generate`, as a baseline."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import attrs

from prefixcap.interfaces.component import Component
from prefixcap.interfaces.decoder import Decoder, DecoderConfig
from prefixcap.interfaces.validators import at_least


@attrs.frozen(kw_only=True)
class HFGenerate(DecoderConfig):
    """Hands the prefixes to transformers' `generate` (Wolf et al. 2020, "Transformers").

    Attributes:
        options: any of its options, as `num_beams=4`, joined by "+"; mind that sampling has
            `top_k=50` there unless told otherwise. With `do_sample` the images are decoded one by
            one, each by its own seed, as a caption would depend on its batch otherwise.
        batch: how many images at once.
        n: how many captions an image (`num_return_sequences`).
    """

    name: ClassVar[str] = "hf-generate"
    needs_transformers: ClassVar[bool] = True

    options: tuple[str, ...] = ()
    batch: int = attrs.field(default=32, validator=at_least(1))
    n: int = attrs.field(default=1, validator=at_least(1))

    def subcomponents(self) -> Sequence[Component]:
        """Checks the options; no setting names a component."""
        if self.options:
            from prefixcap_decoders.hf_generate.decoder import options_of

            options_of(self)
        return ()

    def build(self) -> Decoder:
        """Makes the decoder."""
        from prefixcap_decoders.hf_generate.decoder import HFDecoder

        return HFDecoder(self)
