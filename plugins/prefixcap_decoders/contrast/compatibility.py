"""A second language model beside the one that captions."""

from __future__ import annotations

from prefixcap.errors import PrefixcapError
from prefixcap.interfaces.decoder import DecodingTask
from prefixcap.interfaces.language_model import LanguageModel

# how many tokens of two vocabularies are compared
PROBES = 500


def placed(task: DecodingTask) -> tuple[str, str]:
    """Returns the device and the dtype of the language model, by which a second one is built."""
    return str(task.prefix.device), str(next(task.lm.module.parameters()).dtype)[6:]


def check_shared_vocabulary(lm: LanguageModel, task: DecodingTask, length: int, name: str) -> None:
    """Checks that a second language model can write the captions of a task.

    Args:
        lm: the second one.
        task: what is decoded.
        length: how many positions it begins with.
        name: what it is called in an error, such as "speculative: the draft".

    Raises:
        PrefixcapError: its tokens are not those of the task's, or it has too few positions.
    """
    own = task.lm
    if lm.vocab_size != own.vocab_size:
        raise PrefixcapError(
            f"{name} has a vocabulary of {lm.vocab_size}, the language model one of "
            f"{own.vocab_size}; they must have the same tokens"
        )
    if lm.tokenizer is not None and own.tokenizer is not None:
        for token in range(0, own.vocab_size, 1 + own.vocab_size // PROBES):
            one, two = (lm.tokenizer.decode([token]), own.tokenizer.decode([token]))
            if one != two:
                raise PrefixcapError(
                    f"{name}'s token {token} is {one!r}, and the language model's {two!r}; they "
                    "must have the same tokens"
                )
    longest = length + task.max_new_tokens
    if lm.max_positions is not None and longest > lm.max_positions:
        raise PrefixcapError(
            f"{name} has {lm.max_positions} positions, and its prefix of {length} with "
            f"{task.max_new_tokens} new tokens needs {longest}: lower max_new_tokens"
        )
