"""The smallest prefixcap plugin: one decoder."""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

import attrs

from prefixcap import Component, Decoder, DecoderConfig, hookimpl
from prefixcap.interfaces.validators import at_least, between


@attrs.frozen(kw_only=True)
class EpsilonGreedy(DecoderConfig):
    """Epsilon-greedy decoding: take the most likely token, sometimes another of the top k.

    After the rule of Watkins 1989, "Learning from Delayed Rewards".

    Attributes:
        epsilon: Probability of drawing uniformly from the k most likely tokens.
        k: Number of tokens to draw from.
        n: Number of captions per image.
    """

    name: ClassVar[str] = "epsilon-greedy"
    epsilon: float = attrs.field(default=0.1, validator=between(0, 1))
    k: int = attrs.field(default=3, validator=at_least(1))
    n: int = attrs.field(default=1, validator=at_least(1))

    def build(self) -> Decoder:
        """Build the decoder; torch is only imported here."""
        from prefixcap_example.decoder import EpsilonGreedyDecoder

        return EpsilonGreedyDecoder(self)


@hookimpl
def prefixcap_components() -> Iterable[type[Component]]:
    """Return this plugin's config classes."""
    return [EpsilonGreedy]
