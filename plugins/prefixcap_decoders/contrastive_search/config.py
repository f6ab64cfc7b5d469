"""Contrastive search."""

from __future__ import annotations

from typing import ClassVar

import attrs

from prefixcap.interfaces.decoder import Decoder
from prefixcap.interfaces.validators import at_least, between, one_of
from prefixcap_decoders.logits.settings import Controlled

CONTEXTS = ("prefix", "last", "caption")


@attrs.frozen(kw_only=True)
class Contrastive(Controlled):
    """Contrastive search (Su et al. 2022, "A Contrastive Framework for Neural Text Generation").

    Of the likeliest tokens, takes the one of the highest (1 - alpha) p(token) - alpha s, where s is
    the greatest cosine between the last layer's hidden state that the token would give and those
    of all that stands before it: the prefix and the caption so far. The search is deterministic,
    so all captions of an image are the same one.

    Attributes:
        alpha: how much likeness to what stands there already counts against a token; 0 is greedy.
        top_k: how many tokens are looked at; each costs one row.
        context: what of the prefix a token is compared with: "prefix" is all of its positions, as
            the authors' code and transformers' had the prompt's; "last" the last position alone,
            as if the caption began from one start token (MAGIC, Su et al. 2022, "Language Models
            Can See"); "caption" none, so that the first token is the likeliest.
    """

    name: ClassVar[str] = "contrastive"
    version: ClassVar[str] = "2"

    alpha: float = attrs.field(default=0.6, converter=float, validator=between(0, 1))
    top_k: int = attrs.field(default=5, validator=at_least(1))
    context: str = attrs.field(default="prefix", validator=one_of(CONTEXTS))

    def build(self) -> Decoder:
        """Makes the decoder."""
        from prefixcap_decoders.contrastive_search.decoder import ContrastiveSearch

        return ContrastiveSearch(self)
