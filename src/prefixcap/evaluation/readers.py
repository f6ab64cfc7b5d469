"""Files of predictions and references, in prefixcap's and in COCO's format, as records."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePath
from typing import Any

from prefixcap.errors import PrefixcapError, nearest
from prefixcap.evaluation.evaluate import caption_fields
from prefixcap.interfaces.metric import Record

KEYS = ("image", "references", "prediction")
References = Mapping[str, tuple[str, ...]]


def read_records(
    path: Path, references: Path | None = None, *, split: str | None = None, common: bool = False
) -> list[Record]:
    """Read predictions and their references.

    A file of predictions has one JSON object per line, with `image`, `references` and `prediction`.
    Instead of `prediction` it may have `captions`, a list with the best one first; each caption is
    a text, or an object as in the captions that `bench` saves. A file that ends in .json is in
    COCO's result format instead: a list of objects with `image_id` and `caption`.

    Args:
        path: The file of predictions.
        references: A file with `image` and `references` (or `captions`, as in a data set) in each
            line, or COCO's annotations (.json); its images are scored. None if the predictions
            have references.
        split: The only split of the references to use.
        common: Whether to ignore images that are in only one of the files.

    Raises:
        PrefixcapError: If a file is missing, empty or broken, an image appears twice, or an image
            has no prediction or no references.
    """
    known = None if references is None else _references(references, split)
    if known is None and (split is not None or common):
        raise PrefixcapError("--split and --common need a file of --references")
    records = [
        _record(data, place, known)
        for data, place in _predictions(path)
        if not common or known is None or {data["image"], PurePath(data["image"]).name} & {*known}
    ]
    if known is None:
        return records
    counts = Counter(record.image for record in records)
    if repeated := [image for image, count in counts.items() if count > 1]:
        raise PrefixcapError(f"{path}: the image {repeated[0]!r} has two predictions")
    missing = sorted(known.keys() - counts.keys())
    if not records:
        raise PrefixcapError(f"{path} and {references} have no image in common")
    if missing and not common:
        raise PrefixcapError(
            f"{path} has no prediction for {len(missing)} of the {len(known)} images of "
            f"{references}, such as {missing[0]!r}"
        )
    return records


def _predictions(path: Path) -> Iterator[tuple[dict[str, Any], str]]:
    """Yield each prediction with its place for error messages."""
    if path.suffix.lower() != ".json":
        yield from _lines(path, KEYS)
        return
    data = _json(path)
    if not isinstance(data, list):
        raise PrefixcapError(
            f"{path} is not in COCO's result format, a list of objects with 'image_id' and "
            "'caption'; a file with one object per line must end in .jsonl"
        )
    for image, caption, place in _coco(data, f"{path}, result"):
        yield {"image": image, "prediction": caption}, place


def _references(path: Path, split: str | None) -> dict[str, tuple[str, ...]]:
    if path.suffix.lower() == ".json":
        return _coco_annotations(path, split)
    references: dict[str, tuple[str, ...]] = {}
    splits = set()
    for data, place in _lines(path, KEYS[:2]):
        splits.add(str(data.get("split")))
        if split is None or data.get("split") == split:
            key = "references" if "references" in data else "captions"
            references[data["image"]] = _texts(data, key, place)
    if not references:
        raise PrefixcapError(
            f"{path} has no image of the split {split!r}{nearest(str(split), splits)}"
        )
    return references


def _coco_annotations(path: Path, split: str | None) -> dict[str, tuple[str, ...]]:
    data = _json(path)
    entries = data.get("annotations") if isinstance(data, dict) else None
    if not isinstance(entries, list) or not entries:
        raise PrefixcapError(f"{path} is not in COCO's format: it has no list 'annotations'")
    if split is not None:
        raise PrefixcapError(f"{path}: COCO's annotations have no splits: leave out --split")
    references: dict[str, tuple[str, ...]] = {}
    for image, caption, _ in _coco(entries, f"{path}, annotation"):
        references[image] = (*references.get(image, ()), caption)
    return references


def _coco(entries: Sequence[Any], label: str) -> Iterator[tuple[str, str, str]]:
    """Yield the image, the caption and the place of each of COCO's results or annotations."""
    for position, entry in enumerate(entries, 1):
        place = f"{label} {position}"
        if not isinstance(entry, dict):
            raise PrefixcapError(f"{place}: expected an object with 'image_id' and 'caption'")
        image, caption = _get(entry, "image_id", place), _get(entry, "caption", place)
        if not isinstance(image, str | int) or not isinstance(caption, str):
            raise PrefixcapError(f"{place}: 'image_id' must be a number and 'caption' a text")
        yield str(image), caption.strip(), place


