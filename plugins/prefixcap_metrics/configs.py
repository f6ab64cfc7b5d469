"""Configs of the metrics. The COCO metrics come first, then those for comparing decoders."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import ClassVar

import attrs
from typing_extensions import override

from prefixcap.interfaces.component import Component
from prefixcap.interfaces.encoder import EncoderConfig
from prefixcap.interfaces.metric import Metric, MetricConfig, Scale, scale_of
from prefixcap.interfaces.validators import at_least, one_of
from prefixcap.plugin import specs
from prefixcap.plugin.registry import default_registry
from prefixcap_metrics.names import CHARACTERS, PTB, WORDS

SHARE = Scale(low=0.0, high=1.0)
COUNT = Scale(low=0.0)


def _labelled(scales: Mapping[str, Scale]) -> Mapping[str, Scale]:
    """Add the names with the suffix of another tokenizer, before any pattern that has them too."""
    return {**{f"{name}[[]*": scale for name, scale in scales.items()}, **scales}


def _quality(rank: int | None = None, high: float | None = 1.0, *, headline: bool = True) -> Scale:
    return Scale(better="higher", low=0.0, high=high, main_rank=rank, headline=headline)


@attrs.frozen(kw_only=True)
class _WordStatistic(MetricConfig):
    """The base of metrics of words.

    Attributes:
        tokenizer: "words", or "characters" for scripts without spaces, whose letters are then
            words. Names end with [characters].
    """

    tokenizer: str = attrs.field(default=WORDS, validator=one_of((WORDS, CHARACTERS)))

    @property
    @override
    def needs_spaces(self) -> bool:  # type: ignore[override]
        return self.tokenizer != CHARACTERS


@attrs.frozen(kw_only=True)
class _Overlap(_WordStatistic):
    """The base of metrics of words that captions and references share.

    Attributes:
        tokenizer: "ptb" for the Penn Treebank's words, as in pycocoevalcap; "characters" for
            scripts without spaces, whose letters are then words. Names end with [characters].
    """

    _metric: ClassVar[str]  # name of the class in `overlap`

    tokenizer: str = attrs.field(default=PTB, validator=one_of((PTB, CHARACTERS)))

    @override
    def build(self) -> Metric:
        from prefixcap_metrics import overlap
        from prefixcap_metrics.java import check

        if self.tokenizer == PTB:
            check()
        metric: Metric = getattr(overlap, self._metric)(self.tokenizer)
        return metric


@attrs.frozen(kw_only=True)
class Bleu(_Overlap):
    """Corpus BLEU-1 to BLEU-4 (Papineni et al. 2002), as in pycocoevalcap."""

    name: ClassVar[str] = "bleu"
    scales: ClassVar[Mapping[str, Scale]] = _labelled(
        {
            "Bleu_1": _quality(),
            "Bleu_4": _quality(40),
            "Bleu_*": _quality(headline=False),
        }
    )
    _metric: ClassVar[str] = "BleuMetric"


@attrs.frozen(kw_only=True)
class Meteor(MetricConfig):
    """METEOR 1.5 for English (Denkowski and Lavie 2014)."""

    name: ClassVar[str] = "meteor"
    scales: ClassVar[Mapping[str, Scale]] = {"METEOR": _quality(30)}
    version: ClassVar[str] = "2"
    needs_spaces: ClassVar[bool] = True

    @override
    def build(self) -> Metric:
        from prefixcap_metrics.java import check
        from prefixcap_metrics.meteor import shared_metric

        check()
        return shared_metric(os.getpid())


@attrs.frozen(kw_only=True)
class Rouge(_Overlap):
    """ROUGE-L with beta 1.2 (Lin 2004), as in pycocoevalcap."""

    name: ClassVar[str] = "rouge"
    scales: ClassVar[Mapping[str, Scale]] = _labelled({"ROUGE_L": _quality(50)})
    _metric: ClassVar[str] = "RougeMetric"


@attrs.frozen(kw_only=True)
class Cider(_Overlap):
    """CIDEr-D (Vedantam et al. 2015, arXiv:1411.5726), as in pycocoevalcap.

    Document frequencies come from the given references, so a single image always scores 0.
    """

    name: ClassVar[str] = "cider"
    scales: ClassVar[Mapping[str, Scale]] = _labelled({"CIDEr": _quality(10, 10.0)})
    _metric: ClassVar[str] = "CiderMetric"
    min_samples: ClassVar[Mapping[str, int]] = {"images": 2, "references": 2}


@attrs.frozen(kw_only=True)
class Spice(MetricConfig):
    """SPICE (Anderson et al. 2016, arXiv:1607.08822); its models are downloaded separately.

    Attributes:
        memory: Maximum heap of its Java process, in GB.
    """

    name: ClassVar[str] = "spice"
    version: ClassVar[str] = "2"
    scales: ClassVar[Mapping[str, Scale]] = {"SPICE": _quality(20)}

    memory: int = attrs.field(default=8, validator=at_least(1))

    @override
    def build(self) -> Metric:
        from prefixcap_metrics.spice import SpiceMetric

        return SpiceMetric(self.memory)


@attrs.frozen(kw_only=True)
class Length(_WordStatistic):
    """Mean and standard deviation of the predictions' number of words."""

    name: ClassVar[str] = "length"
    version: ClassVar[str] = "2"
    scales: ClassVar[Mapping[str, Scale]] = _labelled(
        {
            "Length": Scale(low=0.0, headline=True),
            "Length_std": COUNT,
        }
    )

    @override
    def build(self) -> Metric:
        from prefixcap_metrics.word_statistics import LengthMetric

        return LengthMetric(self.tokenizer)


