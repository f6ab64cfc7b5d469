"""transformers' logits processors by name."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Sequence
from typing import Any

from torch import Tensor

from prefixcap.errors import PrefixcapError, nearest
from prefixcap.plugin.specs import split_top_level

_ENCODER = "reads the tokens of an encoder, and a prefix has no tokens"
_PAIRS = "needs two rows per caption; use the decoders guidance and contrastive-decoding instead"
_OBJECTS = "needs a function, a model or a config, which cannot be written as text"
_BATCHES = "keeps state per row of a fixed batch, and here rows join and leave"
_CHANNELS = "needs audio channels"

UNFIT = {
    "ClassifierFreeGuidanceLogitsProcessor": _PAIRS,
    "DiaClassifierFreeGuidanceLogitsProcessor": _PAIRS,
    "DiaEOSChannelFilterLogitsProcessor": _CHANNELS,
    "DiaEOSDelayPatternLogitsProcessor": _CHANNELS,
    "EncoderNoRepeatNGramLogitsProcessor": _ENCODER,
    "EncoderRepetitionPenaltyLogitsProcessor": _ENCODER,
    "PrefixConstrainedLogitsProcessor": _OBJECTS,
    "SynthIDTextWatermarkLogitsProcessor": _BATCHES,
    "UnbatchedClassifierFreeGuidanceLogitsProcessor": _OBJECTS,
    "WhisperNoSpeechDetection": _BATCHES,
    "WhisperTimeStampLogitsProcessor": _OBJECTS,
}


class NamedProcessor:
    """A processor whose failures are reported with its name.

    Args:
        text: The setting that names it.
        processor: transformers' object.
    """

    def __init__(self, text: str, processor: Any) -> None:
        self._text = text
        self._processor = processor

    def __call__(self, tokens: Tensor, scores: Tensor) -> Tensor:
        """Transform the scores (R,V) that follow tokens (R,T)."""
        try:
            changed: Tensor = self._processor(tokens, scores)
        except Exception as error:
            reason = " ".join(str(error).split()) or type(error).__name__
            raise PrefixcapError(f"the processor {self._text!r} failed: {reason}") from error
        if changed.shape != scores.shape:
            raise PrefixcapError(
                f"the processor {self._text!r} returned scores of shape {tuple(changed.shape)} "
                f"for {tuple(scores.shape)}; the shapes must be equal"
            )
        return changed


def named_processor(text: str, stop_ids: Sequence[int], device: str) -> NamedProcessor:
    """Build a processor from a text such as `TopKLogitsWarper(top_k=5)`.

    Args:
        text: Class name, with arguments in parentheses, separated by "," or ";".
        stop_ids: Default of `eos_token_id`, if the class takes it.
        device: Default of `device`, if the class takes it.

    Raises:
        PrefixcapError: If the class is unknown or cannot be used here, or its arguments are wrong.
    """
    name, _, rest = text.partition("(")
    module = generation()
    base = module.LogitsProcessor
    known = {
        key: value
        for key, value in vars(module).items()
        if inspect.isclass(value) and issubclass(value, base) and value is not base
    }
    usable = sorted(known.keys() - UNFIT.keys())
    if name in known.keys() & UNFIT.keys():
        raise PrefixcapError(
            f"the processor {name!r} cannot be used: it {UNFIT[name]}; these can: "
            f"{', '.join(usable)}"
        )
    if name not in known:
        raise PrefixcapError(f"transformers has no processor {name!r}{nearest(name, usable)}")
    parameters = inspect.signature(known[name].__init__).parameters
    defaults = {"eos_token_id": list(stop_ids), "device": device}
    arguments = {key: value for key, value in defaults.items() if key in parameters}
    arguments |= _arguments(text, rest)
    try:
        return NamedProcessor(text, known[name](**arguments))
    except Exception as error:
        raise PrefixcapError(f"the processor {text!r} cannot be built: {error}") from error


def _arguments(text: str, rest: str) -> dict[str, Any]:
    if rest and not rest.endswith(")"):
        raise PrefixcapError(f"the processor {text!r} lacks a closing parenthesis")
    parts = split_top_level(rest.removesuffix(")"), ",;")
    return dict(key_value(part, f"the processor {text!r}: {part!r}") for part in parts)


def key_value(text: str, place: str) -> tuple[str, Any]:
    """Parse `key=value`, with a Python literal or a text as the value.

    Raises:
        PrefixcapError: If there is no "="; the message begins with `place`.
    """
    key, equals, value = text.partition("=")
    if not equals:
        raise PrefixcapError(f"{place} is not of the form key=value")
    try:
        return key.strip(), ast.literal_eval(value)
    except (ValueError, SyntaxError):
        return key.strip(), value


def generation() -> Any:
    """Import and return `transformers.generation.logits_process`."""
    from transformers.generation import logits_process

    return logits_process
