"""Paths of this machine in a study's files, which others get without."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath, PureWindowsPath
from typing import Any

TEXTS = ("text", "references")
"""The keys of captions, which are kept as they are."""
# after the beginning of a value in a spec or in a sentence
_PATH = re.compile(r"""(?:(?<=[\s=+,;"'(\[])|\A)(?:~?/|[A-Za-z]:[\\/])[^\s,;+"'\])]*""")


class LocalPaths:
    """Replaces absolute paths by the names that they end with; two paths never get the same.

    Args:
        data: JSON data in which whole texts are paths, such as settings.
    """

    def __init__(self, *data: object) -> None:
        found = {text for each in data for text in _texts(each) if is_path(text)}
        self._names: dict[str, str] = {}
        for path in sorted(found):
            self._add(path)

    def removed(self, data: Any) -> Any:
        """Return JSON data without paths of this machine; captions stay as they are."""
        if isinstance(data, str):
            return self._replaced(data)
        if isinstance(data, Mapping):
            return {
                self._replaced(key): value if key in TEXTS else self.removed(value)
                for key, value in data.items()
            }
        return [*map(self.removed, data)] if isinstance(data, list | tuple) else data

    def _replaced(self, text: str) -> str:
        if text in self._names:
            return self._names[text]
        if "/" not in text and "\\" not in text:
            return text
        # the longest first, as one path may begin with another
        for path in sorted(self._names, key=len, reverse=True):
            text = text.replace(path, self._names[path])
        return _PATH.sub(lambda match: self._add(match[0]), text)

    def _add(self, path: str) -> str:
        if path not in self._names:
            name = PureWindowsPath(path).name or "path"
            taken = {*self._names.values()}
            others = (f"{name}-{number}" for number in range(2, len(taken) + 3))
            self._names[path] = next(n for n in (name, *others) if n not in taken)
        return self._names[path]


def is_path(text: str) -> bool:
    """Return whether a text is an absolute path, on any operating system."""
    is_absolute = PurePosixPath(text).is_absolute() or PureWindowsPath(text).is_absolute()
    return is_absolute and "\n" not in text


def _texts(data: object) -> Iterator[str]:
    if isinstance(data, str):
        yield data
    elif isinstance(data, Mapping):
        for value in data.values():
            yield from _texts(value)
    elif isinstance(data, list | tuple):
        for value in data:
            yield from _texts(value)