@attrs.frozen(kw_only=True)
class Distinct(_WordStatistic):
    """Distinct-n, vocabulary size and share of distinct captions.

    Distinct-n (Li et al. 2016, arXiv:1510.03055) is divided by the number of n-grams, not of words.

    Attributes:
        max_n: Length of the longest n-grams.
    """

    name: ClassVar[str] = "distinct"
    version: ClassVar[str] = "2"
    scales: ClassVar[Mapping[str, Scale]] = _labelled(
        {
            "Distinct_2": Scale(low=0.0, high=1.0, diversity_rank=10),
            "Distinct_1": Scale(low=0.0, high=1.0, diversity_rank=20),
            "Vocabulary": Scale(low=0.0, diversity_rank=30),
            "Distinct_captions": Scale(low=0.0, high=1.0, diversity_rank=40),
            "Distinct_*": SHARE,
        }
    )

    max_n: int = attrs.field(default=2, validator=at_least(1))

    @override
    def build(self) -> Metric:
        from prefixcap_metrics.word_statistics import DistinctMetric

        return DistinctMetric(self.max_n, self.tokenizer)


@attrs.frozen(kw_only=True)
class Repetition(_WordStatistic):
    """Repetition within a prediction: seq-rep-n (Welleck et al. 2020, arXiv:1908.04319).

    Attributes:
        max_n: Length of the longest n-grams, at least 2.
    """

    name: ClassVar[str] = "repetition"
    version: ClassVar[str] = "2"
    scales: ClassVar[Mapping[str, Scale]] = _labelled({"Rep_*": SHARE})

    max_n: int = attrs.field(default=4, validator=at_least(2))

    @override
    def build(self) -> Metric:
        from prefixcap_metrics.word_statistics import RepetitionMetric

        return RepetitionMetric(self.max_n, self.tokenizer)


@attrs.frozen(kw_only=True)
class Diversity(_WordStatistic):
    """Diversity of the captions of one image.

    Distinct n-grams per word (Shetty et al. 2017, arXiv:1703.10476; Aneja et al. 2019,
    arXiv:1908.08529), self-BLEU (Zhu et al. 2018, arXiv:1802.01886) and mBLEU (Shetty et al. 2017).
    The two BLEUs are lower for more diverse captions.

    Attributes:
        max_n: Length of the longest n-grams of the distinct counts.
        order: Length of the longest n-grams of self-BLEU and mBLEU.
    """

    name: ClassVar[str] = "diversity"
    version: ClassVar[str] = "3"
    scales: ClassVar[Mapping[str, Scale]] = _labelled(
        {
            "Div_*": SHARE,
            "Unique_captions": SHARE,
            "*BLEU_*": SHARE,
        }
    )
    requires: ClassVar[frozenset[str]] = frozenset({"several"})

    max_n: int = attrs.field(default=2, validator=at_least(1))
    order: int = attrs.field(default=4, validator=at_least(1))

    @override
    def build(self) -> Metric:
        from prefixcap_metrics.caption_sets import DiversityMetric
        from prefixcap_metrics.java import check

        if self.tokenizer == WORDS:
            check()
        return DiversityMetric(self.max_n, self.order, self.tokenizer)


