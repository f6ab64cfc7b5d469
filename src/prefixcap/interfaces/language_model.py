"""TODO."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

import attrs

from prefixcap.interfaces.component import Component

if TYPE_CHECKING:
    from torch import Tensor, nn

    from prefixcap.interfaces.session import Session, SessionOptions


class Tokenizer(ABC):
    """What the core needs of a tokenizer."""

    @abstractmethod
    def encode(self, text: str) -> list[int]:
        """Turns text into token ids, without any special token."""

    @abstractmethod
    def decode(self, ids: Sequence[int]) -> str:
        """Turns token ids into text, without special tokens."""


class LanguageModel(ABC):
    """A causal language model that continues a prefix of embeddings."""

    @property
    @abstractmethod
    def width(self) -> int:
        """E, the width of a token's embedding."""

    @property
    @abstractmethod
    def vocab_size(self) -> int:
        """V, the number of logits."""

    @property
    @abstractmethod
    def max_positions(self) -> int | None:
        """The longest prefix and text together, where the model has a limit."""

    @property
    @abstractmethod
    def eos_id(self) -> int | None:
        """The id of the end-of-text token, where the model has one."""

    @property
    def eos_ids(self) -> tuple[int, ...]:
        """The ids of all tokens that end a text, `eos_id` first; this one alone by default."""
        return () if self.eos_id is None else (self.eos_id,)

    @property
    @abstractmethod
    def tokenizer(self) -> Tokenizer | None:
        """The tokenizer, where there is one."""

    @property
    @abstractmethod
    def module(self) -> nn.Module:
        """The model's module: its device, dtype and parameters, for tuning and training."""

    @abstractmethod
    def embed(self, ids: Tensor) -> Tensor:
        """Looks up the embeddings (...,E) of token ids (...)."""

    def prepend_tokens(self, prefix: Tensor) -> Tensor:
        """Returns what the module itself is to read for prefixes (B,P,E).

        These alone, unless the model wants something before every prefix, such as the
        beginning-of-text token: then (B,P',E). Sessions and `teacher_forced` see to it themselves,
        and `max_positions` is what remains.
        """
        return prefix

    @abstractmethod
    def teacher_forced(self, prefix: Tensor, ids: Tensor, mask: Tensor) -> Tensor:
        """Computes the logits of every token of given texts.

        Args:
            prefix: (B,P,E).
            ids: (B,T), padded on the right with any id.
            mask: (B,T), True where `ids` is real.

        Returns:
            Logits (B,T,V); those at position t are of token t, given the prefix and tokens < t.
        """

    @abstractmethod
    def start(self, prefix: Tensor, options: SessionOptions) -> Session:
        """Opens a session on the prefixes (B,P,E) of B images.

        No image is live before the session's first `admit`.
        """

    @abstractmethod
    def digest(self) -> str:
        """Returns a hash of the weights and the tokenizer."""


@attrs.frozen(kw_only=True)
class LMConfig(Component):
    """The base of language model configs."""

    kind: ClassVar[str] = "lm"

    @abstractmethod
    def build(self, device: str = "cpu", dtype: str = "float32") -> LanguageModel:
        """Loads the model's weights onto a device."""
