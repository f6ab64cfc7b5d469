"""Any of transformers' causal language models as a `LanguageModel`."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from prefixcap.engine.cache_session import CacheSession
from prefixcap.engine.eval_mode import eval_mode
from prefixcap.engine.tree_session import TreeSession
from prefixcap.errors import PrefixcapError
from prefixcap.interfaces.language_model import LanguageModel, Tokenizer

if TYPE_CHECKING:
    from prefixcap.interfaces.session import Session, SessionOptions


class HFTokenizer(Tokenizer):
    """One of transformers' tokenizers."""

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer

    def encode(self, text: str) -> list[int]:
        """Turns text into token ids, without any special token."""
        return list(self.tokenizer.encode(text, add_special_tokens=False))

    def decode(self, ids: Sequence[int]) -> str:
        """Turns token ids into text, without special tokens."""
        text: str = self.tokenizer.decode(
            list(ids), skip_special_tokens=True, clean_up_tokenization_spaces=False
        )
        return text


class CausalLM(LanguageModel):
    """A causal language model of transformers, already in memory.

    Args:
        model: the model; it is put into evaluation mode.
        tokenizer: its tokenizer, where texts are wanted.
        prepend: Token ids that stand before every prefix.
    """

    def __init__(
        self, model: Any, tokenizer: Any | None = None, prepend: Sequence[int] = ()
    ) -> None:
        self.model = model.eval()
        self._prepended = tuple(prepend)
        self._tokenizer = None if tokenizer is None else HFTokenizer(tokenizer)
        # imported here, as it imports transformers, which must be prepared before
        from prefixcap.engine.network_selection import NetworkSelector

        self._selector = NetworkSelector(model)

    @property
    def width(self) -> int:
        """E, the width of a token's embedding."""
        return int(self.model.get_input_embeddings().weight.shape[1])

    @property
    def vocab_size(self) -> int:
        """V, the number of logits."""
        return int(self.model.config.get_text_config().vocab_size)

    @property
    def max_positions(self) -> int | None:
        """The longest prefix and text together, where the model has a limit."""
        limit = getattr(self.model.config.get_text_config(), "max_position_embeddings", None)
        return None if limit is None else int(limit) - len(self._prepended)

    @property
    def eos_id(self) -> int | None:
        """The id of the end-of-text token: the tokenizer's, else the config's."""
        if self._tokenizer is not None and self._tokenizer.tokenizer.eos_token_id is not None:
            return int(self._tokenizer.tokenizer.eos_token_id)
        first = _several(self.model.config.get_text_config())[:1]
        return next((token for token in first if 0 <= token < self.vocab_size), None)

    @property
    def eos_ids(self) -> tuple[int, ...]:
        """The ids of all tokens that end a text: `eos_id` and what a config names beside it.

        A config that names others only is of another vocabulary, such as one left as it came.
        """
        if self.eos_id is None:
            return ()
        found = [self.eos_id]
        generation = getattr(self.model, "generation_config", None)
        for config in (generation, self.model.config.get_text_config()):
            if self.eos_id in (named := _several(config)):
                found += [token for token in named if 0 <= token < self.vocab_size]
        return tuple(dict.fromkeys(found))

    @property
    def tokenizer(self) -> Tokenizer | None:
        """The tokenizer, where there is one."""
        return self._tokenizer

    @property
    def module(self) -> nn.Module:
        """The transformers model."""
        module: nn.Module = self.model
        return module

    def embed(self, ids: Tensor) -> Tensor:
        """Looks up the embeddings (...,E) of token ids (...)."""
        embeddings: Tensor = self.model.get_input_embeddings()(ids)
        return embeddings

    def prepend_tokens(self, prefix: Tensor) -> Tensor:
        """Puts the tokens that stand before every prefix (B,P,E) there; see the base class."""
        if not self._prepended:
            return prefix
        before = self.embed(torch.tensor(self._prepended, device=self.model.device))
        return torch.cat([before.to(prefix).expand(len(prefix), -1, -1), prefix], 1)

    def teacher_forced(self, prefix: Tensor, ids: Tensor, mask: Tensor) -> Tensor:
        """Computes logits (B,T,V) of tokens (B,T) given prefixes (B,P,E); see the base class."""
        ids, prefix = ids.masked_fill(~mask, 0), self.prepend_tokens(prefix)
        inputs = torch.cat([prefix.to(self.model.dtype), self.embed(ids)[:, :-1]], 1)
        # captions are padded on the right and attention is causal, so no mask is needed
        # places as a tensor: a slice of the states is not contiguous, and torch would then multiply
        # by a copy of the vocabulary's weights for each caption
        places = torch.arange(prefix.shape[1] - 1, inputs.shape[1], device=inputs.device)
        # with gradients, dropout is the caller's choice
        with nullcontext() if torch.is_grad_enabled() else eval_mode(self.model):
            logits: Tensor = self.model(
                inputs_embeds=inputs, use_cache=False, logits_to_keep=places
            ).logits
        return logits

    def start(self, prefix: Tensor, options: SessionOptions) -> Session:
        """Opens a session on the prefixes (B,P,E); see the base class."""
        network, prefix = self._selector.network(), self.prepend_tokens(prefix)
        if network is not None:
            return TreeSession(network, prefix, options, prepended=len(self._prepended))
        return CacheSession(self.model, prefix, options, prepended=len(self._prepended))

    def digest(self) -> str:
        """Returns a hash of the weights and the vocabulary."""
        found = sha256(repr(sorted(self.model.config.to_diff_dict().items(), key=str)).encode())
        for name, tensor in sorted(self.model.state_dict().items()):
            found.update(name.encode())
            found.update(tensor.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes())
        if self._tokenizer is not None:
            found.update(repr(sorted(self._tokenizer.tokenizer.get_vocab().items())).encode())
        if self._prepended:
            found.update(repr(("prepend", self._prepended)).encode())
        return found.hexdigest()[:16]


def _several(config: Any) -> tuple[int, ...]:
    """Returns the end-of-text tokens that a config names: none, one or several."""
    eos = getattr(config, "eos_token_id", None)
    return () if eos is None else tuple(map(int, eos if isinstance(eos, (list, tuple)) else [eos]))


def from_transformers(
    model: Any, tokenizer: Any | None = None, prepend: Sequence[int] = ()
) -> CausalLM:
    """Makes a language model of any causal language model that is already in memory.

    Args:
        model: one of transformers' `...ForCausalLM`.
        tokenizer: its tokenizer; without one, hypotheses have ids and no text.
        prepend: Token ids that stand before every prefix, such as the beginning-of-text token of
            models that were always trained with one.

    Raises:
        PrefixcapError: one of them is no token of the model.
    """
    lm = CausalLM(model, tokenizer, prepend)
    if wrong := [token for token in prepend if not 0 <= token < lm.vocab_size]:
        raise PrefixcapError(
            f"prepend: {wrong[0]} is no token of a vocabulary of {lm.vocab_size} (0 to "
            f"{lm.vocab_size - 1})"
        )
    return lm
