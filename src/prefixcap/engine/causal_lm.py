"""`from_transformers`: a causal language model of transformers as a `LanguageModel`."""

from __future__ import annotations

import copy
import math
import re
from collections.abc import Sequence
from contextlib import nullcontext
from functools import cache
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import attrs
import torch
from torch import Tensor, nn
from typing_extensions import override

from prefixcap.engine.cache_session import CacheSession
from prefixcap.engine.network import eval_mode, input_device, weights_of
from prefixcap.engine.network_selection import NetworkSelector, structure_of
from prefixcap.engine.prefixes.caches import call_arguments
from prefixcap.engine.prefixes.inputs import PrefixInputs
from prefixcap.engine.prefixes.modules import states_of
from prefixcap.engine.prefixes.opening import PrefixOpener
from prefixcap.engine.teacher_forcing.caption_tree import CaptionTree
from prefixcap.engine.teacher_forcing.tree_forcing import takes_trees, tree_loss
from prefixcap.engine.tree_session import TreeSession
from prefixcap.engine.trials import require_agreement, trees_agree
from prefixcap.errors import PrefixcapError, shown
from prefixcap.interfaces.language_model import LanguageModel, Tokenizer

if TYPE_CHECKING:
    from prefixcap.interfaces.mapper import MapperShape
    from prefixcap.interfaces.session import Session, SessionOptions


def from_transformers(
    model: Any, tokenizer: Any | None = None, prepend: Sequence[int] = ()
) -> CausalLM:
    """Wrap a causal language model that is already in memory.

    Args:
        model: A `...ForCausalLM` of transformers.
        tokenizer: Its tokenizer; without one, hypotheses have ids but no text.
        prepend: Token ids that precede every prefix, such as the beginning-of-text token for
            models that were always trained with one.

    Raises:
        PrefixcapError: If the model has no token embeddings, or too few for the tokenizer or for
            one of the tokens to prepend.
    """
    rows = _embedding_rows(model)
    lm = CausalLM(model, tokenizer, prepend)
    if tokenizer is not None:
        _check_tokenizer(tokenizer, min(rows, lm.vocab_size))
    if unknown := [token for token in prepend if not 0 <= token < lm.vocab_size]:
        raise PrefixcapError(
            f"prepend: {unknown[0]} is not in the vocabulary of {lm.vocab_size} tokens (0 to "
            f"{lm.vocab_size - 1})"
        )
    return lm


@cache
def _byte_level_codes() -> dict[str, int]:
    """Return the byte that each character of a byte-level vocabulary stands for."""
    from transformers.convert_slow_tokenizer import bytes_to_unicode

    characters: dict[int, str] = bytes_to_unicode()  # type: ignore[no-untyped-call]
    return {character: code for code, character in characters.items()}


class HFTokenizer(Tokenizer):
    """A tokenizer of transformers.

    Args:
        tokenizer: transformers' object.
        size: The number of tokens that the language model has; the tokenizer may have further
            special ones.
    """

    def __init__(self, tokenizer: Any, size: int) -> None:
        self.tokenizer = tokenizer
        self._size = size

    @override
    def encode(self, text: str) -> list[int]:
        ids: list[int] = list(self.tokenizer.encode(text, add_special_tokens=False))
        if ids and max(ids) >= self._size:
            raise PrefixcapError(
                f"{shown(text)} has token {max(ids)} of the tokenizer "
                f"({self.tokenizer.decode([max(ids)])!r}), and the language model has {self._size} "
                f"tokens (0 to {self._size - 1}): remove it from the text"
            )
        return ids

    @override
    def decode(self, ids: Sequence[int]) -> str:
        text: str = self.tokenizer.decode(
            list(ids), skip_special_tokens=True, clean_up_tokenization_spaces=False
        )
        return text

    @override
    def token_bytes(self, token: int) -> bytes | None:
        piece = self.tokenizer.convert_ids_to_tokens(token)
        if not isinstance(piece, str):
            return None
        if fallback := re.fullmatch("<0x([0-9A-F]{2})>", piece):
            return bytes.fromhex(fallback[1])
        codes = _byte_level_codes()
        known = all(character in codes for character in piece)
        return bytes(codes[character] for character in piece) if known else None


