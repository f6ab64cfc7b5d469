"""Decoders and language models that a decoder's settings name."""

from __future__ import annotations

from typing import TypeVar

from prefixcap.errors import PrefixcapError
from prefixcap.interfaces.component import Component
from prefixcap.interfaces.decoder import DecodingTask
from prefixcap.interfaces.language_model import LanguageModel
from prefixcap.plugin.registry import default_registry
from prefixcap.plugin.specs import nested
from prefixcap.util.runtime import dtype_of

C = TypeVar("C", bound=Component)

# number of tokens of two vocabularies that are compared
PROBES = 500


def parse_nested(kind: type[C], spec: str, setting: str) -> C:
    """Parse the config that a setting names, with ";" for "," between its own settings.

    Raises:
        PrefixcapError: If it is unknown or its settings are wrong; the message names the setting.
    """
    try:
        return default_registry().parse(kind, nested(spec))
    except PrefixcapError as error:
        raise PrefixcapError(f"{setting}: {error}") from error


def device_and_dtype(task: DecodingTask) -> tuple[str, str]:
    """Return the language model's device and dtype, for building a second one."""
    return str(task.prefix.device), dtype_of(task.lm.module)


def check_shared_vocabulary(lm: LanguageModel, task: DecodingTask, length: int, name: str) -> None:
    """Check that a second language model can continue the captions of a task.

    Args:
        lm: Second language model.
        task: Task with the first one.
        length: Length of the second one's prefix.
        name: Subject of an error message, such as "speculative: the draft".

    Raises:
        PrefixcapError: If it has different tokens or too few positions.
    """
    main = task.lm
    if lm.vocab_size != main.vocab_size:
        raise PrefixcapError(
            f"{name} has a vocabulary of {lm.vocab_size}, the language model one of "
            f"{main.vocab_size}; they must have the same tokens"
        )
    if lm.tokenizer is not None and main.tokenizer is not None:
        for token in range(0, main.vocab_size, 1 + main.vocab_size // PROBES):
            text, main_text = lm.tokenizer.decode([token]), main.tokenizer.decode([token])
            if text != main_text:
                raise PrefixcapError(
                    f"{name}'s token {token} is {text!r}, and the language model's {main_text!r}; "
                    "they must have the same tokens"
                )
    longest = length + task.max_new_tokens
    if lm.max_positions is not None and longest > lm.max_positions:
        raise PrefixcapError(
            f"{name} has {lm.max_positions} positions, and its prefix of {length} with "
            f"{task.max_new_tokens} new tokens needs {longest}: lower max_new_tokens"
        )
