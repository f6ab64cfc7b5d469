"""Config of contrastive search."""

from __future__ import annotations

from typing import ClassVar

import attrs
from typing_extensions import override

from prefixcap.interfaces.decoder import Decoder
from prefixcap.interfaces.validators import at_least, between, one_of
from prefixcap_decoders.logits.settings import Controlled

CONTEXTS = ("prefix", "last", "caption")


@attrs.frozen(kw_only=True)
class Contrastive(Controlled):
    """Contrastive search: prefer likely tokens whose hidden state differs from the context's.

    Su et al. 2022, "A Contrastive Framework for Neural Text Generation" (arXiv:2202.06417). Of the
    `top_k` most likely tokens, take the one with the highest (1 - alpha) p(token) - alpha s, where
    s is the maximum cosine similarity between the token's last hidden state and those of the
    prefix and the caption so far. Deterministic: several captions of an image are copies.

    Attributes:
        alpha: Weight of the similarity penalty, 0 (greedy) to 1.
        top_k: Number of candidate tokens; each costs one row.
        context: Prefix positions to compare with: "prefix" all of them, like the prompt in the
            authors' code and in transformers; "last" the last one, as if the caption began with
            one start token (MAGIC, Su et al. 2022, arXiv:2205.02655); "caption" none.
    """

    name: ClassVar[str] = "contrastive"
    version: ClassVar[str] = "2"

    alpha: float = attrs.field(default=0.6, converter=float, validator=between(0, 1))
    top_k: int = attrs.field(default=5, validator=at_least(1))
    context: str = attrs.field(default="prefix", validator=one_of(CONTEXTS))

    @override
    def build(self) -> Decoder:
        from prefixcap_decoders.contrastive_search.decoder import ContrastiveSearch

        return ContrastiveSearch(self)
