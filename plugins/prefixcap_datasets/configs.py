"""Configs of the data sets."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import attrs
from typing_extensions import override

from prefixcap.interfaces.component import PATH
from prefixcap.interfaces.dataset import Dataset, DatasetConfig
from prefixcap.interfaces.validators import one_of
from prefixcap.util.text_files import expanded


@attrs.frozen(kw_only=True)
class Jsonl(DatasetConfig):
    """A folder with captions, one JSON object per line, and images or their embeddings.

    A line has `image` (a file name), `split` and `captions`. Row i of the embeddings belongs to
    line i.

    Attributes:
        path: The folder.
        captions: The caption file in it.
        images: The image folder in it; optional if there are embeddings.
        embeddings: The .npy or .safetensors file in it; default: the only such file.
        allow_outside: Whether images may be outside the folder, which otherwise is an error:
            absolute paths, "..", and symbolic links that lead out of it.
    """

    name: ClassVar[str] = "jsonl"
    version: ClassVar[str] = "2"  # 2: images are turned upright, on white, grays scaled

    path: str = attrs.field(metadata=PATH)
    captions: str = "captions.jsonl"
    images: str = "images"
    embeddings: str | None = None
    allow_outside: bool = False

    @property
    @override
    def recommended(self) -> Mapping[str, str]:  # type: ignore[override]
        from prefixcap_datasets.jsonl import find_embeddings

        file = find_embeddings(expanded(self.path), self.embeddings)
        return {"encoder": "precomputed" if file else "clip"}

    @override
    def build(self) -> Dataset:
        from prefixcap_datasets.jsonl import read_jsonl

        return read_jsonl(
            self.path,
            self.captions,
            self.images,
            self.embeddings,
            allow_outside=self.allow_outside,
        )


@attrs.frozen(kw_only=True)
class Coco(DatasetConfig):
    """COCO captions 2014 (Lin et al. 2014, arXiv:1405.0312), as downloaded.

    The default splits are those of Karpathy and Fei-Fei 2015, arXiv:1412.2306.

    Attributes:
        path: The folder with `annotations/`, `train2014/`, `val2014/` and `dataset_coco.json`.
        splits: "karpathy", or "official" for train2014 as train and val2014 as val.
        restval: Use of Karpathy's 30,504 `restval` images: "train" adds them to train, "keep"
            keeps them as a split of their own, "drop" leaves them out.
        allow_outside: As in `jsonl`.
    """

    name: ClassVar[str] = "coco"
    version: ClassVar[str] = "2"  # 2: images are turned upright, on white, grays scaled
    recommended: ClassVar[Mapping[str, str]] = {"encoder": "clip"}

    path: str = attrs.field(metadata=PATH)
    splits: str = attrs.field(default="karpathy", validator=one_of(("karpathy", "official")))
    restval: str = attrs.field(default="train", validator=one_of(("train", "keep", "drop")))
    allow_outside: bool = False

    @override
    def build(self) -> Dataset:
        from prefixcap_datasets.coco import read_coco

        return read_coco(self.path, self.splits, self.restval, allow_outside=self.allow_outside)
