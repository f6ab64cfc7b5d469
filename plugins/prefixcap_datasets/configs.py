"""Configs of the data sets."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import attrs
from typing_extensions import override

from prefixcap.interfaces.dataset import Dataset
from prefixcap.interfaces.validators import one_of
from prefixcap.util.text_files import expanded
from prefixcap_datasets.disk_config import DiskConfig, FilesConfig
from prefixcap_datasets.shares import words_or_shares


@attrs.frozen(kw_only=True)
class Jsonl(FilesConfig):
    """A folder with captions, one JSON object per line, and images or their embeddings.

    A line has `image` (a file name), `split` and `captions`. Row i of the embeddings belongs to
    line i.

    Attributes:
        path: The folder.
        splits: Shares of train, val and test, such as 0.8/0.1/0.1, that replace the splits of the
            lines, which then need none. Each image's split depends on its name and the seed alone.
        seed: The seed of such splits.
        allow_outside: Whether images may be outside the folder, which otherwise is an error:
            absolute paths, "..", and symbolic links that lead out of it.
        captions: The caption file in it.
        images: The image folder in it; optional if there are embeddings.
        embeddings: The .npy or .safetensors file in it, or the folder of a store of features;
            default: the only such file.
    """

    name: ClassVar[str] = "jsonl"
    version: ClassVar[str] = "2"  # 2: images are turned upright, on white, grays scaled

    captions: str = "captions.jsonl"
    images: str = "images"
    embeddings: str | None = None

    @property
    @override
    def recommended(self) -> Mapping[str, str]:  # type: ignore[override]
        from prefixcap_datasets.jsonl import find_embeddings

        file = find_embeddings(expanded(self.path), self.embeddings)
        return {"encoder": "precomputed" if file else "clip"}

    @override
    def build(self) -> Dataset:
        from prefixcap_datasets.jsonl import read_jsonl

        return read_jsonl(self.source, self.captions, self.images, self.embeddings)


def _year(_: Any, attribute: attrs.Attribute[Any], value: int | None) -> None:
    if value not in (None, 2014, 2017):
        raise ValueError(f"{attribute.name} must be 2014 or 2017, not {value}")


def _separator(_: Any, attribute: attrs.Attribute[Any], value: str) -> None:
    words = ("tab", "comma", "semicolon", "bar")
    if len(value) > 1 and value not in words:
        known = ", ".join(words)
        raise ValueError(f"{attribute.name} must be one character or {known}, not {value!r}")


@attrs.frozen(kw_only=True)
class Coco(FilesConfig):
    """COCO captions 2014 or 2017 (Lin et al. 2014, arXiv:1405.0312), as downloaded.

    The default splits are those of Karpathy and Fei-Fei 2015, arXiv:1412.2306. Image files are
    needed by encoders of images only.

    Attributes:
        path: The folder with `annotations/`, `dataset_coco.json` and the folders of images, such
            as `train2014/`.
        splits: "karpathy"; "official" for train2014 as train and val2014 as val; or shares as in
            `jsonl`.
        seed: As in `jsonl`.
        allow_outside: As in `jsonl`.
        year: 2014 or 2017; default: the year whose annotations are there.
        restval: Use of Karpathy's 30,504 `restval` images: "train" adds them to train, "keep"
            keeps them as a split of their own, "drop" leaves them out.
    """

    name: ClassVar[str] = "coco"
    version: ClassVar[str] = "2"  # 2: images are turned upright, on white, grays scaled

    splits: str = attrs.field(default="karpathy", validator=words_or_shares("karpathy", "official"))
    year: int | None = attrs.field(default=None, validator=_year)
    restval: str = attrs.field(default="train", validator=one_of(("train", "keep", "drop")))

    @override
    def build(self) -> Dataset:
        from prefixcap_datasets.coco import read_coco

        return read_coco(self.source, self.year, self.restval)


@attrs.frozen(kw_only=True)
class Karpathy(FilesConfig):
    """A split file of Karpathy and Fei-Fei 2015 (arXiv:1412.2306), with its own captions.

    `dataset_coco.json`, `dataset_flickr8k.json` or `dataset_flickr30k.json`. Image files are
    needed by encoders of images only.

    Attributes:
        path: The file, or a folder with one such file.
        splits: Shares as in `jsonl`, instead of the file's splits.
        seed: As in `jsonl`.
        allow_outside: As in `jsonl`.
        images: The folder of images, from the file's folder; default: the usual ones.
        restval: As in `coco`.
    """

    name: ClassVar[str] = "karpathy"

    images: str = ""
    restval: str = attrs.field(default="train", validator=one_of(("train", "keep", "drop")))

    @override
    def build(self) -> Dataset:
        from prefixcap_datasets.karpathy import read_karpathy

        return read_karpathy(self.source, self.images, self.restval)


@attrs.frozen(kw_only=True)
class Flickr(FilesConfig):
    """Flickr8k (Hodosh et al. 2013) or Flickr30k (Young et al. 2014), as people exchange them.

    Kaggle's `captions.txt` and `results.csv`, and the authors' `Flickr8k.token.txt` and
    `results_20130124.token`. The splits are those of lists such as `Flickr_8k.trainImages.txt`
    beside it, if there are any. Image files are needed by encoders of images only.

    Attributes:
        path: The folder.
        splits: Shares as in `jsonl`, instead of the lists.
        seed: As in `jsonl`.
        allow_outside: As in `jsonl`.
        captions: The caption file in it; default: the only one of those above.
        images: The folder of images in it; default: the usual ones.
    """

    name: ClassVar[str] = "flickr"

    captions: str = ""
    images: str = ""

    @override
    def build(self) -> Dataset:
        from prefixcap_datasets.flickr import read_flickr

        return read_flickr(self.source, self.captions, self.images)


@attrs.frozen(kw_only=True)
class Csv(FilesConfig):
    """A table with a header, one row per caption or several captions in a row, and images.

    Attributes:
        path: The file, or a folder with one file that ends in .csv, .tsv or .jsonl. A file that
            ends in .jsonl has an object in each line, whose keys are the columns.
        splits: Shares as in `jsonl`, instead of a column.
        seed: As in `jsonl`.
        allow_outside: As in `jsonl`.
        image: The column of image files.
        caption: The columns of captions, or patterns such as caption_*. A cell may also have a
            list of texts in JSON.
        split: The column of splits; without a column "split" there are none.
        between: What is between several captions in one cell.
        separator: What is between cells: one character, or tab, comma, semicolon or bar; default:
            a comma, and a tab if the file's name ends in .tsv.
        images: The folder of images, from the file's folder; default: the usual ones, or that
            folder itself.
    """

    name: ClassVar[str] = "csv"
    usual_separator: ClassVar[str] = ""

    image: str = "image"
    caption: tuple[str, ...] = ("caption",)
    split: str = "split"
    between: str = ""
    separator: str = attrs.field(default="", validator=_separator)
    images: str = ""

    @override
    def build(self) -> Dataset:
        from prefixcap_datasets.csv_files import Columns, read_csv

        columns = Columns(
            image=self.image, captions=self.caption, split=self.split, between=self.between
        )
        separator = self.separator or self.usual_separator
        return read_csv(self.source, columns, separator, self.images)


@attrs.frozen(kw_only=True)
class Tsv(Csv):
    """A table as of `csv` with tabs between its cells, whatever its name.

    Attributes:
        separator: As in `csv`; default: a tab.
    """

    name: ClassVar[str] = "tsv"
    usual_separator: ClassVar[str] = "tab"


@attrs.frozen(kw_only=True)
class Images(FilesConfig):
    """A folder of images without captions, and its folders.

    Attributes:
        path: The folder.
        splits: Shares as in `jsonl`; otherwise all images are one split, "all".
        seed: As in `jsonl`.
        allow_outside: Whether images may be links that lead out of the folder.
    """

    name: ClassVar[str] = "images"

    @override
    def build(self) -> Dataset:
        from prefixcap_datasets.images import read_images

        return read_images(self.source)


@attrs.frozen(kw_only=True)
class WebDataset(DiskConfig):
    """Tar shards in WebDataset's format, as img2dataset writes them, read without unpacking.

    A sample is an image and a text or JSON file of the same name: 0001.jpg, 0001.txt, 0001.json.

    Attributes:
        path: A shard, a folder of shards, or a pattern such as train-{000..012}.tar.
        splits: Shares as in `jsonl`, instead of the splits that shards are named by.
        seed: As in `jsonl`.
    """

    name: ClassVar[str] = "webdataset"

    @override
    def build(self) -> Dataset:
        from prefixcap_datasets.webdataset import read_webdataset

        return read_webdataset(self.source)


@attrs.frozen(kw_only=True)
class ClipCapPickles(DiskConfig):
    """Embeddings and captions in the .pkl files that ClipCap's scripts write (arXiv:2111.09734).

    They are those of `parse_coco.py` and `parse_conceptual.py`; nothing in them is run.

    Attributes:
        path: A file, or a folder of files.
        splits: Shares as in `jsonl`, instead of the splits that files are named by.
        seed: As in `jsonl`.
    """

    name: ClassVar[str] = "clipcap"
    recommended: ClassVar[Mapping[str, str]] = {"encoder": "precomputed"}

    @override
    def build(self) -> Dataset:
        from prefixcap_datasets.clipcap import read_clipcap

        return read_clipcap(self.source)
