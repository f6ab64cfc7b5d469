"""The tensors of a search's live images: joined, selected and gathered."""

from __future__ import annotations

import attrs
import torch
from torch import Tensor

from prefixcap.decoding.live_images import LiveImages, gather_texts, is_stop


@attrs.define(eq=False)
class State(LiveImages):
    lengths: Tensor
    scores: Tensor


def state(*images: int) -> State:
    numbers = torch.tensor(images)
    return State(
        images=list(images), lengths=numbers * 10, scores=numbers[:, None] + torch.zeros(2)
    )


def test_joined_images_come_after_the_others_and_leave_both_parts_unchanged() -> None:
    first, second = state(3, 1), state(2)
    both = first.join(second)
    assert both.images == [3, 1, 2]
    assert both.lengths.tolist() == [30, 10, 20]
    assert both.scores.tolist() == [[3, 3], [1, 1], [2, 2]]
    assert (first.images, second.images) == ([3, 1], [2])
    assert state().join(second).lengths.tolist() == [20]


def test_selected_images_keep_their_order() -> None:
    some = state(5, 6, 7).select(torch.tensor([True, False, True]))
    assert some.images == [5, 7]
    assert some.scores.tolist() == [[5, 5], [7, 7]]
    assert some.select(torch.tensor([False, False])).images == []


def test_stop_tokens_are_marked() -> None:
    tokens = torch.tensor([[1, 2], [3, 1]])
    assert is_stop(tokens, {1, 3}).tolist() == [[True, False], [True, True]]
    assert not is_stop(tokens, ()).any()


def test_texts_are_gathered_by_slot() -> None:
    texts = torch.arange(12).view(2, 3, 2)
    gathered = gather_texts(texts, torch.tensor([[2, 2], [0, 1]]))
    assert gathered.tolist() == [[[4, 5], [4, 5]], [[6, 7], [8, 9]]]
