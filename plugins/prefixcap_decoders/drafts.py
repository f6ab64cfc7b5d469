"""Where drafts come from: a language model, counted captions, or the caption itself."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING

import attrs
import torch
from torch import Tensor

from prefixcap.captioner import Captioner
from prefixcap.decoding import Task
from prefixcap.errors import PrefixcapError
from prefixcap.kinds import Dataset, LanguageModel
from prefixcap.training.captions import sentence
from prefixcap_decoders.gate import Gate

if TYPE_CHECKING:
    from prefixcap_decoders.acceptance import Rule
    from prefixcap_decoders.speculative import Speculative

# how many tokens back counted captions, and lookups in a caption, go at most
ORDER = 4
# how many tokens of two vocabularies are compared
PROBES = 500


@attrs.define(eq=False)
class Line:
    """A caption that is being written.

    Attributes:
        image: the number of its image.
        numbers: three random numbers for each place in it.
        place: the language model's row of all its tokens but the last.
        tokens: its tokens; the last has not been run yet.
        drafted: what the draft proposes to follow.
        logprob: by the language model.
        states: the draft's rows after the tokens and after each drafted one; the first one's text
            may be shorter.
        run: how many of the tokens the first of these rows has.
    """

    image: int
    numbers: list[list[float]]
    place: int
    tokens: list[int] = attrs.field(factory=list)
    drafted: list[int] = attrs.field(factory=list)
    logprob: float = 0.0
    states: list[int] = attrs.field(factory=list)
    run: int = 0

    def number(self, ahead: int, use: int) -> float:
        """Returns a random number of the place that many after the tokens."""
        return self.numbers[len(self.tokens) + ahead][use]

    def stops(self, count: int, task: Task) -> bool:
        """Whether the first `count` drafted tokens end the caption."""
        return count > 0 and self.drafted[count - 1] in task.stop_ids

    def over(self, task: Task) -> bool:
        """Whether the caption has ended."""
        return self.tokens[-1] in task.stop_ids or len(self.tokens) >= task.max_new_tokens


class Drafter(ABC):
    """Proposes tokens."""

    @property
    @abstractmethod
    def gates(self) -> Sequence[Gate]:
        """The sessions that must have an image before it is begun."""

    @abstractmethod
    def begin(self, lines: Sequence[Line], images: int) -> None:
        """Takes in the captions of that many new images, which came in last."""

    @abstractmethod
    def propose(self, lines: Sequence[Line], room: Sequence[int]) -> Tensor | None:
        """Sets each caption's `drafted`, at most as many tokens as there is room for.

        Returns:
            The distributions that the tokens were drawn from, one caption after the other; None
            where they were not drawn.
        """

    @abstractmethod
    def settle(self, line: Line, kept: int) -> None:
        """Learns how many of a caption's drafted tokens were kept."""


