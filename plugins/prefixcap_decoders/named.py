"""Any of transformers' logits processors by name."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Sequence
from types import ModuleType
from typing import Any

from prefixcap.errors import PrefixcapError, nearest
from prefixcap.specs import parts


def named_processor(module: ModuleType, text: str, stop_ids: Sequence[int], device: str) -> Any:
    """Makes a processor of a text such as `TopKLogitsWarper(top_k=5)`.

    Args:
        module: where the classes are.
        text: the class name, with its arguments in parentheses, parted by "," or ";".
        stop_ids: given as `eos_token_id` where the class wants one and the text has none.
        device: given as `device` likewise.

    Raises:
        PrefixcapError: there is no such class, or it does not take these arguments.
    """
    name, _, rest = text.partition("(")
    base = module.LogitsProcessor
    known = {
        key: value
        for key, value in vars(module).items()
        if inspect.isclass(value) and issubclass(value, base) and value is not base
    }
    if name not in known:
        raise PrefixcapError(f"transformers has no processor {name!r}{nearest(name, known)}")
    given = _arguments(text, rest)
    wanted = inspect.signature(known[name].__init__).parameters
    usual = {"eos_token_id": list(stop_ids), "device": device}
    filled = {key: value for key, value in usual.items() if key in wanted and key not in given}
    try:
        return known[name](**filled, **given)
    except (TypeError, ValueError) as error:
        raise PrefixcapError(f"the processor {text!r} cannot be made: {error}") from error


def _arguments(text: str, rest: str) -> dict[str, Any]:
    if rest and not rest.endswith(")"):
        raise PrefixcapError(f"the processor {text!r} lacks a closing parenthesis")
    found: dict[str, Any] = {}
    for part in parts(rest.removesuffix(")"), ",;"):
        key, equals, value = part.partition("=")
        if not equals:
            raise PrefixcapError(f"the processor {text!r}: {part!r} is not of the form key=value")
        try:
            found[key.strip()] = ast.literal_eval(value)
        except (ValueError, SyntaxError):
            found[key.strip()] = value
    return found
