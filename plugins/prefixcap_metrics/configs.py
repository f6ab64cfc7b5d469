"""TODO."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import ClassVar

import attrs

from prefixcap.interfaces.metric import Metric, MetricConfig
from prefixcap.interfaces.validators import at_least


@attrs.frozen(kw_only=True)
class Bleu(MetricConfig):
    """BLEU 1 to 4 of the corpus (Papineni et al. 2002), as pycocoevalcap counts it."""

    name: ClassVar[str] = "bleu"

    def build(self) -> Metric:
        """Makes the metric; raises as `java.check`."""
        from prefixcap_metrics.java import check
        from prefixcap_metrics.overlap import BleuMetric

        check()
        return BleuMetric()


@attrs.frozen(kw_only=True)
class Meteor(MetricConfig):
    """METEOR 1.5 for English (Denkowski and Lavie 2014)."""

    name: ClassVar[str] = "meteor"
    version: ClassVar[str] = "2"

    def build(self) -> Metric:
        """Gives the metric, always the same one: its Java process takes long to load.

        Raises:
            PrefixcapError: as `java.check`.
        """
        from prefixcap_metrics.java import check
        from prefixcap_metrics.meteor import shared_metric

        check()
        return shared_metric(os.getpid())


@attrs.frozen(kw_only=True)
class Rouge(MetricConfig):
    """ROUGE-L with beta 1.2 (Lin 2004), as pycocoevalcap counts it."""

    name: ClassVar[str] = "rouge"

    def build(self) -> Metric:
        """Makes the metric; raises as `java.check`."""
        from prefixcap_metrics.java import check
        from prefixcap_metrics.overlap import RougeMetric

        check()
        return RougeMetric()


@attrs.frozen(kw_only=True)
class Cider(MetricConfig):
    """CIDEr-D (Vedantam et al. 2015) with document frequencies of the references at hand.

    They make it 0 of a single image; and a consensus wants two references or more.
    """

    name: ClassVar[str] = "cider"
    min_samples: ClassVar[Mapping[str, int]] = {"images": 2, "references": 2}

    def build(self) -> Metric:
        """Makes the metric; raises as `java.check`."""
        from prefixcap_metrics.java import check
        from prefixcap_metrics.overlap import CiderMetric

        check()
        return CiderMetric()


@attrs.frozen(kw_only=True)
class Spice(MetricConfig):
    """SPICE (Anderson et al. 2016); its models must have been downloaded before.

    Attributes:
        memory: the most memory that its Java process may take, in GB.
    """

    name: ClassVar[str] = "spice"

    memory: int = attrs.field(default=8, validator=at_least(1))

    def build(self) -> Metric:
        """Makes the metric.

        Raises:
            PrefixcapError: the models of the parser are not there.
        """
        from prefixcap_metrics.spice import SpiceMetric

        return SpiceMetric(self.memory)


@attrs.frozen(kw_only=True)
class Length(MetricConfig):
    """The mean and the standard deviation of the predictions' number of words."""

    name: ClassVar[str] = "length"

    def build(self) -> Metric:
        """Makes the metric."""
        from prefixcap_metrics.surface import LengthMetric

        return LengthMetric()


@attrs.frozen(kw_only=True)
class Distinct(MetricConfig):
    """Distinct-n, the vocabulary, and the share of distinct captions.

    Distinct-n is after Li et al. 2016, but over the number of n-grams, not of words.

    Attributes:
        max_n: the longest n-grams to count.
    """

    name: ClassVar[str] = "distinct"

    max_n: int = attrs.field(default=2, validator=at_least(1))

    def build(self) -> Metric:
        """Makes the metric."""
        from prefixcap_metrics.surface import DistinctMetric

        return DistinctMetric(self.max_n)