class ModelDrafter(Drafter):
    """A language model that goes ahead, token by token, and comes back to where it was right.

    Args:
        gate: its session.
        rule: how tokens are chosen.
        stop_ids: the tokens after which nothing is proposed.
    """

    def __init__(self, gate: Gate, rule: Rule, stop_ids: frozenset[int]) -> None:
        self._gate = gate
        self._rule = rule
        self._stop_ids = stop_ids

    @property
    def gates(self) -> Sequence[Gate]:
        """Its session."""
        return (self._gate,)

    def begin(self, lines: Sequence[Line], images: int) -> None:
        """Gives new captions their images' rows."""
        first = len(self._gate.images) - images
        new = {image: first + n for n, image in enumerate(self._gate.images[first:])}
        for line in lines:
            line.states = [new[line.image]]

    def propose(self, lines: Sequence[Line], room: Sequence[int]) -> Tensor | None:
        """Sets each caption's `drafted`; see the base class."""
        for line in lines:
            line.drafted = []
        going = [number for number, most in enumerate(room) if most]
        if not going:
            return None
        logits = self._catch_up([lines[number] for number in going])
        weights: list[list[Tensor]] = [[] for _ in lines]
        while True:
            drafting = [lines[number] for number in going]
            tokens, drawn = self._rule.draft(logits, drafting)
            for row, (number, token) in enumerate(zip(going, tokens.tolist(), strict=True)):
                lines[number].drafted.append(token)
                if drawn is not None:
                    weights[number].append(drawn[row])
            going = [
                number
                for number in going
                if len(lines[number].drafted) < room[number]
                and lines[number].drafted[-1] not in self._stop_ids
            ]
            if not going:
                break
            logits = self._step([lines[number] for number in going])
        flat = [row for each in weights for row in each]
        return torch.stack(flat) if flat else None

    def settle(self, line: Line, kept: int) -> None:
        """Goes back to the last row whose text stands."""
        count = min(kept, len(line.states) - 1)
        line.run = len(line.tokens) + count
        line.states = [line.states[count]]

    def _catch_up(self, lines: Sequence[Line]) -> Tensor:
        """Runs the tokens (one or two each) that the rows lack; gives the logits (R,V)."""
        live = len(self._gate.images)
        parents: list[int] = []
        tokens: list[int] = []
        for line in lines:
            lacking = line.tokens[line.run :]
            made = live + len(tokens)
            parents += [line.states[0], *range(made, made + len(lacking) - 1)]
            tokens += lacking
            # nothing is kept, so the new rows' numbers begin from 0
            line.states = [len(tokens) - 1]
        logits = self._gate.extend(self._index(tokens), self._index(parents))
        return logits[[line.states[0] for line in lines]]

    def _step(self, lines: Sequence[Line]) -> Tensor:
        """Runs the last drafted tokens, beside all rows that one may have to go back to."""
        live = len(self._gate.images)
        tokens = self._index([line.drafted[-1] for line in lines])
        parents = self._index([line.states[-1] for line in lines])
        logits = self._gate.extend(tokens, parents, self._index(range(live)))
        for number, line in enumerate(lines, start=live):
            line.states.append(number)
        return logits[live:]

    def _index(self, values: Sequence[int]) -> Tensor:
        return torch.tensor(values, dtype=torch.long, device=self._gate.logits.device)


class CountDrafter(Drafter):
    """Proposes what most often followed the last tokens in given captions.

    Args:
        texts: the captions' tokens, stop tokens included.
    """

    def __init__(self, texts: Sequence[Sequence[int]]) -> None:
        counts: defaultdict[tuple[int, ...], Counter[int]] = defaultdict(Counter)
        for text in texts:
            for end, token in enumerate(text):
                for start in range(max(0, end - ORDER), end):
                    counts[tuple(text[start:end])][token] += 1
        self._next = {context: found.most_common(1)[0][0] for context, found in counts.items()}

    @property
    def gates(self) -> Sequence[Gate]:
        """None."""
        return ()

    def begin(self, lines: Sequence[Line], images: int) -> None:
        """Needs nothing."""

    def propose(self, lines: Sequence[Line], room: Sequence[int]) -> Tensor | None:
        """Sets each caption's `drafted`; see the base class."""
        for line, most in zip(lines, room, strict=True):
            text = list(line.tokens)
            while len(text) < len(line.tokens) + most and (token := self._after(text)) is not None:
                text.append(token)
            line.drafted = text[len(line.tokens) :]
        return None

    def settle(self, line: Line, kept: int) -> None:
        """Needs nothing."""

    def _after(self, text: Sequence[int]) -> int | None:
        contexts = (tuple(text[-size:]) for size in range(min(ORDER, len(text)), 0, -1))
        return next((self._next[c] for c in contexts if c in self._next), None)


class LookupDrafter(CountDrafter):
    """Proposes what followed the last tokens where they stood in the caption before."""

    def __init__(self) -> None:
        super().__init__([])

    def propose(self, lines: Sequence[Line], room: Sequence[int]) -> Tensor | None:
        """Sets each caption's `drafted`; see the base class."""
        for line, most in zip(lines, room, strict=True):
            line.drafted = _looked_up(line.tokens)[:most]
        return None


