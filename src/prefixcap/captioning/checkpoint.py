"""A model's folder: `config.json` and `weights.safetensors`, written so that none is half there."""

from __future__ import annotations

import json
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prefixcap.errors import PrefixcapError
from prefixcap.util import files
from prefixcap.util.versions import version_of

if TYPE_CHECKING:
    from torch import Tensor

FORMAT = 1
CONFIG = "config.json"
WEIGHTS = "weights.safetensors"
MODELS, MODEL_KEY = "models", "key.json"
"""Where a study keeps its models, and the file that says a model is complete."""


def write(folder: Path, config: Mapping[str, Any], weights: Mapping[str, Tensor]) -> None:
    """Writes a model's folder.

    Each file is written under another name and then renamed, the config last. It holds the
    weights' hash, so two files that do not belong together are noticed.

    Args:
        folder: is made where it is not there.
        config: JSON data.
        weights: tensors by name.

    Raises:
        PrefixcapError: the folder cannot be written; the sentence says why.
    """
    from safetensors.torch import save

    content = save({name: tensor.contiguous() for name, tensor in weights.items()})
    full = {
        "format": FORMAT,
        "prefixcap": version_of("prefixcap"),
        **config,
        "weights_sha256": sha256(content).hexdigest(),
        "versions": {name: version_of(name) for name in ("torch", "transformers")},
    }
    text = json.dumps(full, indent=1, ensure_ascii=False) + "\n"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        files.atomic_write(folder / WEIGHTS, content)
        files.atomic_write(folder / CONFIG, text.encode())
    except OSError as error:
        raise PrefixcapError(f"{folder}: the model cannot be saved: {error.strerror}") from error


def read(folder: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Reads a model's folder.

    Returns:
        The config and the tensors by name.

    Raises:
        PrefixcapError: a file is missing or broken, or the folder is of another format.
    """
    from safetensors.torch import load

    config = read_config(folder)
    try:
        content = (folder / WEIGHTS).read_bytes()
    except FileNotFoundError:
        raise PrefixcapError(f"{folder}: the run has no {WEIGHTS}: was its copy broken off?") from (
            None
        )
    except OSError as error:
        raise PrefixcapError(f"{folder / WEIGHTS}: cannot be read: {error.strerror}") from error
    if sha256(content).hexdigest() != config.get("weights_sha256"):
        raise PrefixcapError(
            f"{folder / WEIGHTS}: these are not the weights that {CONFIG} was written with"
        )
    return config, load(content)


def read_config(folder: Path) -> dict[str, Any]:
    """Reads the config of a model's folder alone; raises as `read` does."""
    path = folder / CONFIG
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        reason = f"has no {CONFIG}" if folder.is_dir() else "does not exist"
        raise PrefixcapError(f"{folder}: the run {reason}") from None
    except (OSError, ValueError) as error:
        raise PrefixcapError(f"{path}: cannot be read: {error}") from error
    found = data.get("format") if isinstance(data, dict) else None
    if found != FORMAT:
        said = "has no format number" if found is None else f"is of format {found!r}"
        raise PrefixcapError(
            f"{path}: the run {said}, and this version of prefixcap reads format {FORMAT}: "
            "train it again, or use the version that wrote it"
        )
    return dict(data)


def is_study(config: object) -> bool:
    """Return whether a folder's `config.json` describes a study rather than a single model."""
    return isinstance(config, dict) and config.get("kind") == "study"


def model_folder(run: Path) -> Path:
    """Returns the folder of a run's model: itself, or that of a study's only model.

    Raises:
        PrefixcapError: it is a study with no model or more than one.
    """
    try:
        config = json.loads((run / CONFIG).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return run  # reading the model reports what is wrong
    if not is_study(config):
        return run
    found = sorted(path.parent for path in (run / MODELS).glob(f"*/{MODEL_KEY}"))
    if not found:
        raise PrefixcapError(f"{run}: no model of this study is trained yet")
    if len(found) > 1:
        names = ", ".join(str(path) for path in found)
        raise PrefixcapError(f"{run} holds {len(found)} models; choose one: {names}")
    return found[0]
