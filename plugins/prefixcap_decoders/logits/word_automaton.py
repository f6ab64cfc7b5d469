"""An automaton over tokens that tracks the words of a caption, and which can still follow."""

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
from prefixcap_decoders.logits.settings import alternatives

MAX_STATES = 20_000
# more tokens than any caption has: the distance to an unreachable end
FAR = 2**20

_TEXTS: WeakKeyDictionary[Tokenizer, list[str]] = WeakKeyDictionary()


@attrs.frozen(eq=False)
class Automaton:
    """Which words the tokens so far contain, and what each next token changes.

    Character automata are mapped onto the vocabulary (Willard and Louf 2023, "Efficient Guided
    Generation for Large Language Models", arXiv:2307.09702), so that words count however they are
    tokenized. S states; V tokens in C classes, whose members have the same transitions.
    """

    classes: Tensor  # (V) int64, class of each token; stop tokens have one of their own
    next: Tensor  # (S,C) int64, state after a token; 0, the start, after a stop token or a bad word
    needed: Tensor  # (S) int64, minimum number of tokens until a caption may end; `FAR` for never
    cost: Tensor  # (S,C) int64, `needed` after a token; `FAR` if the token is not allowed

    def to(self, device: torch.device) -> Automaton:
        """Return the automaton on a device."""
        return Automaton(*(getattr(self, f.name).to(device) for f in attrs.fields(Automaton)))

    def after(self, tokens: Tensor) -> Tensor:
        """Return the states (R) after tokens (R,T)."""
        states = tokens.new_zeros(len(tokens))
        for column in tokens.unbind(1):
            states = self.next[states, self.classes[column]]
        return states

    def allowed(self, states: Tensor, remaining: int | Tensor) -> Tensor:
        """Return the mask (R,V) of tokens allowed in states (R), stop tokens excluded.

        Args:
            states: (R).
            remaining: Number of tokens that may follow the next one; a number, or (R,1).
        """
        return (self.cost[states] <= remaining)[:, self.classes]


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
        PrefixcapError: If there is no tokenizer, the words cannot be written, or they are too many.
    """
    if lm.tokenizer is None:
        raise PrefixcapError(
            "the language model has no tokenizer, so its captions cannot be checked for words"
        )
    texts = _token_texts(lm.tokenizer, lm.vocab_size)
    matchers = [Matcher(alternatives(word)) for word in force_words]
    if bad_words:
        matchers.append(Matcher([p for word in bad_words for p in alternatives(word)]))
    ends = [matcher.complete for matcher in matchers[: len(force_words)]]
    ends += [~matcher.complete for matcher in matchers[len(force_words) :]]
    tables = [_on_tokens(matcher, texts) for matcher in matchers]
    if bad_words:
        tables[-1] = np.where(matchers[-1].matched[tables[-1]], -1, tables[-1])
    classes, members = _classes(tables, len(texts), stop_ids)
    next_states, may_end = _product(tables, members, ends)
    cost, needed = _distances(next_states, may_end)
    if needed[0] >= FAR:
        excluded = f" and without {', '.join(map(repr, bad_words))}" if bad_words else ""
        raise PrefixcapError(
            f"no caption can be written with {', '.join(map(repr, force_words))}{excluded}: the "
            "language model's tokens do not spell the words, or a required word is also excluded"
        )
    return Automaton(
        classes=torch.from_numpy(classes),
        next=torch.from_numpy(next_states.clip(min=0)),
        needed=torch.from_numpy(needed),
        cost=torch.from_numpy(cost),
    )


def _token_texts(tokenizer: Tokenizer, vocab_size: int) -> list[str]:
    """Return the text of each token, decoded after another token to keep its leading space."""
    if tokenizer not in _TEXTS:
        anchor = tokenizer.encode("a")
        start = tokenizer.decode(anchor)
        decoded = (tokenizer.decode([*anchor, token]) for token in range(vocab_size))
        _TEXTS[tokenizer] = [text.removeprefix(start) for text in decoded]
    return _TEXTS[tokenizer]


def _on_tokens(matcher: Matcher, texts: Sequence[str]) -> Ints:
    """Return the state (S,V) after each state and token."""
    # longest first, so that the tokens that still have a symbol are the first `count`; a character
    # can have several symbols
    unsorted = [matcher.symbols(text) for text in texts]
    order = sorted(range(len(texts)), key=lambda token: -len(unsorted[token]))
    symbols = [unsorted[token] for token in order]
    states = np.repeat(np.arange(len(matcher.table))[:, None], len(texts), 1)
    count = len(symbols)
    for place in range(len(symbols[0]) if symbols else 0):
        while len(symbols[count - 1]) <= place:
            count -= 1
        column = [text[place] for text in symbols[:count]]
        states[:, :count] = matcher.table[states[:, :count], column]
    return states[:, np.argsort(order)]


def _classes(
    tables: Sequence[Ints], vocab_size: int, stop_ids: Sequence[int]
) -> tuple[Ints, list[int]]:
    """Return the class of each token (V), and one token of each class; -1 for the stop tokens."""
    stacked = np.concatenate([np.zeros((1, vocab_size), np.int64), *tables])
    stacked[0, list(stop_ids)] = -1
    _, first, classes = np.unique(stacked, axis=1, return_index=True, return_inverse=True)
    members = [-1 if stacked[0, token] < 0 else token for token in first.tolist()]
    return classes.reshape(-1), members


def _product(
    tables: Sequence[Ints], members: Sequence[int], ends: Sequence[np.ndarray]
) -> tuple[Ints, np.ndarray]:
    """Combine the matchers' automata into one, with the states that can be reached.

    Args:
        tables: (S',V) of each matcher.
        members: One token of each class.
        ends: (S') of each matcher, whether a caption may end in that state.

    Returns:
        (S,C) next states, -1 if not allowed; (S) whether a caption may end.
    """
    stops = np.array(members) < 0
    columns = [table[:, members] for table in tables]
    start = (0,) * len(tables)
    numbers = {start: 0}
    rows: list[list[int]] = []
    for state in (queue := [start]):
        parts = [column[part] for column, part in zip(columns, state, strict=True)]
        excluded = stops | np.any([part < 0 for part in parts], axis=0) if parts else stops
        following = [*map(tuple, np.stack(parts, 1).tolist())] if parts else [()] * len(members)
        row = []
        for is_excluded, successor in zip(excluded.tolist(), following, strict=True):
            if not is_excluded and successor not in numbers:
                numbers[successor] = len(numbers)
                queue.append(successor)
            row.append(-1 if is_excluded else numbers[successor])
        rows.append(row)
        if len(numbers) > MAX_STATES:
            raise PrefixcapError("too many words to track at once: remove some of them")
    may_end = [all(end[part] for end, part in zip(ends, state, strict=True)) for state in queue]
    return np.array(rows, dtype=np.int64), np.array(may_end)


def _distances(next_states: Ints, may_end: np.ndarray) -> tuple[Ints, Ints]:
    """Return the fewest tokens until a caption may end, after each token (S,C) and before (S)."""
    needed = np.where(may_end, 0, FAR).astype(np.int64)
    while True:
        cost = np.where(next_states < 0, FAR, needed[next_states])
        nearer = np.minimum(needed, cost.min(1) + 1)
        if (nearer == needed).all():
            return cost, needed
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
