"""The base of decoders whose rows do not compete, such as greedy search and samplers.

`decode_rows` runs the loop over the session; a subclass of `TokenDecoder` only chooses tokens.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, final

import attrs
from typing_extensions import override

from prefixcap.interfaces.decoder import Decoder, DecodingTask, Hypothesis
from prefixcap.util.memory import require_memory

if TYPE_CHECKING:
    from torch import Tensor


@attrs.define(eq=False)
class Row:
    """One live row of `decode_rows`.

    Attributes:
        image: The number of the row's image.
        uniforms: Numbers in [0,1) from the row's own random stream, one per possible token.
        tokens: The tokens so far.
        logprob: The model's own log-probability of these tokens.
        memory: Anything that `choose` keeps with the row; None at first.
    """

    image: int
    uniforms: list[float]
    tokens: list[int] = attrs.field(factory=list)
    logprob: float = 0.0
    memory: Any = None

    @property
    def uniform(self) -> float:
        """The random number for the next token."""
        return self.uniforms[len(self.tokens)]


class TokenDecoder(Decoder):
    """A decoder that chooses one token per row and step.

    The base class tracks rows, limits and log-probabilities, and admits waiting images. A decoder
    that needs other data of a row than its tokens derives from `Decoder` and calls `decode_rows`.
    """

    @property
    @abstractmethod
    def samples(self) -> int:
        """The number of captions per image, unless the task sets `n`."""

    @abstractmethod
    def choose(self, logits: Tensor, uniforms: Tensor, history: Sequence[Sequence[int]]) -> Tensor:
        """Choose each row's next token.

        Args:
            logits: (R,V), float32.
            uniforms: (R) numbers in [0,1) from each row's own random stream, float64.
            history: The tokens of each row so far.

        Returns:
            (R) int64.
        """

    @final
    @override
    def decode(self, task: DecodingTask) -> Iterator[tuple[int, list[Hypothesis]]]:
        def choose(logits: Tensor, rows: Sequence[Row]) -> Tensor:
            return self.choose(logits, uniforms(rows, logits), [row.tokens for row in rows])

        return decode_rows(task, task.n or self.samples, choose)


def uniforms(rows: Sequence[Row], like: Tensor) -> Tensor:
    """Return the rows' next random numbers (R), float64, on the device of `like`."""
    import torch

    return torch.tensor([row.uniform for row in rows], dtype=torch.float64).to(like.device)


def decode_rows(
    task: DecodingTask, samples: int, choose: Callable[[Tensor, Sequence[Row]], Tensor]
) -> Iterator[tuple[int, list[Hypothesis]]]:
    """Extend every row until it stops, and admit waiting images as rows leave.

    `choose` maps the logits (R,V) and the R rows to each row's next token (R), int64.

    Yields:
        Each image's number and its hypotheses, most likely first, once all of them have ended.
    """
    import torch

    # the rows' random numbers as Python's, and a copy of the logits for each row
    images = task.images_at_once(samples)
    row = 32.0 * task.max_new_tokens + 4.0 * task.lm.vocab_size
    require_memory(row * samples * images, f"{samples} samples of {images} images")
    session = task.start(samples)
    rows: list[Row] = []
    ended: dict[int, list[Hypothesis]] = {}
    while (new := session.admit()) or rows:
        # A new image is admitted with one row, which its samples share for their first token.
        parents = [*range(len(rows))]
        for number, image in enumerate(new, start=len(rows)):
            parents += [number] * samples
            uniforms = task.generator(image).random((samples, task.max_new_tokens))
            rows += [Row(image, row) for row in uniforms.tolist()]
            ended[image] = []
        index = torch.tensor(parents, device=session.logits.device)
        logits = session.logits[index] if new and samples > 1 else session.logits
        tokens = choose(logits, rows)
        continuing = _extend(task, rows, tokens, logits)
        for number in sorted({*range(len(rows))}.difference(continuing)):
            row = rows[number]
            ended[row.image].append(task.hypothesis(row.tokens, row.logprob))
            if len(ended[row.image]) == samples:
                yield row.image, sorted(ended.pop(row.image), key=lambda h: -h.score)
        if len(continuing) < len(rows):
            rows = [rows[number] for number in continuing]
            live = torch.tensor(continuing, dtype=torch.long, device=index.device)
            tokens, index = tokens[live], index[live]
        if rows or session.waiting:
            session.advance(tokens, index)


def _extend(task: DecodingTask, rows: Sequence[Row], tokens: Tensor, logits: Tensor) -> list[int]:
    """Append the tokens (R) to the rows; return the numbers of the rows that continue."""
    import torch

    from prefixcap.engine.reductions import logsumexp

    chosen = logits.gather(1, tokens[:, None]).squeeze(1) - logsumexp(logits)
    # One transfer from the device for both: float64 represents every token id exactly.
    pairs = torch.stack([tokens.double(), chosen.double()]).tolist()
    continuing = []
    for number, (row, token, logprob) in enumerate(zip(rows, *pairs, strict=True)):
        row.tokens.append(int(token))
        row.logprob += logprob
        if row.tokens[-1] not in task.stop_ids and len(row.tokens) < task.max_new_tokens:
            continuing.append(number)
    return continuing
