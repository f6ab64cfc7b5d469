"""Which tokens lead to captions that have some words and lack others."""

from __future__ import annotations

from collections.abc import Sequence
from weakref import WeakKeyDictionary

import attrs
import numpy as np
import torch
from torch import Tensor

from prefixcap.errors import PrefixcapError
from prefixcap.interfaces.language_model import LanguageModel, Tokenizer
from prefixcap_decoders.logits.phrase_matcher import Ints, Matcher
from prefixcap_decoders.logits.phrases import alternatives

MOST_STATES = 20_000
# more tokens than any caption has: the distance to where no way leads
FAR = 2**20

_TEXTS: WeakKeyDictionary[Tokenizer, list[str]] = WeakKeyDictionary()


@attrs.frozen(eq=False)
class Automaton:
    """What a caption's tokens so far have of the words, and what each next token does to that.

    It is the language model's vocabulary put through automata over characters (Willard and Louf
    2023, "Efficient Guided Generation for Large Language Models"), so a word counts however it is
    parted into tokens. S states, V tokens in C classes that do the same in every state.

    Attributes:
        classes: (V) int64, each token's class; stop tokens have one of their own.
        next: (S,C) int64, the state after a token; 0, where captions begin, after a stop token and
            where a word that must not appear has appeared.
        needed: (S) int64, the least number of tokens until a caption may end; `FAR` for never.
        cost: (S,C) int64, `needed` after a token; `FAR` where `next` is no real state.
    """

    classes: Tensor
    next: Tensor
    needed: Tensor
    cost: Tensor

    def to(self, device: torch.device) -> Automaton:
        """Returns the automaton on a device."""
        return Automaton(*(getattr(self, f.name).to(device) for f in attrs.fields(Automaton)))

    def after(self, tokens: Tensor) -> Tensor:
        """Returns the states (R) that tokens (R,T) lead to."""
        states = (
            torch.zeros_like(tokens[:, 0]) if tokens.shape[1] else tokens.new_zeros(len(tokens))
        )
        for column in tokens.unbind(1):
            states = self.next[states, self.classes[column]]
        return states

    def allowed(self, states: Tensor, left: int | Tensor) -> Tensor:
        """Says which tokens (R,V) may follow in states (R); those of the stop tokens are False.

        Args:
            states: (R).
            left: how many tokens may come after the next one; a number, or (R,1).
        """
        return (self.cost[states] <= left)[:, self.classes]


def automaton(
    lm: LanguageModel, force_words: Sequence[str], bad_words: Sequence[str], stop_ids: Sequence[int]
) -> Automaton:
    """Makes the automaton of words on a language model's tokens.

    Args:
        lm: the language model, with a tokenizer.
        force_words: what must appear, each "dog" or "dog|dogs" for one of these.
        bad_words: what must not appear.
        stop_ids: the tokens that end a caption.

    Raises:
        PrefixcapError: there is no tokenizer, no caption can have these words, or there are too
            many of them.
    """
    if lm.tokenizer is None:
        raise PrefixcapError(
            "the language model has no tokenizer, so its captions cannot be checked for words"
        )
    texts = _token_texts(lm.tokenizer, lm.vocab_size)
    matchers = [Matcher(alternatives(word)) for word in force_words]
    if bad_words:
        matchers.append(Matcher([p for word in bad_words for p in alternatives(word)]))
    ends = [matcher.whole for matcher in matchers[: len(force_words)]]
    ends += [~matcher.whole for matcher in matchers[len(force_words) :]]
    tables = [_on_tokens(matcher, texts) for matcher in matchers]
    if bad_words:
        tables[-1] = np.where(matchers[-1].found[tables[-1]], -1, tables[-1])
    classes, shown = _classes(tables, len(texts), stop_ids)
    next_states, may_end = _joined(tables, shown, ends)
    cost, needed = _distances(next_states, may_end)
    found = Automaton(
        classes=torch.from_numpy(classes),
        next=torch.from_numpy(next_states.clip(min=0)),
        needed=torch.from_numpy(needed),
        cost=torch.from_numpy(cost),
    )
    if needed[0] >= FAR:
        raise PrefixcapError(_impossible(force_words, bad_words))
    return found


def _impossible(force_words: Sequence[str], bad_words: Sequence[str]) -> str:
    barred = f" and without {', '.join(map(repr, bad_words))}" if bad_words else ""
    return (
        f"no caption can be written with {', '.join(map(repr, force_words))}{barred}: the language "
        "model's tokens do not spell the words, or what must appear must not"
    )