class CausalLM(LanguageModel):
    """A causal language model of transformers; see `from_transformers` for the arguments.

    The model is put into evaluation mode.
    """

    def __init__(
        self, model: Any, tokenizer: Any | None = None, prepend: Sequence[int] = ()
    ) -> None:
        self.model = model.eval()
        self._opener = PrefixOpener(model=model, prepended=tuple(prepend))
        self._tokenizer = None if tokenizer is None else HFTokenizer(tokenizer, self.vocab_size)
        self._selector = NetworkSelector(model)
        # The structure of the model that has been tried, if it was.
        self._tried: object = None
        # The kinds of the model's modules, and whether it then takes several captions in a row.
        self._trees: tuple[tuple[type, ...], bool] = (), False

    def __getstate__(self) -> dict[str, Any]:
        # A copy is tried again: what a structure holds, such as static methods, cannot be copied.
        return {**self.__dict__, "_tried": None}

    def __repr__(self) -> str:
        return (
            f"CausalLM({type(self.model).__name__}, width={self.width}, "
            f"vocab_size={self.vocab_size}, device={str(self.device)!r})"
        )

    @property
    @override
    def width(self) -> int:
        return int(self.model.get_input_embeddings().weight.shape[1])

    @property
    @override
    def vocab_size(self) -> int:
        return int(self.model.config.get_text_config().vocab_size)

    @property
    @override
    def max_positions(self) -> int | None:
        limit = getattr(self.model.config.get_text_config(), "max_position_embeddings", None)
        return None if limit is None else int(limit) - self._opener.preceding

    @property
    @override
    def eos_id(self) -> int | None:
        """The end-of-text token of the tokenizer, otherwise of the config."""
        if self._tokenizer is not None and self._tokenizer.tokenizer.eos_token_id is not None:
            return int(self._tokenizer.tokenizer.eos_token_id)
        first = _eos_tokens(self.model.config.get_text_config())[:1]
        return next((token for token in first if 0 <= token < self.vocab_size), None)

    @property
    @override
    def eos_ids(self) -> tuple[int, ...]:
        if self.eos_id is None:
            return ()
        tokens = [self.eos_id]
        generation = getattr(self.model, "generation_config", None)
        for config in (generation, self.model.config.get_text_config()):
            # A config without `eos_id` was written for another vocabulary.
            if self.eos_id in (named := _eos_tokens(config)):
                tokens += [token for token in named if 0 <= token < self.vocab_size]
        return tuple(dict.fromkeys(tokens))

    @property
    @override
    def tokenizer(self) -> Tokenizer | None:
        return self._tokenizer

    @property
    @override
    def module(self) -> nn.Module:
        module: nn.Module = self.model
        return module

    @property
    @override
    def device(self) -> torch.device:
        return input_device(self.model)

    @override
    def embed(self, ids: Tensor) -> Tensor:
        embeddings: Tensor = self.model.get_input_embeddings()(ids)
        return embeddings

    @property
    @override
    def state_width(self) -> int | None:
        return 2 * math.prod(self._opener.state_sizes())

    @override
    def states(self, ids: Tensor) -> Tensor:
        # (1,L,T,K,D) each -> (T,2,L,K,D) -> (T,W)
        both = torch.stack(states_of(self.model, self.embed(ids)[None]))
        return both[:, 0].permute(2, 0, 1, 3, 4).flatten(1)

    @override
    def for_prefixes(self, shape: MapperShape) -> CausalLM:
        if shape.state_width is None and not shape.reads_features:
            return self
        other = copy.copy(self)
        other._opener = attrs.evolve(self._opener, shape=shape)
        return other

    @override
    def positions(self, prefix: Tensor) -> int:
        return sum(self._opener.positions(prefix)[1:])

    @override
    def prepend_tokens(self, prefix: Tensor) -> Tensor:
        return self.open_prefix(prefix).embeddings

    def open_prefix(self, prefix: Tensor) -> PrefixInputs:
        """Return what the model runs for prefixes (B,P,E)."""
        return self._opener.open(prefix, self.eos_id)

    @override
    def teacher_forced(self, prefix: Tensor, ids: Tensor, mask: Tensor) -> Tensor:
        if self._tried is None:
            self._try()
        return self._teacher_forced(prefix, ids, mask)

    def _teacher_forced(self, prefix: Tensor, ids: Tensor, mask: Tensor) -> Tensor:
        ids, given = ids.masked_fill(~mask, 0), self.open_prefix(prefix)
        prefix = given.embeddings
        # Padding is on the right and attention is causal, so no attention mask is needed.
        inputs = torch.cat([prefix.to(self.model.dtype), self.embed(ids)[:, :-1]], 1)
        # Positions as a tensor, not a slice: a slice of the states is not contiguous, and torch
        # would then multiply by a copy of the vocabulary's weights for each caption.
        positions = torch.arange(prefix.shape[1] - 1, inputs.shape[1], device=inputs.device)
        # In training, the caller decides about dropout.
        with nullcontext() if torch.is_grad_enabled() else eval_mode(self.model):
            logits: Tensor = self.model(
                inputs_embeds=inputs,
                use_cache=False,
                logits_to_keep=positions,
                **call_arguments(self.model, given, keep=False),
            ).logits
        # A few models compute the logits of all positions, whatever they are asked for.
        return logits if logits.shape[1] == ids.shape[1] else logits[:, positions]

    @override
    def caption_loss(self, prefix: Tensor, images: Tensor, ids: Tensor, mask: Tensor) -> Tensor:
        kinds = tuple(map(type, self.model.modules()))
        if kinds != self._trees[0]:
            takes = takes_trees(self.model) and trees_agree(
                self.model, self.teacher_forced, self._tree_loss, self.vocab_size
            )
            self._trees = kinds, takes
        if not self._trees[1]:
            return super().caption_loss(prefix, images, ids, mask)
        return self._tree_loss(prefix, images, ids, mask)

    def _tree_loss(self, prefix: Tensor, images: Tensor, ids: Tensor, mask: Tensor) -> Tensor:
        ids, given = ids.masked_fill(~mask, 0), self.open_prefix(prefix)
        count, length = given.embeddings.shape[:2]
        tree = CaptionTree(count=count, prefix=length, images=images, ids=ids, mask=mask)
        # In training, the caller decides about dropout.
        with nullcontext() if torch.is_grad_enabled() else eval_mode(self.model):
            return tree_loss(self.model, given, tree)

    @override
    def start(self, prefix: Tensor, options: SessionOptions) -> Session:
        self._try()
        network, inputs = self._selector.network(), self.open_prefix(prefix)
        before = sum(self._opener.positions(prefix)[:2])
        if network is not None and inputs.features is None:
            return TreeSession(network, inputs, options, prepended=before)
        return CacheSession(self.model, inputs, options, prepended=before)

    def _try(self) -> None:
        """Try whether training and decoding agree, unless this model was tried already.

        Raises:
            PrefixcapError: If they do not.
        """
        structure = structure_of(self.model)
        if structure == self._tried:
            return
        require_agreement(
            self.model,
            self._teacher_forced,
            self.open_prefix,
            self.vocab_size,
            self.max_positions,
        )
        self._tried = structure

    @override
    def digest(self) -> str:
        content = sha256(repr(sorted(self.model.config.to_diff_dict().items(), key=str)).encode())
        for name, tensor in weights_of(self.model):
            content.update(name.encode())
            content.update(tensor.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes())
        if self._tokenizer is not None:
            content.update(repr(sorted(self._tokenizer.tokenizer.get_vocab().items())).encode())
        if prepended := self._opener.prepended:
            content.update(repr(("prepend", prepended)).encode())
        return content.hexdigest()[:16]


