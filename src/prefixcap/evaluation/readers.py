"""Files of predictions and of references, prefixcap's and COCO's own, as records to score."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePath
from typing import Any

from prefixcap.errors import PrefixcapError, nearest
from prefixcap.evaluation.evaluate import of_captions
from prefixcap.interfaces.metric import Record

KEYS = ("image", "references", "prediction")


def read_records(
    path: Path,
    references: Path | None = None,
    *,
    split: str | None = None,
    common: bool = False,
) -> list[Record]:
    """Reads predictions, and the references that they are to be scored against.

    A file of predictions has an object a line, with `image`, `references` and `prediction`. In the
    place of `prediction` there may be `captions`, several of one image, best first; each is a text,
    or an object with `text` and what else `bench` writes into a cell's captions. A file that ends
    in .json is in COCO's result format instead: a list of objects with `image_id` and `caption`.

    Args:
        path: the file.
        references: a file of lines with `image` and `references` (or `captions`, as in a data set),
            or COCO's annotations (.json), where those of the predictions have none; the images are
            those of this file.
        split: only the references' images of this split.
        common: whether to leave out images that only one of the files has.

    Raises:
        PrefixcapError: a file is missing or empty, a line is broken (its number is said), an image
            stands twice, or an image lacks a prediction or has no references.
    """
    human = None if references is None else _references(references, split)
    if human is None and (split is not None or common):
        raise PrefixcapError("a split, or images in common, are of a file of references: name one")
    records = [
        _record(data, place, human)
        for data, place in _predictions(path)
        if not common or human is None or {data["image"], PurePath(data["image"]).name} & {*human}
    ]
    if human is None:
        return records
    _check(path, records)
    missing = sorted(human.keys() - {record.image for record in records})
    if not records:
        raise PrefixcapError(f"{path} and {references} have no image in common")
    if missing and not common:
        raise PrefixcapError(
            f"{path} has no prediction for {len(missing)} of the {len(human)} images of "
            f"{references}, such as {missing[0]!r}"
        )
    return records


def _predictions(path: Path) -> Iterator[tuple[dict[str, Any], str]]:
    if path.suffix.lower() != ".json":
        yield from _lines(path, KEYS)
        return
    data = _json(path)
    if not isinstance(data, list):
        raise PrefixcapError(
            f"{path} is not of COCO's result format, a list of objects with 'image_id' and "
            "'caption'; an object a line is read from files that end in .jsonl"
        )
    for position, entry in enumerate(data, 1):
        place = f"{path}, result {position}"
        image, caption = _coco(entry, place)
        yield {"image": image, "prediction": caption}, place


def _references(path: Path, split: str | None) -> dict[str, tuple[str, ...]]:
    found: dict[str, tuple[str, ...]] = {}
    if path.suffix.lower() == ".json":
        data = _json(path)
        entries = data.get("annotations") if isinstance(data, dict) else None
        if not isinstance(entries, list) or not entries:
            raise PrefixcapError(f"{path} is not of COCO's format: it has no list 'annotations'")
        if split is not None:
            raise PrefixcapError(f"{path}: COCO's annotations are of no splits: leave it out")
        for position, entry in enumerate(entries, 1):
            image, caption = _coco(entry, f"{path}, annotation {position}")
            found[image] = (*found.get(image, ()), caption)
        return found
    splits = set()
    for data, place in _lines(path, KEYS[:2]):
        splits.add(str(data.get("split")))
        if split is None or data.get("split") == split:
            key = "references" if "references" in data else "captions"
            found[data["image"]] = _texts(data, key, place)
    if not found:
        raise PrefixcapError(
            f"{path} has no image of the split {split!r}{nearest(str(split), splits)}"
        )
    return found


def _coco(entry: Any, place: str) -> tuple[str, str]:
    """Returns the image and the caption of a result or an annotation of COCO's."""
    if not isinstance(entry, dict):
        raise PrefixcapError(f"{place}: expected an object with 'image_id' and 'caption'")
    image, caption = _get(entry, "image_id", place), _get(entry, "caption", place)
    if not isinstance(image, str | int) or not isinstance(caption, str):
        raise PrefixcapError(f"{place}: 'image_id' must be a number and 'caption' a text")
    return str(image), caption.strip()


