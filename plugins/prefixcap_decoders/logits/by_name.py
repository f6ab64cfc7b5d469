"""transformers' logits processors by name."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Sequence
from types import ModuleType
from typing import Any

from torch import Tensor

from prefixcap.errors import PrefixcapError, nearest
from prefixcap.plugin.specs import split_top_level

OF_AN_ENCODER = "reads what an encoder was given, and a prefix has no tokens"
OF_PAIRS = "wants two rows a caption; the decoders guidance and contrastive-decoding have them"
OF_OBJECTS = "wants a function, a model or a config, which cannot be written as text"
OF_BATCHES = "remembers the rows of a batch, and here rows come and go"
OF_CHANNELS = "wants the channels of audio"

UNFIT = {
    "ClassifierFreeGuidanceLogitsProcessor": OF_PAIRS,
    "DiaClassifierFreeGuidanceLogitsProcessor": OF_PAIRS,
    "DiaEOSChannelFilterLogitsProcessor": OF_CHANNELS,
    "DiaEOSDelayPatternLogitsProcessor": OF_CHANNELS,
    "EncoderNoRepeatNGramLogitsProcessor": OF_AN_ENCODER,
    "EncoderRepetitionPenaltyLogitsProcessor": OF_AN_ENCODER,
    "PrefixConstrainedLogitsProcessor": OF_OBJECTS,
    "SynthIDTextWatermarkLogitsProcessor": OF_BATCHES,
    "UnbatchedClassifierFreeGuidanceLogitsProcessor": OF_OBJECTS,
    "WhisperNoSpeechDetection": OF_BATCHES,
    "WhisperTimeStampLogitsProcessor": OF_OBJECTS,
}


class NamedProcessor:
    """A processor whose failures are sentences that name it.

    Args:
        text: what it was made of.
        processor: transformers' own.
    """

    def __init__(self, text: str, processor: Any) -> None:
        self._text = text
        self._processor = processor

    def __call__(self, tokens: Tensor, scores: Tensor) -> Tensor:
        """Transforms scores (R,V) of captions (R,T)."""
        try:
            found: Tensor = self._processor(tokens, scores)
        except Exception as error:
            reason = " ".join(str(error).split()) or type(error).__name__
            raise PrefixcapError(f"the processor {self._text!r} failed: {reason}") from error
        if found.shape != scores.shape:
            raise PrefixcapError(
                f"the processor {self._text!r} made scores of shape {tuple(found.shape)} of "
                f"{tuple(scores.shape)}; it must leave the shape as it is"
            )
        return found


def named_processor(
    module: ModuleType, text: str, stop_ids: Sequence[int], device: str
) -> NamedProcessor:
    """Makes a processor of a text such as `TopKLogitsWarper(top_k=5)`.

    Args:
        module: where the classes are.
        text: the class name, with its arguments in parentheses, parted by "," or ";".
        stop_ids: given as `eos_token_id` where the class wants one and the text has none.
        device: given as `device` likewise.

    Raises:
        PrefixcapError: there is no such class, it cannot be used here, or it does not take these
            arguments.
    """
    name, _, rest = text.partition("(")
    base = module.LogitsProcessor
    known = {
        key: value
        for key, value in vars(module).items()
        if inspect.isclass(value) and issubclass(value, base) and value is not base
    }
    fit = sorted(known.keys() - UNFIT.keys())
    if name in known.keys() & UNFIT.keys():
        raise PrefixcapError(
            f"the processor {name!r} cannot be used: it {UNFIT[name]}; these can: {', '.join(fit)}"
        )
    if name not in known:
        raise PrefixcapError(f"transformers has no processor {name!r}{nearest(name, fit)}")
    given = _arguments(text, rest)
    wanted = inspect.signature(known[name].__init__).parameters
    usual = {"eos_token_id": list(stop_ids), "device": device}
    filled = {key: value for key, value in usual.items() if key in wanted and key not in given}
    try:
        return NamedProcessor(text, known[name](**filled, **given))
    except Exception as error:
        raise PrefixcapError(f"the processor {text!r} cannot be made: {error}") from error


def _arguments(text: str, rest: str) -> dict[str, Any]:
    if rest and not rest.endswith(")"):
        raise PrefixcapError(f"the processor {text!r} lacks a closing parenthesis")
    found: dict[str, Any] = {}
    for part in split_top_level(rest.removesuffix(")"), ",;"):
        key, equals, value = part.partition("=")
        if not equals:
            raise PrefixcapError(f"the processor {text!r}: {part!r} is not of the form key=value")
        try:
            found[key.strip()] = ast.literal_eval(value)
        except (ValueError, SyntaxError):
            found[key.strip()] = value
    return found


def generation() -> Any:
    """Imports transformers' logits processors.

    Returns:
        The module `transformers.generation.logits_process`.
    """
    from transformers.generation import logits_process

    return logits_process


def check_processors(texts: Sequence[str]) -> None:
    """Makes processors by name, for what may be wrong with them.

    Raises:
        PrefixcapError: as `named_processor` does.
    """
    for text in texts:
        named_processor(generation(), text, [0], "cpu")
