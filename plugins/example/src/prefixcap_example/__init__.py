"""The smallest prefixcap plugin: one decoder."""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

import attrs

from prefixcap import Component, Decoder, DecoderConfig, hookimpl
from prefixcap.interfaces.validators import at_least, between


@attrs.frozen(kw_only=True)
class EpsilonGreedy(DecoderConfig):
    """Takes the likeliest token, but now and then one of the next likeliest.

    The rule is the epsilon-greedy one of Watkins, "Learning from Delayed Rewards" (1989), with the
    k likeliest tokens as the choices.

    Attributes:
        epsilon: how often a token is drawn evenly from the k likeliest.
        k: how many tokens there are to draw from.
        n: how many captions an image.
    """

    name: ClassVar[str] = "epsilon-greedy"
    epsilon: float = attrs.field(default=0.1, validator=between(0, 1))
    k: int = attrs.field(default=3, validator=at_least(1))
    n: int = attrs.field(default=1, validator=at_least(1))

    def build(self) -> Decoder:
        """Makes the decoder; torch is imported only here."""
        from prefixcap_example.decoder import EpsilonGreedyDecoder

        return EpsilonGreedyDecoder(self)


@hookimpl
def prefixcap_components() -> Iterable[type[Component]]:
    """Returns this plugin's config classes."""
    return [EpsilonGreedy]
