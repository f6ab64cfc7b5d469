"""Python code that comes with a model or its tokenizer, which is never run."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from prefixcap.errors import PrefixcapError, PrefixcapWarning

LM = "lm 'hf'"
"""Where a model is named, in messages."""

_GENERATE = Path("custom_generate") / "generate.py"


@contextmanager
def foreign_code_refused(model: str, place: str = LM) -> Iterator[list[str]]:
    """Raise an error that names the code of a model if it cannot be loaded without.

    Yields:
        A list, to be filled with the names of the code.

    Raises:
        PrefixcapError: If transformers needs the code.
    """
    names: list[str] = []
    try:
        yield names
    except ValueError as error:
        if "trust_remote_code" not in str(error):
            raise
        raise PrefixcapError(
            f"{place}: {model!r} needs Python code of its own ({_listed(names)}), and prefixcap "
            "runs no code of models or tokenizers: use one whose classes transformers has"
        ) from error


def warn_of_code(model: str, names: list[str], place: str = LM) -> None:
    """Warn that a model was loaded without the code that comes with it."""
    if names:
        warnings.warn(
            f"{place}: {model!r} comes with Python code ({_listed(names)}), which prefixcap does "
            "not run: transformers' own classes are used",
            PrefixcapWarning,
            stacklevel=4,  # where the config is built
        )


def code_of_model(source: str, kwargs: Mapping[str, str], place: str = LM) -> list[str]:
    """Return the names of the code in a model's folder or repository.

    Raises:
        PrefixcapError: If its attention is a kernel that would be downloaded.
    """
    from transformers import PretrainedConfig

    settings, _ = PretrainedConfig.get_config_dict(source, **kwargs)
    kernel = settings.get("attn_implementation") or settings.get("_attn_implementation")
    if kernel is not None and "/" in json.dumps(kernel):
        raise PrefixcapError(
            f"{place}: {source!r} names the attention {kernel!r}, which is code on the hub, and "
            "prefixcap runs no code of models: remove attn_implementation from its config.json"
        )
    generate = [_GENERATE.as_posix()] if (Path(source) / _GENERATE).exists() else []
    return _mapped(settings) + generate


def code_of_tokenizer(source: str, kwargs: Mapping[str, str]) -> list[str]:
    """Return the names of the code in a tokenizer's folder or repository."""
    from transformers.models.auto import tokenization_auto

    module: Any = tokenization_auto
    return _mapped(module.get_tokenizer_config(source, **kwargs))


def _mapped(settings: Mapping[str, Any]) -> list[str]:
    """Return the classes of an `auto_map`, each named by its file and class."""
    classes = settings.get("auto_map") or {}
    names: list[Any] = []
    for value in classes.values() if isinstance(classes, dict) else [classes]:
        names += value if isinstance(value, list) else [value]
    return [str(name) for name in names if name]


def _listed(names: list[str]) -> str:
    return ", ".join(dict.fromkeys(names)) or "trust_remote_code"
