"""Decoders whose rows do not compete: each step chooses one token a row."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, final

import attrs

from prefixcap.interfaces.decoder import Decoder, DecodingTask, Hypothesis

if TYPE_CHECKING:
    from torch import Tensor


@attrs.define(eq=False)
class Row:
    """One live row of `decode_rows`.

    Attributes:
        image: the number of its image.
        uniforms: numbers in [0,1) of its own stream, one for each token it may have.
        tokens: the tokens so far.
        logprob: their log-probability by the model itself.
        memory: whatever the chooser wants to remember with the row; None at first.
    """

    image: int
    uniforms: list[float]
    tokens: list[int] = attrs.field(factory=list)
    logprob: float = 0.0
    memory: Any = None

    @property
    def uniform(self) -> float:
        """The number that the next token is to be drawn by."""
        return self.uniforms[len(self.tokens)]


class TokenDecoder(Decoder):
    """The base of decoders whose rows do not compete: each step chooses one token a row.

    The engine keeps the rows, the limits, the log-probabilities and the refilling of the batch;
    a subclass says which token comes next. One that remembers more of a row than its tokens calls
    `decode_rows` itself.
    """

    @property
    @abstractmethod
    def samples(self) -> int:
        """How many captions an image this decoder makes unless a task says `n`."""

    @abstractmethod
    def choose(self, logits: Tensor, uniforms: Tensor, history: Sequence[Sequence[int]]) -> Tensor:
        """Chooses each row's next token.

        Args:
            logits: (R,V), float32.
            uniforms: (R) numbers in [0,1) from each row's own stream, one a step, float64.
            history: the tokens that each row has already.

        Returns:
            (R) int64.
        """

    @final
    def decode(self, task: DecodingTask) -> Iterator[tuple[int, list[Hypothesis]]]:
        """Yields each image's hypotheses as soon as all of them have ended, likeliest first."""

        def choose(logits: Tensor, rows: Sequence[Row]) -> Tensor:
            return self.choose(logits, uniforms(rows, logits), [row.tokens for row in rows])

        return decode_rows(task, task.n or self.samples, choose)


def uniforms(rows: Sequence[Row], like: Tensor) -> Tensor:
    """Returns the rows' next numbers (R), float64, on the device of `like`."""
    import torch

    return torch.tensor([row.uniform for row in rows], dtype=torch.float64).to(like.device)


def decode_rows(
    task: DecodingTask, samples: int, choose: Callable[[Tensor, Sequence[Row]], Tensor]
) -> Iterator[tuple[int, list[Hypothesis]]]:
    """Extends every row until it stops, and takes in waiting images as rows leave.

    Args:
        task: what to decode.
        samples: how many captions an image.
        choose: gives each row's next token (R), int64, of the logits (R,V) and the rows.

    Yields:
        Each image's number and its hypotheses, likeliest first, once all of them have ended.
    """
    import torch

    session = task.start(samples)
    rows: list[Row] = []
    ended: dict[int, list[Hypothesis]] = {}
    while (new := session.admit()) or rows:
        # a new image comes in with one row, which its samples share until they are extended
        parents = [*range(len(rows))]
        for number, image in enumerate(new, start=len(rows)):
            parents += [number] * samples
            rows += _fresh(task, image, samples)
            ended[image] = []
        index = torch.tensor(parents, device=session.logits.device)
        logits = session.logits[index] if new and samples > 1 else session.logits
        tokens = choose(logits, rows)
        going = _extend(task, rows, tokens, logits)
        for row in _others(rows, going):
            ended[row.image].append(task.hypothesis(row.tokens, row.logprob))
            if len(ended[row.image]) == samples:
                yield row.image, sorted(ended.pop(row.image), key=lambda h: -h.score)
        if len(going) < len(rows):
            rows = [rows[number] for number in going]
            kept = torch.tensor(going, dtype=torch.long, device=index.device)
            tokens, index = tokens[kept], index[kept]
        if rows or session.waiting:
            session.advance(tokens, index)


def _fresh(task: DecodingTask, image: int, samples: int) -> list[Row]:
    numbers = task.generator(image).random((samples, task.max_new_tokens))
    return [Row(image, row) for row in numbers.tolist()]


def _extend(task: DecodingTask, rows: Sequence[Row], tokens: Tensor, logits: Tensor) -> list[int]:
    import torch

    from prefixcap.engine.reductions import logsumexp

    chosen = logits.gather(1, tokens[:, None]).squeeze(1) - logsumexp(logits)
    # one transfer for both: float64 holds every token id exactly
    both = torch.stack([tokens.double(), chosen.double()]).tolist()
    going = []
    for number, (row, token, logprob) in enumerate(zip(rows, *both, strict=True)):
        row.tokens.append(int(token))
        row.logprob += logprob
        if row.tokens[-1] not in task.stop_ids and len(row.tokens) < task.max_new_tokens:
            going.append(number)
    return going


def _others(rows: Sequence[Row], going: Sequence[int]) -> list[Row]:
    kept = set(going)
    return [row for number, row in enumerate(rows) if number not in kept]
