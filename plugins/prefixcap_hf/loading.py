"""Loading of a causal language model and its tokenizer through transformers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from prefixcap.errors import PrefixcapError, nearest
from prefixcap.interfaces.language_model import LanguageModel
from prefixcap.util.imports.deferred import deferred
from prefixcap.util.runtime import device_named, dtype_named
from prefixcap.util.weights import reason_of
from prefixcap_hf.foreign_code import (
    LM,
    code_of_model,
    code_of_tokenizer,
    foreign_code_refused,
    warn_of_code,
)
from prefixcap_hf.spreading import load_spread, require_spread

# transformers imports them with every model, for models that detect objects and for video: a tenth
# of the time until the first caption
NOT_NEEDED = {
    "scipy.optimize": ("linear_sum_assignment",),
    "torchvision.datasets": (),
    "torchvision.models": (),
}


def load(
    *,
    model: str,
    gguf_file: str,
    tokenizer: str,
    init: str,
    seed: int,
    revision: str,
    prepend: str,
    device_map: str,
    max_memory: str,
    device: str,
    dtype: str,
) -> LanguageModel:
    """Load a language model; see `HF` for the arguments.

    Raises:
        PrefixcapError: If there is no such model or tokenizer, or it cannot be loaded.
    """
    from prefixcap_hf.gguf import convert_once, find_gguf

    device = device_named(device)
    if device_map:
        require_spread(init)
    source, kwargs = expand(model), {"revision": revision} if revision else {}
    check_path(source)
    with (
        quiet(),
        deferred(NOT_NEEDED),
        errors_as_sentences(model),
        foreign_code_refused(model) as code,
    ):
        if (file := find_gguf(model, gguf_file, revision)) is not None:
            source, kwargs = str(convert_once(file)), {}
        tokenizer_source = (expand(tokenizer), {}) if tokenizer else (source, kwargs)
        code += code_of_model(source, kwargs) + code_of_tokenizer(*tokenizer_source)
        random_seed = seed if init == "random" else None
        if device_map:
            module = load_spread(source, dtype_named(dtype), device_map, max_memory, kwargs)
        else:
            module = _load_model(source, dtype_named(dtype), random_seed, kwargs).to(device)
        # after the model, because a wrong name should be reported as the model's
        loaded_tokenizer = _load_tokenizer(*tokenizer_source)
    warn_of_code(model, code)
    from prefixcap.engine.causal_lm import from_transformers

    _repair_special_tokens(loaded_tokenizer, module.config.get_text_config())
    size = int(module.config.get_text_config().vocab_size)
    prepended = _prepended_tokens(prepend, loaded_tokenizer, size)
    try:
        return from_transformers(module, loaded_tokenizer, prepended)
    except PrefixcapError as error:
        raise PrefixcapError(f"lm 'hf': model={model!r}: {error}") from error


def expand(name: str) -> str:
    """Return a hub's name as it is, and a path without "~", which transformers does not expand."""
    path = Path(name).expanduser()
    return str(path) if path.exists() else name


def _prepended_tokens(text: str, tokenizer: Any, size: int) -> list[int]:
    if text == "auto":
        return _tokens_before_texts(tokenizer, size)
    if text in ("", "none"):
        return []
    if text != "bos":
        return list(tokenizer.encode(text, add_special_tokens=False))
    if tokenizer.bos_token_id is None:
        raise PrefixcapError(
            "lm 'hf': prepend='bos': this tokenizer has no beginning-of-text token; give the name "
            "of a token or a text instead"
        )
    return [int(tokenizer.bos_token_id)]


def _tokens_before_texts(tokenizer: Any, size: int) -> list[int]:
    """Return the tokens that a tokenizer puts before every text, of a model's `size` tokens."""
    marked, plain = (tokenizer.encode("a", add_special_tokens=mark) for mark in (True, False))
    for start in range(len(marked) - len(plain) + 1):
        if marked[start : start + len(plain)] == plain:
            # A token that the model has no embedding for belongs to another vocabulary.
            return [int(token) for token in marked[:start] if token < size]
    return []


def _load_model(source: str, dtype: Any, random_seed: int | None, kwargs: dict[str, str]) -> Any:
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    loader: Any = AutoModelForCausalLM
    if random_seed is None:
        return loader.from_pretrained(source, dtype=dtype, trust_remote_code=False, **kwargs)
    settings = AutoConfig.from_pretrained(source, trust_remote_code=False, **kwargs)
    with torch.random.fork_rng(devices=[]):
        # `torch.manual_seed` would also seed every GPU
        torch.default_generator.manual_seed(random_seed)
        return loader.from_config(settings, trust_remote_code=False).to(dtype)


def _load_tokenizer(source: str, kwargs: dict[str, str]) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(source, trust_remote_code=False, **kwargs)


def _repair_special_tokens(tokenizer: Any, settings: Any) -> None:
    """Set the tokenizer's end token to the config's if its own is outside the vocabulary.

    For a folder with a vocabulary only, transformers appends the usual end token of the tokenizer
    class, which has no embedding in the model.
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


def check_path(source: str, place: str = LM) -> None:
    """Raise if a path does not exist, before it is looked up on the hub."""
    path = Path(source).expanduser()
    if path.exists():
        return
    looks_like_path = source.startswith((".", "/", "~")) or source.endswith(".gguf")
    if not looks_like_path and source.count("/") < 2:
        return
    folder = path.parent
    names = [p.name for p in folder.iterdir()] if folder.is_dir() else []
    raise PrefixcapError(
        f"{place}: model={source!r} does not exist{nearest(path.name, names) if names else ''}"
    )


@contextmanager
def quiet() -> Iterator[None]:
    """Silence transformers' messages and progress bars."""
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
def errors_as_sentences(model: str, place: str = LM) -> Iterator[None]:
    """Turn the errors of transformers, which loads a model or its tokenizer, into sentences."""
    try:
        yield
    except PrefixcapError:
        raise
    except Exception as error:
        pickled = "weights only" in str(error).lower()
        reason = reason_of(error) if pickled else " ".join(str(error).split())[:300]
        reason = reason or type(error).__name__
        kind = "folder" if Path(expand(model)).exists() else "name on the hub"
        hint = "" if kind == "folder" else "; without a network, give a folder instead"
        raise PrefixcapError(
            f"{place}: the {kind} {model!r} cannot be loaded: {reason}{hint}"
        ) from error
