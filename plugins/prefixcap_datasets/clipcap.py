"""The data set `clipcap`: the .pkl files of ClipCap's scripts `parse_coco` and its kin."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import partial
from hashlib import sha256
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from prefixcap.errors import PrefixcapError, nearest, shown
from prefixcap.interfaces.dataset import ImageItem
from prefixcap.util.text_files import expanded
from prefixcap_datasets.entries import Entry, Source, assemble, split_in_name
from prefixcap_datasets.formats.pickles import as_tensor, load_pickle
from prefixcap_datasets.image_files import FileDataset, is_folder
from prefixcap_datasets.problems import stripped

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

KEYS = ("clip_embedding", "captions")


@attrs.define
class _Captioned:
    """An image: the row of its first caption, its captions and the place of the first."""

    row: int
    captions: list[str]
    place: str


def read_clipcap(source: Source) -> FileDataset:
    """Open the data set; see `ClipCapPickles` for the arguments.

    Raises:
        PrefixcapError: If there is no file, or one is broken, would run code, or is not as ClipCap
            writes it.
    """
    path = expanded(source.path)
    files = sorted(path.glob("*.pkl")) if is_folder(path) else [path]
    if not files:
        raise PrefixcapError(f"{path}: the folder has no file of ClipCap's (a name ending in .pkl)")
    return assemble(source, path, _entries(files))


def _entries(files: Iterable[Path]) -> Iterator[Entry]:
    numbers = count()
    for file in files:
        features, captions = _load(file)
        for name, image in _images(captions, len(features), file).items():
            item = ImageItem(
                id=name,
                index=next(numbers),
                embedding=partial(_row, features, image.row, image.place),
                digest=partial(_digest, features, image.row),
            )
            yield Entry(
                image=item, captions=image.captions, split=split_in_name(file), place=image.place
            )


def _load(path: Path) -> tuple[Tensor, list[Any]]:
    data = load_pickle(path)
    for key in KEYS:
        if not isinstance(data, dict) or key not in data:
            names = [name for name in data if isinstance(name, str)] if type(data) is dict else []
            raise PrefixcapError(
                f"{path} is not one of ClipCap's files: it has no {key!r}{nearest(key, names)}"
            )
    features = as_tensor(data["clip_embedding"], f"{path}, 'clip_embedding'")
    if features.ndim not in (2, 3) or not features.numel() or not features.is_floating_point():
        raise PrefixcapError(
            f"{path}: 'clip_embedding' must be floating-point numbers of shape (B,D) or (B,N,D), "
            f"not {features.dtype} of {tuple(features.shape)}"
        )
    if not isinstance(data["captions"], list):
        raise PrefixcapError(f"{path}: 'captions' must be a list, not {shown(data['captions'])}")
    return features, data["captions"]


def _images(captions: list[Any], rows: int, path: Path) -> dict[str, _Captioned]:
    """Return the images in the order of their first captions; ClipCap encodes each caption's."""
    images: dict[str, _Captioned] = {}
    for number, entry in enumerate(captions, 1):
        place = f"{path}, caption {number}"
        text, row = (_get(entry, key, place) for key in ("caption", "clip_embedding"))
        if not isinstance(text, str) or type(row) is not int or not 0 <= row < rows:
            raise PrefixcapError(
                f"{place}: 'caption' must be a text and 'clip_embedding' a row from 0 to "
                f"{rows - 1}, not {shown(text)} and {shown(row)}"
            )
        name = entry.get("image_id", row)
        if not isinstance(name, str | int) or isinstance(name, bool) or name == "":
            raise PrefixcapError(f"{place}: 'image_id' must be a text, not {shown(name)}")
        image = images.setdefault(str(name), _Captioned(row, [], place))
        if caption := stripped(text, place):
            image.captions.append(caption)
    return images


def _get(entry: Any, key: str, place: str) -> Any:
    if not isinstance(entry, dict) or key not in entry:
        raise PrefixcapError(f"{place}: an object with {key!r} was expected, not {shown(entry)}")
    return entry[key]


def _row(features: Tensor, row: int, place: str) -> np.ndarray:
    import numpy as np

    feature = features[row].float().numpy()
    if not np.isfinite(feature).all():
        raise PrefixcapError(f"{place}: its embedding has values that are not finite")
    return feature


def _digest(features: Tensor, row: int) -> str:
    return sha256(features[row].float().numpy().tobytes()).hexdigest()[:16]
