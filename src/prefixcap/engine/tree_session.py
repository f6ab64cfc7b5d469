"""The tree session: the rows of an image are branches of one tree, over one pool of columns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from prefixcap.engine.kv_cache import KVCache
from prefixcap.engine.network import Network, StepOutput, concatenated, require_hidden
from prefixcap.engine.ragged_batch import Prefill, RaggedBatch, additive_mask
from prefixcap.engine.token_trees import generations
from prefixcap.engine.top_tokens import RankingSession, TopTokens, top_tokens_of
from prefixcap.interfaces.session import SessionOptions

Ints = NDArray[np.int64]

_PREFILL_POSITIONS = 4096
# so many positions are run as fast, a position, as any more
_FULL_SPEED = 64
# room for so many steps of an image's rows is made at first: making more copies what is there
_STEPS_AHEAD = 8
_NONE: Ints = np.zeros(0, np.int64)


class TreeSession(RankingSession):
    """A session that keeps a prefix once an image, and moves no keys when rows are reordered.

    All rows of an image attend to one pool of columns, masked to each row's ancestors (the tree
    attention of SpecInfer, Miao et al. 2024, https://arxiv.org/abs/2305.09781, used for beams as
    in DeFT, Yao et al. 2025, https://arxiv.org/abs/2404.00242). A beam that changes its parent
    changes a row of the mask, and nothing else.

    A column that no live row sees any more, since its beam was dropped or its caption ended, is
    the first to be written again, so an image takes up no more columns than its live rows need.

    Args:
        network: the language model.
        prefix: (B,P,E), after what stands before every prefix.
        options: How the session is opened; an image may hold more than `rows_per_image` rows.
        prepended: How many of the P positions are not the image's own.
    """

    def __init__(
        self, network: Network, prefix: Tensor, options: SessionOptions, *, prepended: int = 0
    ) -> None:
        shape = network.shape
        self._network = network
        self._prefix = prefix.detach().to(shape.device, shape.dtype)
        self._capacity = options.images_at_once(len(prefix))
        self._rows_per_image = options.rows_per_image
        self._hidden_states = options.hidden_states
        self._prepended = prepended
        self._next = 0
        self._store = KVCache(
            shape.layers, self._capacity, shape.heads, shape.width, shape.dtype, shape.device
        )
        # of image slots: the image, -1 where free
        self._slot_images: Ints = np.full(self._capacity, -1, np.int64)
        # of rows: the image slot, the tokens so far, the columns seen
        self._slots: Ints = np.zeros(0, np.int64)
        self._ages: Ints = np.zeros(0, np.int64)
        self._seen = np.zeros((0, prefix.shape[1]), np.bool_)
        self._output = StepOutput(torch.zeros(0, 0, device=shape.device))
        self._logits: Tensor | None = None
        self._prefix_states = self._prefix[:0]

    @property
    def images(self) -> list[int]:
        """The image of each live row (R)."""
        images: list[int] = self._slot_images[self._slots].tolist()
        return images

    @property
    def logits(self) -> Tensor:
        """The next token's logits (R,V) of each live row, float32."""
        if self._logits is None:
            self._logits = self._written()
        return self._logits

    @property
    def waiting(self) -> int:
        """How many images have not been admitted yet."""
        return len(self._prefix) - self._next

    @property
    def columns(self) -> int:
        """C, the columns that each live image takes up in every layer, P of them its prefix."""
        return self._seen.shape[1]

    def hidden(self) -> tuple[Tensor, ...]:
        """Returns the last position's hidden states (R,E) of the embedding and of each layer."""
        require_hidden(self._hidden_states)
        return self._output.hidden

    def prefix_hidden(self) -> Tensor:
        """Returns the last layer's hidden states (b,P,E) of the prefixes that came in last."""
        require_hidden(self._hidden_states)
        return self._prefix_states[:, self._prepended :]

    @torch.inference_mode()
    def admit(self) -> list[int]:
        """Brings waiting images into free slots; waits for a few of these while rows are live."""
        free = np.flatnonzero(self._slot_images < 0)
        count = min(len(free), self.waiting)
        length = self._prefix.shape[1]
        # running prefixes one by one costs more than a few empty slots do
        few = min(self.waiting, self._capacity // 8, -(-_FULL_SPEED // length))
        if not count or (len(self._slots) and count < few):
            return []
        slots, new = free[:count], list(range(self._next, self._next + count))
        self._store.reserve(length, ahead=_STEPS_AHEAD * self._rows_per_image)
        outputs = []
        chunk = max(1, _PREFILL_POSITIONS // length)
        for first in range(0, count, chunk):
            part = torch.from_numpy(slots[first : first + chunk]).to(self._prefix.device)
            into = Prefill(store=self._store, slots=part, length=length)
            images = self._prefix[new[first : first + chunk]]
            outputs.append(self._network.prefill(images, into, self._hidden_states))
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

    def advance(self, tokens: Tensor, parents: Tensor) -> Tensor:
        """Extends rows (R') of given parents by one token each; returns logits (R',V)."""
        self.advance_lazily(tokens, parents)
        return self.logits

    @torch.inference_mode()
    def advance_lazily(self, tokens: Tensor, parents: Tensor) -> None:
        """Extends rows (R') of given parents by one token each; writes no logits yet."""
        chosen: Ints = parents.cpu().numpy()
        self._slots = self._slots[chosen]
        self._ages = self._ages[chosen] + 1
        self._leave()
        if not len(chosen):
            self._seen = self._seen[:0]
            self._put(self._output.rows([]))
            return
        self._seen = self._seen[chosen]
        self._put(self._step(tokens, 0, []))

    @torch.inference_mode()
    def top_tokens(self, count: int) -> TopTokens:
        """Finds the best tokens of each live row, at most as many as there are tokens."""
        if self._logits is not None or not len(self._slots):
            return top_tokens_of(self.logits, count)
        return self._network.top_tokens(self._output.last, count)

    @torch.inference_mode()
    def extend(self, tokens: Tensor, parents: Tensor, kept: Tensor | None = None) -> Tensor:
        """Extends rows by trees of tokens (R') in one run, beside rows (K) that stay."""
        chosen: Ints = parents.cpu().numpy()
        stay: Ints = _NONE if kept is None else kept.cpu().numpy()
        live = len(self._slots)
        roots, depths, family = _roots(chosen, live)
        if not len(stay) and len(family) <= 1:
            return self.advance(tokens, parents)
        rows = np.concatenate([stay, roots])
        self._slots, self._seen = self._slots[rows], self._seen[rows]
        self._ages = self._ages[rows] + np.concatenate([np.zeros_like(stay), depths])
        self._leave()
        before, written = self._output.rows(torch.from_numpy(stay)), self._logits
        lines = [(np.array(part), chosen[part] - live) for part in family[1:]]
        new = [self._step(tokens, len(stay), lines)] if len(chosen) else []
        self._put(concatenated([before, *new]))
        if written is not None:
            # what was written of rows that stay is not worked out again
            fresh = [self._network.logits(output.last) for output in new]
            self._logits = torch.cat([written[self._tensor(stay)], *fresh])
        return self.logits

    def _leave(self) -> None:
        """Frees the slots of images that no row is of any more, and closes up where none waits."""
        live = np.zeros(self._capacity, np.bool_)
        live[self._slots] = True
        self._slot_images[~live] = -1
        if not self.waiting and len(self._slots):
            self._compact()

    def _step(self, tokens: Tensor, kept: int, lines: Sequence[tuple[Ints, Ints]]) -> StepOutput:
        """Runs the new tokens (R') of all rows but the first ones.

        Args:
            tokens: (R').
            kept: K, how many rows before them have no new token.
            lines: of each generation of tokens that continue new ones, their numbers, and the
                numbers of those that they continue.
        """
        # rows of one image side by side, so that a full grid is a view of them
        order = np.argsort(self._slots[kept:], kind="stable")
        grid = self._grid(order, kept, lines)
        positions = self._tensor(self._prefix.shape[1] + self._ages[kept:][order] - 1)
        tokens, back = tokens.to(self._prefix.device), None
        if (order[1:] < order[:-1]).any():
            tokens, back = tokens[self._tensor(order)], self._tensor(np.argsort(order))
        return self._network.step(tokens, positions, grid, back, self._hidden_states)

    def _put(self, output: StepOutput) -> None:
        self._output, self._logits = output, None

    @torch.inference_mode()
    def _written(self) -> Tensor:
        if len(self._slots):
            return self._network.logits(self._output.last)
        shape = self._network.shape
        return torch.zeros(0, shape.vocab_size, device=shape.device)

    def _grid(self, order: Ints, kept: int, lines: Sequence[tuple[Ints, Ints]]) -> RaggedBatch:
        """Gives each row a column, notes what it sees, and lays the rows out, image by image."""
        slots = self._slots[kept:][order]
        counts = np.bincount(slots)
        images, most = len(counts), int(counts.max())
        firsts = np.cumsum(counts) - counts
        numbers = np.arange(len(slots)) - firsts[slots]
        stay, seen = self._seen[:kept], self._seen[kept:][order]
        alive = np.zeros((images, seen.shape[1]), np.bool_)
        alive[counts > 0] = np.logical_or.reduceat(seen, firsts[counts > 0])
        beside = self._slots[:kept] < images
        np.logical_or.at(alive, self._slots[:kept][beside], stay[beside])
        columns = _free(alive, counts)[slots, numbers]
        used = np.flatnonzero(alive.any(0) | stay.any(0))
        width = max(int(columns.max()) + 1, int(used[-1]) + 1)
        seen = _widened(seen, width)
        seen[np.arange(len(slots)), columns] = True
        inverse = np.empty_like(order)
        inverse[order] = np.arange(len(order))
        for rows, above in lines:
            seen[inverse[rows]] |= seen[inverse[above]]
        self._seen = np.concatenate([_widened(stay, width), seen[inverse]])
        self._store.reserve(width)
        places = slots * most + numbers
        # a place without a row sees everything: what it finds is never looked at
        mask = np.ones((images * most, width), np.bool_)
        mask[places] = seen
        return RaggedBatch(
            store=self._store,
            targets=self._tensor(slots * self._store.columns + columns),
            places=None if len(slots) == images * most else self._tensor(places),
            shape=(images, most),
            mask=additive_mask(self._tensor(mask).view(images, 1, most, width), self._prefix.dtype),
        )

    def _tensor(self, array: NDArray[Any]) -> Tensor:
        return torch.from_numpy(array).to(self._prefix.device)

    def _compact(self) -> None:
        """Moves the last images into free slots before them, so that live slots are the first."""
        live = np.flatnonzero(self._slot_images >= 0)
        targets = np.flatnonzero(self._slot_images[: len(live)] < 0)
        if not len(targets):
            return
        sources = live[len(live) - len(targets) :]
        self._store.move(sources.tolist(), targets.tolist(), self._seen.shape[1])
        renamed = np.arange(self._capacity)
        renamed[sources] = targets
        self._slots = renamed[self._slots]
        self._slot_images[targets] = self._slot_images[sources]
        self._slot_images[sources] = -1


def _roots(parents: Ints, live: int) -> tuple[Ints, Ints, list[list[int]]]:
    """Finds the live row (R') that new tokens lead back to, their depths (R'), and generations."""
    found, roots, depths = (
        generations(parents.tolist(), live),
        parents.copy(),
        np.ones_like(parents),
    )
    for rows in found[1:]:
        above = parents[rows] - live
        roots[rows], depths[rows] = roots[above], depths[above] + 1
    return roots, depths, found


def _free(alive: NDArray[np.bool_], counts: Ints) -> Ints:
    """Lists each image's free columns (I,F), of which it takes the first `counts` (I)."""
    needed = max(alive.shape[1], int((alive.sum(1) + counts).max()))
    return np.argsort(_widened(alive, needed), axis=1, kind="stable")


def _widened(seen: NDArray[np.bool_], width: int) -> NDArray[np.bool_]:
    """Makes the columns of (R,C) as many as wanted; what is cut off must be False."""
    found = np.zeros((len(seen), width), np.bool_)
    common = min(width, seen.shape[1])
    found[:, :common] = seen[:, :common]
    return found
