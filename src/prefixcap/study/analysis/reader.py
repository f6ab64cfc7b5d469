"""A study read from its folder, the input of tables, comparisons and reports."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from prefixcap.captioning.checkpoint import CONFIG
from prefixcap.errors import PrefixcapError
from prefixcap.interfaces.dataset import DatasetConfig, Example, ImageItem
from prefixcap.study.analysis.rows import OLDER
from prefixcap.study.artifacts import captions, integrity
from prefixcap.study.artifacts.folder import CAPTIONS, SCORES, StudyFolder
from prefixcap.study.artifacts.shapes import CELL_SCORES, STUDY_SCORES, TEST_LINE
from prefixcap.util.files import AlteredError, read_json, read_lines
from prefixcap.util.shapes import mismatch

if TYPE_CHECKING:
    import pandas as pd
    from PIL import Image


@attrs.frozen(kw_only=True)
class CaptionedImage:
    """A captioned image with its references; its picture is the data set's."""

    id: str
    references: tuple[str, ...]


@attrs.define(kw_only=True, slots=False, repr=False)
class SavedCell:
    """The captions of one cell and their corpus scores; files are read on first use.

    The name is that of its folder and unique in the study; a baseline's captions need no model.
    `images` is the number of test images, if it is known.
    """

    name: str
    folder: Path
    scores: Mapping[str, float]
    baseline: bool = False
    images: int | None = None

    def __repr__(self) -> str:
        return f"<SavedCell {self.name}>"

    @cached_property
    def lines(self) -> list[dict[str, Any]]:
        """`image` and `captions` (each with `text`, best first) of every image, in order."""
        return self.read()

    @cached_property
    def texts(self) -> list[str]:
        """The first caption of every image."""
        return [line["captions"][0]["text"] for line in self.lines]

    @cached_property
    def per_image(self) -> dict[str, list[float]]:
        """The score of every image, by score, for scores that images have."""
        return self.read_per_image()

    def read(self, images: int | None = None) -> list[dict[str, Any]]:
        """Read `lines`, or those of the first images, without keeping them in memory."""
        return captions.read(self.folder, images=images)[0]

    def read_per_image(self) -> dict[str, list[float]]:
        """Read `per_image` without keeping it in memory."""
        stored = read_json(self.folder / SCORES, CELL_SCORES) or {}
        # metrics that the study no longer has may have had scores of the same names
        per_image = {
            name: values
            for each in stored.values()
            for name, values in each.get("per_image", {}).items()
            if each.get("values", {}).get(name) == self.scores.get(name)
        }
        lengths = {len(values) for values in per_image.values()}
        if self.images is not None and lengths - {self.images}:
            reason = f"it has {max(lengths - {self.images})} values for {self.images} images"
            raise AlteredError(self.folder / SCORES, reason)
        return {name: per_image[name] for name in self.scores if name in per_image}


