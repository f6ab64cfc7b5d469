"""A correct language model, and its mutants."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from functools import cached_property
from typing import Any, ClassVar
from uuid import uuid4

import attrs
import torch
from torch import Tensor, nn

from prefixcap.engine.causal_lm import CausalLM
from prefixcap.interfaces.language_model import Tokenizer
from prefixcap.interfaces.session import Session, SessionOptions
from prefixcap.testing import LetterTokenizer
from prefixcap.testing.case import small_gpt2


def build(twist: str) -> CausalLM:
    return LETTERS.get(twist, Letters)(small_gpt2())


class Letters(CausalLM):
    """A small GPT-2 with letters as tokens."""

    @property
    def tokenizer(self) -> Tokenizer:
        return LetterTokenizer(self.vocab_size)


class WrongWidth(Letters):
    @property
    def width(self) -> int:
        return super().width + 1


class ReadsPadding(Letters):
    def teacher_forced(self, prefix: Tensor, ids: Tensor, mask: Tensor) -> Tensor:
        result = super().teacher_forced(prefix, ids, mask)
        return result if mask.all() else result + ids[:, -1:, None]


class FeelsPadding(Letters):
    def teacher_forced(self, prefix: Tensor, ids: Tensor, mask: Tensor) -> Tensor:
        padded = (~mask).sum(-1).view(-1, 1, 1)
        stretched = torch.arange(self.vocab_size) * 0.1
        return super().teacher_forced(prefix, ids, mask) + padded * stretched


class SharesCaptions(Letters):
    """Gives all captions of a batch the first prefix."""

    def caption_loss(self, prefix: Tensor, images: Tensor, ids: Tensor, mask: Tensor) -> Tensor:
        return super().caption_loss(prefix, torch.zeros_like(images), ids, mask)


class SharesWeights(Letters):
    """Shares its weights with its copies."""

    def __deepcopy__(self, memo: dict[int, Any]) -> SharesWeights:
        return SharesWeights(self.model)


class OtherModule(Letters):
    """Has a `module` that it does not use."""

    @cached_property
    def shown(self) -> nn.Module:
        return deepcopy(self.model)

    @property
    def module(self) -> nn.Module:
        return self.shown


class KeptDigest(Letters):
    """Hashes its weights once."""

    @cached_property
    def kept(self) -> str:
        return super().digest()

    def digest(self) -> str:
        return self.kept


class Dropout(Letters):
    def teacher_forced(self, prefix: Tensor, ids: Tensor, mask: Tensor) -> Tensor:
        result = super().teacher_forced(prefix, ids, mask)
        return result * (1 + 0.1 * torch.rand(result.shape))


class Detached(Letters):
    def teacher_forced(self, prefix: Tensor, ids: Tensor, mask: Tensor) -> Tensor:
        return super().teacher_forced(prefix.detach(), ids, mask)


class Forgetful(Tokenizer):
    def encode(self, text: str) -> list[int]:
        return [0] * len(text)

    def decode(self, ids: Any) -> str:
        return "a" * len(ids)


class Ending(LetterTokenizer):
    """Appends the end token to every text."""

    def encode(self, text: str) -> list[int]:
        return [*super().encode(text), len(self.letters)]


class Beginning(LetterTokenizer):
    """Prepends a token to every text, and removes it again."""

    def encode(self, text: str) -> list[int]:
        return [0, *super().encode(text)]

    def decode(self, ids: Sequence[int]) -> str:
        return super().decode(ids)[1:]


class AddsEnd(Letters):
    @property
    def tokenizer(self) -> Tokenizer:
        return Ending(self.vocab_size)


class AddsBeginning(Letters):
    @property
    def tokenizer(self) -> Tokenizer:
        return Beginning(self.vocab_size)


class WrongTokenizer(Letters):
    @property
    def tokenizer(self) -> Tokenizer:
        return Forgetful()


class Restless(Letters):
    def digest(self) -> str:
        return uuid4().hex


class Wrapped(Session):
    """A session that forwards all calls."""

    def __init__(self, lm: CausalLM, inner: Session) -> None:
        self.lm, self.inner = lm, inner

    @property
    def images(self) -> list[int]:
        return self.inner.images

    @property
    def logits(self) -> Tensor:
        return self.inner.logits

    @property
    def waiting(self) -> int:
        return self.inner.waiting

    def admit(self) -> list[int]:
        return self.inner.admit()

    def advance(self, tokens: Tensor, parents: Tensor) -> Tensor:
        return self.inner.advance(tokens, parents)

    def extend(self, tokens: Tensor, parents: Tensor, kept: Tensor | None = None) -> Tensor:
        return self.inner.extend(tokens, parents, kept)

    def hidden(self) -> tuple[Tensor, ...]:
        return self.inner.hidden()

    def prefix_hidden(self) -> Tensor:
        return self.inner.prefix_hidden()


class WrapsSession(Letters):
    session: type[Wrapped] = Wrapped
    changes: ClassVar[dict[str, Any]] = {}

    def start(self, prefix: Tensor, options: SessionOptions) -> Session:
        return self.session(self, super().start(prefix, attrs.evolve(options, **self.changes)))


class Stale(Wrapped):
    """Treats every token as token 0."""

    def advance(self, tokens: Tensor, parents: Tensor) -> Tensor:
        return self.inner.advance(torch.zeros_like(tokens), parents)


class Sorting(Wrapped):
    """Sorts the rows."""

    def advance(self, tokens: Tensor, parents: Tensor) -> Tensor:
        return self.inner.advance(tokens, parents.sort().values)


class Unsettled(Wrapped):
    """Treats every token as token 0 after images were admitted beside live rows."""

    late = False

    def admit(self) -> list[int]:
        live = bool(self.images)
        new = self.inner.admit()
        self.late = self.late or bool(live and new)
        return new

    def advance(self, tokens: Tensor, parents: Tensor) -> Tensor:
        return self.inner.advance(torch.zeros_like(tokens) if self.late else tokens, parents)


class TurnedStates(Wrapped):
    """Returns the rows' hidden states in reverse order."""

    def hidden(self) -> tuple[Tensor, ...]:
        return tuple(layer.flip(0) for layer in self.inner.hidden())


