"""Configs of guidance, contrastive decoding and DoLa."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import attrs
from typing_extensions import override

from prefixcap.interfaces.component import Component
from prefixcap.interfaces.decoder import Decoder, DecoderConfig
from prefixcap.interfaces.language_model import LMConfig
from prefixcap.interfaces.validators import above, at_least, between, one_of
from prefixcap_decoders.logits.settings import TEMPERATURE
from prefixcap_decoders.nested import parse_nested

VIEWS = ("start", "null", "zero", "mean")
LAYERS = ("low", "high")


def _are_layers(_: Any, attribute: attrs.Attribute[Any], value: str) -> None:
    numbers = value.split("+")
    if value not in LAYERS and not all(n.isascii() and n.isdigit() for n in numbers):
        raise ValueError(
            f"{attribute.name} must be 'low', 'high' or numbers of layers such as '2+4+6', not "
            f"{value!r}"
        )


@attrs.frozen(kw_only=True)
class Guidance(DecoderConfig):
    """Classifier-free guidance: contrast the model with itself without the image.

    Kornblith et al. 2023, "Guiding Image Captioning Models Toward More Specific Captions"
    (arXiv:2307.16686). Decodes with `scale` log p(token | image) + (1 - scale) log p(token),
    normalized. Costs two runs of the model per step.

    Attributes:
        scale: 1 is the model itself; higher values make captions more specific to the image.
        against: The model without the image: "start" begins with the end-of-text token alone,
            "null" with the mapper's prefix for no image, which a training with `condition_dropout`
            teaches, "zero" uses a prefix of zeros, "mean" the mean prefix of the batch, so that a
            caption depends on the other images (at least one other is required).
        decoder: Decoder on these logits, such as `beam:num_beams=3;n=2` (";" for ",").
    """

    name: ClassVar[str] = "guidance"

    scale: float = attrs.field(default=1.5, converter=float, validator=at_least(0))
    against: str = attrs.field(default="start", validator=one_of(VIEWS))
    decoder: str = "greedy"

    @override
    def build(self) -> Decoder:
        from prefixcap_decoders.contrast.decoder import ContrastDecoder

        return ContrastDecoder(self, parse_nested(DecoderConfig, self.decoder, "decoder").build())

    @override
    def subcomponents(self) -> Sequence[Component]:
        return (parse_nested(DecoderConfig, self.decoder, "decoder"),)

    @override
    def batch_dependent(self) -> bool:
        return self.against == "mean" or super().batch_dependent()


@attrs.frozen(kw_only=True)
class ContrastiveDecoding(DecoderConfig):
    """Contrastive decoding: prefer tokens that an amateur model finds less likely.

    Li et al. 2023, "Contrastive Decoding: Open-ended Text Generation as Optimization"
    (arXiv:2210.15097). Tokens at least `alpha` times as likely as the most likely one score
    log p(token) - `weight` log q(token), where q is the amateur. Scores are normalized at each
    step, so that beams and samplers can use them; the paper's five beams use unnormalised scores.

    Attributes:
        amateur: Smaller language model with the same tokens, such as `hf:model=distilgpt2` (";"
            for ","); if empty, the model itself without the image.
        against: What the amateur starts from: as in `guidance`, or "prefix" for the image's
            prefix, which needs an amateur of the same width.
        alpha: Plausibility threshold, above 0 and at most 1.
        weight: Weight of the amateur; 1 in the paper.
        temperature: Divisor of the amateur's logits.
        decoder: Decoder on these logits, such as `beam:num_beams=5;n=2` (";" for ",").
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
                "against='prefix' needs an amateur: a model contrasted with itself on the same "
                "prefix has no effect; name an amateur, or use against='start'"
            )

    @override
    def build(self) -> Decoder:
        from prefixcap_decoders.contrast.decoder import ContrastDecoder

        decoder = parse_nested(DecoderConfig, self.decoder, "decoder").build()
        return ContrastDecoder(self, decoder, self._amateur())

    @override
    def subcomponents(self) -> Sequence[Component]:
        decoder, amateur = parse_nested(DecoderConfig, self.decoder, "decoder"), self._amateur()
        return (decoder,) if amateur is None else (decoder, amateur)

    @override
    def batch_dependent(self) -> bool:
        return self.against == "mean" or super().batch_dependent()

    def _amateur(self) -> LMConfig | None:
        return parse_nested(LMConfig, self.amateur, "amateur") if self.amateur else None


@attrs.frozen(kw_only=True)
class DoLa(DecoderConfig):
    """DoLa: contrastive decoding against an earlier layer of the same model.

    Chuang et al. 2024, "DoLa: Decoding by Contrasting Layers" (arXiv:2309.03883). Of the candidate
    layers, each row and step uses the one whose distribution has the largest Jensen-Shannon
    divergence from the last layer's. Costs one product with the output layer per candidate.

    Attributes:
        layers: Candidate layers: every second one of the "low" or the "high" half (of the first or
            last 20 layers in models of more than 40), without the embedding if it is tied to the
            output, as in transformers; or numbers joined by "+", with 0 for the embedding.
        alpha: Plausibility threshold, above 0 and at most 1.
        decoder: Decoder on these logits (";" for ","); the paper's repetition penalty is 1.2.
    """

    name: ClassVar[str] = "dola"
    version: ClassVar[str] = "2"
    needs_transformers: ClassVar[bool] = True

    layers: str = attrs.field(default="high", validator=_are_layers)
    alpha: float = attrs.field(default=0.1, converter=float, validator=[above(0), between(0, 1)])
    decoder: str = "greedy:repetition_penalty=1.2"

    @override
    def build(self) -> Decoder:
        from prefixcap_decoders.contrast.dola import DoLaDecoder

        return DoLaDecoder(self, parse_nested(DecoderConfig, self.decoder, "decoder").build())

    @override
    def subcomponents(self) -> Sequence[Component]:
        return (parse_nested(DecoderConfig, self.decoder, "decoder"),)
