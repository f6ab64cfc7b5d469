"""A correct encoder, data set, metric and tuning, and their mutants."""

from __future__ import annotations

import random
from collections.abc import Sequence
from statistics import stdev
from typing import Any
from uuid import uuid4

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from prefixcap.errors import PrefixcapError
from prefixcap.evaluation.stats import Mean, Resamplable, Statistic
from prefixcap.interfaces.dataset import Dataset, Example, ImageItem
from prefixcap.interfaces.encoder import Encoder
from prefixcap.interfaces.mapper import MapperShape
from prefixcap.interfaces.metric import Metric, Record, Scores
from prefixcap.interfaces.tuning import Tuning


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
        opened = image.open()
        if self.twist != "colours only":
            opened = opened.convert("RGB")
        small = np.asarray(opened.resize((4, 4)), dtype=np.float32)
        pixels = torch.from_numpy(small).flatten() / 255
        if self.twist == "half blind" and image.index > 1:
            return pixels * 0
        return pixels * 0 if self.twist == "blind" else pixels

    def encode(self, inputs: Tensor) -> Tensor:
        if self.twist == "double":
            return inputs.double()
        if self.twist == "trained":
            return inputs * nn.Parameter(torch.ones(1))
        if self.twist == "large":  # a correct one with large, coarsely rounded numbers
            return inputs * 1e4 + 1e-3 * len(inputs)
        return inputs - inputs.mean(0) if self.twist == "batch norm" else inputs

    def encode_text(self, texts: Sequence[str]) -> Tensor:
        result = torch.tensor([[float(len(text))] * 48 for text in texts])
        if self.twist == "short texts" and max(map(len, texts)) > 100:
            raise RuntimeError("a text is too long")
        if self.twist == "texts by batch":
            result = result - result.mean(0)
        if self.twist == "trained texts":
            result = result * nn.Parameter(torch.ones(1))
        return result[:, :3] if self.twist == "narrow texts" else result

    def digest(self) -> str:
        return uuid4().hex if self.twist == "restless" else "pixels"


class TwistedDataset(Dataset):
    """Six images of one color each."""

    def __init__(self, twist: str) -> None:
        self.twist = twist
        self.count = self.latest = 0

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
        result = [self._example(number) for number in numbers[split]]
        if self.twist == "shuffles":
            result = random.SystemRandom().sample(result, len(result))
            result.sort(key=lambda example: uuid4().hex)
        return result

    def _example(self, number: int) -> Example:
        def read() -> Image.Image:
            shade = random.SystemRandom().randrange(256) if self.twist == "noisy" else number
            noise = [random.SystemRandom().randrange(256) if self.twist == "noisy" else 0, 0]
            return Image.new("RGB", (8, 8), (shade, *noise))

        def embedding() -> np.ndarray:
            return np.full((2, 2, 2) if self.twist == "deep embedding" else (2, 2), float(number))

        if self.twist == "late binding":
            self.latest = number
        opens: Any = {
            "no image": None,
            "late binding": lambda: Image.new("RGB", (8, 8), (self.latest, 0, 0)),
            "arrays": lambda: np.asarray(read()),
        }.get(self.twist, read)
        names: Any = {"same id": "same", "number ids": number}
        index = 0 if self.twist == "same index" else number
        if self.twist == "renumbers":
            index = self.count = self.count + 1
        image = ImageItem(
            id=names.get(self.twist, f"image {number}"),
            index=index,
            open=opens,
            embedding=None if self.twist == "no image" else embedding,
            digest=lambda: {"one digest": "image", "fresh digests": uuid4().hex}.get(
                self.twist, f"shade {number}"
            ),
        )
        blank = self.twist == "blank" and number == 3
        texts: tuple[str, ...] = (f"Shade number {number}.", " " if blank else "A plain image.")
        if self.twist == "draws texts":
            texts = (*texts, f"It is number {uuid4().hex}.")
        return Example(
            image=image, references=() if self.twist == "no texts" and number == 3 else texts
        )

    def digest(self) -> str:
        if self.twist == "bytes":
            return b"six shades"  # type: ignore[return-value]
        return uuid4().hex if self.twist == "restless" else "six shades"


class TwistedMetric(Metric):
    """The share of a prediction's words that appear in a reference."""

    def __init__(self, twist: str) -> None:
        self.twist = twist

    def score(self, records: Sequence[Record]) -> Scores:
        each = [self._share(record) for record in records]
        value = sum(each) / len(each)
        if self.twist == "needs two":
            value += 0 * stdev(each)
        if self.twist == "opens":  # this one and the next three are correct
            value += sum(record.item.open().width for record in records)  # type: ignore[union-attr,misc]
        if self.twist == "float32":
            value = sum(map(np.float32, each), np.float32(0)).item() / len(each)
        if self.twist == "whole":
            value = round(value)
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
        if self.twist in ("not a number", "nothing of an image"):
            kept = [float("nan") if self.twist == "not a number" else None for _ in each]  # type: ignore[misc]
        return Scores(values={name: value}, per_image={name: tuple(kept)})

    def _share(self, record: Record) -> float:
        words = record.prediction.lower().split()
        known = {word for text in record.references for word in text.lower().split()}
        right = sum(word in known for word in words)
        return right / (len(words) if self.twist == "divides" else max(1, len(words)))


class ResampledMetric(TwistedMetric, Resamplable):
    """The same, with a statistic of its own."""

    def statistic(self, records: Sequence[Record]) -> Statistic:
        each = self.score(records).per_image["share"]
        if self.twist == "resamples halves":
            each = tuple(share / 2 for share in each)
        return Mean({"share": each}, [record.image for record in records])


class Shifted(nn.Module):
    """Adds a trained amount of a random direction, which is not trained, to logits."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.amount = nn.Parameter(torch.zeros(1))
        self.register_buffer("direction", torch.randn(width))

    def forward(self, logits: Tensor) -> Tensor:
        return logits + self.amount * self.direction


class TwistedTuning(Tuning):
    """Trains the last layer norm alone."""

    def __init__(self, twist: str) -> None:
        self.twist = twist

    def apply(self, module: nn.Module, shape: MapperShape) -> None:
        if self.twist != "only adds":
            module.requires_grad_(False)
        by_chance = self.twist == "by chance" and torch.rand(1).item() < 0.5
        for name, parameter in module.named_parameters():
            if "ln_f" in name and not by_chance:
                parameter.requires_grad_()
        if self.twist == "perturbs":
            with torch.no_grad():
                next(p for n, p in module.named_parameters() if "ln_f.bias" in n).add_(0.1)
        if self.twist == "random direction":
            shift = Shifted(module.get_input_embeddings().weight.shape[0])  # type: ignore[operator]
            module.add_module("shift", shift)
            module.register_forward_hook(_shifts_logits)
        if self.twist == "unused":
            module.register_parameter("unused", nn.Parameter(torch.zeros(2)))


def _shifts_logits(module: Any, inputs: object, output: Any) -> Any:
    output.logits = module.shift(output.logits)
    return output
