"""The mapper that begins every caption with the same text."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from typing_extensions import override

from prefixcap.errors import PrefixcapError
from prefixcap.interfaces.language_model import LanguageModel, ModelReader
from prefixcap.interfaces.mapper import MapperShape


class BeginMapper(nn.Module, ModelReader):
    """Returns the embeddings (B,P,E) of a text's tokens for all images; zeros before it has read.

    Args:
        shape: Sizes.
        text: Text before every caption.
        start: Whether the end-of-text token comes first.
    """

    prefix: Tensor

    def __init__(self, shape: MapperShape, text: str, *, start: bool) -> None:
        super().__init__()
        self.text, self.start = text, start
        self.register_buffer("prefix", torch.zeros(shape.prefix_length, shape.embedding_width))

    @override
    def read_model(self, lm: LanguageModel) -> None:
        tokens, length = self._tokens(lm), len(self.prefix)
        if len(tokens) != length:
            raise PrefixcapError(
                f"mapper 'begin': text={self.text!r} with start={str(self.start).lower()} needs a "
                f"prefix length of {len(tokens)} (--prefix-len {len(tokens)}), one for each token, "
                f"not {length}"
            )
        with torch.no_grad():
            self.prefix.copy_(lm.embed(torch.tensor(tokens, device=lm.device)))  # (P, E)

    def forward(self, features: Tensor) -> Tensor:
        """Return the prefixes (B,P,E) of B features."""
        return self.prefix.expand(len(features), -1, -1)

    def _tokens(self, lm: LanguageModel) -> list[int]:
        if self.text and lm.tokenizer is None:
            raise PrefixcapError("mapper 'begin': text needs a language model with a tokenizer")
        if self.start and lm.eos_id is None:
            raise PrefixcapError(
                "mapper 'begin': this language model has no end-of-text token to begin with: set "
                "start=false, and a text"
            )
        first = [lm.eos_id] if self.start and lm.eos_id is not None else []
        return [*first, *(lm.tokenizer.encode(self.text) if lm.tokenizer and self.text else [])]
