"""A tiny language model whose probabilities are all known: a table of drawn logits."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256

import attrs
import torch
from torch import Tensor, nn
from typing_extensions import override

from prefixcap.interfaces.language_model import LanguageModel, Tokenizer
from prefixcap.interfaces.session import Session, SessionOptions


class LetterTokenizer(Tokenizer):
    """Token i is the i-th letter; the last token ends a text and has no letter."""

    def __init__(self, vocab_size: int) -> None:
        self.letters = "".join(chr(ord("a") + i) for i in range(vocab_size - 1))

    @override
    def encode(self, text: str) -> list[int]:
        return [self.letters.index(letter) for letter in text]

    @override
    def decode(self, ids: Sequence[int]) -> str:
        return "".join(self.letters[i] for i in ids if i < len(self.letters))


@attrs.define(eq=False, repr=False)
class TableLM(LanguageModel):
    """A language model whose logits are a function of the prefix and of all previous tokens.

    The logits are drawn with a seed made of `seed`, the rounded prefix and the tokens. So the model
    has no structure that a decoder could rely on, and every distribution can be looked up.

    Attributes:
        vocab_size: V; the last token is the end of text.
        seed: The seed of the table.
        width: E.
        sharpness: The standard deviation of the logits; higher values give peaked distributions.
        most_rows: The maximum number of rows after an `admit` or an `advance` of any session.
        most_wanted: The largest `rows_per_image` that a session was opened with.
    """

    vocab_size: int = 5
    seed: int = 0
    width: int = 4
    sharpness: float = 1.5
    module: nn.Module = attrs.field(init=False)
    most_rows: int = attrs.field(default=0, init=False)
    most_wanted: int = attrs.field(default=0, init=False)
    _known: dict[tuple[object, ...], Tensor] = attrs.field(factory=dict, init=False)
    max_positions = None

    @module.default
    def _embedding(self) -> nn.Module:
        weight = torch.eye(self.vocab_size, self.width)
        return nn.Embedding(self.vocab_size, self.width, _weight=weight)

    @property
    @override
    def eos_id(self) -> int:
        return self.vocab_size - 1

    @property
    @override
    def tokenizer(self) -> Tokenizer:
        return LetterTokenizer(self.vocab_size)

    @override
    def embed(self, ids: Tensor) -> Tensor:
        embeddings: Tensor = self.module(ids)
        return embeddings

    def distribution(self, prefix: Tensor, tokens: Sequence[int]) -> Tensor:
        """Return the logits (V) that follow a prefix (P,E) and tokens (T)."""
        values = tuple(round(value, 3) for value in prefix.flatten().tolist())
        key = (self.seed, values, tuple(tokens))
        if key not in self._known:
            number = int.from_bytes(sha256(repr(key).encode()).digest()[:7])
            stream = torch.Generator().manual_seed(number)
            self._known[key] = torch.randn(self.vocab_size, generator=stream) * self.sharpness
        return self._known[key]

    @override
    def teacher_forced(self, prefix: Tensor, ids: Tensor, mask: Tensor) -> Tensor:
        return torch.stack(
            [
                torch.stack([self.distribution(p, row[:t]) for t in range(len(row))])
                for p, row in zip(prefix, ids.tolist(), strict=True)
            ]
        )

    @override
    def start(self, prefix: Tensor, options: SessionOptions) -> Session:
        self.most_wanted = max(self.most_wanted, options.rows_per_image)
        return TableSession(self, prefix, options)

    @override
    def digest(self) -> str:
        return sha256(repr((self.vocab_size, self.seed, self.sharpness)).encode()).hexdigest()[:16]


class TableSession(Session):
    """A session that stores each row's tokens and looks up its logits."""

    def __init__(self, lm: TableLM, prefix: Tensor, options: SessionOptions) -> None:
        self._lm = lm
        self._prefix = prefix
        self._at_once = options.images_at_once(len(prefix))
        self._hidden_states = options.hidden_states
        self._next = 0
        self._latest: list[int] = []
        self._rows: list[tuple[int, tuple[int, ...]]] = []

    @property
    @override
    def images(self) -> list[int]:
        return [image for image, _ in self._rows]

    @property
    @override
    def logits(self) -> Tensor:
        rows = [self._lm.distribution(self._prefix[image], text) for image, text in self._rows]
        return torch.stack(rows) if rows else torch.empty(0, self._lm.vocab_size)

    @property
    @override
    def waiting(self) -> int:
        return len(self._prefix) - self._next

    @override
    def admit(self) -> list[int]:
        count = min(self.waiting, max(0, self._at_once - len(set(self.images))))
        new = list(range(self._next, self._next + count))
        self._rows += [(image, ()) for image in new]
        self._next += count
        self._latest = new or self._latest
        self._count_rows()
        return new

    @override
    def advance(self, tokens: Tensor, parents: Tensor) -> Tensor:
        pairs = zip(tokens.tolist(), parents.tolist(), strict=True)
        self._rows = [(self._rows[p][0], (*self._rows[p][1], token)) for token, p in pairs]
        self._count_rows()
        return self.logits

    @override
    def extend(self, tokens: Tensor, parents: Tensor, kept: Tensor | None = None) -> Tensor:
        rows = list(self._rows)
        for token, parent in zip(tokens.tolist(), parents.tolist(), strict=True):
            image, text = rows[parent]
            rows.append((image, (*text, token)))
        stay = [] if kept is None else kept.tolist()
        self._rows = [rows[row] for row in stay] + rows[len(self._rows) :]
        return self.logits

    @override
    def hidden(self) -> tuple[Tensor, ...]:
        """Return three artificial hidden states (R,E) that depend on the row alone."""
        self._require_hidden()
        return tuple(self._as_hidden(self.logits) * scale for scale in (0.5, 1.0, 2.0))

    @override
    def prefix_hidden(self) -> Tensor:
        """Return artificial hidden states (b,P,E): the logits after each part of a prefix."""
        self._require_hidden()
        states = [
            torch.stack(
                [self._lm.distribution(prefix[: end + 1], ()) for end in range(len(prefix))]
            )
            for prefix in self._prefix[self._latest]
        ]
        return self._as_hidden(torch.stack(states)) * 2.0

    def _as_hidden(self, logits: Tensor) -> Tensor:
        # (...,V) -> (...,E): repeat the logits if E is larger, cut them if it is smaller
        return logits[..., torch.arange(self._lm.width) % self._lm.vocab_size]

    def _count_rows(self) -> None:
        self._lm.most_rows = max(self._lm.most_rows, len(self._rows))

    def _require_hidden(self) -> None:
        if not self._hidden_states:
            raise RuntimeError("open the session with hidden_states=True to read them")
