"""A study read back from its folder: what tables, comparisons and reports are made of."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from prefixcap.captioning.checkpoint import CONFIG
from prefixcap.errors import PrefixcapError
from prefixcap.interfaces.dataset import DatasetConfig, Example
from prefixcap.study.artifacts.folder import CAPTIONS, SCORES, StudyFolder
from prefixcap.util.files import read_json, read_lines

if TYPE_CHECKING:
    from PIL import Image

    from prefixcap.plugin.registry import Registry


@attrs.frozen(kw_only=True)
class CaptionedImage:
    """A captioned image with its references.

    Attributes:
        id: what names it.
        references: the human captions.
        path: its file, where it has one; another machine may not have it.
    """

    id: str
    references: tuple[str, ...]
    path: Path | None = None


@attrs.define(kw_only=True, slots=False)
class Cell:
    """The captions of one row, and their scores; files are read when they are asked for.

    Attributes:
        name: the folder's name, which is unique in its study.
        folder: where it is kept.
        scores: the corpus scores by name.
        baseline: whether no model made the captions.
    """

    name: str
    folder: Path
    scores: Mapping[str, float]
    baseline: bool = False

    @cached_property
    def lines(self) -> list[dict[str, Any]]:
        """`image` and `captions` (each with `text`, best first) of every image, in their order."""
        found = read_lines(self.folder / CAPTIONS)
        if not found:
            raise PrefixcapError(
                f"{self.folder / CAPTIONS} is not there any more: run `prefixcap bench` again"
            )
        return found

    @cached_property
    def texts(self) -> list[str]:
        """The first caption of every image."""
        return [line["captions"][0]["text"] for line in self.lines]

    @cached_property
    def per_image(self) -> dict[str, list[float]]:
        """The score of every image, by score, where a score has such."""
        kept = read_json(self.folder / SCORES) or {}
        # metrics that the study no longer has may have had scores of the same names
        found = {
            name: values
            for each in kept.values()
            for name, values in each.get("per_image", {}).items()
            if each.get("values", {}).get(name) == self.scores.get(name)
        }
        return {name: found[name] for name in self.scores if name in found}


@attrs.define(kw_only=True, slots=False)
class SavedStudy:
    """What a study's folder holds: of an unfinished study, the cells that are finished.

    Attributes:
        folder: the folder.
        config: the study, as `Study.to_json` writes it, with `data_digest` and `versions`.
        rows: one a finished cell, as `bench --json` prints them; `cell` names the cell.
        baselines: rows of captions that need no model: `name`, `encoder`, `scores`, `cell`.
        cells: every row's cell by its name, the baselines' too.
        images: the test images, in the order of every cell's lines.
        skipped: the ids of images that could not be read.
        warnings: what would make the numbers wrong.
        complete: whether every cell of the grid is there.
    """

    folder: Path
    config: Mapping[str, Any]
    rows: list[dict[str, Any]]
    baselines: list[dict[str, Any]]
    cells: Mapping[str, Cell]
    images: list[CaptionedImage]
    skipped: list[str]
    complete: bool
    warnings: list[str] = attrs.field(factory=list)

    @cached_property
    def histories(self) -> dict[str, dict[str, Any]]:
        """How each model was trained, by a row's `model`.

        `loss` (of every step), `train_loss`, `val_loss` and `seconds` (of every epoch),
        `best_epoch`.
        """
        names = dict.fromkeys(row["model"] for row in self.rows)
        return {name: self.models[name].get("history", {}) for name in names}

    @cached_property
    def models(self) -> dict[str, dict[str, Any]]:
        """The `config.json` of each model, by a row's `model`; empty where it was deleted."""
        names = dict.fromkeys(row["model"] for row in self.rows)
        return {name: read_json(self.folder / name / CONFIG) or {} for name in names}

    def picture(self, image: str) -> Image.Image | None:
        """Reads (or draws) a test image as RGB; None where there is none that can be read."""
        from PIL import Image

        from prefixcap.study.analysis.contact_sheet import loaded

        path = self._paths.get(image)
        if path is not None and path.is_file():
            return loaded(lambda: Image.open(path))
        example = self._examples.get(image)
        opener = None if example is None else example.image.open
        return None if opener is None else loaded(opener)

    @cached_property
    def _paths(self) -> dict[str, Path]:
        return {image.id: image.path for image in self.images if image.path is not None}

    @cached_property
    def _examples(self) -> dict[str, Example]:
        try:
            return {example.image.id: example for example in _examples(self.config)}
        except (PrefixcapError, OSError):  # the data set is elsewhere, or its plugin is not here
            return {}


def read(folder: Path) -> SavedStudy:
    """Reads a study's folder; nothing is computed.

    Raises:
        PrefixcapError: there is no study in the folder, it is of another format, a file in it is
            broken, or none of its cells is finished.
    """
    files = StudyFolder(folder)
    config = files.read_config()
    found = read_json(files.scores) or {}
    rows, baselines = list(found.get("rows", [])), list(found.get("baselines", []))
    if not rows:
        raise PrefixcapError(
            f"{folder}: no cell of this study is finished: run `prefixcap bench` with --out "
            f"{folder} to go on with it"
        )
    cells = [_cell(files.cells, row) for row in rows]
    cells += [_cell(files.baselines, row, baseline=True) for row in baselines if _kept(row)]
    finished = SavedStudy(
        folder=folder,
        config=config,
        rows=rows,
        baselines=baselines,
        cells={cell.name: cell for cell in cells},
        images=_images(files, rows[0]["cell"]),
        skipped=list(found.get("skipped_images", [])),
        complete=bool(found.get("complete", True))
        # studies of early versions say in neither file what is scored
        and config.get("study", found.get("study")) == found.get("study"),
        warnings=list(found.get("warnings", [])),
    )
    for cell in cells[:1]:
        if [line["image"] for line in cell.lines] != [image.id for image in finished.images]:
            raise PrefixcapError(
                f"{cell.folder / CAPTIONS} does not hold the captions of every test image: run "
                f"`prefixcap bench` with --out {folder} to make what is missing"
            )
    return finished


def dataset_config(config: Mapping[str, Any], registry: Registry | None = None) -> DatasetConfig:
    """Returns the data set of a study's config.

    Raises:
        PrefixcapError: its plugin is not installed.
    """
    from prefixcap.plugin.registry import default_registry

    found: DatasetConfig = (registry or default_registry()).from_json(
        DatasetConfig, config["dataset"]
    )
    return found


def _examples(config: Mapping[str, Any]) -> list[Example]:
    dataset = dataset_config(config).build()
    splits = [split for split in dataset.splits if split != "train"]
    return [example for split in splits for example in dataset.examples(split)]


def _kept(row: Mapping[str, Any]) -> bool:
    return "cell" in row


def _cell(folder: Path, row: Mapping[str, Any], *, baseline: bool = False) -> Cell:
    name = row["cell"]
    return Cell(name=name, folder=folder / name, scores=row["scores"], baseline=baseline)


def _images(files: StudyFolder, cell: str) -> list[CaptionedImage]:
    lines = read_lines(files.test)
    if not lines:  # a study of an early version
        lines = [line for line in read_lines(files.captions) if line["cell"] == cell]
    return [
        CaptionedImage(
            id=line["image"],
            references=tuple(line["references"]),
            path=Path(line["path"]) if line.get("path") else None,
        )
        for line in lines
    ]