def _eos_tokens(config: Any) -> tuple[int, ...]:
    """Return the end-of-text tokens that a config names: none, one or several."""
    eos = getattr(config, "eos_token_id", None)
    return () if eos is None else tuple(map(int, eos if isinstance(eos, (list, tuple)) else [eos]))


def _embedding_rows(model: Any) -> int:
    """Return the number of a model's token embeddings."""
    try:
        weight = model.get_input_embeddings().weight
        return int(weight.shape[0]) if weight.ndim == 2 else 0
    except (AttributeError, NotImplementedError):
        raise PrefixcapError(
            "from_transformers needs a causal language model of transformers, such as a "
            f"GPT2LMHeadModel, and {type(model).__name__} has no token embeddings"
        ) from None


def _check_tokenizer(tokenizer: Any, size: int) -> None:
    """Check that every token that texts can have is one of a model's `size` tokens.

    Special tokens may be missing, except the one that ends a caption: no text has them.
    """
    from transformers import PreTrainedTokenizerBase

    if not isinstance(tokenizer, PreTrainedTokenizerBase):
        return  # another object with the same methods, whose tokens are checked when it is used
    special = {number for number, t in tokenizer.added_tokens_decoder.items() if t.special}
    special -= {tokenizer.eos_token_id}
    numbers = tokenizer.get_vocab().items()
    unknown = [(number, t) for t, number in numbers if number >= size and number not in special]
    if unknown:
        number, token = min(unknown)
        raise PrefixcapError(
            f"the tokenizer has the token {token!r} as number {number}, and the language model has "
            f"{size} tokens (0 to {size - 1}): use the model's own tokenizer, or, if you added "
            "tokens, call model.resize_token_embeddings(len(tokenizer))"
        )
