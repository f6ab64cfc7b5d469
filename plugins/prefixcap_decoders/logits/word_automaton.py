"""An automaton over tokens that tracks the words of a caption, and which can still follow."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from weakref import WeakKeyDictionary

import attrs
import numpy as np
import torch
from torch import Tensor

from prefixcap.errors import PrefixcapError
from prefixcap.interfaces.language_model import LanguageModel, Tokenizer
from prefixcap_decoders.logits.characters import Classes, Utf8
from prefixcap_decoders.logits.phrase_matcher import Ints, Matcher
from prefixcap_decoders.logits.settings import alternatives

MAX_STATES = 20_000
MOST_KEPT = 8
# more tokens than any caption has: the distance to an unreachable end
FAR = 2**20
REPLACEMENT = "\ufffd"
"""What a tokenizer decodes to where bytes are no character."""


@attrs.frozen
class Piece:
    """A token as the end of a character, whole characters, and the beginning of one.

    Attributes:
        head: Bytes that continue the character that the tokens before have begun.
        text: Whole characters.
        tail: Bytes of a character that the next tokens have to complete.
    """

    head: bytes
    text: str
    tail: bytes

    @classmethod
    def of_bytes(cls, token: bytes) -> Piece:
        """Split a token's bytes."""
        start = next((i for i, byte in enumerate(token) if byte & 0xC0 != 0x80), len(token))
        # an incomplete character's first byte is one of the last three
        ends = [i for i in range(max(start, len(token) - 3), len(token)) if token[i] >= 0xC0]
        for end in (len(token), *reversed(ends)):
            try:
                return cls(token[:start], token[start:end].decode(), token[end:])
            except UnicodeDecodeError:
                continue
        # no text contains these bytes
        return cls(b"", REPLACEMENT, b"")


_PIECES: WeakKeyDictionary[Tokenizer, list[Piece | None]] = WeakKeyDictionary()


