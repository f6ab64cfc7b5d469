"""What a beam search knows of its live images: M images with K slots each."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

NONE = float("-inf")


class BeamState:
    """Live and ended hypotheses of M images, K slots each; a score of -inf is an empty slot.

    Attributes:
        images: the M images' numbers.
        lengths: (M) int64, how many tokens each image's live hypotheses have.
        scores: (M,K), what live hypotheses are ranked by, falling along the slots.
        plain: (M,K), their log-probability by the model itself.
        rows: (M,K) int64, the session's row of each live hypothesis, or of its parent once
            `tokens` are chosen.
        tokens: (M,K) int64, the tokens that were chosen last.
        texts: (M,K,T) int64, all tokens.
        final: (M,K), the scores of ended hypotheses, falling along the slots.
        final_plain: (M,K), their log-probability by the model itself.
        final_texts: (M,K,T) int64, their tokens.
        final_lengths: (M,K) int64.
    """

    lengths: Tensor
    scores: Tensor
    plain: Tensor
    rows: Tensor
    tokens: Tensor
    texts: Tensor
    final: Tensor
    final_plain: Tensor
    final_texts: Tensor
    final_lengths: Tensor

    def __init__(self, width: int, max_new_tokens: int) -> None:
        self.width = width
        self.limit = max_new_tokens
        self.images: list[int] = []
        self._set(self._fresh(0, torch.device("cpu")))

    def join(self, images: Sequence[int], first_row: int, device: torch.device) -> None:
        """Takes in new images, whose rows, one each, begin at `first_row`."""
        if not images:
            return
        fresh = self._fresh(len(images), device)
        fresh[3] += torch.arange(first_row, first_row + len(images), device=device)[:, None]
        if self.images:
            fresh = [torch.cat(both) for both in zip(self._all(), fresh, strict=True)]
        self._set(fresh)
        self.images = [*self.images, *images]

    def drop(self, done: Tensor) -> None:
        """Forgets the images of a mask (M)."""
        kept = (~done).nonzero().squeeze(1)
        self._set([tensor[kept] for tensor in self._all()])
        self.images = [self.images[slot] for slot in kept.tolist()]

    @property
    def live(self) -> Tensor:
        """The mask (M,K) of slots that hold a live hypothesis."""
        return self.scores > NONE

    def history(self) -> tuple[Tensor, Tensor]:
        """Returns the live hypotheses' tokens (L,T) and their numbers (L)."""
        live = self.live
        return self.texts[live], self.lengths[:, None].expand_as(live)[live]

    def spread(self, found: Tensor, empty: float) -> Tensor:
        """Puts what belongs to the live hypotheses (L,C) into their slots (M,K,C)."""
        if len(found) == self.scores.numel():
            return found.view(*self.scores.shape, -1)
        slots = found.new_full((*self.scores.shape, found.shape[1]), empty)
        slots[self.live] = found
        return slots

    def finish(self, scores: Tensor, plain: Tensor, texts: Tensor) -> None:
        """Keeps the K best of the ended hypotheses so far and of candidates (M,C).

        Args:
            scores: (M,C), -inf where a candidate has not ended.
            plain: (M,C).
            texts: (M,C,T).
        """
        if not bool((scores > NONE).any()):
            return
        lengths = self.lengths[:, None].expand(-1, scores.shape[1])
        self.final, order = torch.cat([self.final, scores], 1).topk(self.width)
        self.final_plain = torch.cat([self.final_plain, plain], 1).gather(1, order)
        self.final_lengths = torch.cat([self.final_lengths, lengths], 1).gather(1, order)
        self.final_texts = take(torch.cat([self.final_texts, texts], 1), order)

    def go_on(
        self, scores: Tensor, plain: Tensor, texts: Tensor, tokens: Tensor, slots: Tensor
    ) -> Tensor:
        """Makes the K best candidates (M,C) the live hypotheses.

        Args:
            scores: (M,C), -inf where a candidate does not go on.
            plain: (M,C).
            texts: (M,C,T), the candidates' own token included.
            tokens: (M,C), that token.
            slots: (M,C), the slot that each continues.

        Returns:
            (M,K) int64, the candidate that each slot now holds.
        """
        missing = self.width - scores.shape[1]
        if missing > 0:
            scores = torch.nn.functional.pad(scores, (0, missing), value=NONE)
        self.scores, order = scores.topk(self.width)
        order = order.clamp(max=tokens.shape[1] - 1)
        self.plain = plain.gather(1, order)
        self.texts = take(texts, order)
        self.rows = self.rows.gather(1, slots.gather(1, order))
        self.tokens = tokens.gather(1, order)
        return order

    def number(self, rows: Tensor) -> None:
        """Notes the session's new rows (R) of the live hypotheses, in the slots' order."""
        self.rows = torch.zeros_like(self.rows).masked_scatter(self.live, rows)

    def _all(self) -> list[Tensor]:
        return [
            self.lengths,
            self.scores,
            self.plain,
            self.rows,
            self.tokens,
            self.texts,
            self.final,
            self.final_plain,
            self.final_texts,
            self.final_lengths,
        ]

    def _set(self, tensors: Sequence[Tensor]) -> None:
        (
            self.lengths,
            self.scores,
            self.plain,
            self.rows,
            self.tokens,
            self.texts,
            self.final,
            self.final_plain,
            self.final_texts,
            self.final_lengths,
        ) = tensors

    def _fresh(self, images: int, device: torch.device) -> list[Tensor]:
        slots = images, self.width
        scores = torch.full(slots, NONE, device=device)
        scores[:, 0] = 0.0
        numbers = torch.zeros(slots, dtype=torch.long, device=device)
        texts = torch.zeros(*slots, self.limit, dtype=torch.long, device=device)
        return [
            numbers[:, 0].clone(),
            scores,
            torch.zeros(slots, device=device),
            numbers.clone(),
            numbers.clone(),
            texts,
            torch.full(slots, NONE, device=device),
            torch.zeros(slots, device=device),
            texts.clone(),
            numbers.clone(),
        ]


def take(texts: Tensor, order: Tensor) -> Tensor:
    """Takes the texts (M,K,T) of slots (M,C); returns (M,C,T)."""
    return texts.gather(1, order[:, :, None].expand(-1, -1, texts.shape[2]))
