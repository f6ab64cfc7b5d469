"""Captions of a cell, appended image by image, so that a killed study resumes within a cell."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from prefixcap.errors import PrefixcapError
from prefixcap.plugin import specs
from prefixcap.study.artifacts import timings
from prefixcap.study.artifacts.folder import CAPTIONS, CELL, PARTIAL_CAPTIONS, StudyJob
from prefixcap.study.artifacts.keys import PlannedCell
from prefixcap.study.artifacts.locks import locked
from prefixcap.study.artifacts.shapes import CELL_INFO
from prefixcap.study.definition.study import Study
from prefixcap.util.files import (
    AlteredError,
    appending,
    checked_line,
    read_checked,
    read_json,
    read_lines,
    write_json,
    write_lines,
    write_text,
)

if TYPE_CHECKING:
    from torch import Tensor

    from prefixcap.captioning.captioner import Captioner
    from prefixcap.captioning.feature_rows import FeatureRows
    from prefixcap.interfaces.decoder import Hypothesis
    from prefixcap.interfaces.retrieval.prompt import Prompter
    from prefixcap.interfaces.text_encoder import TextEncoder

COUNTED = 4
"""The number of images on which FLOPs are counted, since counting slows small models down."""


APPENDED = 64
"""The number of captions that a process keeps before it writes them, if others write too."""


@attrs.frozen
class CellCaptions:
    """All captions of a cell.

    Attributes:
        lines: `image` and `captions` of every image, in the order of the images.
        per_second: Captions per second of decoding.
        flops: FLOPs per image, without those of its encoding.
    """

    lines: list[dict[str, Any]]
    per_second: float
    flops: float


@attrs.frozen(kw_only=True)
class LoadedModel:
    """A trained model with the test images that it captions.

    Attributes:
        features: (B,D) or (B,N,D), read when they are needed.
        prefix: (B,P,E).
        text_encoder: The text tower of the encoder that made the features.
        neighbors: Returns what finds this many captions of similar training images.
    """

    captioner: Captioner
    image_ids: Sequence[str]
    features: FeatureRows
    prefix: Tensor
    text_encoder: TextEncoder
    neighbors: Callable[[int], Prompter]

    def caption(
        self, rows: Sequence[int], cell: PlannedCell, study: Study, *, reuse_prefix: bool = True
    ) -> Iterator[tuple[str, list[Hypothesis]]]:
        """Caption some of the images; yield each one's id and hypotheses when done."""
        from prefixcap.captioning.feature_rows import parts

        together = [rows] if cell.decoder.batch_dependent() else parts(self.features, rows)
        count = cell.decoder.neighbor_captions()
        for part in together:
            features = self.features.read(part)
            captions = self.captioner.iter_caption(
                features,
                cell.decoder,
                prefix=self.prefix[list(part)] if reuse_prefix else None,
                text_encoder=self.text_encoder,
                neighbors=self.neighbors(count).items(features) if count else None,
                image_ids=[self.image_ids[row] for row in part],
                seed=cell.model.seed,
                max_new_tokens=study.max_new_tokens,
                max_rows=study.max_rows,
            )
            for number, hypotheses in captions:
                yield self.image_ids[part[number]], hypotheses


def write(folder: Path, lines: Sequence[dict[str, Any]], info: Mapping[str, Any]) -> None:
    """Write the captions of a cell or a baseline, complete once its `cell.json` exists."""
    digest = write_lines(folder / CAPTIONS, lines)
    write_json(folder / CELL, {**info, "captions_sha256": digest})


