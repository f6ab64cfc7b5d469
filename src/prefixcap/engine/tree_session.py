"""`TreeSession`: the rows of an image are branches of one tree over one pool of columns.

Bookkeeping is done in numpy on the CPU, the tensors of a step are built from it, and the network
runs on them; see docs/engine.md for a picture.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import attrs
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from typing_extensions import override

from prefixcap.engine.base_session import BaseSession, generations
from prefixcap.engine.kv_cache import KVCache
from prefixcap.engine.network import Network, StepOutput, concatenated
from prefixcap.engine.prefixes.inputs import PrefixInputs
from prefixcap.engine.ragged_batch import Prefill, RaggedBatch, additive_mask
from prefixcap.engine.top_tokens import top_tokens_of
from prefixcap.interfaces.session import SessionOptions
from prefixcap.interfaces.sessions.ranking_session import RankingSession, TopTokens

Ints = NDArray[np.int64]

# Prefixes are run in chunks of about this many positions, to bound memory.
_PREFILL_POSITIONS = 4096
# From this many positions on, a run takes the same time per position.
_FULL_SPEED = 64
# The first allocation has room for this many steps, because growing copies all columns.
_STEPS_AHEAD = 8
_NONE: Ints = np.zeros(0, np.int64)


class TreeSession(BaseSession, RankingSession):
    """A session that stores each prefix once, and moves no keys when rows are reordered.

    All rows of an image attend to one pool of columns, each through a mask of its ancestors (the
    tree attention of SpecInfer, Miao et al. 2024, https://arxiv.org/abs/2305.09781, used for beams
    as in DeFT, Yao et al. 2025, https://arxiv.org/abs/2404.00242). A beam with a new parent only
    changes its row of the mask. Columns that no live row attends to are reused first, so an
    image needs no more columns than its live rows.

    An image may hold more than the options' `rows_per_image` rows.
    """

    def __init__(
        self, network: Network, inputs: PrefixInputs, options: SessionOptions, *, prepended: int = 0
    ) -> None:
        shape = network.shape
        prefix = inputs.embeddings.detach().to(shape.device, shape.dtype)
        inputs = attrs.evolve(inputs, embeddings=prefix)
        super().__init__(inputs, options, shape.vocab_size, prepended)
        self._network = network
        # Columns for the first steps of all rows of an image.
        self._ahead = options.rows_per_image * min(_STEPS_AHEAD, options.max_new_tokens)
        self._cache = KVCache(shape, self._capacity)
        # The image in each slot; -1 if the slot is free.
        self._slot_images: Ints = np.full(self._capacity, -1, np.int64)
        # For each row: its image's slot, its number of tokens, and the columns it sees (R,C).
        self._slots: Ints = np.zeros(0, np.int64)
        self._ages: Ints = np.zeros(0, np.int64)
        self._seen = np.zeros((0, prefix.shape[1]), np.bool_)
        self._logits: Tensor | None = None

    @property
    @override
    def images(self) -> list[int]:
        images: list[int] = self._slot_images[self._slots].tolist()
        return images

    @property
    @override
    def logits(self) -> Tensor:
        if self._logits is None:
            self._logits = self._compute_logits()
        return self._logits

    @property
    def columns(self) -> int:
        """C, the number of columns of each live image in every layer, P of them its prefix."""
        return self._seen.shape[1]

    @override
    @torch.inference_mode()
    def admit(self) -> list[int]:
        """Admit waiting images to free slots; while rows are live, only several at a time."""
        free = np.flatnonzero(self._slot_images < 0)
        count = min(len(free), self.waiting)
        length = self._prefix.shape[1]
        # Running prefixes one by one costs more than leaving a few slots empty.
        minimum = min(self.waiting, self._capacity // 8, -(-_FULL_SPEED // length))
        if not count or (len(self._slots) and count < minimum):
            return []
        slots, new = free[:count], list(range(self._next, self._next + count))
        self._cache.reserve(length, ahead=self._ahead)
        outputs = []
        chunk = max(1, _PREFILL_POSITIONS // length)
        for first in range(0, count, chunk):
            chunk_slots = torch.from_numpy(slots[first : first + chunk]).to(self._prefix.device)
            inputs = self._inputs.rows(new[first : first + chunk])
            into = Prefill(cache=self._cache, slots=chunk_slots, length=length, inputs=inputs)
            outputs.append(self._network.prefill(inputs.embeddings, into, self._hidden_states))
        if self._hidden_states:
            states = [output.prefix for output in outputs if output.prefix is not None]
            self._prefix_states = torch.cat(states)
        self._put(concatenated([self._output, *outputs] if len(self._slots) else outputs))
        self._next += count
        self._slot_images[slots] = new
        self._slots = np.concatenate([self._slots, slots])
        self._ages = np.concatenate([self._ages, np.zeros(count, np.int64)])
        fresh = np.zeros((count, self._seen.shape[1]), np.bool_)
        fresh[:, :length] = True
        self._seen = np.concatenate([self._seen, fresh])
        return new

    @override
    def advance(self, tokens: Tensor, parents: Tensor) -> Tensor:
        self.advance_lazily(tokens, parents)
        return self.logits

    @override
    @torch.inference_mode()
    def advance_lazily(self, tokens: Tensor, parents: Tensor) -> None:
        chosen: Ints = parents.cpu().numpy()
        self._slots = self._slots[chosen]
        self._ages = self._ages[chosen] + 1
        self._free_slots()
        if not len(chosen):
            self._seen = self._seen[:0]
            self._put(self._output.rows([]))
            return
        self._seen = self._seen[chosen]
        self._put(self._step(tokens, 0, []))

    @override
    @torch.inference_mode()
    def top_tokens(self, count: int) -> TopTokens:
        if self._logits is not None or not len(self._slots):
            return top_tokens_of(self.logits, count)
        return self._network.top_tokens(self._output.last, count)

    @override
    @torch.inference_mode()
    def extend(self, tokens: Tensor, parents: Tensor, kept: Tensor | None = None) -> Tensor:
        parent_rows: Ints = parents.cpu().numpy()
        kept_rows: Ints = _NONE if kept is None else kept.cpu().numpy()
        live = len(self._slots)
        roots, depths, groups = _roots(parent_rows, live)
        if not len(kept_rows) and len(groups) <= 1:
            return self.advance(tokens, parents)
        rows = np.concatenate([kept_rows, roots])
        self._slots, self._seen = self._slots[rows], self._seen[rows]
        self._ages = self._ages[rows] + np.concatenate([np.zeros_like(kept_rows), depths])
        self._free_slots()
        kept_output, logits = self._output.rows(torch.from_numpy(kept_rows)), self._logits
        children = [(np.array(part), parent_rows[part] - live) for part in groups[1:]]
        new = [self._step(tokens, len(kept_rows), children)] if len(parent_rows) else []
        self._put(concatenated([kept_output, *new]))
        if logits is not None:
            # Logits of rows that stay are not computed again.
            added = [self._network.logits(output.last) for output in new]
            self._logits = torch.cat([logits[self._tensor(kept_rows)], *added])
        return self.logits

    def _free_slots(self) -> None:
        """Free the slots of images without rows; close the gaps once no image is waiting."""
        live = np.zeros(self._capacity, np.bool_)
        live[self._slots] = True
        self._slot_images[~live] = -1
        if not self.waiting and len(self._slots):
            self._compact()

    def _step(self, tokens: Tensor, kept: int, children: Sequence[tuple[Ints, Ints]]) -> StepOutput:
        """Run the new tokens (R') of all rows after the kept ones.

        Args:
            tokens: (R').
            kept: K, the number of rows before them that get no new token.
            children: For each depth below the first, the numbers of its tokens and of the tokens
                that they continue.
        """
        # Rows of one image next to each other, so that a full grid is a view of them.
        order = np.argsort(self._slots[kept:], kind="stable")
        batch, tokens = self._lay_out(order, kept, children), tokens.to(self._prefix.device)
        if batch.order is not None:
            tokens = tokens[self._tensor(order)]
        return self._network.step(tokens, batch, self._hidden_states)

    def _put(self, output: StepOutput) -> None:
        self._output, self._logits = output, None

    @torch.inference_mode()
    def _compute_logits(self) -> Tensor:
        if len(self._slots):
            return self._network.logits(self._output.last)
        shape = self._network.shape
        return torch.zeros(0, shape.vocab_size, device=shape.device)

    def _lay_out(
        self, order: Ints, kept: int, children: Sequence[tuple[Ints, Ints]]
    ) -> RaggedBatch:
        """Assign a column to each new token, update what the rows see, and lay the rows out."""
        slots = self._slots[kept:][order]
        counts = np.bincount(slots)  # (I), new tokens per image slot
        images, max_rows = len(counts), int(counts.max())
        firsts = np.cumsum(counts) - counts
        numbers = np.arange(len(slots)) - firsts[slots]  # (R), each row's number in its slot
        kept_seen, seen = self._seen[:kept], self._seen[kept:][order]
        # Columns that any row of an image sees, kept rows included: (R,C) -> (I,C)
        alive = np.zeros((images, seen.shape[1]), np.bool_)
        alive[counts > 0] = np.logical_or.reduceat(seen, firsts[counts > 0])
        in_grid = self._slots[:kept] < images
        np.logical_or.at(alive, self._slots[:kept][in_grid], kept_seen[in_grid])
        columns = _free_columns(alive, counts)[slots, numbers]
        used = np.flatnonzero(alive.any(0) | kept_seen.any(0))
        width = max(int(columns.max()) + 1, int(used[-1]) + 1)
        seen = _resized(seen, width)
        seen[np.arange(len(slots)), columns] = True
        inverse = np.empty_like(order)
        inverse[order] = np.arange(len(order))
        # Depth by depth, a token also sees what the token sees that it continues.
        for rows, parents in children:
            seen[inverse[rows]] |= seen[inverse[parents]]
        self._seen = np.concatenate([_resized(kept_seen, width), seen[inverse]])
        self._cache.reserve(width)
        places = slots * max_rows + numbers
        # Places without a row see everything, because a softmax over nothing would be NaN; their
        # output is never read.
        mask = np.ones((images * max_rows, width), np.bool_)
        mask[places] = seen
        return RaggedBatch(
            cache=self._cache,
            positions=self._tensor(self._prefix.shape[1] + self._ages[kept:][order] - 1),
            targets=self._tensor(slots * self._cache.columns + columns),
            places=None if len(slots) == images * max_rows else self._tensor(places),
            shape=(images, max_rows),
            # (I*G,C) -> (I,1,G,C)
            mask=additive_mask(
                self._tensor(mask).view(images, 1, max_rows, width), self._prefix.dtype
            ),
            order=self._tensor(inverse) if (order[1:] < order[:-1]).any() else None,
        )

    def _tensor(self, array: NDArray[Any]) -> Tensor:
        return torch.from_numpy(array).to(self._prefix.device)

    def _compact(self) -> None:
        """Move the last images into earlier free slots, so that the live slots come first."""
        live = np.flatnonzero(self._slot_images >= 0)
        targets = np.flatnonzero(self._slot_images[: len(live)] < 0)
        if not len(targets):
            return
        sources = live[len(live) - len(targets) :]
        self._cache.move(sources.tolist(), targets.tolist(), self._seen.shape[1])
        renamed = np.arange(self._capacity)
        renamed[sources] = targets
        self._slots = renamed[self._slots]
        self._slot_images[targets] = self._slot_images[sources]
        self._slot_images[sources] = -1


def _roots(parents: Ints, live: int) -> tuple[Ints, Ints, list[list[int]]]:
    """Return the live row (R') that each new token descends from, its depth (R'), and the groups.

    The groups are those of `generations`.
    """
    groups = generations(parents.tolist(), live)
    roots, depths = parents.copy(), np.ones_like(parents)
    for rows in groups[1:]:
        above = parents[rows] - live
        roots[rows], depths[rows] = roots[above], depths[above] + 1
    return roots, depths, groups


def _free_columns(alive: NDArray[np.bool_], counts: Ints) -> Ints:
    """Return the columns of each image, unused ones first: (I,C) -> (I,C').

    C' is large enough for the `counts` (I) that each image needs.
    """
    needed = max(alive.shape[1], int((alive.sum(1) + counts).max()))
    return np.argsort(_resized(alive, needed), axis=1, kind="stable")


def _resized(seen: NDArray[np.bool_], width: int) -> NDArray[np.bool_]:
    """Cut or extend (R,C) to `width` columns; columns that are cut off must be False."""
    resized = np.zeros((len(seen), width), np.bool_)
    common = min(width, seen.shape[1])
    resized[:, :common] = seen[:, :common]
    return resized
