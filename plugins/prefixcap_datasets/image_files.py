"""What the data sets of this plugin have in common."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property, partial
from hashlib import file_digest, sha256
from pathlib import Path
from typing import TYPE_CHECKING, final

from prefixcap.errors import PrefixcapError, nearest
from prefixcap.interfaces.dataset import Dataset, Example

if TYPE_CHECKING:
    from PIL import Image

SMALL = 2**30


@final
class SplitDataset(Dataset):
    """Examples that are in memory, by split.

    Args:
        place: what the data set is called in errors.
        examples: each split's examples.
        contents: files whose contents belong to the digest.
        settings: whatever else decides what the data set gives.
    """

    def __init__(
        self,
        place: str,
        examples: Mapping[str, Sequence[Example]],
        contents: Iterable[Path],
        settings: object,
    ) -> None:
        self._place = place
        self._examples = {name: tuple(found) for name, found in examples.items()}
        self._contents = tuple(contents)
        self._settings = settings

    @property
    def splits(self) -> tuple[str, ...]:
        """The splits, in the order in which they first appear."""
        return tuple(self._examples)

    def examples(self, split: str) -> Sequence[Example]:
        """Returns a split's examples, in the file's order.

        Raises:
            PrefixcapError: there is no such split, or nothing is in it.
        """
        if not self._examples.get(split):
            known = [name for name, found in self._examples.items() if found]
            raise PrefixcapError(f"{self._place} has no split {split!r}{nearest(split, known)}")
        return self._examples[split]

    def digest(self) -> str:
        """Returns a hash of the caption files, the images and their embeddings.

        Images count as `ImageFiles` hashes them.
        """
        return self._digest

    @cached_property
    def _digest(self) -> str:
        found = sha256(repr(self._settings).encode())
        for path in self._contents:
            with path.open("rb") as file:
                found.update(file_digest(file, "sha256").digest())
        for examples in self._examples.values():
            for example in examples:
                shown = example.image.digest() if example.image.digest else ""
                found.update(repr((example.image.id, shown)).encode())
        return found.hexdigest()[:16]


@final
class ImageFiles:
    """Hashes of a data set's image files.

    Where the files together are small, their contents are hashed, so a copy counts as the same
    data set. Of more (COCO has 20 GB) the size and the time of the last change are looked at: a
    copy with new times then counts as other images, but a changed image is never missed.

    Args:
        paths: every image file of the data set.
        most: how many bytes all files may have for their contents to be hashed.
    """

    def __init__(self, paths: Iterable[Path], most: int = SMALL) -> None:
        self._paths = tuple(paths)
        self._most = most
        self._known: dict[Path, str] = {}

    def digest(self, path: Path) -> str:
        """Returns a hash of a file; "missing" where it cannot be read."""
        if path not in self._known:
            try:
                self._known[path] = self._content(path) if self._small else repr(self._states[path])
            except OSError:
                self._known[path] = "missing"
        return self._known[path]

    @staticmethod
    def _content(path: Path) -> str:
        with path.open("rb") as file:
            return file_digest(file, "sha256").hexdigest()

    @cached_property
    def _small(self) -> bool:
        return sum(state[0] for state in self._states.values() if state) <= self._most

    @cached_property
    def _states(self) -> dict[Path, tuple[int, int] | None]:
        return {path: _state(path) for path in self._paths}


def _state(path: Path) -> tuple[int, int] | None:
    try:
        state = os.stat(path)  # noqa: PTH116  # half the time of Path.stat, 123,287 times
    except OSError:
        return None
    return state.st_size, state.st_mtime_ns


def image_opener(path: Path) -> Callable[[], Image.Image]:
    """Makes the function that reads an image file as RGB.

    It raises:
        PrefixcapError: the file is missing or no image; its path is said.
    """
    return partial(_open_image, path)


def _open_image(path: Path) -> Image.Image:
    from PIL import Image

    if not path.is_file():
        raise PrefixcapError(f"the image {path} is not there")
    try:
        with Image.open(path) as image:
            return image.convert("RGB")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise PrefixcapError(f"the image {path} cannot be read: {error}") from error


def existing_folder(path: str, what: str) -> Path:
    """Returns a folder's path, with `~` resolved.

    Raises:
        PrefixcapError: it is not there, or no folder.
    """
    folder = Path(path).expanduser()
    if not folder.is_dir():
        reason = "is no folder" if folder.exists() else "is not there"
        raise PrefixcapError(f"the folder of {what}, {folder}, {reason}")
    return folder


def whole(text: str, place: str) -> str:
    """Returns a text of whole characters; JSON may hold half of an emoji that was cut.

    Raises:
        PrefixcapError: it has half a character, which no tokenizer and no file takes.
    """
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise PrefixcapError(f"{place} holds half a character: {text!r:.60}") from error
    return text
