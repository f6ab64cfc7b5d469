"""Files of predictions and references, in prefixcap's and in COCO's format, as records."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs

from prefixcap.errors import PrefixcapError, nearest, shown
from prefixcap.evaluation.evaluate import caption_fields
from prefixcap.evaluation.image_names import ImageNames, coco_number
from prefixcap.interfaces.dataset import find_split
from prefixcap.interfaces.metric import Record
from prefixcap.util.text_files import load_json, load_lines

KEYS = ("image", "references", "prediction")
RESULTS = "a list of objects with 'image_id' and 'caption'"
LINES_END = "a file with one object per line must end in .jsonl"
COCO_END = "a file in COCO's format must end in .json"
FORMS = (
    f"known: JSON lines with 'image' and 'prediction' or 'captions', and COCO's files; {COCO_END}"
)


def read_records(
    path: Path, references: Path | None = None, *, split: str | None = None, common: bool = False
) -> list[Record]:
    """Read predictions and their references.

    A file of predictions has one JSON object per line, with `image`, `references` and `prediction`.
    Instead of `prediction` it may have `captions`, a list with the best one first; each caption is
    a text, or an object as in the captions that `bench` saves. A file that ends in .json is in
    COCO's result format instead: a list of objects with `image_id` and `caption`.

    The references of an image are found by any of its names (`ImageNames`).

    Args:
        path: The file of predictions.
        references: A file with `image` and `references` (or `captions`, as in a data set) in each
            line, or COCO's annotations (.json); its images are scored. None if the predictions
            have references.
        split: The only split of the references to use.
        common: Whether to ignore images that are in only one of the files.

    Raises:
        PrefixcapError: If a file is missing, empty or broken, an image appears twice or may be any
            of several, or an image has no prediction or no references.
    """
    if references is None:
        if split is not None or common:
            raise PrefixcapError("--split and --common need a file of --references")
        return [
            _record(data, place, data["image"], _texts(data, "references", place))
            for data, place in _predictions(path)
        ]
    known = _references(references, split)
    records: list[Record] = []
    taken: dict[str, str] = {}
    for data, place in _predictions(path):
        image = known.names.find(data["image"], place)
        if image is None:
            if common:
                continue
            hint = nearest(data["image"], known.captions)
            raise PrefixcapError(
                f"{place}: the image {shown(data['image'])} has no references{hint}"
            )
        if image in taken:
            raise PrefixcapError(
                f"{place}: the image {shown(image)} has two predictions, here as "
                f"{shown(data['image'])} and in {taken[image]}"
            )
        taken[image] = f"{place.removeprefix(f'{path}, ')} as {shown(data['image'])}"
        records.append(_record(data, place, image, known.captions[image]))
    if not records:
        raise PrefixcapError(f"{path} and {references} have no image in common")
    missing = [image for image in known.captions if image not in taken]
    if missing and not common:
        raise PrefixcapError(
            f"{path} has no prediction for {len(missing)} of the {len(known.captions)} images of "
            f"{references}, such as {shown(min(missing))}; --common ignores them"
        )
    return records


def read_results(path: Path) -> list[dict[str, Any]]:
    """Read predictions in the form that COCO's evaluation server takes.

    Returns:
        An object with `image_id`, COCO's number, and `caption`, the best one, for each image.

    Raises:
        PrefixcapError: If the file is broken, an image has no such number, or two have the same.
    """
    results: dict[int, dict[str, Any]] = {}
    for data, place in _predictions(path):
        number = coco_number(data["image"])
        if number is None:
            raise PrefixcapError(
                f"{place}: the image {shown(data['image'])} has no number of COCO: its name must "
                "be like 42, 000000000042.jpg or COCO_val2014_000000000042.jpg"
            )
        if number in results:
            raise PrefixcapError(f"{place}: the image {number} has two predictions")
        caption = _record(data, place, data["image"], ()).prediction
        results[number] = {"image_id": number, "caption": caption}
    return list(results.values())


@attrs.frozen
class _References:
    """The captions of each image of a file of references, and the images' names."""

    captions: Mapping[str, tuple[str, ...]]
    names: ImageNames


def _predictions(path: Path) -> Iterator[tuple[dict[str, Any], str]]:
    """Yield each prediction with its place for error messages."""
    if path.suffix.lower() != ".json":
        yield from _lines(path, KEYS)
        return
    data = _json(path)
    if not isinstance(data, list):
        raise PrefixcapError(f"{path} is not in COCO's result format, {RESULTS}; {LINES_END}")
    for image, caption, place in _coco(data, f"{path}, result"):
        yield {"image": image, "prediction": caption}, place


def _references(path: Path, split: str | None) -> _References:
    if path.suffix.lower() == ".json":
        return _coco_annotations(path, split)
    by_split: dict[str, dict[str, tuple[str, ...]]] = {}
    for data, place in _lines(path, KEYS[:2]):
        key = "references" if "references" in data else "captions"
        name = "" if split is None else str(data.get("split"))
        by_split.setdefault(name, {})[data["image"]] = _texts(data, key, place)
    found = "" if split is None else find_split([*by_split], split)
    if found is None:
        raise PrefixcapError(
            f"{path} has no image of the split {split!r}{nearest(str(split), by_split)}"
        )
    captions = by_split[found]
    return _References(captions, ImageNames(dict.fromkeys(captions, ())))


