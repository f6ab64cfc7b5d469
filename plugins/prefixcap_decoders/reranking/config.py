"""Samples that are ranked afterwards: best of n, minimum Bayes risk."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import attrs

from prefixcap.interfaces.component import Component
from prefixcap.interfaces.decoder import Decoder
from prefixcap.interfaces.encoder import EncoderConfig
from prefixcap.interfaces.validators import at_least, one_of
from prefixcap.plugin.registry import default_registry
from prefixcap_decoders.beam.length_penalty import LENGTH_NORMS, PENALTY
from prefixcap_decoders.sampling.config import Truncated

JUDGES = ("model", "clip")
UTILITIES = ("ngram", "bleu", "rouge", "cider")


@attrs.frozen(kw_only=True)
class BestOf(Truncated):
    """Draws many captions and keeps the best.

    By the model's own score (Adiwardana et al. 2020, "Towards a Human-like Open-Domain Chatbot"),
    or by how near a caption is to its image in CLIP's space (Cho et al. 2022, "Fine-grained Image
    Captioning with CLIP Reward", use that similarity as their reward).

    Attributes:
        samples: how many are drawn an image.
        by: "model" for the log-probability against length, "clip" for the cosine of the image's
            feature and the caption, by the text side of the encoder that made the feature.
        text: with "clip", the encoder whose text side is used, such as `clip:model=ViT-B/32` (";"
            for ","), where the features come from a file; that of the features unless given.
        prompt: with "clip", what stands before every caption; as in CLIPScore (Hessel et al. 2021).
        length_penalty: the score is the log-probability over T**length_penalty (see `beam`).
        length_norm: "power", "gnmt" or "none", as in `beam`.
        n: how many are given back, best first; different ones before any comes twice.
    """

    name: ClassVar[str] = "best-of"

    samples: int = attrs.field(default=16, validator=at_least(1))
    by: str = attrs.field(default="model", validator=one_of(JUDGES))
    text: str = ""
    prompt: str = "A photo depicts"
    length_penalty: float = attrs.field(default=1.0, converter=float, validator=PENALTY)
    length_norm: str = attrs.field(default="power", validator=one_of(LENGTH_NORMS))
    n: int = attrs.field(default=1, validator=at_least(1))

    def build(self) -> Decoder:
        """Makes the decoder."""
        from prefixcap_decoders.reranking.decoder import Reranker, by_clip, by_model

        score = by_clip(self) if self.by == "clip" else by_model(self)
        return Reranker(self, self.samples, self.n, score)

    def subcomponents(self) -> Sequence[Component]:
        """Returns the encoder whose text side is used, where one is named."""
        super().subcomponents()
        if self.by != "clip" or not self.text:
            return ()
        return (default_registry().parse(EncoderConfig, self.text.replace(";", ",")),)


@attrs.frozen(kw_only=True)
class MBR(Truncated):
    """Minimum Bayes risk (Eikema and Aziz 2020, "Is MAP Decoding All You Need?").

    Many captions are drawn, and the one is kept that is most like all of them: the score is the
    mean utility against every sample, itself included.

    Attributes:
        samples: how many are drawn an image.
        utility: how alike two captions are, from 0 to 1. "ngram": the mean F1 of their 1- to
            4-grams; "bleu": sentence BLEU-4, add-one smoothed (Lin and Och 2004); "rouge": ROUGE-L
            as COCO has it (Lin 2004, beta 1.2); "cider": the mean cosine of 1- to 4-gram counts,
            weighted by how rare an n-gram is among the samples (after Vedantam et al. 2015).
        n: how many are given back, best first; different ones before any comes twice.
    """

    name: ClassVar[str] = "mbr"

    samples: int = attrs.field(default=32, validator=at_least(1))
    utility: str = attrs.field(default="ngram", validator=one_of(UTILITIES))
    n: int = attrs.field(default=1, validator=at_least(1))

    def build(self) -> Decoder:
        """Makes the decoder."""
        from prefixcap_decoders.reranking.decoder import Reranker, by_utility

        return Reranker(self, self.samples, self.n, by_utility(self))
