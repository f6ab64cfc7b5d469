"""Contrastive search."""

from __future__ import annotations

from typing import ClassVar

import attrs

from prefixcap.config import at_least, between
from prefixcap.kinds import Decoder
from prefixcap_decoders.controls import Controlled


@attrs.frozen(kw_only=True)
class Contrastive(Controlled):
    """Contrastive search (Su et al. 2022, "A Contrastive Framework for Neural Text Generation").

    Of the likeliest tokens, takes the one of the highest (1 - alpha) p(token) - alpha s, where s is
    the greatest cosine between the last layer's hidden state that the token would give and those
    of the caption so far. Of the prefix, only the last position counts: a session keeps no others.
    The search is deterministic, so all captions of an image are the same one.

    Attributes:
        alpha: how much likeness to what stands there already counts against a token; 0 is greedy.
        top_k: how many tokens are looked at; each costs one row.
    """

    name: ClassVar[str] = "contrastive"

    alpha: float = attrs.field(default=0.6, validator=between(0, 1))
    top_k: int = attrs.field(default=5, validator=at_least(1))

    def build(self) -> Decoder:
        """Makes the decoder."""
        from prefixcap_decoders.contrastive_search import ContrastiveSearch

        return ContrastiveSearch(self)
