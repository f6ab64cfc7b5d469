"""The configs of what a study of decoding methods weighs beside likeness to references."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

import attrs

from prefixcap.interfaces.component import Component
from prefixcap.interfaces.encoder import EncoderConfig
from prefixcap.interfaces.metric import Metric, MetricConfig
from prefixcap.interfaces.validators import at_least
from prefixcap.plugin.registry import default_registry


@attrs.frozen(kw_only=True)
class ClipScore(MetricConfig):
    """CLIPScore and RefCLIPScore (Hessel et al. 2021, "CLIPScore: A Reference-free Evaluation").

    CLIPScore is 2.5 max(cos(image, caption), 0) in CLIP's space, RefCLIPScore its harmonic mean
    with the highest cosine of the caption and a reference. Scores of different CLIPs or prompts are
    no one scale: unless they are the paper's, OpenAI's ViT-B/32 and the prompt below, the names say
    which they are.

    Attributes:
        encoder: a CLIP that encodes the images anew, such as `clip:model=ViT-B/32` (";" for ",");
            the encoder of the study unless given, whose features are there already.
        text: the CLIP whose text side is used on the study's own features, where the study's
            encoder has none because its features come from a file.
        prompt: what stands before every caption and reference, as in the paper.
    """

    name: ClassVar[str] = "clipscore"
    version: ClassVar[str] = "2"
    requires: ClassVar[frozenset[str]] = frozenset({"image"})

    encoder: str = ""
    text: str = ""
    prompt: str = "A photo depicts"

    def __attrs_post_init__(self) -> None:
        if self.encoder and self.text:
            raise ValueError("encoder has a text side of its own: give either encoder or text")

    def build(self) -> Metric:
        """Makes the metric; the CLIP is loaded when it is first needed."""
        from prefixcap_metrics.clip_score import ClipScoreMetric

        return ClipScoreMetric(self.encoder, self.text, self.prompt)

    def subcomponents(self) -> Sequence[Component]:
        """Returns the CLIP that is named, where one is."""
        spec = (self.encoder or self.text).replace(";", ",")
        return (default_registry().parse(EncoderConfig, spec),) if spec else ()


@attrs.frozen(kw_only=True)
class Diversity(MetricConfig):
    """How much the captions of one image differ from one another.

    Distinct n-grams over the words of an image's captions (Shetty et al. 2017, "Speaking the Same
    Language"; Aneja et al. 2019, "Sequential Latent Spaces"), self-BLEU (Zhu et al. 2018,
    "Texygen") and mBLEU (Shetty et al. 2017), which are lower where captions differ more.

    Attributes:
        max_n: the longest n-grams whose distinct ones are counted.
        order: the longest n-grams of self-BLEU and mBLEU.
    """

    name: ClassVar[str] = "diversity"
    version: ClassVar[str] = "2"
    requires: ClassVar[frozenset[str]] = frozenset({"several"})

    max_n: int = attrs.field(default=2, validator=at_least(1))
    order: int = attrs.field(default=4, validator=at_least(1))

    def build(self) -> Metric:
        """Makes the metric; raises as `java.check`."""
        from prefixcap_metrics.java import check
        from prefixcap_metrics.several import DiversityMetric

        check()
        return DiversityMetric(self.max_n, self.order)


@attrs.frozen(kw_only=True)
class Oracle(MetricConfig):
    """The best and the average of an image's captions by other metrics.

    For every image the caption of the highest score is chosen, and what was chosen is scored
    (Vijayakumar et al. 2016, "Diverse Beam Search", call it oracle accuracy).

    Attributes:
        metric: the metrics, joined by "+"; ";" stands for "," in their settings.
    """

    name: ClassVar[str] = "oracle"

    metric: tuple[str, ...] = attrs.field(default=("cider",), validator=attrs.validators.min_len(1))

    @property
    def requires(self) -> frozenset[str]:  # type: ignore[override]
        """Several captions, and what the other metrics need."""
        return frozenset({"several"}.union(*(config.requires for config in self._metrics())))

    @property
    def min_samples(self) -> Mapping[str, int]:  # type: ignore[override]
        """The most that any of the other metrics wants."""
        wanted = [config.min_samples for config in self._metrics()]
        return {
            what: max(least.get(what, 1) for least in wanted) for what in ("images", "references")
        }

    def build(self) -> Metric:
        """Makes the metric."""
        from prefixcap_metrics.several import OracleMetric

        return OracleMetric([(config.name, config.build()) for config in self._metrics()])

    def subcomponents(self) -> Sequence[Component]:
        """Returns the other metrics, and what they name."""
        return tuple(
            part for config in self._metrics() for part in (config, *config.subcomponents())
        )

    def _metrics(self) -> list[MetricConfig]:
        return [
            default_registry().parse(MetricConfig, spec.replace(";", ",")) for spec in self.metric
        ]


@attrs.frozen(kw_only=True)
class Repetition(MetricConfig):
    """How much the predictions repeat themselves (rep-n of Welleck et al. 2020).

    Attributes:
        max_n: the longest n-grams to count, from 2 on.
    """

    name: ClassVar[str] = "repetition"

    max_n: int = attrs.field(default=4, validator=at_least(2))

    def build(self) -> Metric:
        """Makes the metric."""
        from prefixcap_metrics.surface import RepetitionMetric

        return RepetitionMetric(self.max_n)


@attrs.frozen(kw_only=True)
class Logprob(MetricConfig):
    """The language model's own log-probability of the predictions, in nats."""

    name: ClassVar[str] = "logprob"
    requires: ClassVar[frozenset[str]] = frozenset({"search"})

    def build(self) -> Metric:
        """Makes the metric."""
        from prefixcap_metrics.search import LogprobMetric

        return LogprobMetric()


@attrs.frozen(kw_only=True)
class Finish(MetricConfig):
    """How the predictions ended, and how many tokens they have."""

    name: ClassVar[str] = "finish"
    requires: ClassVar[frozenset[str]] = frozenset({"search"})

    def build(self) -> Metric:
        """Makes the metric."""
        from prefixcap_metrics.search import FinishMetric

        return FinishMetric()
