"""Language models: embeddings, logits for training, and sessions for decoding."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

import attrs

from prefixcap.errors import PrefixcapError
from prefixcap.interfaces.component import Component
from prefixcap.interfaces.mapper import MapperShape

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from prefixcap.interfaces.session import Session, SessionOptions


class Tokenizer(ABC):
    """Converts between texts and token ids."""

    @abstractmethod
    def encode(self, text: str) -> list[int]:
        """Return the token ids of a text, without special tokens."""

    @abstractmethod
    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of token ids, without special tokens."""

    def token_bytes(self, token: int) -> bytes | None:
        """Return the UTF-8 bytes of a token that may be part of a character; None if unknown."""
        return None


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
        """The maximum length of prefix and text together; None if there is no limit."""

    @property
    @abstractmethod
    def eos_id(self) -> int | None:
        """The end-of-text token, if the model has one."""

    @property
    def eos_ids(self) -> tuple[int, ...]:
        """All tokens that end a text, `eos_id` first; by default `eos_id` alone."""
        return () if self.eos_id is None else (self.eos_id,)

    @property
    @abstractmethod
    def tokenizer(self) -> Tokenizer | None:
        """The tokenizer, if there is one."""

    @property
    @abstractmethod
    def module(self) -> nn.Module:
        """The model's module, with its device, dtype and parameters."""

    @property
    def device(self) -> torch.device:
        """Where prefixes and token ids belong; by default where the module's parameters are."""
        import torch

        return next((p.device for p in self.module.parameters()), torch.device("cpu"))

    @abstractmethod
    def embed(self, ids: Tensor) -> Tensor:
        """Return the embeddings (...,E) of token ids (...)."""

    @property
    def state_width(self) -> int | None:
        """W, the number of keys and values of all layers for one position.

        None if a prefix cannot give them.
        """
        return None

    def states(self, ids: Tensor) -> Tensor:
        """Return the keys and values (T,W) of all layers for a text (T).

        Raises:
            PrefixcapError: If a prefix cannot give them.
        """
        raise PrefixcapError(f"{type(self).__name__} takes no keys and values from a prefix")

    def for_prefixes(self, shape: MapperShape) -> LanguageModel:
        """Return this model, with the same weights, for prefixes of a mapper's shape.

        They may hold keys and values, or features, behind their embeddings.

        Raises:
            PrefixcapError: If the model takes embeddings alone, and the prefixes hold more.
        """
        if shape.state_width is None and not shape.reads_features:
            return self
        more = "features" if shape.reads_features else "keys and values"
        raise PrefixcapError(f"{type(self).__name__} takes no {more} from a prefix")

    def positions(self, prefix: Tensor) -> int:
        """Return the number of positions that each of the prefixes (B,P,E) takes."""
        return prefix.shape[1]

    def prepend_tokens(self, prefix: Tensor) -> Tensor:
        """Return prefixes (B,P,E) with the embeddings of any tokens that precede them (B,P',E).

        Some models expect a beginning-of-text token first, and some tunings train embeddings of
        their own. Sessions and `teacher_forced` call this themselves, and `max_positions` excludes
        these tokens.
        """
        return prefix

    @abstractmethod
    def teacher_forced(self, prefix: Tensor, ids: Tensor, mask: Tensor) -> Tensor:
        """Compute the logits of every token of given texts.

        Args:
            prefix: (B,P,E).
            ids: (B,T), padded on the right with any ids.
            mask: (B,T), True for tokens that are not padding.

        Returns:
            Logits (B,T,V); at position t those of token t, given the prefix and tokens < t.
        """

    def caption_loss(self, prefix: Tensor, images: Tensor, ids: Tensor, mask: Tensor) -> Tensor:
        """Compute the summed cross-entropy (), float32, of all tokens of captions.

        By default from the logits of `teacher_forced`, with a prefix for each caption. A model may
        compute the same in less time, with one prefix for all captions of an image.

        Args:
            prefix: (B,P,E).
            images: (C), the row of each caption's prefix, ascending.
            ids: (C,T), padded on the right with any ids.
            mask: (C,T), True for tokens that are not padding.
        """
        from torch.nn.functional import cross_entropy

        logits = self.teacher_forced(prefix[images], ids, mask)
        return cross_entropy(logits[mask].float(), ids[mask], reduction="sum")

    @abstractmethod
    def start(self, prefix: Tensor, options: SessionOptions) -> Session:
        """Open a session on the prefixes (B,P,E) of B images; it starts without live rows."""

    @abstractmethod
    def digest(self) -> str:
        """Return a hash of the weights and the tokenizer."""


@attrs.frozen(kw_only=True)
class LMConfig(Component):
    """The base of language model configs."""

    kind: ClassVar[str] = "lm"

    @abstractmethod
    def build(self, device: str = "cpu", dtype: str = "float32") -> LanguageModel:
        """Load the model's weights onto a device."""


class ModelReader(ABC):
    """A mapper's module that takes something of the language model, once, before the training.

    What it takes belongs to its buffers or parameters: a saved model is loaded without reading.
    """

    @abstractmethod
    def read_model(self, lm: LanguageModel) -> None:
        """Take what the mapper needs of the language model.

        Raises:
            PrefixcapError: If the language model does not have it.
        """
