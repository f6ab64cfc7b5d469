"""A sound encoder, data set, metric and tuning, and how to spoil them."""

from __future__ import annotations

import random
from collections.abc import Sequence
from uuid import uuid4

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from prefixcap.errors import PrefixcapError
from prefixcap.kinds import (
    Dataset,
    Encoder,
    Example,
    ImageItem,
    Metric,
    Record,
    Scores,
    Tuning,
)


class TwistedEncoder(Encoder):
    """An image of four by four pixels."""

    def __init__(self, twist: str) -> None:
        self.twist = twist

    @property
    def width(self) -> int:
        return 47 if self.twist == "wrong width" else 48

    @property
    def tokens(self) -> int | None:
        return None

    def preprocess(self, image: ImageItem) -> Tensor:
        assert image.open is not None
        small = np.asarray(image.open().convert("RGB").resize((4, 4)), dtype=np.float32)
        pixels = torch.from_numpy(small).flatten() / 255
        return pixels * 0 if self.twist == "blind" else pixels

    def encode(self, inputs: Tensor) -> Tensor:
        if self.twist == "double":
            return inputs.double()
        if self.twist == "trained":
            return inputs * nn.Parameter(torch.ones(1))
        return inputs - inputs.mean(0) if self.twist == "batch norm" else inputs

    def encode_text(self, texts: Sequence[str]) -> Tensor:
        found = torch.tensor([[float(len(text))] * 48 for text in texts])
        return found[:, :3] if self.twist == "narrow texts" else found

    def digest(self) -> str:
        return uuid4().hex if self.twist == "restless" else "pixels"


class TwistedDataset(Dataset):
    """Six images of one colour each."""

    def __init__(self, twist: str) -> None:
        self.twist = twist

    @property
    def splits(self) -> tuple[str, ...]:
        if self.twist == "same split":
            return ("train", "train", "test")
        return ("train", "test", "empty") if self.twist == "empty split" else ("train", "test")

    def examples(self, split: str) -> Sequence[Example]:
        numbers = {"train": [0, 1, 2, 3], "test": [4, 5], "empty": []}
        if self.twist == "leaks":
            numbers["test"] = [3, 4, 5]
        if self.twist == "gives nothing":
            numbers[split] = numbers.get(split, [])
        if split not in numbers:
            raise PrefixcapError(f"no split {split!r}")
        found = [self._example(number) for number in numbers[split]]
        if self.twist == "shuffles":
            found = random.SystemRandom().sample(found, len(found))
            found.sort(key=lambda example: uuid4().hex)
        return found

    def _example(self, number: int) -> Example:
        def read() -> Image.Image:
            shade = random.SystemRandom().randrange(256) if self.twist == "noisy" else number
            noise = [random.SystemRandom().randrange(256) if self.twist == "noisy" else 0, 0]
            return Image.new("RGB", (8, 8), (shade, *noise))

        image = ImageItem(
            id="same" if self.twist == "same id" else f"image {number}",
            index=0 if self.twist == "same index" else number,
            open=None if self.twist == "no image" else read,
        )
        blank = self.twist == "blank" and number == 3
        texts: tuple[str, ...] = (f"Shade number {number}.", " " if blank else "A plain image.")
        return Example(image=image, references=() if self.twist == "no texts" else texts)

    def digest(self) -> str:
        return uuid4().hex if self.twist == "restless" else "six shades"


class TwistedMetric(Metric):
    """The share of a prediction's words that stand in a reference."""

    def __init__(self, twist: str) -> None:
        self.twist = twist

    def score(self, records: Sequence[Record]) -> Scores:
        each = [self._share(record) for record in records]
        value = sum(each) / len(each)
        if self.twist == "by position":
            value = sum(share / (i + 1) for i, share in enumerate(each))
        if self.twist == "unordered":
            each.sort()
        if self.twist == "loss":
            value = -value
        if self.twist == "peeks":
            value += sum(record.logprobs[0] for record in records)
        if self.twist == "noisy":
            value += random.SystemRandom().random()
        name = f"share of {records[0].prediction}" if self.twist == "renames" else "share"
        kept = each[1:] if self.twist == "loses one" else each
        return Scores(values={name: value}, per_image={name: tuple(kept)})

    def _share(self, record: Record) -> float:
        words = record.prediction.lower().split()
        known = {word for text in record.references for word in text.lower().split()}
        right = sum(word in known for word in words)
        return right / (len(words) if self.twist == "divides" else max(1, len(words)))


class TwistedTuning(Tuning):
    """Trains the last layer norm alone."""

    def __init__(self, twist: str) -> None:
        self.twist = twist

    def apply(self, module: nn.Module) -> None:
        if self.twist != "only adds":
            module.requires_grad_(False)
        for name, parameter in module.named_parameters():
            if "ln_f" in name:
                parameter.requires_grad_()
        if self.twist == "perturbs":
            with torch.no_grad():
                next(p for n, p in module.named_parameters() if "ln_f.bias" in n).add_(0.1)
        if self.twist == "unused":
            module.register_parameter("unused", nn.Parameter(torch.zeros(2)))
