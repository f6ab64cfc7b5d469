"""Which drafted tokens are accepted, and which token follows them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from itertools import accumulate

import torch
from torch import Tensor
from typing_extensions import override

from prefixcap_decoders.logits.processors import Transforms
from prefixcap_decoders.sampling.config import Sample
from prefixcap_decoders.sampling.decoder import truncate, truncations
from prefixcap_decoders.sampling.inverse_cdf import invert
from prefixcap_decoders.speculative.draft import DraftState

# the random numbers of a position: for drafting it, for accepting the draft, and for the language
# model's own token, after a rejection or after the last drafted token
DRAFT, ACCEPT, FOLLOW = range(3)


class AcceptanceRule(ABC):
    """The decoder to reproduce: greedy search or a sampler.

    Args:
        transforms: Transforms of the language model's and the draft's logits.
    """

    def __init__(self, transforms: Transforms) -> None:
        self.transforms = transforms

    @abstractmethod
    def choose(
        self, logits: Tensor, captions: Sequence[DraftState], use: int
    ) -> tuple[Tensor, Tensor | None]:
        """Choose the tokens (R) that follow captions and their drafts, from logits (R,V).

        Args:
            logits: (R,V), of the draft or of the language model.
            captions: R captions.
            use: Random numbers to use: `DRAFT`, or `FOLLOW` for the language model's own tokens.

        Returns:
            The tokens, and the distributions (R,V) they were drawn from, if they were drawn.
        """

    @abstractmethod
    def verify(
        self, logits: Tensor, captions: Sequence[DraftState], weights: Tensor | None
    ) -> tuple[list[int], list[int]]:
        """Decide how many drafted tokens of each caption are accepted, and what follows them.

        Args:
            logits: The language model's, after each caption's last token and after each drafted
                token, caption by caption.
            captions: R captions with their drafts.
            weights: Distributions of the drafted tokens, caption by caption; None if the draft was
                deterministic.

        Returns:
            The number of accepted tokens, and the token after them, of each caption.
        """

    def _transform(self, logits: Tensor, captions: Sequence[DraftState]) -> Tensor:
        """Transform the logits after each caption's last token and after each drafted token."""
        texts = [
            [*caption.tokens, *caption.drafted[:count]]
            for caption in captions
            for count in range(len(caption.drafted) + 1)
        ]
        return self.transforms.of_texts(logits, texts)


class GreedyRule(AcceptanceRule):
    """Accepts the most likely token."""

    @override
    def choose(
        self, logits: Tensor, captions: Sequence[DraftState], use: int
    ) -> tuple[Tensor, Tensor | None]:
        texts = [[*caption.tokens, *caption.drafted] for caption in captions]
        return self.transforms.of_texts(logits, texts).argmax(-1), None

    @override
    def verify(
        self, logits: Tensor, captions: Sequence[DraftState], weights: Tensor | None
    ) -> tuple[list[int], list[int]]:
        best = self._transform(logits, captions).argmax(-1).tolist()
        accepted, following, first = [], [], 0
        for caption in captions:
            own = best[first : first + len(caption.drafted) + 1]
            count = 0
            while count < len(caption.drafted) and caption.drafted[count] == own[count]:
                count += 1
            accepted.append(count)
            following.append(own[count])
            first += len(own)
        return accepted, following


class SamplingRule(AcceptanceRule):
    """Accepts a token with probability min(1, p / q), and corrects the distribution otherwise.

    Args:
        transforms: Transforms of the logits.
        config: Temperature and truncations, applied to both distributions.
    """

    def __init__(self, transforms: Transforms, config: Sample) -> None:
        super().__init__(transforms)
        self._warpers = truncations(temperature=config.temperature, **config.truncation())

    @override
    def choose(
        self, logits: Tensor, captions: Sequence[DraftState], use: int
    ) -> tuple[Tensor, Tensor | None]:
        texts = [[*caption.tokens, *caption.drafted] for caption in captions]
        weights = self._weights(self.transforms.of_texts(logits, texts))
        uniforms = [caption.uniform(len(caption.drafted), use) for caption in captions]
        return invert(weights, _tensor(uniforms, logits)), weights

    @override
    def verify(
        self, logits: Tensor, captions: Sequence[DraftState], weights: Tensor | None
    ) -> tuple[list[int], list[int]]:
        own = self._weights(self._transform(logits, captions))
        lengths = [len(caption.drafted) for caption in captions]
        # where each caption's logits and drafted tokens begin
        starts = [0, *accumulate(length + 1 for length in lengths)][:-1]
        drafts = [0, *accumulate(lengths)][:-1]
        rows = [s + n for s, length in zip(starts, lengths, strict=True) for n in range(length)]
        tokens = torch.tensor([t for c in captions for t in c.drafted], device=own.device).long()
        # the probabilities of the drafted tokens by the language model (p) and the draft (q)
        p = own[rows].gather(1, tokens[:, None]).squeeze(1)
        q = torch.ones_like(p)
        if weights is not None:
            q = weights.gather(1, tokens[:, None]).squeeze(1)
        uniforms = [c.uniform(n, ACCEPT) for c in captions for n in range(len(c.drafted))]
        # u < p / q, without dividing by a probability of 0
        accept = (_tensor(uniforms, own) * q < p).tolist()
        accepted = [
            next((n for n in range(length) if not accept[first + n]), length)
            for first, length in zip(drafts, lengths, strict=True)
        ]
        # the distribution after the accepted tokens of each caption: (R, V)
        following = own[[start + n for start, n in zip(starts, accepted, strict=True)]]
        rejected = [i for i, length in enumerate(lengths) if accepted[i] < length]
        if rejected:
            at = [drafts[i] + accepted[i] for i in rejected]
            following[rejected] = _residual(
                following[rejected], tokens[at], None if weights is None else weights[at]
            )
        last = [caption.uniform(n, FOLLOW) for caption, n in zip(captions, accepted, strict=True)]
        return accepted, invert(following, _tensor(last, own)).tolist()

    def _weights(self, logits: Tensor) -> Tensor:
        return truncate(self._warpers, logits).softmax(-1)


def _residual(own: Tensor, tokens: Tensor, drafted: Tensor | None) -> Tensor:
    """Return the excess of distributions (R,V) over those of rejected tokens (R)."""
    if drafted is None:
        excess = own.scatter(1, tokens[:, None], 0.0)
    else:
        excess = (own - drafted).clamp(min=0.0)
    # distributions that differ by rounding alone can leave nothing
    return torch.where(excess.sum(-1, keepdim=True) > 0, excess, own)


def _tensor(values: Sequence[float], like: Tensor) -> Tensor:
    return torch.tensor(values, dtype=torch.float64, device=like.device)
