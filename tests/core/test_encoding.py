"""Reading images by several threads while others are encoded."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import numpy as np
import pytest
import torch
from PIL import Image
from typing_extensions import override

from prefixcap import Encoder, ImageItem, PrefixcapError
from prefixcap.captioning import encode_images
from prefixcap.captioning.encode_images import encode, iter_encoded, stacked


class Colors(Encoder):
    """Encodes an image as the mean of each channel."""

    width, tokens = 3, None

    def __init__(self, before: Callable[[ImageItem], None] = lambda item: None) -> None:
        self._before = before
        self.batches: list[int] = []

    @override
    def preprocess(self, image: ImageItem) -> torch.Tensor:
        self._before(image)
        assert image.open is not None
        return torch.tensor(np.asarray(image.open()).mean((0, 1)))

    @override
    def encode(self, inputs: torch.Tensor) -> torch.Tensor:
        self.batches.append(len(inputs))
        return inputs

    @override
    def digest(self) -> str:
        return ""


def images(count: int) -> list[ImageItem]:
    def drawn(number: int) -> ImageItem:
        color = (number, 2 * number, 1)
        return ImageItem(id=str(number), index=number, open=lambda: Image.new("RGB", (8, 8), color))

    return [drawn(number) for number in range(count)]


def test_several_threads_read_and_the_order_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encode_images, "usable_cores", lambda: 3)
    together = threading.Barrier(3, timeout=30)  # broken unless three images are read at once
    encoder = Colors(lambda _: together.wait() and None)
    features = encode(encoder, images(12), batch_size=6)
    assert features.tolist() == [[n, 2 * n, 1] for n in range(12)]
    assert encoder.batches == [6, 6]


def test_the_next_batch_is_read_while_one_is_encoded() -> None:
    begun = threading.Event()

    class Waiting(Colors):
        @override
        def encode(self, inputs: torch.Tensor) -> torch.Tensor:
            assert begun.wait(30), "image 2 was not read while the batch before it was encoded"
            return super().encode(inputs)

    def before(item: ImageItem) -> None:
        if item.index == 2:
            begun.set()

    assert len(encode(Waiting(before), images(3), batch_size=2)) == 3


def test_errors_and_doubts_belong_to_their_images() -> None:
    def before(item: ImageItem) -> None:
        if item.index in (1, 4):
            raise OSError(f"no disk for {item.id}")

    def doubts(image: Image.Image) -> str | None:
        return "red" if image.getpixel((0, 0)) == (3, 6, 1) else None

    encoder = Colors(before)
    batches = list(iter_encoded(encoder, images(6), batch_size=4, doubts=doubts))
    assert [len(batch) for batch in batches] == [4, 2]
    assert encoder.batches == [3, 1]  # what cannot be read costs the others nothing
    every = [image for batch in batches for image in batch]
    assert [image.item.id for image in every] == list("012345")
    assert [str(image.error) for image in every if image.error] == [
        f"{n}: the image cannot be read: no disk for {n}" for n in (1, 4)
    ]
    assert [image.doubt for image in every] == [None] * 3 + ["3: red"] + [None] * 2
    assert stacked(every)[[0, 2, 3, 5]].tolist() == [[n, 2 * n, 1] for n in (0, 2, 3, 5)]
    assert stacked(every).isnan().all(1).tolist() == [n in (1, 4) for n in range(6)]
    with pytest.raises(PrefixcapError, match=r"^1: the image cannot be read: no disk for 1$"):
        encode(encoder, images(6))


def test_threads_end_when_nobody_asks_for_more() -> None:
    before = threading.active_count()
    batches: Iterator[object] = iter_encoded(Colors(), images(100), batch_size=4)
    next(batches)
    assert threading.active_count() > before
    del batches
    assert threading.active_count() == before