def _check(path: Path, records: Sequence[Record]) -> None:
    seen: set[str] = set()
    for record in records:
        if record.image in seen:
            raise PrefixcapError(f"{path}: the image {record.image!r} has two predictions")
        seen.add(record.image)


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise PrefixcapError(f"cannot read {path}: {error}") from error
    except ValueError as error:
        raise PrefixcapError(f"{path} is no JSON: {error}") from error


def _lines(path: Path, keys: Sequence[str]) -> Iterator[tuple[dict[str, Any], str]]:
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise PrefixcapError(f"cannot read {path}: {error}") from error
    numbered = [(n, line) for n, line in enumerate(text.split("\n"), 1) if line.strip()]
    if not numbered:
        raise PrefixcapError(f"{path} is empty: expected a JSON object a line with {_all(keys)}")
    known: dict[str, int] = {}
    for number, line in numbered:
        place = f"{path}, line {number}"
        data = _object(line, place, keys)
        image = data["image"]
        if not isinstance(image, str | int):
            raise PrefixcapError(f"{place}: 'image' must be a text, not {image!r}")
        data["image"] = str(image)
        if known.setdefault(str(image), number) != number:
            raise PrefixcapError(
                f"{place}: the image {image!r} already stands in line {known[str(image)]}"
            )
        yield data, place


def _record(
    data: Mapping[str, Any], place: str, human: Mapping[str, tuple[str, ...]] | None
) -> Record:
    image = data["image"]
    if human is None:
        references = _texts(data, "references", place)
    else:
        # `caption` names an image by its path, and a data set by its file's name
        image = image if image in human else PurePath(image).name
        if image not in human:
            hint = nearest(image, human)
            raise PrefixcapError(f"{place}: the image {image!r} has no references{hint}")
        references = human[image]
    if "captions" not in data:
        prediction = _get(data, "prediction", place)
        if not isinstance(prediction, str):
            raise PrefixcapError(f"{place}: 'prediction' must be a text, not {prediction!r}")
        return Record(image=image, references=references, prediction=prediction)
    made = data["captions"] if isinstance(data["captions"], list) else []
    whole = [{"text": caption} if isinstance(caption, str) else caption for caption in made]
    good = whole and all(isinstance(c, dict) and isinstance(c.get("text"), str) for c in whole)
    if not good:
        raise PrefixcapError(
            f"{place}: 'captions' must be a list of at least one text, not {data['captions']!r:.60}"
        )
    return Record(image=image, references=references, **of_captions(whole))


def _object(line: str, place: str, keys: Sequence[str]) -> dict[str, Any]:
    try:
        data = json.loads(line)
    except json.JSONDecodeError as error:
        raise PrefixcapError(f"{place}: not JSON ({error})") from error
    if not isinstance(data, dict):
        raise PrefixcapError(f"{place}: expected a JSON object with {_all(keys)}")
    _get(data, "image", place)
    return data


def _get(data: Mapping[str, Any], key: str, place: str) -> Any:
    if key not in data:
        raise PrefixcapError(f"{place}: no key {key!r}{nearest(key, data)}")
    return data[key]


def _texts(data: Mapping[str, Any], key: str, place: str) -> tuple[str, ...]:
    found = _get(data, key, place)
    if not isinstance(found, list) or not found or not all(isinstance(t, str) for t in found):
        raise PrefixcapError(f"{place}: {key!r} must be a list of at least one text, not {found!r}")
    return tuple(found)


def _all(keys: Sequence[str]) -> str:
    return ", ".join(repr(key) for key in keys)