def _coco_annotations(path: Path, split: str | None) -> _References:
    data = _json(path)
    entries = data.get("annotations") if isinstance(data, dict) else None
    if not isinstance(entries, list) or not entries:
        raise PrefixcapError(
            f"{path} is not in COCO's format: it has no list 'annotations'; {LINES_END}"
        )
    if split is not None:
        raise PrefixcapError(f"{path}: COCO's annotations have no splits: leave out --split")
    captions: dict[str, list[str]] = {}
    for image, caption, _ in _coco(entries, f"{path}, annotation"):
        captions.setdefault(image, []).append(caption)
    names: dict[str, list[str]] = {image: [] for image in captions}
    photos = data.get("images")
    for photo in photos if isinstance(photos, list) else ():
        file = photo.get("file_name") if isinstance(photo, dict) else None
        if isinstance(file, str) and (image := str(photo.get("id"))) in names:
            names[image].append(file)
    return _References({k: tuple(texts) for k, texts in captions.items()}, ImageNames(names))


def _coco(entries: Sequence[Any], label: str) -> Iterator[tuple[str, str, str]]:
    """Yield the image, the caption and the place of each of COCO's results or annotations."""
    for position, entry in enumerate(entries, 1):
        place = f"{label} {position}"
        if not isinstance(entry, dict):
            raise PrefixcapError(f"{place}: expected an object with 'image_id' and 'caption'")
        image, caption = _get(entry, "image_id", place), _get(entry, "caption", place)
        if not isinstance(image, str | int) or isinstance(image, bool):
            raise PrefixcapError(f"{place}: 'image_id' must be a number, not {shown(image)}")
        if not isinstance(caption, str):
            raise PrefixcapError(f"{place}: 'caption' must be a text, not {shown(caption)}")
        yield str(image), caption.strip(), place


def _json(path: Path) -> Any:
    try:
        return load_json(path)
    except PrefixcapError as error:
        if "Extra data" not in str(error):  # after the first of several objects
            raise
        raise PrefixcapError(f"{error}; {LINES_END}") from error


def _lines(path: Path, keys: Sequence[str]) -> Iterator[tuple[dict[str, Any], str]]:
    """Yield each line's object with its place for error messages."""
    expected = f"a JSON object with {', '.join(map(repr, keys))}"
    seen: dict[str, int] = {}
    for number, data in _numbered(path):
        place = f"{path}, line {number}"
        if not isinstance(data, dict):
            coco = f"; {COCO_END}" if isinstance(data, list) else ""
            raise PrefixcapError(f"{place}: expected {expected}{coco}")
        image = _get(data, "image", place)
        if not isinstance(image, str | int) or isinstance(image, bool):
            raise PrefixcapError(f"{place}: 'image' must be a text, not {shown(image)}")
        if seen.setdefault(str(image), number) != number:
            raise PrefixcapError(
                f"{place}: the image {shown(image)} already appears in line {seen[str(image)]}"
            )
        yield {**data, "image": str(image)}, place
    if not seen:
        raise PrefixcapError(f"{path} is empty: expected {expected} in each line")


def _numbered(path: Path) -> Iterator[tuple[int, Any]]:
    is_first = True
    try:
        for number, data in load_lines(path):
            is_first = False
            yield number, data
    except PrefixcapError as error:
        if not is_first or "not JSON" not in str(error):
            raise
        raise PrefixcapError(f"{error}; {FORMS}") from error


def _record(data: Mapping[str, Any], place: str, image: str, references: tuple[str, ...]) -> Record:
    if "captions" in data:
        fields = caption_fields(_captions(data["captions"], place))
        return Record(image=image, references=references, **fields)
    prediction = _get(data, "prediction", place)
    if not isinstance(prediction, str):
        raise PrefixcapError(f"{place}: 'prediction' must be a text, not {shown(prediction)}")
    return Record(image=image, references=references, prediction=prediction)


def _captions(value: Any, place: str) -> list[dict[str, Any]]:
    entries = value if isinstance(value, list) else []
    captions = [{"text": entry} if isinstance(entry, str) else entry for entry in entries]
    texts = [each.get("text") if isinstance(each, dict) else None for each in captions]
    if not texts or not all(isinstance(text, str) for text in texts):
        raise PrefixcapError(
            f"{place}: 'captions' must be a list of at least one text, not {shown(value)}"
        )
    for caption in captions:
        for key, (is_valid, expected) in CAPTION_KEYS.items():
            if caption.get(key) is not None and not is_valid(caption[key]):
                raise PrefixcapError(
                    f"{place}: {key!r} of a caption must be {expected}, not {shown(caption[key])}"
                )
    return captions


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < LARGEST


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and _is_number(value) and value >= 0


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _get(data: Mapping[str, Any], key: str, place: str) -> Any:
    if key not in data:
        raise PrefixcapError(f"{place}: no key {key!r}{nearest(key, data)}")
    return data[key]


def _texts(data: Mapping[str, Any], key: str, place: str) -> tuple[str, ...]:
    texts = _get(data, key, place)
    if not isinstance(texts, list) or not texts or not all(isinstance(t, str) for t in texts):
        raise PrefixcapError(
            f"{place}: {key!r} must be a list of at least one text, not {shown(texts)}"
        )
    return tuple(texts)


LARGEST = 1e300  # a float holds it, and sums of it
CAPTION_KEYS: Mapping[str, tuple[Callable[[Any], bool], str]] = {
    "logprob": (_is_number, "a finite number"),
    "tokens": (_is_count, "a number of tokens"),
    "finish": (_is_text, "a text"),
}
"""What a caption may have beside its text: a test of the value, and what it must be."""
