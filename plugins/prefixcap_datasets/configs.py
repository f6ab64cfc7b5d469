"""TODO."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import attrs

from prefixcap.interfaces.dataset import Dataset, DatasetConfig
from prefixcap.interfaces.validators import one_of


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
    def recommended(self) -> Mapping[str, str]:  # type: ignore[override]
        """The encoder that fits: `precomputed` where the folder has embeddings, else `clip`."""
        from prefixcap_datasets.jsonl import embeddings_file

        return {"encoder": "precomputed" if embeddings_file(self) else "clip"}

    def build(self) -> Dataset:
        """Opens the data set; raises as `DatasetConfig.build` says."""
        from prefixcap_datasets.jsonl import read

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
    recommended: ClassVar[Mapping[str, str]] = {"encoder": "clip"}

    path: str
    splits: str = attrs.field(default="karpathy", validator=one_of(("karpathy", "official")))
    restval: str = attrs.field(default="train", validator=one_of(("train", "keep", "drop")))

    def build(self) -> Dataset:
        """Opens the data set; raises as `DatasetConfig.build` says."""
        from prefixcap_datasets.coco import read

        return read(self)