@attrs.frozen(kw_only=True)
class Oracle(MetricConfig):
    """Best and average score of an image's captions by other metrics.

    The best is the oracle accuracy of Vijayakumar et al. 2016, arXiv:1610.02424: the score of the
    captions that have the highest score of their image.

    Attributes:
        metric: Specs of the metrics, joined by "+", with ";" in place of "," in their settings.
    """

    name: ClassVar[str] = "oracle"

    metric: tuple[str, ...] = attrs.field(default=("cider",), validator=attrs.validators.min_len(1))

    @property
    @override
    def requires(self) -> frozenset[str]:  # type: ignore[override]
        return frozenset({"several"}.union(*(config.requires for config in self._metrics())))

    @property
    @override
    def min_samples(self) -> Mapping[str, int]:  # type: ignore[override]
        needs = [config.min_samples for config in self._metrics()]
        return {unit: max(need.get(unit, 1) for need in needs) for unit in ("images", "references")}

    @override
    def build(self) -> Metric:
        from prefixcap_metrics.caption_sets import OracleMetric

        return OracleMetric([(config.name, config.build()) for config in self._metrics()])

    @override
    def subcomponents(self) -> Sequence[Component]:
        return tuple(
            part for config in self._metrics() for part in (config, *config.subcomponents())
        )

    @override
    def scale(self, score: str) -> Scale | None:
        other, _, kind = score.rpartition("_")
        if kind not in ("oracle", "average"):
            return None
        scale = scale_of(self._metrics(), other)  # but never a table's main one
        return attrs.evolve(scale, main_rank=None, diversity_rank=None, headline=False)

    def _metrics(self) -> list[MetricConfig]:
        return [default_registry().parse(MetricConfig, specs.nested(spec)) for spec in self.metric]


@attrs.frozen(kw_only=True)
class ClipScore(MetricConfig):
    """CLIPScore and RefCLIPScore (Hessel et al. 2021, arXiv:2104.08718).

    CLIPScore is 2.5 max(cos(image, caption), 0) in CLIP's embedding space, RefCLIPScore its
    harmonic mean with the highest cosine between the caption and a reference. Scores of different
    CLIPs or prompts are not comparable: unless both are the paper's (OpenAI's ViT-B/32 and the
    default prompt), the names of the scores contain them.

    Attributes:
        encoder: Spec of a CLIP that encodes the images again, such as `clip:model=ViT-B/32`, with
            ";" in place of ","; default: the study's encoder and its features.
        text: Spec of the CLIP whose text encoder is applied to the study's own features, for
            features that come from a file.
        prompt: Text before every caption and reference; default: the paper's.
    """

    name: ClassVar[str] = "clipscore"
    scales: ClassVar[Mapping[str, Scale]] = {
        "CLIPScore": _quality(high=2.5),
        "RefCLIPScore": _quality(high=None),
        # with the name of another CLIP: CLIPScore[model]
        "CLIPScore[[]*": _quality(high=2.5),
        "RefCLIPScore[[]*": _quality(high=None),
    }
    version: ClassVar[str] = "2"
    requires: ClassVar[frozenset[str]] = frozenset({"image"})

    encoder: str = ""
    text: str = ""
    prompt: str = "A photo depicts"

    def __attrs_post_init__(self) -> None:
        if self.encoder and self.text:
            raise ValueError("encoder already includes a text encoder: give either encoder or text")

    @override
    def build(self) -> Metric:
        from prefixcap_metrics.clip_score import ClipScoreMetric

        return ClipScoreMetric(self.encoder, self.text, self.prompt)

    @override
    def subcomponents(self) -> Sequence[Component]:
        spec = specs.nested(self.encoder or self.text)
        return (default_registry().parse(EncoderConfig, spec),) if spec else ()


@attrs.frozen(kw_only=True)
class Logprob(MetricConfig):
    """The language model's log-probability of the predictions, in nats."""

    name: ClassVar[str] = "logprob"
    scales: ClassVar[Mapping[str, Scale]] = {"Logprob*": Scale(high=0.0)}
    requires: ClassVar[frozenset[str]] = frozenset({"search"})

    @override
    def build(self) -> Metric:
        from prefixcap_metrics.decoder_outputs import LogprobMetric

        return LogprobMetric()


@attrs.frozen(kw_only=True)
class Finish(MetricConfig):
    """How predictions end (stop token or length limit), and their number of tokens."""

    name: ClassVar[str] = "finish"
    scales: ClassVar[Mapping[str, Scale]] = {"*_rate": SHARE, "Tokens": COUNT}
    requires: ClassVar[frozenset[str]] = frozenset({"search"})

    @override
    def build(self) -> Metric:
        from prefixcap_metrics.decoder_outputs import FinishMetric

        return FinishMetric()


METRICS = (
    Bleu, Meteor, Rouge, Cider, Spice, Length, Distinct, Repetition, Diversity, Oracle, ClipScore,
    Logprob, Finish,
)  # fmt: skip