def _looked_up(text: Sequence[int]) -> list[int]:
    for size in range(min(ORDER, len(text) - 1), 0, -1):
        for start in range(len(text) - size - 1, -1, -1):
            if text[start : start + size] == text[-size:]:
                return list(text[start + size :])
    return []


Source = LanguageModel | Captioner | CountDrafter


def load(config: Speculative, task: Task) -> Source:
    """Loads what a config drafts by, or counts it, on the language model's device."""
    if (counted := config.counted()) is not None:
        return CountDrafter(_training_captions(counted.build(), task))
    device, dtype = str(task.prefix.device), str(next(task.lm.module.parameters()).dtype)[6:]
    if config.run:
        return Captioner.load(config.run, device, dtype)
    named = config.draft_model()
    return LookupDrafter() if named is None else named.build(device, dtype)


def opened(source: Source, task: Task, rule: Rule, rows: int) -> Drafter:
    """Begins to draft the captions of a task.

    Args:
        source: what `load` gave.
        task: what is decoded.
        rule: how tokens are chosen.
        rows: the most rows an image.

    Raises:
        PrefixcapError: the draft's tokens are not those of the language model, it has too few
            positions, or it needs features that there are none of.
    """
    if isinstance(source, CountDrafter):
        return source
    if isinstance(source, Captioner):
        lm, prefix = source.lm, _mapped(source, task)
    else:
        lm, prefix = source, _blind(source, task)
    _check(lm, task, prefix.shape[1])
    session = lm.start(
        prefix, rows_per_image=rows, max_rows=task.max_rows, max_new_tokens=task.max_new_tokens
    )
    return ModelDrafter(Gate(session), rule, task.stop_ids)


def _training_captions(dataset: Dataset, task: Task) -> list[list[int]]:
    """Tokenizes a data set's training captions as training does, each with its stop token."""
    tokenizer = task.lm.tokenizer
    if tokenizer is None:
        raise PrefixcapError("speculative: captions can be counted with a tokenizer only")
    texts = [text for example in dataset.examples("train") for text in example.references]
    found = []
    for text in filter(None, map(sentence, texts)):
        ids = tokenizer.encode(text)
        stop = next((n for n, token in enumerate(ids) if token in task.stop_ids), None)
        found.append([*ids, *sorted(task.stop_ids)[:1]] if stop is None else ids[: stop + 1])
    return found


def _mapped(captioner: Captioner, task: Task) -> Tensor:
    if task.features is None:
        raise PrefixcapError(
            "speculative: the draft's mapper needs the images' features, and this call has none: "
            "give features, or a draft that sees no image"
        )
    return captioner.prefixes(task.features)


def _blind(lm: LanguageModel, task: Task) -> Tensor:
    if lm.eos_id is None:
        raise PrefixcapError(
            "speculative: the draft has no end-of-text token to begin from; give a run, whose "
            "mapper writes its prefix"
        )
    start = lm.embed(torch.tensor([[lm.eos_id]], device=task.prefix.device))
    return start.expand(len(task.prefix), -1, -1)


def _check(lm: LanguageModel, task: Task, length: int) -> None:
    own = task.lm
    if lm.vocab_size != own.vocab_size:
        raise PrefixcapError(
            f"speculative: the draft has a vocabulary of {lm.vocab_size}, the language model one "
            f"of {own.vocab_size}; they must have the same tokens"
        )
    if lm.tokenizer is not None and own.tokenizer is not None:
        for token in range(0, own.vocab_size, 1 + own.vocab_size // PROBES):
            one, two = (lm.tokenizer.decode([token]), own.tokenizer.decode([token]))
            if one != two:
                raise PrefixcapError(
                    f"speculative: the draft's token {token} is {one!r}, and the language model's "
                    f"{two!r}; they must have the same tokens"
                )
    longest = length + task.max_new_tokens
    if lm.max_positions is not None and longest > lm.max_positions:
        raise PrefixcapError(
            f"speculative: the draft has {lm.max_positions} positions, and its prefix of {length} "
            f"with {task.max_new_tokens} new tokens needs {longest}: lower max_new_tokens"
        )