def _read(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise PrefixcapError(f"cannot read {path}: {error}") from error


def _json(path: Path) -> Any:
    try:
        return json.loads(_read(path))
    except ValueError as error:
        raise PrefixcapError(f"{path} is not JSON: {error}") from error


def _lines(path: Path, keys: Sequence[str]) -> Iterator[tuple[dict[str, Any], str]]:
    """Yield each line's object with its place for error messages."""
    numbered = [(n, line) for n, line in enumerate(_read(path).split("\n"), 1) if line.strip()]
    expected = f"a JSON object with {', '.join(map(repr, keys))}"
    if not numbered:
        raise PrefixcapError(f"{path} is empty: expected {expected} in each line")
    seen: dict[str, int] = {}
    for number, line in numbered:
        place = f"{path}, line {number}"
        try:
            data = json.loads(line)
        except json.JSONDecodeError as error:
            raise PrefixcapError(f"{place}: not JSON ({error})") from error
        if not isinstance(data, dict):
            raise PrefixcapError(f"{place}: expected {expected}")
        image = _get(data, "image", place)
        if not isinstance(image, str | int):
            raise PrefixcapError(f"{place}: 'image' must be a text, not {image!r}")
        data["image"] = str(image)
        if seen.setdefault(str(image), number) != number:
            raise PrefixcapError(
                f"{place}: the image {image!r} already appears in line {seen[str(image)]}"
            )
        yield data, place


def _record(data: Mapping[str, Any], place: str, known: References | None) -> Record:
    image = data["image"]
    if known is None:
        references = _texts(data, "references", place)
    else:
        # `caption` identifies an image by its path, a data set by its file name
        image = image if image in known else PurePath(image).name
        if image not in known:
            hint = nearest(image, known)
            raise PrefixcapError(f"{place}: the image {image!r} has no references{hint}")
        references = known[image]
    if "captions" in data:
        fields = caption_fields(_captions(data["captions"], place))
        return Record(image=image, references=references, **fields)
    prediction = _get(data, "prediction", place)
    if not isinstance(prediction, str):
        raise PrefixcapError(f"{place}: 'prediction' must be a text, not {prediction!r}")
    return Record(image=image, references=references, prediction=prediction)


def _captions(value: Any, place: str) -> list[dict[str, Any]]:
    entries = value if isinstance(value, list) else []
    captions = [{"text": entry} if isinstance(entry, str) else entry for entry in entries]
    texts = [each.get("text") if isinstance(each, dict) else None for each in captions]
    if not texts or not all(isinstance(text, str) for text in texts):
        raise PrefixcapError(
            f"{place}: 'captions' must be a list of at least one text, not {value!r:.60}"
        )
    return captions


def _get(data: Mapping[str, Any], key: str, place: str) -> Any:
    if key not in data:
        raise PrefixcapError(f"{place}: no key {key!r}{nearest(key, data)}")
    return data[key]


def _texts(data: Mapping[str, Any], key: str, place: str) -> tuple[str, ...]:
    texts = _get(data, key, place)
    if not isinstance(texts, list) or not texts or not all(isinstance(t, str) for t in texts):
        raise PrefixcapError(f"{place}: {key!r} must be a list of at least one text, not {texts!r}")
    return tuple(texts)
