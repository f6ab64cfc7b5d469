"""Decoding against a second view: guidance, contrastive decoding, DoLa."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import attrs

from prefixcap.errors import PrefixcapError
from prefixcap.interfaces.component import Component
from prefixcap.interfaces.decoder import Decoder, DecoderConfig
from prefixcap.interfaces.language_model import LMConfig
from prefixcap.interfaces.validators import above, at_least, between, one_of
from prefixcap.plugin.registry import default_registry
from prefixcap_decoders.logits.settings import TEMPERATURE

VIEWS = ("start", "zero", "mean")
LAYERS = ("low", "high")


def _are_layers(_: Any, attribute: attrs.Attribute[Any], value: str) -> None:
    numbers = value.split("+")
    if value not in LAYERS and not all(n.isascii() and n.isdigit() for n in numbers):
        raise ValueError(
            f"{attribute.name} must be 'low', 'high' or numbers of layers such as '2+4+6', not "
            f"{value!r}"
        )


def inner_decoder(spec: str) -> Decoder:
    """Makes the decoder that runs on changed logits; its settings are parted by ";".

    Raises:
        PrefixcapError: it is not known, or its settings are wrong.
    """
    return inner_config(spec).build()


def inner_config(spec: str) -> DecoderConfig:
    """Reads the config of such a decoder; raises as `inner_decoder` does."""
    return default_registry().parse(DecoderConfig, spec.replace(";", ","))


@attrs.frozen(kw_only=True)
class Guidance(DecoderConfig):
    """Classifier-free guidance (Kornblith et al. 2023, "Guiding Image Captioning Models").

    Tokens are chosen by `scale` log p(token | image) + (1 - scale) log p(token), normalised.

    Attributes:
        scale: 1 is the model itself, higher makes captions more particular to their image.
        against: what stands for no image. "start": the language model alone, from its end-of-text
            token; "zero": a prefix of zeros; "mean": the mean of the prefixes that are decoded
            together, so that a caption depends on the others' images; it needs more than one.
        decoder: what runs on these logits, such as `beam:num_beams=3;n=2` (";" for ",").
    """

    name: ClassVar[str] = "guidance"

    scale: float = attrs.field(default=1.5, converter=float, validator=at_least(0))
    against: str = attrs.field(default="start", validator=one_of(VIEWS))
    decoder: str = "greedy"

    def build(self) -> Decoder:
        """Makes the decoder."""
        from prefixcap_decoders.contrast.decoder import GuidanceDecoder

        return GuidanceDecoder(self, inner_decoder(self.decoder))

    def subcomponents(self) -> Sequence[Component]:
        """Returns the decoder that runs on the guided logits."""
        return (inner_config(self.decoder),)

    def batch_dependent(self) -> bool:
        """Says whether the mean of all prefixes stands for no image, here or within."""
        return self.against == "mean" or super().batch_dependent()


@attrs.frozen(kw_only=True)
class ContrastiveDecoding(DecoderConfig):
    """Contrastive decoding against an amateur (Li et al. 2023, "Contrastive Decoding").

    Of the tokens at least `alpha` times as likely as the likeliest, by log p(token) - `weight` log
    q(token) where q is the amateur's; normalised, so that samplers and beams may run on it (the
    paper searches with five beams on scores that are not).

    Attributes:
        amateur: a smaller language model of the same vocabulary, such as `hf:model=distilgpt2`;
            where empty, the language model itself without the image.
        against: what the amateur starts from; "start": its end-of-text token, "zero": a prefix of
            zeros, "mean": see `guidance`, "prefix": the image's prefix, where its width fits.
        alpha: the plausibility threshold.
        weight: how much the amateur counts; 1 in the paper.
        temperature: the amateur's logits are divided by it.
        decoder: what runs on these logits, such as `beam:num_beams=5;n=2` (";" for ",").
    """

    name: ClassVar[str] = "contrastive-decoding"

    amateur: str = ""
    against: str = attrs.field(default="start", validator=one_of((*VIEWS, "prefix")))
    alpha: float = attrs.field(default=0.1, converter=float, validator=[above(0), between(0, 1)])
    weight: float = attrs.field(default=1.0, converter=float, validator=at_least(0))
    temperature: float = attrs.field(default=1.0, converter=float, validator=TEMPERATURE)
    decoder: str = "greedy"

    def __attrs_post_init__(self) -> None:
        if self.against == "prefix" and not self.amateur:
            raise ValueError(
                "against='prefix' needs an amateur: the model against itself on the same prefix "
                "says nothing; name an amateur, or use against='start'"
            )

    def build(self) -> Decoder:
        """Makes the decoder; the amateur is loaded when it is first needed."""
        from prefixcap_decoders.contrast.decoder import ContrastiveDecoder

        return ContrastiveDecoder(self, inner_decoder(self.decoder), self._amateur())

    def subcomponents(self) -> Sequence[Component]:
        """Returns the decoder that runs on the contrasted logits, and the amateur."""
        amateur = self._amateur()
        return (inner_config(self.decoder), *([amateur] if amateur else []))

    def batch_dependent(self) -> bool:
        """Says whether the mean of all prefixes stands for no image, here or within."""
        return self.against == "mean" or super().batch_dependent()

    def _amateur(self) -> LMConfig | None:
        if not self.amateur:
            return None
        try:
            return default_registry().parse(LMConfig, self.amateur.replace(";", ","))
        except PrefixcapError as error:
            raise PrefixcapError(f"amateur: {error}") from error


@attrs.frozen(kw_only=True)
class DoLa(DecoderConfig):
    """Decoding by contrasting layers (Chuang et al. 2024, "DoLa").

    Of the tokens at least `alpha` times as likely as the likeliest, by log p(token) - log
    q(token), where q is read off the earlier layer whose distribution is farthest (by
    Jensen-Shannon divergence) from the last one's, chosen for each row and step.

    Attributes:
        layers: which earlier layers are looked at: every second one of the "low" or the "high"
            half (of a model of more than 40 layers: of its first or last 20), without the embedding
            where it is tied to the output, as transformers had it; or their numbers, joined by "+",
            0 being the embedding.
        alpha: the plausibility threshold.
        decoder: what runs on these logits (";" for "," in its settings); the paper penalises
            repetition by 1.2.
    """

    name: ClassVar[str] = "dola"
    version: ClassVar[str] = "2"
    needs_transformers: ClassVar[bool] = True

    layers: str = attrs.field(default="high", validator=_are_layers)
    alpha: float = attrs.field(default=0.1, converter=float, validator=[above(0), between(0, 1)])
    decoder: str = "greedy:repetition_penalty=1.2"

    def build(self) -> Decoder:
        """Makes the decoder."""
        from prefixcap_decoders.contrast.dola import DoLaDecoder

        return DoLaDecoder(self, inner_decoder(self.decoder))

    def subcomponents(self) -> Sequence[Component]:
        """Returns the decoder that runs on the contrasted logits."""
        return (inner_config(self.decoder),)
