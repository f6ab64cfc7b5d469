"""Configs of decoders that are guided by CLIP at every step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import attrs
from typing_extensions import override

from prefixcap.interfaces.component import Component
from prefixcap.interfaces.decoder import Decoder
from prefixcap.interfaces.encoder import EncoderConfig
from prefixcap.interfaces.validators import above, at_least, between, one_of
from prefixcap_decoders.contrastive_search.config import CONTEXTS, Contrastive
from prefixcap_decoders.logits.settings import TEMPERATURE, Controlled
from prefixcap_decoders.nested import parse_nested


def text_towers(text: str) -> Sequence[Component]:
    """Return the encoder that a setting `text` names, if any."""
    return (parse_nested(EncoderConfig, text, "text"),) if text else ()


@attrs.frozen(kw_only=True)
class Magic(Contrastive):
    """MAGIC: contrastive search that also prefers what CLIP finds in the image.

    Su et al. 2022, "Language Models Can See: Plugging Visual Controls in Text Generation"
    (arXiv:2205.02655). Of the `top_k` most likely tokens, take the one with the highest
    (1 - alpha) p(token) - alpha s + beta c: s as in `contrastive`, and c the softmax over these
    tokens of CLIP's similarity of the image and the caption so far with the token. Needs the
    image's feature and an encoder with a text tower; no part of it is trained. Deterministic:
    several captions of an image are copies.

    Attributes:
        alpha: Weight of the similarity penalty, 0 to 1.
        beta: Weight of CLIP; 0 is contrastive search.
        top_k: Number of candidate tokens, each a row of the model and a text for CLIP; 45 for COCO
            and 25 for Flickr30k in the paper.
        temperature: Divisor of the cosine similarities; 0.01 is that of OpenAI's CLIP.
        context: Prefix positions to compare with, as in `contrastive`.
        prompt: Text before every caption when it is compared with the image.
        text: The encoder whose text tower is used, such as `clip:model=ViT-B/32` (";" for ","); by
            default the encoder of the features.
    """

    name: ClassVar[str] = "magic"
    version: ClassVar[str] = "1"

    alpha: float = attrs.field(default=0.1, converter=float, validator=between(0, 1))
    beta: float = attrs.field(default=2.0, converter=float, validator=at_least(0))
    top_k: int = attrs.field(default=45, validator=at_least(1))
    temperature: float = attrs.field(default=0.01, converter=float, validator=TEMPERATURE)
    context: str = attrs.field(default="prefix", validator=one_of(CONTEXTS))
    prompt: str = ""
    text: str = ""

    @override
    def build(self) -> Decoder:
        from prefixcap_decoders.guided.magic import MagicSearch

        return MagicSearch(self)

    @override
    def subcomponents(self) -> Sequence[Component]:
        return (*super().subcomponents(), *text_towers(self.text))


@attrs.frozen(kw_only=True)
class ZeroCap(Controlled):
    """ZeroCap: bend the context at every token, so that CLIP finds the caption in the image.

    Tewel et al. 2022, "ZeroCap: Zero-Shot Image-to-Text Generation for Visual-Semantic Arithmetic"
    (arXiv:2111.14447). Before each token, `iterations` gradient steps change the keys and values of
    the context: they lower the cross-entropy from CLIP's distribution over the `candidates` most
    likely tokens, plus `kl_weight` times the divergence from the unchanged model's distribution.
    Each token begins with unchanged keys and values. Beam search over the resulting distributions;
    the captions of the beams are ranked by CLIP. Needs a language model of transformers, the
    image's feature and an encoder with a text tower; no part of it is trained.

    Attributes:
        num_beams: Number of hypotheses.
        iterations: Gradient steps per token; 0 leaves the context as it is.
        candidates: Number of tokens that CLIP compares, each with the caption so far.
        temperature: Divisor of the cosine similarities.
        kl_weight: Weight of the divergence, which keeps the language fluent.
        step_size: Length of a gradient step.
        norm_power: Each gradient is divided by this power of its norm.
        fusion: Share of the changed distribution in the geometric mean with the unchanged one.
        end_factor: From the second token on, the logits of stop tokens are raised by this factor;
            for the first token they are lowered by 1.6.
        prompt: Text before every caption when it is compared with the image, to be the same as the
            prefix's, as in `begin:text=Image of a`.
        text: The encoder whose text tower is used, such as `clip:model=ViT-B/32` (";" for ","); by
            default the encoder of the features.
        n: Number of captions per image, best first; at most `num_beams`.
    """

    name: ClassVar[str] = "zerocap"
    needs_transformers: ClassVar[bool] = True

    num_beams: int = attrs.field(default=5, validator=at_least(1))
    iterations: int = attrs.field(default=5, validator=at_least(0))
    candidates: int = attrs.field(default=512, validator=at_least(1))
    temperature: float = attrs.field(default=0.01, converter=float, validator=TEMPERATURE)
    kl_weight: float = attrs.field(default=0.2, converter=float, validator=at_least(0))
    step_size: float = attrs.field(default=0.3, converter=float, validator=at_least(0))
    norm_power: float = attrs.field(default=0.9, converter=float, validator=at_least(0))
    fusion: float = attrs.field(default=0.99, converter=float, validator=between(0, 1))
    end_factor: float = attrs.field(default=1.01, converter=float, validator=above(0))
    prompt: str = "Image of a"
    text: str = ""
    n: int = attrs.field(default=1, validator=at_least(1))

    def __attrs_post_init__(self) -> None:
        if self.n > self.num_beams:
            raise ValueError(f"n must be at most num_beams ({self.num_beams}), not {self.n}")

    @override
    def build(self) -> Decoder:
        from prefixcap_decoders.guided.zerocap import ZeroCapSearch

        return ZeroCapSearch(self)

    @override
    def subcomponents(self) -> Sequence[Component]:
        return (*super().subcomponents(), *text_towers(self.text))
