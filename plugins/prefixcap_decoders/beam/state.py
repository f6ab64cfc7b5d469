"""The hypotheses of a beam search."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import attrs
import torch
from torch import Tensor

from prefixcap.decoding.live_images import LiveImages, gather_texts

NONE = float("-inf")


@attrs.define(eq=False)
class BeamState(LiveImages):
    """Live and ended hypotheses of M images in K slots each; an empty slot has the score -inf."""

    lengths: Tensor  # (M) int64, number of tokens of each image's live hypotheses
    scores: Tensor  # (M,K), scores of live hypotheses, descending
    logprobs: Tensor  # (M,K), their log-probabilities by the model itself
    # (M,K) int64, session row of each live hypothesis, or of its parent until `number`
    rows: Tensor
    tokens: Tensor  # (M,K) int64, last token of each
    texts: Tensor  # (M,K,T) int64, all tokens, padded to the limit T
    final_scores: Tensor  # (M,K), scores of ended hypotheses, descending
    final_logprobs: Tensor  # (M,K), their log-probabilities by the model itself
    final_texts: Tensor  # (M,K,T) int64, their tokens
    final_lengths: Tensor  # (M,K) int64, their numbers of tokens

    @classmethod
    def start(
        cls, images: Sequence[int], width: int, limit: int, first_row: int, device: torch.device
    ) -> BeamState:
        """Return the state of new images, each with one empty hypothesis and one row."""
        zeros = partial(torch.zeros, len(images), width, device=device)
        integers = partial(zeros, dtype=torch.long)
        rows = torch.arange(first_row, first_row + len(images), device=device)
        scores = zeros() + NONE
        scores[:, 0] = 0.0
        return cls(
            images=list(images),
            lengths=integers()[:, 0].clone(),
            scores=scores,
            logprobs=zeros(),
            rows=integers() + rows[:, None],
            tokens=integers(),
            texts=integers()[:, :, None].repeat(1, 1, limit),
            final_scores=zeros() + NONE,
            final_logprobs=zeros(),
            final_texts=integers()[:, :, None].repeat(1, 1, limit),
            final_lengths=integers(),
        )

    @property
    def live(self) -> Tensor:
        """The mask (M,K) of slots with a live hypothesis."""
        return self.scores > NONE

    def history(self) -> tuple[Tensor, Tensor]:
        """Return the tokens (L,T) and the lengths (L) of the L live hypotheses."""
        live = self.live
        return self.texts[live], self.lengths[:, None].expand_as(live)[live]

    def to_slots(self, values: Tensor, fill: float) -> Tensor:
        """Return values (L,C) of the live hypotheses by slot (M,K,C)."""
        if len(values) == self.scores.numel():
            return values.view(*self.scores.shape, -1)
        slots = values.new_full((*self.scores.shape, values.shape[1]), fill)
        slots[self.live] = values
        return slots

    def append(self, slots: Tensor, tokens: Tensor) -> Tensor:
        """Return the texts (M,C,T) of slots (M,C), each extended by a token (M,C)."""
        texts = gather_texts(self.texts, slots)
        place = self.lengths[:, None, None].expand(-1, texts.shape[1], 1)
        texts.scatter_(2, place, tokens[:, :, None])
        self.lengths = self.lengths + 1
        return texts

    def add_ended(self, scores: Tensor, logprobs: Tensor, texts: Tensor) -> None:
        """Keep the K best ended hypotheses, among the previous ones and candidates.

        Args:
            scores: (M,C), -inf if a candidate has not ended.
            logprobs: (M,C).
            texts: (M,C,T).
        """
        if not bool((scores > NONE).any()):
            return
        width, lengths = self.scores.shape[1], self.lengths[:, None].expand(-1, scores.shape[1])
        self.final_scores, order = torch.cat([self.final_scores, scores], 1).topk(width)
        self.final_logprobs = torch.cat([self.final_logprobs, logprobs], 1).gather(1, order)
        self.final_lengths = torch.cat([self.final_lengths, lengths], 1).gather(1, order)
        self.final_texts = gather_texts(torch.cat([self.final_texts, texts], 1), order)

    def advance(
        self, scores: Tensor, logprobs: Tensor, texts: Tensor, tokens: Tensor, slots: Tensor
    ) -> Tensor:
        """Make the K best candidates the live hypotheses.

        Args:
            scores: (M,C), -inf if a candidate must not continue.
            logprobs: (M,C).
            texts: (M,C,T), including the candidate's own token.
            tokens: (M,C), that token.
            slots: (M,C), the slot that each candidate continues.

        Returns:
            The candidate (M,K) int64 that each slot now holds.
        """
        missing = self.scores.shape[1] - scores.shape[1]
        if missing > 0:
            scores = torch.nn.functional.pad(scores, (0, missing), value=NONE)
        self.scores, order = scores.topk(self.scores.shape[1])
        order = order.clamp(max=tokens.shape[1] - 1)
        self.logprobs = logprobs.gather(1, order)
        self.texts = gather_texts(texts, order)
        self.rows = self.rows.gather(1, slots.gather(1, order))
        self.tokens = tokens.gather(1, order)
        return order

    def number(self, rows: Tensor) -> None:
        """Set the session's rows (L) of the live hypotheses, in the order of the slots."""
        self.rows = torch.zeros_like(self.rows).masked_scatter(self.live, rows)
