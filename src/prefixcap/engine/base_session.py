"""What the tree session and the cache session share."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from typing_extensions import override

from prefixcap.engine.network import StepOutput
from prefixcap.engine.prefixes.inputs import PrefixInputs
from prefixcap.interfaces.session import Session, SessionOptions


class BaseSession(Session):
    """The base of sessions, with the waiting prefixes and the live rows' output.

    Args:
        inputs: What is run for the prefixes (B,P,E), prepended positions included.
        options: How the session is opened.
        vocabulary: V.
        prepended: How many of the P positions precede those of the image.
    """

    def __init__(
        self, inputs: PrefixInputs, options: SessionOptions, vocabulary: int, prepended: int
    ) -> None:
        self._inputs, self._prefix = inputs, inputs.embeddings
        prefix = self._prefix
        self._capacity = options.images_at_once(len(prefix))
        self._hidden_states = options.hidden_states
        self._prepended = prepended
        self._next = 0
        self._output = StepOutput(torch.zeros(0, vocabulary, device=prefix.device))
        self._prefix_states = prefix[:0]

    @property
    @override
    def waiting(self) -> int:
        return len(self._prefix) - self._next

    @override
    def hidden(self) -> tuple[Tensor, ...]:
        self._require_hidden()
        return self._output.hidden

    @override
    def prefix_hidden(self) -> Tensor:
        self._require_hidden()
        return self._prefix_states[:, self._prepended :]

    def _require_hidden(self) -> None:
        if not self._hidden_states:
            raise RuntimeError("open the session with hidden_states=True to read them")


def generations(parents: Sequence[int], live: int) -> list[list[int]]:
    """Group new tokens by their depth in the trees.

    Args:
        parents: (R') the row that each new token continues; `live` + i is new token i.
        live: R, the number of live rows.

    Returns:
        The numbers of the tokens of each depth, those that continue live rows first.

    Raises:
        IndexError: If a parent does not exist or comes after its child.
    """
    groups: list[list[int]] = []
    depths: list[int] = []
    for number, parent in enumerate(parents):
        if not 0 <= parent < live + number:
            raise IndexError(f"token {number} cannot continue row {parent}, of {live} live ones")
        depth = 0 if parent < live else depths[parent - live] + 1
        depths.append(depth)
        if depth == len(groups):
            groups.append([])
        groups[depth].append(number)
    return groups
