"""What a beam search knows of its live images: M images with K slots each."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

NONE = float("-inf")


class BeamState:
    """Live and ended hypotheses of M images, K slots each; a score of -inf is an empty slot.

    The session's rows are the live slots, image by image and slot by slot.

    Attributes:
        images: the M images' numbers.
        lengths: (M) int64, how many tokens each image's live hypotheses have.
        scores: (M,K), what live hypotheses are ranked by, falling along the slots.
        plain: (M,K), their log-probability by the model itself.
        texts: (M,K,T) int64, their tokens.
        final: (M,K), the scores of ended hypotheses, falling along the slots.
        final_plain: (M,K), their log-probability by the model itself.
        final_texts: (M,K,T) int64, their tokens.
        final_lengths: (M,K) int64.
    """

    lengths: Tensor
    scores: Tensor
    plain: Tensor
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

    def join(self, images: Sequence[int], device: torch.device) -> None:
        """Takes in new images, with one live row each, at the end."""
        if images:
            fresh = self._fresh(len(images), device)
            old = self._all()
            joined = [torch.cat([a, b]) for a, b in zip(old, fresh, strict=True)]
            self._set(joined if self.images else fresh)
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
        """Returns the rows' tokens (R,T) and their numbers (R)."""
        live = self.live
        return self.texts[live], self.lengths[:, None].expand_as(live)[live]

    def spread(self, rows: Tensor, empty: float) -> Tensor:
        """Puts what belongs to rows (R,C) into their slots (M,K,C)."""
        slots = self.scores.shape
        if rows.shape[0] == slots.numel():
            return rows.view(*slots, -1)
        found = rows.new_full((*slots, rows.shape[1]), empty)
        found[self.live] = rows
        return found

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
        self.final_texts = _take(torch.cat([self.final_texts, texts], 1), order)

    def go_on(
        self, scores: Tensor, plain: Tensor, texts: Tensor, tokens: Tensor, slots: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Makes the K best candidates (M,C) the live hypotheses.

        Args:
            scores: (M,C), -inf where a candidate does not go on.
            plain: (M,C).
            texts: (M,C,T), the candidates' own token included.
            tokens: (M,C), that token.
            slots: (M,C), the slot that each continues.

        Returns:
            The tokens (R') and parent rows (R') of the new live rows.
        """
        live = self.live
        rows = (live.flatten().cumsum(0) - 1).view_as(live)
        scores, order = scores.topk(min(self.width, scores.shape[1]))
        if scores.shape[1] < self.width:
            missing = self.width - scores.shape[1]
            scores = torch.nn.functional.pad(scores, (0, missing), value=NONE)
            order = torch.nn.functional.pad(order, (0, missing))
        self.scores = scores
        self.plain = plain.gather(1, order)
        self.texts = _take(texts, order)
        live = self.live
        parents = rows.gather(1, slots.gather(1, order))[live]
        return tokens.gather(1, order)[live], parents

    def _all(self) -> list[Tensor]:
        return [
            self.lengths,
            self.scores,
            self.plain,
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
        texts = torch.zeros(*slots, self.limit, dtype=torch.long, device=device)
        return [
            torch.zeros(images, dtype=torch.long, device=device),
            scores,
            torch.zeros(slots, device=device),
            texts,
            torch.full(slots, NONE, device=device),
            torch.zeros(slots, device=device),
            texts.clone(),
            torch.zeros(slots, dtype=torch.long, device=device),
        ]


def _take(texts: Tensor, order: Tensor) -> Tensor:
    return texts.gather(1, order[:, :, None].expand(-1, -1, texts.shape[2]))
