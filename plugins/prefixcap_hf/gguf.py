"""Conversion of GGUF files to folders that transformers loads."""

from __future__ import annotations

import copy
import importlib.util
from hashlib import file_digest
from pathlib import Path
from typing import Any

from prefixcap.errors import PrefixcapError, nearest
from prefixcap.util.runtime import cache_dir
from prefixcap.util.storage.temporary import temporary_folder

_READY = "config.json"


def find_gguf(model: str, gguf_file: str, revision: str) -> Path | None:
    """Return the .gguf file of a model, or None if it has none; see `HF` for the arguments.

    Raises:
        PrefixcapError: If the folder has no such file, or several and none was named.
    """
    path = Path(model).expanduser()
    if path.is_file():
        return path
    if gguf_file and not path.is_dir():
        from huggingface_hub import hf_hub_download

        return Path(hf_hub_download(model, gguf_file, revision=revision or None))
    if not path.is_dir() or (not gguf_file and (path / _READY).exists()):
        return None
    files = sorted(path.glob("*.gguf"))
    if gguf_file:
        if not (path / gguf_file).is_file():
            hint = nearest(gguf_file, [file.name for file in files])
            raise PrefixcapError(f"lm 'hf': {path} has no file {gguf_file!r}{hint}")
        return path / gguf_file
    if len(files) > 1:
        names = ", ".join(file.name for file in files)
        raise PrefixcapError(f"lm 'hf': {path} has several: set gguf_file to one of {names}")
    return files[0] if files else None


def convert_once(file: Path) -> Path:
    """Return a folder with the model and tokenizer of a .gguf file, converted on first use.

    Raises:
        PrefixcapError: If the required packages are not installed, or the file is not GGUF.
    """
    with file.open("rb") as opened:
        if opened.read(4) != b"GGUF":
            raise PrefixcapError(f"lm 'hf': {file} is not a GGUF file")
        opened.seek(0)
        content = file_digest(opened, "sha256").hexdigest()
    folder = cache_dir() / "gguf" / f"{file.stem}-{content[:16]}"
    if not (folder / _READY).exists():
        _convert(file, folder)
    return folder


def _convert(file: Path, folder: Path) -> None:
    missing = [name for name in ("gguf", "accelerate") if importlib.util.find_spec(name) is None]
    if missing:
        raise PrefixcapError(
            f"lm 'hf': {file.name} needs {' and '.join(missing)}: pip install {' '.join(missing)}"
        )
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    loader: Any = AutoModelForCausalLM
    # written to a temporary folder and renamed, so that an interrupted conversion leaves nothing
    with temporary_folder(folder.parent) as temporary:
        source: dict[str, Any] = {"gguf_file": file.name, "trust_remote_code": False}
        model = loader.from_pretrained(str(file.parent), dtype=torch.float32, **source)
        # transformers refuses to save a model marked as quantized, although the weights are float
        settings = copy.deepcopy(model.config)
        if hasattr(settings, "quantization_config"):
            del settings.quantization_config
        plain = loader.from_config(settings, trust_remote_code=False)
        plain.load_state_dict(model.state_dict())
        made = temporary / folder.name
        plain.save_pretrained(made)
        AutoTokenizer.from_pretrained(str(file.parent), **source).save_pretrained(made)
        if not folder.exists():
            made.rename(folder)
