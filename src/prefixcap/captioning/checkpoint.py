"""A model's folder: `config.json`, `weights.safetensors` and, of prompts, a datastore.

Each file is written under another name and renamed, the config last. The config holds the hash of
the weights and of itself, so altered files, an interrupted copy and two files that do not belong
together are noticed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from hashlib import file_digest, sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prefixcap.errors import PrefixcapError, listed
from prefixcap.interfaces.retrieval.prompt import Datastore
from prefixcap.util import files
from prefixcap.util.files import AlteredError
from prefixcap.util.runtime import version_of
from prefixcap.util.text_files import decode, parse_json

if TYPE_CHECKING:
    from torch import Tensor

FORMAT = 3
CURE = "copy the run again from where it was trained, or train it again"
CONFIG = "config.json"
WEIGHTS, DATASTORE = "weights.safetensors", "datastore.safetensors"
MODELS, MODEL_KEY = "models", "key.json"
"""The folder of a study's models, and the file that marks a model as complete."""


def write(
    folder: Path,
    config: Mapping[str, Any],
    weights: Mapping[str, Tensor],
    datastore: Datastore | None = None,
) -> None:
    """Write a model's folder from JSON data, tensors by name and what its prompts are made from.

    Raises:
        PrefixcapError: If the folder cannot be written.
    """
    from safetensors.torch import save

    content = save({name: tensor.contiguous() for name, tensor in weights.items()})
    stored = None if datastore is None else _packed(datastore)
    full = {
        "format": FORMAT,
        "prefixcap": version_of("prefixcap"),
        **config,
        "weights_sha256": sha256(content).hexdigest(),
        **({} if stored is None else {"datastore_sha256": sha256(stored).hexdigest()}),
        "versions": {name: version_of(name) for name in ("torch", "transformers")},
    }
    try:
        files.atomic_write(folder / WEIGHTS, content)
        if stored is not None:
            files.atomic_write(folder / DATASTORE, stored)
        files.write_json(folder / CONFIG, full)
    except OSError as error:
        raise PrefixcapError(f"{folder}: the model cannot be saved: {error.strerror}") from error


def read(folder: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Read a model's folder; return the config and the tensors by name.

    Raises:
        AlteredError: If a file is not as it was written.
        PrefixcapError: If a file is missing, or the folder has another format.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load

    config = read_config(folder)
    content = _content(folder, WEIGHTS)
    _check_hash(folder, WEIGHTS, config, sha256(content).hexdigest())
    try:
        return config, load(content)
    except SafetensorError as error:
        raise PrefixcapError(f"{folder / WEIGHTS}: cannot be read: {error}") from error


def read_datastore(folder: Path, config: Mapping[str, Any]) -> Datastore:
    """Read what a model's prompts are made from; raises like `read`."""
    from safetensors import SafetensorError
    from safetensors.torch import load

    content = _content(folder, DATASTORE)
    _check_hash(folder, DATASTORE, config, sha256(content).hexdigest())
    try:
        header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
        return Datastore(vectors=load(content), texts=json.loads(header["__metadata__"]["texts"]))
    except (SafetensorError, ValueError, KeyError) as error:
        raise PrefixcapError(f"{folder / DATASTORE}: cannot be read: {error}") from error


def _packed(datastore: Datastore) -> bytes:
    from safetensors.torch import save

    vectors = {name: tensor.contiguous() for name, tensor in datastore.vectors.items()}
    return save(vectors, {"texts": json.dumps(datastore.texts, ensure_ascii=False)})


def _content(folder: Path, name: str) -> bytes:
    try:
        return (folder / name).read_bytes()
    except FileNotFoundError:
        reason = f"the run has no {name}: copying it may have been interrupted"
        raise PrefixcapError(f"{folder}: {reason}") from None
    except OSError as error:
        raise PrefixcapError(f"{folder / name}: cannot be read: {error.strerror}") from error


def check(folder: Path) -> None:
    """Check that a model's files are as they were written; its weights may have been deleted.

    Raises:
        AlteredError: If one is not.
        PrefixcapError: If there is no config, or the folder has another format.
    """
    config = read_config(folder)
    for name in (WEIGHTS, DATASTORE):
        if (path := folder / name).exists():
            _check_hash(folder, name, config, _hash_of(path, path.stat().st_mtime_ns))


@cache
def _hash_of(path: Path, _changed: int) -> str:
    with path.open("rb") as file:
        return file_digest(file, "sha256").hexdigest()


def _check_hash(folder: Path, name: str, config: Mapping[str, Any], digest: str) -> None:
    part = Path(name).stem
    these = "this is" if name == DATASTORE else "these are"
    if digest != config.get(f"{part}_sha256"):
        reason = f"{these} not the {part} that {CONFIG} was written with"
        raise AlteredError(folder / name, reason, CURE)


def read_config(folder: Path) -> dict[str, Any]:
    """Read only the config of a model's folder; raises like `read`."""
    path = folder / CONFIG
    try:
        data = files.read_json(path)
    except AlteredError as error:
        data = files.read_before_seals(path, FORMAT)
        if data is None:
            raise AlteredError(path, error.reason, CURE) from None
    if data is None:
        reason = f"has no {CONFIG}" if folder.is_dir() else "does not exist"
        raise PrefixcapError(f"{folder}: the run {reason}")
    number = data.get("format")
    if number != FORMAT:
        reason = "has no format number" if number is None else f"is of format {number!r}"
        raise PrefixcapError(
            f"{path}: the run {reason}, and this version of prefixcap reads format {FORMAT}: "
            "train it again, or use the version that wrote it"
        )
    return data


def is_study(config: object) -> bool:
    """Return whether a folder's `config.json` describes a study rather than a single model."""
    return isinstance(config, dict) and config.get("kind") == "study"


def model_folder(run: Path) -> Path:
    """Return the folder of a run's model: the run itself, or a study's only model.

    Raises:
        PrefixcapError: If it is a study without a model or with several.
    """
    try:
        config = parse_json(decode((run / CONFIG).read_bytes()), finite=False)
    except (OSError, ValueError):
        return run  # reading the model reports what is wrong
    if not is_study(config):
        return run
    models = sorted(path.parent for path in (run / MODELS).glob(f"*/{MODEL_KEY}"))
    if not models:
        raise PrefixcapError(f"{run}: no model of this study is trained yet")
    if len(models) > 1:
        names = listed(model.name for model in models)
        raise PrefixcapError(
            f"{run} holds {len(models)} models; choose one in {run / MODELS}: {names}"
        )
    return models[0]
