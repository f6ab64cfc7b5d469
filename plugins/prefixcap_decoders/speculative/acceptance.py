"""When a drafted token is kept, and what follows the last one that is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from itertools import accumulate

import torch
from torch import Tensor

from prefixcap_decoders.logits.processors import Transforms
from prefixcap_decoders.sampling.config import Sample
from prefixcap_decoders.sampling.inverse_cdf import invert
from prefixcap_decoders.sampling.truncation import truncate, truncations
from prefixcap_decoders.speculative.draft import DraftState


class AcceptanceRule(ABC):
    """What the captions are to be: greedy search's, or drawn from a distribution.

    Args:
        transforms: of the logits, the language model's and the draft's alike.
    """

    def __init__(self, transforms: Transforms) -> None:
        self.transforms = transforms

    @abstractmethod
    def choose(self, logits: Tensor, lines: Sequence[DraftState]) -> Tensor:
        """Chooses the tokens (R) that follow captions without drafts, of logits (R,V)."""

    @abstractmethod
    def draft(self, logits: Tensor, lines: Sequence[DraftState]) -> tuple[Tensor, Tensor | None]:
        """Chooses the next drafted tokens (R) of the draft's logits (R,V).

        Returns:
            The tokens, and the distributions (R,V) that they were drawn from, where they were.
        """

    @abstractmethod
    def verify(
        self, logits: Tensor, lines: Sequence[DraftState], weights: Tensor | None
    ) -> tuple[list[int], list[int]]:
        """Decides how many drafted tokens of each caption are kept, and what follows these.

        Args:
            logits: the language model's after each caption's last token and each of its drafted
                ones, one caption after the other.
            lines: the captions with their drafts.
            weights: the distributions that the drafted tokens were drawn from, one caption after
                the other; None where a draft was certain of each.

        Returns:
            The number kept, and the token after them, of each caption.
        """

    def _transformed(self, logits: Tensor, lines: Sequence[DraftState]) -> Tensor:
        """Transforms the logits after each caption's last token and each of its drafted ones."""
        texts = [
            [*line.tokens, *line.drafted[:count]]
            for line in lines
            for count in range(len(line.drafted) + 1)
        ]
        return self.transforms.of_texts(logits, texts)


class GreedyRule(AcceptanceRule):
    """Keeps a token that is the likeliest one."""

    def choose(self, logits: Tensor, lines: Sequence[DraftState]) -> Tensor:
        """Chooses the likeliest tokens (R)."""
        return self.transforms.of_texts(logits, [line.tokens for line in lines]).argmax(-1)

    def draft(self, logits: Tensor, lines: Sequence[DraftState]) -> tuple[Tensor, Tensor | None]:
        """Chooses the draft's likeliest tokens (R)."""
        texts = [[*line.tokens, *line.drafted] for line in lines]
        return self.transforms.of_texts(logits, texts).argmax(-1), None

    def verify(
        self, logits: Tensor, lines: Sequence[DraftState], weights: Tensor | None
    ) -> tuple[list[int], list[int]]:
        """Keeps drafted tokens as long as they are the likeliest; see the base class."""
        best = self._transformed(logits, lines).argmax(-1).tolist()
        kept, following, first = [], [], 0
        for line in lines:
            count = 0
            while count < len(line.drafted) and line.drafted[count] == best[first + count]:
                count += 1
            kept.append(count)
            following.append(best[first + count])
            first += len(line.drafted) + 1
        return kept, following


class SamplingRule(AcceptanceRule):
    """Keeps a token with probability min(1, p / q), and makes up for it where it does not.

    Each place in a caption has three random numbers of its own: for the draft, for the decision,
    and for the token that follows a refusal or the last draft.

    Args:
        transforms: of the logits.
        config: the temperature and the truncations, of both distributions.
    """

    def __init__(self, transforms: Transforms, config: Sample) -> None:
        super().__init__(transforms)
        self._warpers = truncations(temperature=config.temperature, **config.truncation())

    def choose(self, logits: Tensor, lines: Sequence[DraftState]) -> Tensor:
        """Draws tokens (R)."""
        texts = [line.tokens for line in lines]
        weights = self._weights(self.transforms.of_texts(logits, texts))
        return invert(weights, _numbers([line.number(0, 2) for line in lines], logits))

    def draft(self, logits: Tensor, lines: Sequence[DraftState]) -> tuple[Tensor, Tensor | None]:
        """Draws the draft's tokens (R) from its own distributions (R,V)."""
        texts = [[*line.tokens, *line.drafted] for line in lines]
        weights = self._weights(self.transforms.of_texts(logits, texts))
        numbers = [line.number(len(line.drafted), 0) for line in lines]
        return invert(weights, _numbers(numbers, logits)), weights

    def verify(
        self, logits: Tensor, lines: Sequence[DraftState], weights: Tensor | None
    ) -> tuple[list[int], list[int]]:
        """Keeps drafted tokens by chance; see the base class."""
        own = self._weights(self._transformed(logits, lines))
        firsts = [0, *accumulate(len(line.drafted) + 1 for line in lines)][:-1]
        drafts = [0, *accumulate(len(line.drafted) for line in lines)][:-1]
        places = [f + n for f, line in zip(firsts, lines, strict=True) for n in _drafted(line)]
        tokens = torch.tensor([t for line in lines for t in line.drafted], device=own.device).long()
        wanted = own[places].gather(1, tokens[:, None]).squeeze(1)
        given = torch.ones_like(wanted)
        if weights is not None:
            given = weights.gather(1, tokens[:, None]).squeeze(1)
        numbers = _numbers([line.number(n, 1) for line in lines for n in _drafted(line)], own)
        fine = (numbers * given < wanted).tolist()
        kept = [
            next((n for n in _drafted(line) if not fine[first + n]), len(line.drafted))
            for first, line in zip(drafts, lines, strict=True)
        ]
        left = own[[first + count for first, count in zip(firsts, kept, strict=True)]]
        refused = [r for r, line in enumerate(lines) if kept[r] < len(line.drafted)]
        if refused:
            at = [drafts[r] + kept[r] for r in refused]
            left[refused] = _left_over(
                left[refused], tokens[at], None if weights is None else weights[at]
            )
        last = [line.number(count, 2) for line, count in zip(lines, kept, strict=True)]
        return kept, invert(left, _numbers(last, own)).tolist()

    def _weights(self, logits: Tensor) -> Tensor:
        return truncate(self._warpers, logits).softmax(-1)


def _left_over(own: Tensor, tokens: Tensor, drafted: Tensor | None) -> Tensor:
    """Computes what own distributions (R,V) have more than those that refused tokens came from."""
    if drafted is None:
        left = own.scatter(1, tokens[:, None], 0.0)
    else:
        left = (own - drafted).clamp(min=0.0)
    # two distributions that differ by rounding alone can leave nothing
    return torch.where(left.sum(-1, keepdim=True) > 0, left, own)


def _drafted(line: DraftState) -> range:
    return range(len(line.drafted))


def _numbers(values: Sequence[float], like: Tensor) -> Tensor:
    return torch.tensor(values, dtype=torch.float64, device=like.device)