@attrs.define(kw_only=True, slots=False, repr=False)
class SavedStudy:
    """The content of a study's folder; of an unfinished study, the cells that are finished.

    Attributes:
        folder: The folder.
        config: The study, as `Study.to_json` writes it, with `data_digest` and `versions`.
        rows: A row per finished cell, as `bench --json` prints it; `cell` is the cell's name.
        baselines: A row per baseline: `name`, `encoder`, `scores`, `cell`.
        cells: The cells of all rows by name, baselines included.
        images: The test images, in the order of every cell's lines.
        skipped: The ids of images that could not be read.
        complete: Whether every cell of the grid is finished.
        warnings: Problems that make the numbers wrong.
    """

    folder: Path
    config: Mapping[str, Any]
    rows: list[dict[str, Any]]
    baselines: list[dict[str, Any]]
    cells: Mapping[str, SavedCell]
    images: list[CaptionedImage]
    skipped: list[str]
    complete: bool
    warnings: list[str] = attrs.field(factory=list)

    def __repr__(self) -> str:
        state = "" if self.complete else ", unfinished"
        count = f"{len(self.rows)} cells, {len(self.images)} images"
        return f"<SavedStudy {self.folder}: {count}{state}>"

    def to_pandas(self) -> pd.DataFrame:
        """Return a data frame with a row per cell, baselines last.

        Its columns are the fields of `bench --json` and, for each score, the score, `_low` and
        `_high`, the ends of its interval over images.
        """
        import pandas as pd

        def flat(row: Mapping[str, Any]) -> dict[str, Any]:
            fields = {k: v for k, v in row.items() if k not in ("scores", "intervals")}
            for name, value in row["scores"].items():
                fields[name] = value
                low, high = row.get("intervals", {}).get(name, (None, None))
                fields |= {f"{name}_low": low, f"{name}_high": high}
            return fields

        return pd.DataFrame(map(flat, (*self.rows, *self.baselines)))

    @cached_property
    def ids(self) -> tuple[str, ...]:
        """The ids of the test images."""
        return tuple(image.id for image in self.images)

    @cached_property
    def examples(self) -> list[Example]:
        """The test images with their references, as metrics get them."""
        return [
            Example(image=ImageItem(id=image.id, index=n), references=image.references)
            for n, image in enumerate(self.images)
        ]

    @cached_property
    def histories(self) -> dict[str, dict[str, Any]]:
        """The training history of each model, by a row's `model`.

        `loss` (of every step), `train_loss`, `val_loss` and `seconds` (of every epoch),
        `best_epoch`.
        """
        return {name: model.get("history", {}) for name, model in self.models.items()}

    @cached_property
    def models(self) -> dict[str, dict[str, Any]]:
        """The `config.json` of each model, by a row's `model`; empty if it was deleted."""
        names = dict.fromkeys(row["model"] for row in self.rows)
        return {name: read_json(self.folder / name / CONFIG) or {} for name in names}

    def picture(self, image: str) -> Image.Image | None:
        """Read (or draw) a test image as RGB; None if the data set is gone or cannot read it."""
        from prefixcap.study.analysis.contact_sheet import load_picture

        example = self._examples.get(image)
        if example is None or example.image.open is None:
            return None
        return load_picture(example.image.open)

    @cached_property
    def _examples(self) -> dict[str, Example]:
        from prefixcap.plugin.registry import default_registry

        try:
            dataset = default_registry().from_json(DatasetConfig, self.config["dataset"]).build()
            splits = [split for split in dataset.splits if split != "train"]
            return {each.image.id: each for split in splits for each in dataset.examples(split)}
        except (PrefixcapError, OSError):  # the dataset was moved, or its plugin is not installed
            return {}


def load_study(folder: Path | str) -> SavedStudy:
    """Read a study's folder; nothing is computed.

    Raises:
        AlteredError: If a file in it was altered.
        PrefixcapError: If there is no study in the folder, it is of another format, or none of its
            cells is finished.
    """
    folder = Path(folder)
    files = StudyFolder(folder)
    config = files.read_config()
    saved = read_json(files.scores, STUDY_SCORES) or {}
    rows = [{**OLDER, **row} for row in saved.get("rows", [])]
    baselines = list(saved.get("baselines", []))
    integrity.check_names(files, (*rows, *baselines))
    digests = saved.get("digests", {})
    # metrics may have been added since the scores were written
    complete = bool(saved.get("complete")) and config.get("study") == saved.get("study")
    every = digests.get(files.captions.name) if complete else None
    integrity.check_files(files, rows, baselines, every)
    if not rows:
        raise PrefixcapError(
            f"{folder}: no cell of this study is finished: run `prefixcap bench` with --out "
            f"{folder} to resume it"
        )
    groups = ((rows, files.cells, False), (baselines, files.baselines, True))
    images = _images(files.test, digests.get(files.test.name))
    cells = [
        SavedCell(
            name=row["cell"],
            folder=parent / row["cell"],
            scores=row["scores"],
            baseline=baseline,
            images=len(images),
        )
        for group, parent, baseline in groups
        for row in group
    ]
    study = SavedStudy(
        folder=folder,
        config=config,
        rows=rows,
        baselines=baselines,
        cells={cell.name: cell for cell in cells},
        images=images,
        skipped=list(saved.get("skipped_images", [])),
        complete=complete,
        warnings=list(saved.get("warnings", [])),
    )
    if [line["image"] for line in cells[0].read()] != [image.id for image in study.images]:
        raise PrefixcapError(
            f"{cells[0].folder / CAPTIONS} does not hold the captions of every test image: run "
            f"`prefixcap bench` with --out {folder} to add the missing ones"
        )
    return study


def _images(path: Path, digest: str | None) -> list[CaptionedImage]:
    """Read the test images with their references."""
    images = []
    for number, line in enumerate(read_lines(path, digest), 1):
        if problem := mismatch(line, TEST_LINE):
            raise AlteredError(path, f"line {number}: {problem}")
        images.append(CaptionedImage(id=line["image"], references=tuple(line["references"])))
    return images
