"""Loading models of both libraries: no questions, no chatter, errors as sentences."""

from __future__ import annotations

import importlib.util
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from prefixcap.errors import PrefixcapError, nearest
from prefixcap.util.text_files import check_file, expanded
from prefixcap.util.weights import is_torchscript, reason_of

HUB, FOLDER = "hf-hub:", "local-dir:"


def require(module: str, extra: str) -> None:
    """Raise a `PrefixcapError` if an extra is not installed."""
    if importlib.util.find_spec(module) is None:
        raise PrefixcapError(f"encoder {extra!r} needs {module}: pip install 'prefixcap[{extra}]'")


def in_folder(model: str) -> str:
    """Return the name by which the libraries know a model: a folder gets a prefix."""
    path = expanded(model.removeprefix(FOLDER))
    if model.startswith(FOLDER) and not path.is_dir():
        raise PrefixcapError(f"{path}: there is no such folder of a model")
    return f"{FOLDER}{path}" if path.is_dir() else model


def weights_file(path: str) -> Path:
    """Return the path of a file of weights.

    Raises:
        PrefixcapError: If there is no such file, or it is a TorchScript archive.
    """
    file = expanded(path)
    check_file(file)
    if is_torchscript(file):
        raise PrefixcapError(
            f"{file}: a TorchScript archive, which is code, and prefixcap runs no code of files: "
            "save its state_dict with torch.save, and use that; the encoder 'clip' reads OpenAI's"
        )
    return file


def check_known(what: str, value: str, known: list[str]) -> None:
    """Raise a `PrefixcapError` if a value is not among the known ones."""
    if value not in known:
        raise PrefixcapError(f"{what}={value!r} is unknown{nearest(value, known)}")


@contextmanager
def loading(encoder: str, source: str, cure: str = "") -> Iterator[None]:
    """Turn the errors of a library that loads `source` into sentences, and silence its messages.

    Code of models is never run: transformers would ask on the terminal whether it may be.

    Raises:
        PrefixcapError: If something cannot be loaded.
    """
    handler, root = logging.NullHandler(), logging.getLogger()
    root.addHandler(handler)  # without one, the libraries' messages would set up their own
    before = root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with _no_questions():
            yield
    except PrefixcapError as error:
        raise PrefixcapError(f"encoder {encoder!r}: {error}") from error
    except Exception as error:  # shapes that do not fit can fail anywhere
        raise PrefixcapError(
            f"encoder {encoder!r}: {source} cannot be loaded: {_reason(error)}{cure}"
        ) from error
    finally:
        logging.disable(before)
        root.removeHandler(handler)


def _reason(error: Exception) -> str:
    cause = error.__cause__ if isinstance(error.__cause__, Exception) else error
    if "weights_only" in str(error) or "weights only" in str(error).lower():
        return reason_of(cause)
    text = " ".join(str(error).split())[:300]
    return text if " " in text else f"{type(error).__name__} {text}".strip()


@contextmanager
def _no_questions() -> Iterator[None]:
    from transformers import dynamic_module_utils

    module: Any = dynamic_module_utils
    seconds = module.TIME_OUT_REMOTE_CODE
    module.TIME_OUT_REMOTE_CODE = 0  # an error instead of a question
    try:
        yield
    finally:
        module.TIME_OUT_REMOTE_CODE = seconds