def read(
    folder: Path, key: str | None = None, images: int | None = None
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Read what `write` wrote: the lines and the info; both are empty if the key differs.

    With `images`, the lines are those of the first images.

    Raises:
        AlteredError: If a file of it was altered.
    """
    info = read_json(folder / CELL, CELL_INFO) or {}
    if key is not None and info.get("key") != key:
        return [], {}
    return read_lines(folder / CAPTIONS, info.get("captions_sha256", ""), images), info


def load(cell: PlannedCell) -> CellCaptions | None:
    """Return a cell's captions; None if they are not complete, or a file was altered."""
    try:
        return _load(cell)
    except AlteredError:
        return None


def _load(cell: PlannedCell) -> CellCaptions | None:
    lines, info = read(cell.folder, cell.key)
    return CellCaptions(lines, info["captions_per_second"], info["flops"]) if info else None


def count_missing(cell: PlannedCell, image_ids: Sequence[str]) -> int:
    """Return how many images have no captions yet."""
    if load(cell) is not None:
        return 0
    lines, _ = read_checked(cell.folder / PARTIAL_CAPTIONS, cell.key)
    return len(set(image_ids) - {line["image"] for line in lines})


def caption_cell(
    job: StudyJob, cell: PlannedCell, model: LoadedModel, title: str
) -> tuple[CellCaptions, int]:
    """Make a cell's captions, or those that are missing.

    Returns:
        The captions, and the number of images that this process decoded.

    Raises:
        PrefixcapError: If the decoder returns no caption for an image.
    """
    with locked(cell.folder):
        try:
            if captions := _load(cell):
                return captions, 0
        except AlteredError as error:
            job.reporter.message(error.remade)
        begin = time.perf_counter()
        lines, decoded = _decode(job, cell, model, title)
        decoding_seconds = sum(line.pop("seconds") for line in lines)
        per_second = sum(len(line["captions"]) for line in lines) / max(decoding_seconds, 1e-9)
        if not decoded:  # so that the engine's one-time checks of a model are not counted as FLOPs
            list(model.caption(range(1), cell, job.study))
        flops = _count_flops(cell, model, job.study)
        info = {
            "key": cell.key,
            "model": cell.model_folder.name,
            "decoder": specs.to_json(cell.decoder),
            "captions_per_second": per_second,
            "flops": flops,
        }
        write(cell.folder, lines, info)
        seconds = time.perf_counter() - begin
        decoder = specs.to_spec(cell.decoder)
        timings.record(job, timings.CAPTIONING, decoder, decoded, seconds)
        return CellCaptions(lines, per_second, flops), decoded


def caption_part(
    job: StudyJob, cell: PlannedCell, model: LoadedModel, number: int, parts: int
) -> int:
    """Make the missing captions of every `parts`-th image of a cell, from image `number` on.

    Other processes may caption other parts meanwhile; `caption_cell` completes the cell.

    Returns:
        The number of images that this process decoded.
    """
    ids = model.image_ids[number::parts]
    with locked(cell.folder):
        known = {*ids} if load(cell) else _read_partial(job, cell).keys()
    every = range(number, len(model.image_ids), parts)
    rows = [row for row in every if model.image_ids[row] not in known]
    lines: list[str] = []
    since = time.perf_counter()
    for image, hypotheses in model.caption(rows, cell, job.study):
        now = time.perf_counter()
        captions = [hypothesis.to_json() for hypothesis in hypotheses]
        line = {"image": image, "captions": captions, "seconds": now - since}
        lines.append(checked_line(line, cell.key))
        since = now
        if len(lines) == APPENDED:
            _append(cell, lines)
    _append(cell, lines)
    return len(rows)


def _append(cell: PlannedCell, lines: list[str]) -> None:
    """Move lines into the file of captions so far, which other processes write as well."""
    with locked(cell.folder), appending(cell.folder / PARTIAL_CAPTIONS) as file:
        file.write("".join(lines))
    lines.clear()


def discard_partial(cell: PlannedCell) -> None:
    """Delete the file from which a killed process would resume, once the cell is complete."""
    (cell.folder / PARTIAL_CAPTIONS).unlink(missing_ok=True)


def _decode(
    job: StudyJob, cell: PlannedCell, model: LoadedModel, title: str
) -> tuple[list[dict[str, Any]], int]:
    """Caption the images that the partial file lacks; return all lines and the number of images."""
    partial, ids = cell.folder / PARTIAL_CAPTIONS, model.image_ids
    if cell.decoder.batch_dependent():  # all images at once, or their captions change
        discard_partial(cell)
    lines = _read_partial(job, cell)
    rows = [row for row, image in enumerate(ids) if image not in lines]
    with appending(partial) as file, job.reporter.task(title, len(ids), "images") as task:
        task.resume(len(lines))
        since = time.perf_counter()
        for image, hypotheses in model.caption(rows, cell, job.study):
            now = time.perf_counter()
            captions = [hypothesis.to_json() for hypothesis in hypotheses]
            lines[image] = {"image": image, "captions": captions, "seconds": now - since}
            since = now
            file.write(checked_line(lines[image], cell.key))
            file.flush()
            task.update(len(lines))
    missing = [image for image in ids if not lines.get(image, {}).get("captions")]
    if missing:
        raise PrefixcapError(
            f"the decoder {cell.decoder.name!r} returned no caption for {len(missing)} images, "
            f"such as {missing[0]!r}"
        )
    return [lines[image] for image in ids], len(rows)


def _read_partial(job: StudyJob, cell: PlannedCell) -> dict[str, dict[str, Any]]:
    """Read the lines of a killed process by image; remove those that were altered."""
    partial = cell.folder / PARTIAL_CAPTIONS
    lines, altered = read_checked(partial, cell.key)
    if altered:
        job.reporter.message(
            f"{partial}: {altered} lines were altered after they were written: their images are "
            "captioned again"
            if altered > 1
            else f"{partial}: 1 line was altered after it was written: its image is captioned again"
        )
        write_text(partial, "".join(checked_line(line, cell.key) for line in lines))
    return {line["image"]: line for line in lines}


def _count_flops(cell: PlannedCell, model: LoadedModel, study: Study) -> float:
    """Count the FLOPs per image of mapper and decoder on a few images."""
    from prefixcap.util.flops import counting

    images = len(model.image_ids)
    rows = range(0, images, max(1, -(-images // COUNTED)))
    with counting() as flops:
        decoded = len(list(model.caption(rows, cell, study, reuse_prefix=False)))
    return flops.count / decoded
