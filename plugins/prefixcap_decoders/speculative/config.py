"""Config of speculative decoding."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import attrs
from typing_extensions import override

from prefixcap.captioning import checkpoint
from prefixcap.errors import PrefixcapError
from prefixcap.interfaces.component import Component
from prefixcap.interfaces.dataset import DatasetConfig
from prefixcap.interfaces.decoder import Decoder, DecoderConfig
from prefixcap.interfaces.language_model import LMConfig
from prefixcap.interfaces.validators import at_least
from prefixcap.plugin import specs
from prefixcap_decoders.greedy.config import Greedy
from prefixcap_decoders.nested import parse_nested
from prefixcap_decoders.sampling.config import Epsilon, Eta, MinP, Sample, TopH, TopK, TopP, Typical

SAMPLERS = (Sample, Epsilon, Eta, MinP, TopH, TopK, TopP, Typical)
DRAFTS = ("draft", "run", "captions")


@attrs.frozen(kw_only=True)
class Speculative(DecoderConfig):
    """Speculative decoding: the same captions with fewer runs of a large language model.

    Leviathan et al. 2023, "Fast Inference from Transformers via Speculative Decoding"
    (arXiv:2211.17192). A draft proposes tokens, and one run of the language model verifies them.
    Greedy search accepts the tokens it would take itself; sampling accepts each with probability
    min(1, p / q), and draws from the excess of p over q after a rejection (Chen et al. 2023,
    arXiv:2302.01318). Captions are exactly those of the inner decoder, whatever the draft.

    Attributes:
        draft: Smaller language model with the same tokens, such as `hf:model=distilgpt2` (";" for
            ","). It sees no image: it starts from its end-of-text token.
        run: Alternatively, the folder of a trained captioner, whose language model sees the image
            through its own mapper.
        captions: Alternatively, a data set such as `scenes`: propose what most often followed the
            last tokens in its training captions, without a model. With none of the three, drafts
            are looked up in the caption itself (Saxena 2023, "Prompt Lookup Decoding").
        tokens: Number of tokens proposed per round.
        decoder: `greedy`, or a sampler such as `sample:temperature=0.7;top_p=0.9` (";" for ",").
    """

    name: ClassVar[str] = "speculative"

    draft: str = ""
    run: str = ""
    captions: str = ""
    tokens: int = attrs.field(default=4, validator=at_least(1))
    decoder: str = "greedy"

    def __attrs_post_init__(self) -> None:
        drafts = [name for name in DRAFTS if getattr(self, name)]
        if len(drafts) > 1:
            raise ValueError(f"give one draft, not both {drafts[0]} and {drafts[1]}")

    @override
    def build(self) -> Decoder:
        from prefixcap_decoders.speculative.decoder import SpeculativeDecoder

        self.subcomponents()
        return SpeculativeDecoder(self)

    def inner(self) -> Greedy | Sample:
        """Return the config of the inner decoder, with any sampler as `sample`.

        Raises:
            PrefixcapError: If it is unknown, or neither greedy search nor a sampler.
        """
        config = parse_nested(DecoderConfig, self.decoder, "decoder")
        if type(config) is Greedy:
            return config
        if not isinstance(config, SAMPLERS) or type(config) not in SAMPLERS:
            names = ", ".join(sorted(known.name for known in (Greedy, *SAMPLERS)))
            raise PrefixcapError(
                f"speculative: decoder={config.name!r} cannot be verified token by token; these "
                f"can: {names}"
            )
        shared = attrs.fields_dict(type(config)).keys() & attrs.fields_dict(Sample).keys()
        return Sample(**{name: getattr(config, name) for name in shared})

    @override
    def subcomponents(self) -> Sequence[Component]:
        return (self.inner(), *filter(None, (self.draft_model(), self.draft_dataset())))

    @override
    def external_digests(self) -> Sequence[str]:
        if not self.run:
            return ()
        try:
            folder = checkpoint.model_folder(Path(self.run).expanduser())
            return (specs.digest(checkpoint.read_config(folder)),)
        except PrefixcapError as error:
            raise PrefixcapError(f"run: {error}") from error

    def draft_model(self) -> LMConfig | None:
        """Return the config of the draft's language model, if there is one."""
        return parse_nested(LMConfig, self.draft, "draft") if self.draft else None

    def draft_dataset(self) -> DatasetConfig | None:
        """Return the config of the data set with the draft's captions, if there is one."""
        return parse_nested(DatasetConfig, self.captions, "captions") if self.captions else None
