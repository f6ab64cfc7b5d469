"""Settings that searches and samplers share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import attrs
from typing_extensions import override

from prefixcap.errors import shown
from prefixcap.interfaces.component import Component
from prefixcap.interfaces.decoder import DecoderConfig
from prefixcap.interfaces.validators import above, at_least
from prefixcap.util.words import is_letter

# a temperature close to 0 would turn logits into infinities
TEMPERATURE = [above(0), at_least(1e-6)]


def alternatives(text: str) -> tuple[str, ...]:
    """Split "dog|hot dog" into lower-case phrases with single spaces.

    Raises:
        ValueError: If a phrase has no letter or digit.
    """
    phrases = tuple(" ".join(part.split()).casefold() for part in text.split("|"))
    for phrase in phrases:
        if not any(map(is_letter, phrase)):
            raise ValueError(f"{text!r} has a phrase without letters: {phrase!r}")
    return phrases


def are_words(_: Any, attribute: attrs.Attribute[Any], value: tuple[str, ...]) -> None:
    """Validate that a setting holds words or phrases."""
    if problem := _no_text(value):
        raise ValueError(f"{attribute.name} must be a tuple of words or phrases, not {problem}")
    for text in value:
        try:
            alternatives(text)
        except ValueError as error:
            raise ValueError(f"{attribute.name}: {error}") from None


def are_names(_: Any, attribute: attrs.Attribute[Any], value: tuple[str, ...]) -> None:
    """Validate that a setting holds texts and no processors, which a study could not repeat."""
    if problem := _no_text(value):
        raise ValueError(
            f"{attribute.name} must be a tuple of texts, the names of LogitsProcessor classes of "
            f"transformers, not {problem}: an object or a function has no text from which a study "
            "could be repeated; the decoder of a plugin can apply it"
        )


def _no_text(value: Any) -> str:
    """Describe what is not a tuple of texts, or the first of its items that is no text."""
    if not isinstance(value, tuple):
        return f"{shown(value)} of type {type(value).__name__}"
    other = [
        f"{shown(each)} of type {type(each).__name__}" for each in value if type(each) is not str
    ]
    return other[0] if other else ""


@attrs.frozen(kw_only=True)
class Controlled(DecoderConfig):
    """The base of decoders that transform the next token's scores before choosing.

    If the settings leave no token at all, they are ignored for that choice.

    Attributes:
        min_new_tokens: Minimum number of tokens before the stop token.
        repetition_penalty: Above 1 makes tokens of the caption less likely to be repeated (Keskar
            et al. 2019, "CTRL", arXiv:1909.05858); applies to logits, and in beam search to
            log-probabilities, as in transformers.
        no_repeat_ngram_size: Size of n-grams that may not repeat (Paulus et al. 2018, "A Deep
            Reinforced Model for Abstractive Summarization", arXiv:1705.04304); 0 is off.
        processors: Additional `LogitsProcessor` classes of transformers, joined by "+", such as
            `SuppressTokensLogitsProcessor(suppress_tokens=[13])`, arguments separated by "," or
            ";". Stop tokens and device are filled in.
        bad_words: Words or phrases that no caption contains, in any case, joined by "+". Only
            whole words count: "red" is not in "reddish".
    """

    min_new_tokens: int = attrs.field(default=0, validator=at_least(0))
    repetition_penalty: float = attrs.field(default=1.0, converter=float, validator=above(0))
    no_repeat_ngram_size: int = attrs.field(default=0, validator=at_least(0))
    processors: tuple[str, ...] = attrs.field(default=(), validator=are_names)
    bad_words: tuple[str, ...] = attrs.field(default=(), validator=are_words)

    @override
    def subcomponents(self) -> Sequence[Component]:
        """Validate the processors; none of these settings names a component."""
        if self.processors:
            from prefixcap_decoders.logits.by_name import named_processor

            for text in self.processors:
                named_processor(text, [0], "cpu")
        return ()
