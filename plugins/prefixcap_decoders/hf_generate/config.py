"""Config of transformers' own `generate`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import attrs
from typing_extensions import override

from prefixcap.interfaces.component import Component
from prefixcap.interfaces.decoder import Decoder, DecoderConfig
from prefixcap.interfaces.validators import at_least


@attrs.frozen(kw_only=True)
class HFGenerate(DecoderConfig):
    """transformers' `generate` on the prefixes, as a baseline.

    Wolf et al. 2020, "Transformers" (arXiv:1910.03771).

    Attributes:
        options: Options of `generate`, such as `num_beams=4`, joined by "+"; note that its sampling
            has `top_k=50` by default. With `do_sample`, images are decoded one by one, each with
            its own seed, because captions would otherwise depend on the batch.
        batch: Number of images per call.
        n: Number of captions per image (`num_return_sequences`).
    """

    name: ClassVar[str] = "hf-generate"
    version: ClassVar[str] = "2"
    needs_transformers: ClassVar[bool] = True

    options: tuple[str, ...] = ()
    batch: int = attrs.field(default=32, validator=at_least(1))
    n: int = attrs.field(default=1, validator=at_least(1))

    @override
    def subcomponents(self) -> Sequence[Component]:
        """Validate the options; no setting names a component."""
        if self.options:
            from prefixcap_decoders.hf_generate.options import options_of

            options_of(self)
        return ()

    @override
    def build(self) -> Decoder:
        from prefixcap_decoders.hf_generate.decoder import HFDecoder

        return HFDecoder(self)
