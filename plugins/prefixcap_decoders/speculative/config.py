"""Speculative decoding: a cheap draft goes ahead, and the language model checks its tokens."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, TypeVar

import attrs

from prefixcap.captioning import checkpoint
from prefixcap.errors import PrefixcapError
from prefixcap.interfaces.component import Component
from prefixcap.interfaces.dataset import DatasetConfig
from prefixcap.interfaces.decoder import Decoder, DecoderConfig
from prefixcap.interfaces.language_model import LMConfig
from prefixcap.interfaces.validators import at_least
from prefixcap.plugin import specs
from prefixcap.plugin.registry import default_registry
from prefixcap_decoders.contrast.config import inner_config
from prefixcap_decoders.greedy.config import Greedy
from prefixcap_decoders.sampling.config import Epsilon, Eta, MinP, Sample, TopH, TopK, TopP, Typical

C = TypeVar("C", bound=Component)

SAMPLERS = (Sample, Epsilon, Eta, MinP, TopH, TopK, TopP, Typical)
DRAFTS = ("draft", "run", "captions")


@attrs.frozen(kw_only=True)
class Speculative(DecoderConfig):
    """Lossless speculative decoding (Leviathan et al. 2023, "Fast Inference from Transformers").

    A draft proposes a few tokens, the language model scores all of them in one run, and keeps
    those it agrees with: under greedy search the tokens it would have taken itself, under sampling
    each with probability min(1, p / q), and after the first refusal a token from what p has more
    than q (Chen et al. 2023, "Accelerating Large Language Model Decoding with Speculative
    Sampling"). So captions are those of greedy search, or drawn from exactly the sampler's
    distribution, whatever the draft; a good draft saves runs.

    Attributes:
        draft: a smaller language model of the same tokens, such as `hf:model=distilgpt2` (";" for
            ","). It sees no image: it begins from its end-of-text token.
        run: or the folder of a trained captioner, whose language model of the same tokens then
            sees the image by its own mapper.
        captions: or a data set, such as `scenes`, whose training captions are counted: the draft
            then is what most often followed the last few tokens, and costs no model at all.
            Without any of the three, drafts are looked up in the caption itself (Saxena 2023,
            "Prompt Lookup Decoding").
        tokens: how many are proposed in a round.
        decoder: what the captions are to be: `greedy`, or a sampler such as
            `sample:temperature=0.7;top_p=0.9` (";" for ",").
    """

    name: ClassVar[str] = "speculative"

    draft: str = ""
    run: str = ""
    captions: str = ""
    tokens: int = attrs.field(default=4, validator=at_least(1))
    decoder: str = "greedy"

    def __attrs_post_init__(self) -> None:
        given = [name for name in DRAFTS if getattr(self, name)]
        if len(given) > 1:
            raise ValueError(f"give one draft, not both {given[0]} and {given[1]}")

    def build(self) -> Decoder:
        """Makes the decoder; the draft is loaded when it is first needed."""
        from prefixcap_decoders.speculative.decoder import SpeculativeDecoder

        self.subcomponents()
        return SpeculativeDecoder(self)

    def inner(self) -> Greedy | Sample:
        """Returns what the captions are to be, any sampler as `sample`.

        Raises:
            PrefixcapError: it is not known, or neither greedy search nor a sampler.
        """
        config = inner_config(self.decoder)
        if type(config) is Greedy:
            return config
        if not isinstance(config, SAMPLERS) or type(config) not in SAMPLERS:
            names = ", ".join(sorted(known.name for known in (Greedy, *SAMPLERS)))
            raise PrefixcapError(
                f"speculative: decoder={config.name!r} cannot be checked token by token; these "
                f"can: {names}"
            )
        shared = {
            field.name: getattr(config, field.name)
            for field in attrs.fields(type(config))
            if field.name in attrs.fields_dict(Sample)
        }
        return Sample(**shared)

    def subcomponents(self) -> Sequence[Component]:
        """Returns what the captions are to be, and the draft where it has a spec."""
        return (self.inner(), *filter(None, (self.draft_model(), self.counted())))

    def external_digests(self) -> Sequence[str]:
        """Returns a digest of the run that drafts, where there is one."""
        if not self.run:
            return ()
        try:
            folder = checkpoint.model_folder(Path(self.run).expanduser())
            return (specs.digest(checkpoint.read_config(folder)),)
        except PrefixcapError as error:
            raise PrefixcapError(f"run: {error}") from error

    def draft_model(self) -> LMConfig | None:
        """Returns the draft's language model, where it is one by name."""
        return _part(LMConfig, self.draft, "draft")

    def counted(self) -> DatasetConfig | None:
        """Returns the data set whose captions are counted, where there is one."""
        return _part(DatasetConfig, self.captions, "captions")


def _part(base: type[C], spec: str, setting: str) -> C | None:
    if not spec:
        return None
    try:
        return default_registry().parse(base, spec.replace(";", ","))
    except PrefixcapError as error:
        raise PrefixcapError(f"{setting}: {error}") from error