@attrs.frozen(eq=False)
class Automaton:
    """Which words the tokens so far contain, and what each next token changes.

    Character automata are mapped onto the vocabulary (Willard and Louf 2023, "Efficient Guided
    Generation for Large Language Models", arXiv:2307.09702), so that words count however they are
    tokenized. Tokens may end within a character: a state is one of S between characters times N,
    plus one of N nodes within a character, 0 between two. V tokens are in C classes, whose members
    have the same transitions. Two more classes of characters change nothing, or lead to the last of
    the S states, which no token leaves: it is that of texts that are not allowed.
    """

    classes: Tensor  # (V) int64, class of each token; stop tokens have one of their own
    chars: Tensor  # (S,K+2) int64, state after a character of each class
    heads: Tensor  # (C) int64, the number of each class's head, 0 for none
    completed: Tensor  # (N,H) int64, the class of the character that a head completes
    continued: Tensor  # (N,H) int64, the node of a character that is not complete after a head
    texts: Tensor  # (S,C) int64, state after the whole characters
    tails: Tensor  # (C) int64, node after the token
    needed: Tensor  # (S*N) int64, minimum number of tokens until a caption may end; or `FAR`

    def to(self, device: torch.device) -> Automaton:
        """Return the automaton on a device."""
        return Automaton(*(getattr(self, f.name).to(device) for f in attrs.fields(Automaton)))

    def step(self, states: Tensor, tokens: Tensor) -> Tensor:
        """Return the states after tokens (...) in states (...).

        It is the start after a stop token, or a token that is not allowed.
        """
        after = self._after(states, self.classes[tokens])
        return after.where(after < self._dead, 0)

    def after(self, tokens: Tensor) -> Tensor:
        """Return the states (R) after tokens (R,T)."""
        states = tokens.new_zeros(len(tokens))
        for column in tokens.unbind(1):
            states = self.step(states, column)
        return states

    def allowed(self, states: Tensor, remaining: int | Tensor) -> Tensor:
        """Return the mask (R,V) of tokens allowed in states (R), stop tokens excluded.

        Args:
            states: (R).
            remaining: Number of tokens that may follow the next one; a number, or (R,1).
        """
        every = torch.arange(len(self.heads), device=states.device)
        cost = self.needed[self._after(states[:, None], every[None])]
        return (cost <= remaining)[:, self.classes]

    @property
    def _dead(self) -> int:
        nodes = len(self.completed)
        return len(self.needed) - nodes

    def _after(self, states: Tensor, classes: Tensor) -> Tensor:
        nodes = len(self.completed)
        node, heads = states % nodes, self.heads[classes]
        between = self.chars[states // nodes, self.completed[node, heads]]
        continued = self.continued[node, heads]
        tail = continued.where(continued > 0, self.tails[classes])
        return self.texts[between, classes] * nodes + tail


_AUTOMATA: WeakKeyDictionary[Tokenizer, dict[tuple[Any, ...], Automaton]] = WeakKeyDictionary()


def build_automaton(
    lm: LanguageModel, force_words: Sequence[str], bad_words: Sequence[str], stop_ids: Sequence[int]
) -> Automaton:
    """Build the automaton of words on a language model's vocabulary.

    Args:
        lm: Language model with a tokenizer.
        force_words: Words or phrases that must appear, with alternatives such as "dog|dogs".
        bad_words: Words or phrases that must not appear.
        stop_ids: Tokens that end a caption.

    Raises:
        PrefixcapError: If there is no tokenizer, the words cannot be written, they are too many, or
            the tokenizer does not tell the bytes of their letters.
    """
    if lm.tokenizer is None:
        raise PrefixcapError(
            "the language model has no tokenizer, so its captions cannot be checked for words"
        )
    # images may be decoded in many calls, and the automaton of a large vocabulary takes seconds
    built = _AUTOMATA.setdefault(lm.tokenizer, {})
    key = (lm.vocab_size, *map(tuple, (force_words, bad_words, stop_ids)))
    if key not in built:
        if len(built) >= MOST_KEPT:
            built.clear()
        pieces = _known(_pieces(lm.tokenizer, lm.vocab_size), [*force_words, *bad_words])
        built[key] = _build(pieces, force_words, bad_words, stop_ids)
    return built[key]


def _build(
    pieces: Sequence[Piece],
    force_words: Sequence[str],
    bad_words: Sequence[str],
    stop_ids: Sequence[int],
) -> Automaton:
    matchers = [Matcher(alternatives(word)) for word in force_words]
    if bad_words:
        matchers.append(Matcher([p for word in bad_words for p in alternatives(word)]))
    ends = [matcher.complete for matcher in matchers[: len(force_words)]]
    ends += [~matcher.complete for matcher in matchers[len(force_words) :]]
    characters = Classes(matchers)
    spelled = [characters.of(piece.text) for piece in pieces]
    split = any(piece.head or piece.tail for piece in pieces)
    utf8 = Utf8(characters.of_all() if split else None)
    tables = [characters.columns(number) for number in range(len(matchers))]
    if bad_words:
        tables[-1] = np.where(matchers[-1].matched[tables[-1]], -1, tables[-1])
    chars, may_end = _product(tables, characters.count, ends)
    automaton = _on_tokens(chars, may_end, pieces, spelled, utf8, stop_ids)
    if automaton.needed[0] >= FAR:
        excluded = f" and without {', '.join(map(repr, bad_words))}" if bad_words else ""
        raise PrefixcapError(
            f"no caption can be written with {', '.join(map(repr, force_words))}{excluded}: the "
            "language model's tokens do not spell the words, or a required word is also excluded"
        )
    return automaton


def _pieces(tokenizer: Tokenizer, vocab_size: int) -> list[Piece | None]:
    """Return each token's piece; None if it is part of a character and its bytes are unknown.

    Tokens are decoded after another one, to keep their leading space.
    """
    if tokenizer not in _PIECES:
        anchor = tokenizer.encode("a")
        start = tokenizer.decode(anchor)
        pieces: list[Piece | None] = []
        for token in range(vocab_size):
            text = tokenizer.decode([*anchor, token]).removeprefix(start)
            piece: Piece | None = Piece(b"", text, b"")
            if REPLACEMENT in text:
                known = tokenizer.token_bytes(token)
                # a token that spells the replacement character itself is a text
                is_part = known is not None and known.decode("utf-8", "replace") == text
                piece = Piece.of_bytes(known) if known is not None and is_part else None
            pieces.append(piece)
        _PIECES[tokenizer] = pieces
    return _PIECES[tokenizer]


def _known(pieces: Sequence[Piece | None], words: Sequence[str]) -> list[Piece]:
    unknown = sum(piece is None for piece in pieces)
    other = next((word for word in words if not word.isascii()), None)
    if unknown and other is not None:
        raise PrefixcapError(
            f"the word {other!r} cannot be found in captions: {unknown} tokens are parts of "
            "characters, and the tokenizer does not tell their bytes"
        )
    return [Piece(b"", REPLACEMENT, b"") if piece is None else piece for piece in pieces]


def _on_tokens(
    chars: Ints,
    may_end: np.ndarray,
    pieces: Sequence[Piece],
    spelled: Sequence[Sequence[int]],
    utf8: Utf8,
    stop_ids: Sequence[int],
) -> Automaton:
    """Map an automaton on classes of characters onto tokens.

    Args:
        chars: (S,K) next states, -1 if not allowed.
        may_end: (S), whether a caption may end.
        pieces: The V tokens.
        spelled: The classes of each token's whole characters.
        utf8: The nodes within characters.
        stop_ids: Tokens that end a caption.
    """
    dead, same, never = len(chars), chars.shape[1], chars.shape[1] + 1
    more = np.column_stack([np.arange(dead), np.full(dead, dead)])
    chars = np.column_stack([np.where(chars < 0, dead, chars), more])
    chars = np.concatenate([chars, np.full((1, never + 1), dead)])
    texts = _spell(chars, spelled)
    # a head that does not complete its character is the whole token
    keys = [(piece.head, bool(piece.head and (piece.text or piece.tail))) for piece in pieces]
    numbers = {key: number for number, key in enumerate(dict.fromkeys([(b"", False), *keys]))}
    heads = np.array([numbers[key] for key in keys])
    tails = np.zeros(len(pieces), dtype=np.int64)
    for token, piece in enumerate(pieces):
        if piece.tail:
            lead = utf8.leads.get(piece.tail[0], 0)
            tails[token] = utf8.resume(lead, piece.tail[1:])[1] if lead else 0
            if not tails[token]:
                texts[:, token] = dead
    texts[:, list(stop_ids)] = dead
    is_stop = np.isin(np.arange(len(pieces)), list(stop_ids))
    stacked = np.concatenate([texts, heads[None], tails[None], is_stop[None]])
    columns, classes = np.unique(stacked, axis=1, return_inverse=True)
    nodes = len(utf8.rows)
    completed = np.full((nodes, len(numbers)), never)
    continued = np.zeros((nodes, len(numbers)), dtype=np.int64)
    completed[0, 0] = same
    for (head, has_more), number in numbers.items():
        for node in range(1, nodes if head else 1):
            found, following = utf8.resume(node, head)
            if found >= 0:
                completed[node, number] = found
            elif following and not has_more:
                completed[node, number], continued[node, number] = same, following
    texts, heads, tails = columns[: dead + 1], columns[-3], columns[-2]
    needed = _distances(chars, texts, heads, tails, completed, continued, may_end)
    return Automaton(
        *map(torch.from_numpy, (classes.reshape(-1), chars, heads)),
        *map(torch.from_numpy, (completed, continued, texts, tails, needed.reshape(-1))),
    )


def _spell(chars: Ints, spelled: Sequence[Sequence[int]]) -> Ints:
    """Return the state (S,V) after each state and the characters of each token."""
    # longest first, so that the tokens that still have a character are the first `count`
    order = sorted(range(len(spelled)), key=lambda token: -len(spelled[token]))
    states = np.repeat(np.arange(len(chars))[:, None], len(spelled), 1)
    count = len(spelled)
    for place in range(len(spelled[order[0]]) if order else 0):
        while len(spelled[order[count - 1]]) <= place:
            count -= 1
        column = [spelled[token][place] for token in order[:count]]
        states[:, :count] = chars[states[:, :count], column]
    return states[:, np.argsort(order)]


def _product(
    tables: Sequence[Ints], count: int, ends: Sequence[np.ndarray]
) -> tuple[Ints, np.ndarray]:
    """Combine the matchers' automata into one, with the states that can be reached.

    Args:
        tables: (S',K) of each matcher.
        count: K.
        ends: (S') of each matcher, whether a caption may end in that state.

    Returns:
        (S,K) next states, -1 if not allowed; (S) whether a caption may end.
    """
    start = (0,) * len(tables)
    numbers = {start: 0}
    rows: list[list[int]] = []
    for state in (queue := [start]):
        row = []
        for character in range(count):
            parts = (table[part, character] for table, part in zip(tables, state, strict=True))
            successor = tuple(map(int, parts))
            if -1 in successor:
                row.append(-1)
                continue
            if successor not in numbers:
                numbers[successor] = len(numbers)
                queue.append(successor)
            row.append(numbers[successor])
        rows.append(row)
        if len(numbers) > MAX_STATES:
            raise PrefixcapError("too many words to track at once: remove some of them")
    may_end = [all(end[part] for end, part in zip(ends, state, strict=True)) for state in queue]
    return np.array(rows, dtype=np.int64), np.array(may_end)


def _distances(
    chars: Ints,
    texts: Ints,
    heads: Ints,
    tails: Ints,
    completed: Ints,
    continued: Ints,
    may_end: np.ndarray,
) -> Ints:
    """Return the fewest tokens (S,N) until a caption may end; it ends between characters."""
    needed = np.full((len(chars), len(completed)), FAR, dtype=np.int64)
    needed[:-1, 0] = np.where(may_end, 0, FAR)
    by_head = [np.flatnonzero(heads == head) for head in range(completed.shape[1])]
    while True:
        best = np.full_like(needed, FAR)
        for head, members in enumerate(by_head):
            if not len(members):
                continue
            # after the head's character, and the rest of the best token
            rest = needed[texts[:, members], tails[members]].min(1)
            cost = rest[chars[:, completed[:, head]]]
            pending = continued[:, head] > 0
            cost[:, pending] = needed[:, continued[pending, head]]
            best = np.minimum(best, cost)
        best[-1] = FAR
        nearer = np.minimum(needed, best + 1)
        if (nearer == needed).all():
            return needed
        needed = nearer


class BadWords:
    """A logits processor that excludes tokens after which a caption cannot avoid some words.

    Args:
        automaton: Automaton of the words.
        stop_ids: Tokens that end a caption.
        max_new_tokens: Maximum number of tokens of a caption.
    """

    def __init__(self, automaton: Automaton, stop_ids: Sequence[int], max_new_tokens: int) -> None:
        self._automaton = automaton
        self._stop_ids = list(stop_ids)
        self._limit = max_new_tokens

    def __call__(self, tokens: Tensor, scores: Tensor) -> Tensor:
        """Return the scores (R,V) that follow tokens (R,T), with excluded tokens at -inf."""
        states = self._automaton.after(tokens)
        allowed = self._automaton.allowed(states, self._limit - tokens.shape[1] - 1)
        allowed[:, self._stop_ids] = (self._automaton.needed[states] == 0)[:, None]
        # a row with no allowed token is left unchanged
        return scores.masked_fill(~(allowed | ~allowed.any(1, keepdim=True)), float("-inf"))
