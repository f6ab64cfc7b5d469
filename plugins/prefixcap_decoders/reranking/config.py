"""Configs of decoders that draw samples and rank them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import attrs
from typing_extensions import override

from prefixcap.interfaces.component import Component
from prefixcap.interfaces.decoder import Decoder
from prefixcap.interfaces.encoder import EncoderConfig
from prefixcap.interfaces.validators import at_least, between, one_of
from prefixcap_decoders.beam.ranking import LENGTH_NORMS, PENALTY
from prefixcap_decoders.nested import parse_nested
from prefixcap_decoders.sampling.config import Truncated

JUDGES = ("model", "clip")
UTILITIES = ("ngram", "bleu", "rouge", "cider")


@attrs.frozen(kw_only=True)
class BestOf(Truncated):
    """Best of n: draw many captions and return the best by the model's or CLIP's score.

    Adiwardana et al. 2020, "Towards a Human-like Open-Domain Chatbot" (arXiv:2001.09977), rank by
    the model; Cho et al. 2022, "Fine-grained Image Captioning with CLIP Reward" (arXiv:2205.13115),
    use CLIP's similarity as a reward. Costs `samples` rows per image.

    Attributes:
        samples: Number of samples per image.
        by: "model" for the length-normalized log-probability, "clip" for the cosine similarity of
            the image's feature and the caption.
        text: For "clip": the encoder whose text tower is used, such as `clip:model=ViT-B/32` (";"
            for ","); by default the encoder of the features.
        prompt: For "clip": text before every caption, as in CLIPScore (Hessel et al. 2021).
        length_penalty: For "model": as in `beam`.
        length_norm: For "model": as in `beam`.
        n: Number of captions per image, best first; duplicates come last.
    """

    name: ClassVar[str] = "best-of"

    samples: int = attrs.field(default=16, validator=at_least(1))
    by: str = attrs.field(default="model", validator=one_of(JUDGES))
    text: str = ""
    prompt: str = "A photo depicts"
    length_penalty: float = attrs.field(default=1.0, converter=float, validator=PENALTY)
    length_norm: str = attrs.field(default="power", validator=one_of(LENGTH_NORMS))
    n: int = attrs.field(default=1, validator=at_least(1))

    @override
    def build(self) -> Decoder:
        from prefixcap_decoders.reranking.decoder import Reranker, by_clip, by_model

        return Reranker(self, by_clip if self.by == "clip" else by_model)

    @override
    def subcomponents(self) -> Sequence[Component]:
        super().subcomponents()
        if self.by != "clip" or not self.text:
            return ()
        return (parse_nested(EncoderConfig, self.text, "text"),)


@attrs.frozen(kw_only=True)
class MBR(Truncated):
    """Minimum Bayes risk: draw many captions and return the one most similar to all of them.

    Eikema and Aziz 2020, "Is MAP Decoding All You Need?" (arXiv:2005.10283). The score is the mean
    utility against every sample, itself included: O(`samples`^2) utilities per image. With
    `neighbors`, it is also compared with captions of similar training images, as is the consensus
    of Devlin et al. 2015, "Exploring Nearest Neighbor Approaches for Image Captioning"
    (arXiv:1505.04467).

    Attributes:
        samples: Number of samples per image.
        utility: Similarity of two captions, 0 to 1. "ngram": mean F1 of 1- to 4-grams; "bleu":
            sentence BLEU-4 with add-one smoothing (Lin and Och 2004); "rouge": ROUGE-L as in COCO
            (Lin 2004, beta 1.2); "cider": mean cosine of 1- to 4-gram counts, weighted by rarity
            among all captions that are compared (after Vedantam et al. 2015).
        neighbors: Number of captions of the most similar training images to compare with.
        neighbor_weight: Weight of the mean utility against these captions; the mean utility against
            the samples has the rest.
        n: Number of captions per image, best first; duplicates come last.
    """

    name: ClassVar[str] = "mbr"
    version: ClassVar[str] = "2"

    samples: int = attrs.field(default=32, validator=at_least(1))
    utility: str = attrs.field(default="ngram", validator=one_of(UTILITIES))
    neighbors: int = attrs.field(default=0, validator=at_least(0))
    neighbor_weight: float = attrs.field(default=0.5, converter=float, validator=between(0, 1))
    n: int = attrs.field(default=1, validator=at_least(1))

    @override
    def build(self) -> Decoder:
        from prefixcap_decoders.reranking.decoder import Reranker, by_utility

        return Reranker(self, by_utility)

    @override
    def neighbor_captions(self) -> int:
        return self.neighbors