def _token_texts(tokenizer: Tokenizer, vocab_size: int) -> list[str]:
    """Finds what each token adds to a text; behind another one, as its first space shows there."""
    if tokenizer not in _TEXTS:
        anchor = tokenizer.encode("a")
        start = tokenizer.decode(anchor)
        both = (tokenizer.decode([*anchor, token]) for token in range(vocab_size))
        _TEXTS[tokenizer] = [text.removeprefix(start) for text in both]
    return _TEXTS[tokenizer]


def _on_tokens(matcher: Matcher, texts: Sequence[str]) -> Ints:
    """Returns (S,V), the state that each state and token lead to."""
    order = sorted(range(len(texts)), key=lambda token: -len(texts[token]))
    symbols = [matcher.symbols(texts[token]) for token in order]
    states = np.repeat(np.arange(len(matcher.table))[:, None], len(texts), 1)
    count = len(symbols)
    for place in range(len(symbols[0]) if symbols else 0):
        while len(symbols[count - 1]) <= place:
            count -= 1
        column = [text[place] for text in symbols[:count]]
        states[:, :count] = matcher.table[states[:, :count], column]
    back = np.argsort(order)
    return states[:, back]


def _classes(
    tables: Sequence[Ints], vocab_size: int, stop_ids: Sequence[int]
) -> tuple[Ints, list[int]]:
    """Returns each token's class (V), and a token of each class; -1 for the stop tokens'."""
    stacked = np.concatenate([np.zeros((1, vocab_size), np.int64), *tables])
    stacked[0, list(stop_ids)] = -1
    _, first, classes = np.unique(stacked, axis=1, return_index=True, return_inverse=True)
    shown = [-1 if stacked[0, token] < 0 else token for token in first.tolist()]
    return classes.reshape(-1), shown


def _joined(
    tables: Sequence[Ints], shown: Sequence[int], ends: Sequence[np.ndarray]
) -> tuple[Ints, np.ndarray]:
    """Walks all matchers at once, from the start to wherever tokens lead.

    Args:
        tables: (S',V) of each matcher.
        shown: a token of each class.
        ends: (S') of each matcher, whether a caption may end in its state.

    Returns:
        (S,C), the joint state that follows, -1 where none may; (S) whether a caption may end.
    """
    stops = np.array(shown) < 0
    columns = [table[:, shown] for table in tables]
    start = (0,) * len(tables)
    numbers = {start: 0}
    rows: list[list[int]] = []
    for state in (waiting := [start]):
        parts = [column[part] for column, part in zip(columns, state, strict=True)]
        barred = stops | np.any([part < 0 for part in parts], axis=0) if parts else stops
        row = []
        for dead, after in zip(barred.tolist(), _columns(parts, len(shown)), strict=True):
            if not dead and after not in numbers:
                numbers[after] = len(numbers)
                waiting.append(after)
            row.append(-1 if dead else numbers[after])
        rows.append(row)
        if len(numbers) > MOST_STATES:
            raise PrefixcapError(
                "these are too many words to keep an eye on at once: leave some of them out"
            )
    may_end = [all(end[part] for end, part in zip(ends, state, strict=True)) for state in waiting]
    return np.array(rows, dtype=np.int64), np.array(may_end)


def _columns(parts: Sequence[Ints], count: int) -> list[tuple[int, ...]]:
    return [*map(tuple, np.stack(parts, 1).tolist())] if parts else [()] * count


def _distances(next_states: Ints, may_end: np.ndarray) -> tuple[Ints, Ints]:
    """Returns the least tokens until a caption may end: after each token (S,C), and before (S)."""
    needed = np.where(may_end, 0, FAR).astype(np.int64)
    while True:
        cost = np.where(next_states < 0, FAR, needed[next_states])
        nearer = np.minimum(needed, cost.min(1) + 1)
        if (nearer == needed).all():
            return cost, needed
        needed = nearer


class WithoutWords:
    """A logits processor that leaves only tokens by which a caption has none of some words.

    Args:
        found: the automaton of the words.
        stop_ids: the tokens that end a caption.
        max_new_tokens: the most tokens a caption may have.
    """

    def __init__(self, found: Automaton, stop_ids: Sequence[int], max_new_tokens: int) -> None:
        self._automaton = found
        self._stop_ids = list(stop_ids)
        self._limit = max_new_tokens

    def __call__(self, tokens: Tensor, scores: Tensor) -> Tensor:
        """Bars tokens from scores (R,V) of captions (R,T)."""
        states = self._automaton.after(tokens)
        allowed = self._automaton.allowed(states, self._limit - tokens.shape[1] - 1)
        allowed[:, self._stop_ids] = (self._automaton.needed[states] == 0)[:, None]
        # a row that has no way out is left as it is
        return scores.masked_fill(~(allowed | ~allowed.any(1, keepdim=True)), float("-inf"))
