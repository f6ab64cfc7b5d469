"""Find images by the names that other files give them: ids, file names, paths, COCO's numbers."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from prefixcap.errors import PrefixcapError, listed, shown

_PICTURE = re.compile(r"\.(jpe?g|png|webp|gif|bmp|tiff?)$", re.IGNORECASE)
# COCO_val2014_000000000042 and 000000000042 are number 42
_NUMBER = re.compile(r"(?:COCO_[A-Za-z]+\d+_)?0*(\d+)", re.ASCII)


def forms(name: str) -> list[str]:
    """Return an image's name, then shorter forms of it, each of which more names have.

    They are its file's name without folders, that without the ending of a picture, and, if that is
    a number or a file name of COCO, the number.
    """
    file = re.split(r"[/\\]", name)[-1]
    stem = _PICTURE.sub("", file)
    number = _NUMBER.fullmatch(stem)
    return [name, file, stem, *([number[1]] if number else [])]


def coco_number(name: str) -> int | None:
    """Return COCO's number of the image with a name; None if the name has none."""
    number = forms(name)[3:]
    return int(number[0]) if number else None


class ImageNames:
    """Images that can be found by another name.

    Args:
        images: The ids of the images, each with other names that it has.
    """

    def __init__(self, images: Mapping[str, Iterable[str]]) -> None:
        self._levels: list[dict[str, dict[str, None]]] = [{}, {}, {}, {}]
        for image, others in images.items():
            for name in (image, *others):
                for level, form in zip(self._levels, forms(name), strict=False):
                    level.setdefault(form, {})[image] = None
        self._ids = images.keys()

    def find(self, name: str, place: str) -> str | None:
        """Return the id of the image that has a name, or whose name has the same form.

        A longer form decides before a shorter one.

        Raises:
            PrefixcapError: If several images may be meant; the message begins with `place`.
        """
        if name in self._ids:
            return name
        for level, form in zip(self._levels, forms(name), strict=False):
            found = list(level.get(form, ()))
            if len(found) > 1:
                images = listed(map(shown, found))
                raise PrefixcapError(
                    f"{place}: the image {shown(name)} may be any of {images}: give its full name"
                )
            if found:
                return found[0]
        return None
