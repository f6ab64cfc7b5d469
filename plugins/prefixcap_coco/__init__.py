"""Caption data sets, and the caption metrics of the COCO evaluation."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import ClassVar

import attrs

from prefixcap.config import Component, at_least, one_of
from prefixcap.hookspecs import hookimpl
from prefixcap.kinds import Dataset, DatasetConfig, Metric, MetricConfig
from prefixcap_coco.decoding_metrics import (
    ClipScore,
    Diversity,
    Finish,
    Logprob,
    Oracle,
    Repetition,
)

__all__ = [
    "Bleu",
    "Cider",
    "ClipScore",
    "Coco",
    "Distinct",
    "Diversity",
    "Finish",
    "Jsonl",
    "Length",
    "Logprob",
    "Meteor",
    "Oracle",
    "Repetition",
    "Rouge",
    "Spice",
    "prefixcap_components",
]


@attrs.frozen(kw_only=True)
class Jsonl(DatasetConfig):
    """A folder of captions, one JSON object a line, with images or their embeddings.

    A line has `image` (the file's name), `split` and `captions`. Row i of the embeddings belongs
    to line i.

    Attributes:
        path: the folder.
        captions: the caption file in it.
        images: the folder of images in it; it may be absent where there are embeddings.
        embeddings: the .npy or .safetensors file in it; the only such file unless named.
    """

    name: ClassVar[str] = "jsonl"

    path: str
    captions: str = "captions.jsonl"
    images: str = "images"
    embeddings: str | None = None

    @property
    def companions(self) -> Mapping[str, str]:  # type: ignore[override]
        """The encoder that fits: `precomputed` where the folder has embeddings, else `clip`."""
        from prefixcap_coco.jsonl import embeddings_file

        return {"encoder": "precomputed" if embeddings_file(self) else "clip"}

    def build(self) -> Dataset:
        """Opens the data set; raises as `DatasetConfig.build` says."""
        from prefixcap_coco.jsonl import read

        return read(self)


@attrs.frozen(kw_only=True)
class Coco(DatasetConfig):
    """COCO 2014 captions as downloaded, in Karpathy's splits.

    Lin et al., "Microsoft COCO: Common Objects in Context" (2014); Karpathy and Fei-Fei, "Deep
    Visual-Semantic Alignments for Generating Image Descriptions" (2015).

    Attributes:
        path: the folder with `annotations/`, `train2014/`, `val2014/` and `dataset_coco.json`.
        splits: "karpathy", or "official" for train2014 as train and val2014 as val.
        restval: what becomes of Karpathy's 30,504 `restval` images: "train" adds them to train,
            "keep" leaves them a split of their own, "drop" leaves them out.
    """

    name: ClassVar[str] = "coco"
    companions: ClassVar[Mapping[str, str]] = {"encoder": "clip"}

    path: str
    splits: str = attrs.field(default="karpathy", validator=one_of(("karpathy", "official")))
    restval: str = attrs.field(default="train", validator=one_of(("train", "keep", "drop")))

    def build(self) -> Dataset:
        """Opens the data set; raises as `DatasetConfig.build` says."""
        from prefixcap_coco.coco import read

        return read(self)


@attrs.frozen(kw_only=True)
class Bleu(MetricConfig):
    """BLEU 1 to 4 of the corpus (Papineni et al. 2002), as pycocoevalcap counts it."""

    name: ClassVar[str] = "bleu"

    def build(self) -> Metric:
        """Makes the metric; raises as `java.check`."""
        from prefixcap_coco.java import check
        from prefixcap_coco.overlap import BleuMetric

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
        from prefixcap_coco.java import check
        from prefixcap_coco.meteor import shared_metric

        check()
        return shared_metric(os.getpid())


@attrs.frozen(kw_only=True)
class Rouge(MetricConfig):
    """ROUGE-L with beta 1.2 (Lin 2004), as pycocoevalcap counts it."""

    name: ClassVar[str] = "rouge"

    def build(self) -> Metric:
        """Makes the metric; raises as `java.check`."""
        from prefixcap_coco.java import check
        from prefixcap_coco.overlap import RougeMetric

        check()
        return RougeMetric()


@attrs.frozen(kw_only=True)
class Cider(MetricConfig):
    """CIDEr-D (Vedantam et al. 2015) with document frequencies of the references at hand.

    They make it 0 of a single image; and a consensus wants two references or more.
    """

    name: ClassVar[str] = "cider"
    least: ClassVar[Mapping[str, int]] = {"images": 2, "references": 2}

    def build(self) -> Metric:
        """Makes the metric; raises as `java.check`."""
        from prefixcap_coco.java import check
        from prefixcap_coco.overlap import CiderMetric

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
        from prefixcap_coco.spice import SpiceMetric

        return SpiceMetric(self.memory)


@attrs.frozen(kw_only=True)
class Length(MetricConfig):
    """The mean and the standard deviation of the predictions' number of words."""

    name: ClassVar[str] = "length"

    def build(self) -> Metric:
        """Makes the metric."""
        from prefixcap_coco.surface import LengthMetric

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
        from prefixcap_coco.surface import DistinctMetric

        return DistinctMetric(self.max_n)


@hookimpl
def prefixcap_components() -> Iterable[type[Component]]:
    """Returns the data sets and metrics of this plugin."""
    return [
        Jsonl,
        Coco,
        Bleu,
        Meteor,
        Rouge,
        Cider,
        Spice,
        Length,
        Distinct,
        Repetition,
        Diversity,
        Oracle,
        ClipScore,
        Logprob,
        Finish,
    ]
