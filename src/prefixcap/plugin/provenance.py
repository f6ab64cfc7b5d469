"""The code of a third party's components, as part of the keys of a study's artifacts.

Built-in components say by their `version` when results change. Of other distributions the version
is used, and where one is installed in place (`pip install -e`), so that its code changes without
its version, a digest of its files.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Collection, Iterator
from functools import cache
from hashlib import sha256
from importlib.metadata import Distribution
from pathlib import Path
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

if TYPE_CHECKING:
    from prefixcap.interfaces.component import Component

_CODE: WeakKeyDictionary[type, dict[str, str]] = WeakKeyDictionary()


def record(classes: Collection[type], name: str, distribution: Distribution, module: str) -> None:
    """Keep which distribution provides some classes, by an entry point in a module.

    `name` is the distribution's, with its version. Files are read now, as the classes have just
    been imported from them.
    """
    code = {"distribution": name}
    if _is_editable(distribution):
        names = (module, *(each.__module__ for each in classes))
        code["source"] = _digest(frozenset(name.partition(".")[0] for name in names))
    _CODE.update(dict.fromkeys(classes, code))


def code_of(config_class: type) -> dict[str, str]:
    """Return what keys need of a class's code besides its version; {} if it is built in."""
    return _CODE.get(config_class, {})


def component_version(config: Component) -> str:
    """Return a component's version, and the distribution of one that is not built in."""
    origin = code_of(type(config)).get("distribution")
    return f"{config.version} ({origin})" if origin else config.version


def _is_editable(distribution: Distribution) -> bool:
    """Return whether a distribution is installed in place, according to its `direct_url.json`."""
    try:
        info = json.loads(distribution.read_text("direct_url.json") or "{}")
        return bool(info.get("dir_info", {}).get("editable"))
    except Exception:  # its metadata cannot be read
        return False


@cache
def _digest(packages: frozenset[str]) -> str:
    content = sha256()
    for package in sorted(packages):
        module = sys.modules.get(package)
        places = getattr(module, "__path__", None) or [getattr(module, "__file__", None) or ""]
        for place in sorted(map(Path, places)):
            for path in [place] if place.is_file() else _files(place):
                name = path.relative_to(place.parent).as_posix()
                content.update(f"{package}\n{name}\n{_hash(path)}\n".encode())
    return content.hexdigest()[:16]


def _files(folder: Path) -> Iterator[Path]:
    """Yield the files of a package in order, without compiled and hidden ones."""
    for place, folders, names in os.walk(folder):
        folders[:] = sorted(f for f in folders if f != "__pycache__" and not f.startswith("."))
        for name in sorted(names):
            if not name.startswith(".") and not name.endswith(".pyc"):
                yield Path(place) / name


def _hash(path: Path) -> str:
    try:
        return sha256(path.read_bytes()).hexdigest()
    except OSError:  # a link to nowhere
        return ""
