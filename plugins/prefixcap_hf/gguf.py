"""GGUF files, converted once and kept."""

from __future__ import annotations

import copy
import importlib.util
import os
import shutil
from hashlib import sha256
from pathlib import Path
from typing import Any

from prefixcap.errors import PrefixcapError, nearest
from prefixcap.util.runtime import cache_dir
from prefixcap_hf.configs import HF

_READY = "config.json"


def gguf_of(config: HF) -> Path | None:
    """Finds the .gguf file that a config means; None where it means none.

    Raises:
        PrefixcapError: the folder has no such file, or several and none was named.
    """
    path = Path(config.model).expanduser()
    if path.is_file():
        return path
    if config.gguf_file:
        return _named(path, config)
    if not path.is_dir() or (path / _READY).exists():
        return None
    found = sorted(path.glob("*.gguf"))
    if len(found) > 1:
        names = ", ".join(file.name for file in found)
        raise PrefixcapError(f"lm 'hf': {path} holds several: set gguf_file to one of {names}")
    return found[0] if found else None


def converted(file: Path) -> Path:
    """Returns a folder with a .gguf file's model and tokenizer, converted when first asked for.

    The folder is named by the file's content; it is made under another name and then renamed.

    Raises:
        PrefixcapError: the packages for it are not installed, or the file is not GGUF.
    """
    with file.open("rb") as opened:
        if opened.read(4) != b"GGUF":
            raise PrefixcapError(f"lm 'hf': {file} is not a GGUF file")
        opened.seek(0)
        content = sha256()
        while block := opened.read(1 << 22):
            content.update(block)
    folder = cache_dir() / "gguf" / f"{file.stem}-{content.hexdigest()[:16]}"
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
    temporary = folder.with_name(f".{folder.name}.{os.getpid()}")
    try:
        model = loader.from_pretrained(str(file.parent), gguf_file=file.name, dtype=torch.float32)
        # transformers does not save a model that it calls quantised, although these weights are not
        settings = copy.deepcopy(model.config)
        if hasattr(settings, "quantization_config"):
            del settings.quantization_config
        plain = loader.from_config(settings)
        plain.load_state_dict(model.state_dict())
        plain.save_pretrained(temporary)
        AutoTokenizer.from_pretrained(str(file.parent), gguf_file=file.name).save_pretrained(
            temporary
        )
        if not folder.exists():
            temporary.rename(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _named(path: Path, config: HF) -> Path:
    if path.is_dir():
        file = path / config.gguf_file
        if not file.is_file():
            near = nearest(config.gguf_file, [p.name for p in path.glob("*.gguf")])
            raise PrefixcapError(f"lm 'hf': {path} has no file {config.gguf_file!r}{near}")
        return file
    from huggingface_hub import hf_hub_download

    return Path(hf_hub_download(config.model, config.gguf_file, revision=config.revision or None))