class NeedsRows(Wrapped):
    def advance(self, tokens: Tensor, parents: Tensor) -> Tensor:
        parents[0]
        return self.inner.advance(tokens, parents)


class Shared(Wrapped):
    """Uses the session that the model opened last."""

    latest: ClassVar[dict[int, Session]] = {}

    def __init__(self, lm: CausalLM, inner: Session) -> None:
        super().__init__(lm, inner)
        self.latest[id(lm)] = inner

    def advance(self, tokens: Tensor, parents: Tensor) -> Tensor:
        return self.latest[id(self.lm)].advance(tokens, parents)


class OneState(Wrapped):
    def hidden(self) -> tuple[Tensor, ...]:
        return tuple(layer[:1] for layer in self.inner.hidden())


class Flat(Wrapped):
    """Attaches every new token to the live row at the root of its tree."""

    def extend(self, tokens: Tensor, parents: Tensor, kept: Tensor | None = None) -> Tensor:
        live, roots = len(self.images), parents.tolist()
        for row, parent in enumerate(roots):
            roots[row] = parent if parent < live else roots[parent - live]
        return self.inner.extend(tokens, torch.tensor(roots).long(), kept)


class TurnsKept(Wrapped):
    """Returns kept rows in sorted order."""

    def extend(self, tokens: Tensor, parents: Tensor, kept: Tensor | None = None) -> Tensor:
        own = None if kept is None else kept.sort().values
        return self.inner.extend(tokens, parents, own)


class Reversed(Wrapped):
    """Returns the prefix's positions in reverse order."""

    def prefix_hidden(self) -> Tensor:
        return self.inner.prefix_hidden().flip(1)


class FlatLM(WrapsSession):
    session = Flat


class TurnsKeptLM(WrapsSession):
    session = TurnsKept


class ReversedLM(WrapsSession):
    session = Reversed


class StaleLM(WrapsSession):
    session = Stale


class SortingLM(WrapsSession):
    session = Sorting


class UnsettledLM(WrapsSession):
    session = Unsettled


class TurnedStatesLM(WrapsSession):
    session = TurnedStates


class NeedsRowsLM(WrapsSession):
    session = NeedsRows


class SharedLM(WrapsSession):
    session = Shared


class OneStateLM(WrapsSession):
    session = OneState


class AlwaysHidden(WrapsSession):
    changes: ClassVar[dict[str, Any]] = {"hidden_states": True}


class Greedy(WrapsSession):
    changes: ClassVar[dict[str, Any]] = {"rows_per_image": 1, "max_rows": None}


LETTERS: dict[str, type[Letters]] = {
    "wrong width": WrongWidth,
    "reads padding": ReadsPadding,
    "feels padding": FeelsPadding,
    "shares captions": SharesCaptions,
    "shares weights": SharesWeights,
    "other module": OtherModule,
    "kept digest": KeptDigest,
    "adds end": AddsEnd,
    "adds beginning": AddsBeginning,
    "unsettled": UnsettledLM,
    "turned states": TurnedStatesLM,
    "dropout": Dropout,
    "detached": Detached,
    "stale": StaleLM,
    "sorting": SortingLM,
    "too many images": Greedy,
    "needs rows": NeedsRowsLM,
    "shared": SharedLM,
    "one state": OneStateLM,
    "flat trees": FlatLM,
    "turns kept": TurnsKeptLM,
    "prefix reversed": ReversedLM,
    "always hidden": AlwaysHidden,
    "wrong tokenizer": WrongTokenizer,
    "restless": Restless,
}
