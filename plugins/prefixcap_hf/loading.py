"""Loads a causal language model and its tokenizer through transformers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from prefixcap.errors import PrefixcapError, nearest
from prefixcap.interfaces.language_model import LanguageModel
from prefixcap.util.runtime import device_named, dtype_named
from prefixcap_hf.configs import HF


def load(config: HF, device: str, dtype: str) -> LanguageModel:
    """Builds the language model of a config; see `HF.build`."""
    from prefixcap_hf.gguf import converted, gguf_of

    device = device_named(device)
    source, kwargs = _place(config.model), {"revision": config.revision} if config.revision else {}
    _check_path(source)
    with quiet(), _sentences(config):
        if (gguf := gguf_of(config)) is not None:
            source, kwargs = str(converted(gguf)), {}
        model = _model(config, source, dtype_named(dtype), kwargs)
        # a folder's own tokenizer needs no network, so it comes after the model's errors
        named = _place(config.tokenizer) if config.tokenizer else source
        tokenizer = _tokenizer(named, {} if config.tokenizer else kwargs)
    from prefixcap.engine.causal_lm import from_transformers

    _repair_special_tokens(tokenizer, model.config.get_text_config())
    return from_transformers(
        model.to(device), tokenizer, _prepended_tokens(config.prepend, tokenizer)
    )


def _place(name: str) -> str:
    """Returns the folder's path, where a name is one; transformers knows no `~`."""
    path = Path(name).expanduser()
    return str(path) if path.exists() else name


def _prepended_tokens(text: str, tokenizer: Any) -> list[int]:
    """Returns the tokens that stand before every prefix."""
    if text != "bos":
        return list(tokenizer.encode(text, add_special_tokens=False)) if text else []
    if tokenizer.bos_token_id is None:
        raise PrefixcapError(
            "lm 'hf': prepend='bos': this tokenizer has no beginning-of-text token; give a token's "
            "name or a text instead"
        )
    return [int(tokenizer.bos_token_id)]


def _model(config: HF, source: str, dtype: Any, kwargs: dict[str, str]) -> Any:
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    loader: Any = AutoModelForCausalLM
    if config.init == "pretrained":
        return loader.from_pretrained(source, dtype=dtype, **kwargs)
    settings = AutoConfig.from_pretrained(source, **kwargs)
    with torch.random.fork_rng(devices=[]):
        # `torch.manual_seed` would seed every GPU
        torch.default_generator.manual_seed(config.seed)
        return loader.from_config(settings).to(dtype)


def _tokenizer(source: str, kwargs: dict[str, str]) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(source, **kwargs)


def _repair_special_tokens(tokenizer: Any, settings: Any) -> None:
    """Gives a tokenizer the config's end token where its own is outside the vocabulary.

    A folder with a vocabulary alone gets the class's usual end token, as a new last entry that
    the model has no embedding for.
    """
    size = settings.vocab_size
    eos = settings.eos_token_id
    eos = eos[0] if isinstance(eos, (list, tuple)) else eos
    if tokenizer.eos_token_id is None or tokenizer.eos_token_id < size:
        return
    if eos is not None and 0 <= eos < size:
        tokenizer.eos_token = tokenizer.convert_ids_to_tokens(eos)
    else:
        tokenizer.eos_token = None


def _check_path(source: str) -> None:
    """Notices a path that does not exist before it is asked for on the hub."""
    path = Path(source).expanduser()
    if path.exists():
        return
    looks_like_path = source.startswith((".", "/", "~")) or source.endswith(".gguf")
    if not looks_like_path and source.count("/") < 2:
        return
    folder = path.parent
    near = [p.name for p in folder.iterdir()] if folder.is_dir() else []
    raise PrefixcapError(
        f"lm 'hf': model={source!r} does not exist{nearest(path.name, near) if near else ''}"
    )


@contextmanager
def quiet() -> Iterator[None]:
    """Keeps transformers' reports and bars about loading to itself."""
    from transformers.utils import logging as module

    logging: Any = module
    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()


@contextmanager
def _sentences(config: HF) -> Iterator[None]:
    """Turns what transformers and the hub raise into a sentence."""
    try:
        yield
    except PrefixcapError:
        raise
    except Exception as error:
        reason = " ".join(str(error).split())[:300] or type(error).__name__
        place = "folder" if Path(_place(config.model)).exists() else "name on the hub"
        hint = "" if place == "folder" else "; without a network, give a folder instead"
        raise PrefixcapError(
            f"lm 'hf': the {place} {config.model!r} cannot be loaded: {reason}{hint}"
        ) from error
