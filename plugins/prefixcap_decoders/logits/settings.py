"""Settings that searches and samplers share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import attrs

from prefixcap.interfaces.component import Component
from prefixcap.interfaces.decoder import DecoderConfig
from prefixcap.interfaces.validators import above, at_least
from prefixcap_decoders.logits.phrases import alternatives

# a temperature next to nothing would turn logits into infinities
TEMPERATURE = [above(0), at_least(1e-6)]


def are_words(_: Any, attribute: attrs.Attribute[Any], value: tuple[str, ...]) -> None:
    """Checks that a setting holds words or phrases."""
    for text in value:
        try:
            alternatives(text)
        except ValueError as error:
            raise ValueError(f"{attribute.name}: {error}") from None


@attrs.frozen(kw_only=True)
class Controlled(DecoderConfig):
    """The base of decoders whose next-token scores may be changed before a token is chosen.

    Where the settings leave no token at all, it is chosen as if they were not there.

    Attributes:
        min_new_tokens: captions of fewer tokens do not stop.
        repetition_penalty: above 1 makes tokens that stand in the caption less likely (Keskar et
            al. 2019, "CTRL"); on logits, or on log-probabilities in beam search, as transformers.
        no_repeat_ngram_size: no n-gram of this size stands twice (Paulus et al. 2018, "A Deep
            Reinforced Model for Abstractive Summarization"); 0 is off.
        processors: more of transformers' `LogitsProcessor` classes, by name, with their arguments
            in parentheses: `SuppressTokensLogitsProcessor(suppress_tokens=[13])`. Several are
            joined by "+", arguments by "," or ";". Stop tokens and device are filled in; some that
            want more than tokens and scores cannot be used, and the error names those that can.
        bad_words: words or phrases that no caption has, in small letters or capitals; several are
            joined by "+". A word counts where it stands alone: "red" is not in "reddish".
    """

    min_new_tokens: int = attrs.field(default=0, validator=at_least(0))
    repetition_penalty: float = attrs.field(default=1.0, converter=float, validator=above(0))
    no_repeat_ngram_size: int = attrs.field(default=0, validator=at_least(0))
    processors: tuple[str, ...] = ()
    bad_words: tuple[str, ...] = attrs.field(default=(), validator=are_words)

    def subcomponents(self) -> Sequence[Component]:
        """Checks the processors; no setting of these names a component."""
        if self.processors:
            from prefixcap_decoders.logits.by_name import check_processors

            check_processors(self.processors)
        return ()
