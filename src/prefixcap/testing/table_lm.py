"""A tiny language model whose every probability is known: a table from texts to distributions."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256

import torch
from torch import Tensor, nn

from prefixcap.interfaces.language_model import LanguageModel, Tokenizer
from prefixcap.interfaces.session import Session, SessionOptions


class LetterTokenizer(Tokenizer):
    """Token i is the i-th letter; the last token of the table is the end and has no letter."""

    def __init__(self, vocab_size: int) -> None:
        self.letters = "".join(chr(ord("a") + i) for i in range(vocab_size - 1))

    def encode(self, text: str) -> list[int]:
        """Turns letters into token ids."""
        return [self.letters.index(letter) for letter in text]

    def decode(self, ids: Sequence[int]) -> str:
        """Turns token ids into letters; the end token gives none."""
        return "".join(self.letters[i] for i in ids if i < len(self.letters))


class TableLM(LanguageModel):
    """A language model whose logits are a function of the prefix and of every token before.

    The logits are drawn once from a stream keyed by the seed, the prefix (rounded) and the tokens,
    so the model has no structure a decoder could lean on, and every distribution can be asked for.

    Args:
        vocab_size: V; the last token is the end of text.
        seed: of the table.
        width: E.
        sharpness: the standard deviation of the logits; higher is peakier.

    Attributes:
        most_rows: the most rows that a session held after an `admit` or an `advance`.
        most_wanted: the largest `rows_per_image` that a session was opened with.
    """

    def __init__(
        self, vocab_size: int = 5, seed: int = 0, width: int = 4, sharpness: float = 1.5
    ) -> None:
        self._vocab_size = vocab_size
        self._width = width
        self.seed = seed
        self.sharpness = sharpness
        self._module = nn.Embedding(vocab_size, width, _weight=torch.eye(vocab_size, width))
        self._known: dict[tuple[object, ...], Tensor] = {}
        self.most_rows = self.most_wanted = 0

    @property
    def width(self) -> int:
        """E, the width of a token's embedding."""
        return self._width

    @property
    def vocab_size(self) -> int:
        """V, the number of logits."""
        return self._vocab_size

    @property
    def max_positions(self) -> int | None:
        """None: there is no limit."""
        return None

    @property
    def eos_id(self) -> int:
        """The last token."""
        return self._vocab_size - 1

    @property
    def tokenizer(self) -> Tokenizer:
        """One letter a token."""
        return LetterTokenizer(self._vocab_size)

    @property
    def module(self) -> nn.Module:
        """The embedding; the table itself has no parameters."""
        return self._module

    def embed(self, ids: Tensor) -> Tensor:
        """Looks up the embeddings (...,E) of token ids (...)."""
        found: Tensor = self._module(ids)
        return found

    def distribution(self, prefix: Tensor, tokens: Sequence[int]) -> Tensor:
        """Returns the logits (V) that follow a prefix (P,E) and tokens (T)."""
        values = tuple(round(value, 3) for value in prefix.flatten().tolist())
        key = (self.seed, values, tuple(tokens))
        if key not in self._known:
            number = int.from_bytes(sha256(repr(key).encode()).digest()[:7])
            stream = torch.Generator().manual_seed(number)
            self._known[key] = torch.randn(self._vocab_size, generator=stream) * self.sharpness
        return self._known[key]

    def teacher_forced(self, prefix: Tensor, ids: Tensor, mask: Tensor) -> Tensor:
        """Computes the logits (B,T,V) of tokens (B,T) given prefixes (B,P,E)."""
        return torch.stack(
            [
                torch.stack([self.distribution(p, row[:t]) for t in range(len(row))])
                for p, row in zip(prefix, ids.tolist(), strict=True)
            ]
        )

    def start(self, prefix: Tensor, options: SessionOptions) -> Session:
        """Opens a session on the prefixes (B,P,E)."""
        self.most_wanted = max(self.most_wanted, options.rows_per_image)
        return TableSession(self, prefix, options)

    def digest(self) -> str:
        """Returns a hash of what defines the table."""
        return sha256(repr((self._vocab_size, self.seed, self.sharpness)).encode()).hexdigest()[:16]


class TableSession(Session):
    """A session that remembers each row's tokens and looks its distribution up."""

    def __init__(self, lm: TableLM, prefix: Tensor, options: SessionOptions) -> None:
        self._lm = lm
        self._prefix = prefix
        self._at_once = options.images_at_once(len(prefix))
        self._hidden_states = options.hidden_states
        self._next = 0
        self._latest: list[int] = []
        self._rows: list[tuple[int, tuple[int, ...]]] = []

    @property
    def images(self) -> list[int]:
        """The image of each live row (R)."""
        return [image for image, _ in self._rows]

    @property
    def logits(self) -> Tensor:
        """The next token's logits (R,V) of each live row."""
        found = [self._lm.distribution(self._prefix[image], row) for image, row in self._rows]
        return torch.stack(found) if found else torch.empty(0, self._lm.vocab_size)

    @property
    def waiting(self) -> int:
        """How many images have not been admitted yet."""
        return len(self._prefix) - self._next

    def admit(self) -> list[int]:
        """Brings in waiting images while their rows fit beside those of the live images."""
        new = []
        live = len(set(self.images))
        while self.waiting and live < self._at_once:
            self._rows.append((self._next, ()))
            new.append(self._next)
            self._next += 1
            live += 1
        self._latest = new or self._latest
        self._count_rows()
        return new

    def advance(self, tokens: Tensor, parents: Tensor) -> Tensor:
        """Extends rows (R') of given parents by one token each; returns logits (R',V)."""
        pairs = zip(tokens.tolist(), parents.tolist(), strict=True)
        self._rows = [(self._rows[p][0], (*self._rows[p][1], token)) for token, p in pairs]
        self._count_rows()
        return self.logits

    def extend(self, tokens: Tensor, parents: Tensor, kept: Tensor | None = None) -> Tensor:
        """Extends rows by trees of tokens (R') in one run, beside rows (K) that stay."""
        rows = list(self._rows)
        for token, parent in zip(tokens.tolist(), parents.tolist(), strict=True):
            image, text = rows[parent]
            rows.append((image, (*text, token)))
        stay = [] if kept is None else kept.tolist()
        self._rows = [rows[row] for row in stay] + rows[len(self._rows) :]
        return self.logits

    def hidden(self) -> tuple[Tensor, ...]:
        """Returns three made-up hidden states (R,E) that depend on the row alone."""
        self._require_hidden()
        return tuple(self._wide(self.logits) * scale for scale in (0.5, 1.0, 2.0))

    def prefix_hidden(self) -> Tensor:
        """Returns made-up hidden states (b,P,E) of the prefixes that came in last."""
        self._require_hidden()
        states = [
            torch.stack(
                [self._lm.distribution(prefix[: end + 1], ()) for end in range(len(prefix))]
            )
            for prefix in self._prefix[self._latest]
        ]
        return self._wide(torch.stack(states)) * 2.0

    def _wide(self, logits: Tensor) -> Tensor:
        """Makes hidden states (...,E) of logits (...,V), which are repeated where E is larger."""
        return logits[..., torch.arange(self._lm.width) % self._lm.vocab_size]

    def _count_rows(self) -> None:
        self._lm.most_rows = max(self._lm.most_rows, len(self._rows))

    def _require_hidden(self) -> None:
        if not self._hidden_states:
            raise RuntimeError("open the session with hidden_states=True to read them")
