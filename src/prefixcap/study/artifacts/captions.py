"""Captions of a cell: appended image by image, so that a killed study goes on where it was."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from prefixcap.errors import PrefixcapError
from prefixcap.interfaces.decoder import DEFAULT_ROWS, DecoderConfig, Hypothesis
from prefixcap.study.artifacts.folder import CAPTIONS, CELL, PARTIAL_CAPTIONS
from prefixcap.study.artifacts.locks import locked
from prefixcap.util.files import appending, read_json, read_lines, write_json, write_lines
from prefixcap.util.progress import Reporter

if TYPE_CHECKING:
    from torch import Tensor

    from prefixcap.captioning.captioner import Captioner
    from prefixcap.interfaces.text_encoder import TextEncoder

COUNTED = 4
"""Of how many images the operations are counted."""


@attrs.frozen
class Captions:
    """What a decoder made.

    Attributes:
        lines: `image` and `captions` of every image, in the images' order.
        per_second: captions made in a second of decoding.
        flops: the operations of captioning an image, its encoding apart.
    """

    lines: list[dict[str, Any]]
    per_second: float
    flops: float | None = None


def finished(folder: Path, key: str, image_ids: Sequence[str]) -> Captions | None:
    """Reads a cell's captions; None where they are not all there.

    Raises:
        PrefixcapError: an image is missing from a file that claims to be whole.
    """
    cell = read_json(folder / CELL)
    if cell is None or cell.get("key") != key:
        return None
    lines = read_lines(folder / CAPTIONS)
    if [line["image"] for line in lines] != list(image_ids):
        raise PrefixcapError(
            f"{folder / CAPTIONS} does not hold the captions of every image: delete {folder} to "
            "make them anew"
        )
    return Captions(lines, cell["captions_per_second"], cell.get("flops"))


def make(
    folder: Path,
    key: str,
    captioner: Captioner,
    decoder: DecoderConfig,
    features: Tensor,
    prefix: Tensor,
    text_encoder: TextEncoder,
    image_ids: Sequence[str],
    *,
    max_new_tokens: int,
    max_rows: int = DEFAULT_ROWS,
    seed: int,
    about: Mapping[str, Any],
    reporter: Reporter,
    what: str,
) -> tuple[Captions, int]:
    """Makes a cell's captions, or what is missing of them.

    Args:
        folder: the cell's folder.
        key: a digest of everything that makes the captions.
        captioner: the trained captioner.
        decoder: the decoder.
        features: (B,D) or (B,N,D) of the images.
        prefix: (B,P,E), what the captioner makes of them.
        text_encoder: the texts' side of the encoder that made the features.
        image_ids: B names.
        max_new_tokens: the most tokens a caption may have.
        max_rows: the most hypotheses that are extended at once.
        seed: of all randomness.
        about: what is kept beside the key, for people.
        reporter: who is told.
        what: how the work is called.

    Returns:
        The captions, and how many images were decoded by this process.
    """
    from prefixcap.util.flops import counting

    with locked(folder):
        done = finished(folder, key, image_ids)
        if done is not None:
            return done, 0
        partial = folder / PARTIAL_CAPTIONS
        if decoder.batch_dependent():
            partial.unlink(missing_ok=True)

        def decoded(
            rows: Sequence[int], prefix: Tensor | None
        ) -> Iterator[tuple[str, list[Hypothesis]]]:
            captions = captioner.iter_caption(
                features[list(rows)],
                decoder,
                prefix=None if prefix is None else prefix[list(rows)],
                text_encoder=text_encoder,
                image_ids=[image_ids[row] for row in rows],
                seed=seed,
                max_new_tokens=max_new_tokens,
                max_rows=max_rows,
            )
            for number, hypotheses in captions:
                yield image_ids[rows[number]], hypotheses

        known = {line["image"]: line for line in read_lines(partial)}
        rows = [row for row, image in enumerate(image_ids) if image not in known]
        with appending(partial) as file, reporter.task(what, len(image_ids), "images") as task:
            task.resume(len(known))
            since = time.perf_counter()
            for image, hypotheses in decoded(rows, prefix):
                now = time.perf_counter()
                known[image] = {
                    "image": image,
                    "captions": [hypothesis.to_json() for hypothesis in hypotheses],
                    "seconds": now - since,
                }
                since = now
                file.write(json.dumps(known[image], ensure_ascii=False) + "\n")
                file.flush()
                task.update(len(known))
        lost = [image for image in image_ids if not known.get(image, {}).get("captions")]
        if lost:
            raise PrefixcapError(
                f"the decoder {decoder.name!r} gave no caption for {len(lost)} images, such as "
                f"{lost[0]!r}"
            )
        captions = _join([known[image] for image in image_ids])
        write_lines(folder / CAPTIONS, captions.lines)

        if not rows:  # the engine's checks of a model that it has not seen are no part of it
            list(decoded(range(1), prefix))
        # of a few images, since counting slows small models down
        few = range(0, len(image_ids), max(1, -(-len(image_ids) // COUNTED)))
        with counting() as flops:
            counted = len(list(decoded(few, None)))
        captions = attrs.evolve(captions, flops=flops.count / counted)
        measured = {"captions_per_second": captions.per_second, "flops": captions.flops}
        write_json(folder / CELL, {"key": key, **about, **measured})
        partial.unlink(missing_ok=True)
        return captions, len(rows)


def _join(lines: Sequence[Mapping[str, Any]]) -> Captions:
    seconds = sum(line["seconds"] for line in lines)
    made = sum(len(line["captions"]) for line in lines)
    bare = [{"image": line["image"], "captions": line["captions"]} for line in lines]
    return Captions(bare, made / max(seconds, 1e-9))


def missing(folder: Path, key: str, image_ids: Sequence[str]) -> int:
    """Returns how many images of a cell have no captions yet."""
    if finished(folder, key, image_ids) is not None:
        return 0
    known = {line["image"] for line in read_lines(folder / PARTIAL_CAPTIONS)}
    return len(set(image_ids) - known)
