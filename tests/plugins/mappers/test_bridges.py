"""The bridges' formulas, against plain loops."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from prefixcap.errors import PrefixcapError
from prefixcap.interfaces.bridge import Bridge, BridgeConfig
from prefixcap.plugin.registry import default_registry

Vector = list[float]
TOLERANCE = 1e-4


def bridge(spec: str) -> Bridge:
    return default_registry().parse(BridgeConfig, spec).build()


def unit(x: Vector) -> Vector:
    length = math.sqrt(sum(value * value for value in x))
    return [value / length for value in x]


def mean(rows: list[Vector]) -> Vector:
    return [sum(column) / len(rows) for column in zip(*map(unit, rows), strict=True)]


def plus(x: Vector, y: Vector, factor: float = 1.0) -> Vector:
    return [a + factor * b for a, b in zip(x, y, strict=True)]


def softmax_mean(image: Vector, memory: list[Vector], temperature: float) -> tuple[Vector, float]:
    cosines = [sum(a * b for a, b in zip(unit(image), m, strict=True)) for m in memory]
    weights = [math.exp((cosine - max(cosines)) / temperature) for cosine in cosines]
    weights = [weight / sum(weights) for weight in weights]
    total = [0.0] * len(image)
    for weight, entry in zip(weights, memory, strict=True):
        total = plus(total, entry, weight)
    entropy = -sum(weight * math.log(weight) for weight in weights if weight)
    return unit(total), math.exp(entropy)


@st.composite
def worlds(draw: Any) -> tuple[Tensor, Tensor, Tensor]:
    """Texts (T,D), images (B,D) and noise (T,D), none of them near zero."""
    rows, images, width = (draw(st.integers(1, 5)) for _ in range(3))
    stream = torch.Generator().manual_seed(draw(st.integers(0, 1000)))
    scale = draw(st.sampled_from([0.5, 1.0, 20.0]))
    texts, noise = (torch.randn(rows, width + 1, generator=stream) for _ in range(2))
    return scale * texts + 1, scale * torch.randn(images, width + 1, generator=stream) - 1, noise


def close(result: Tensor, expected: list[Vector]) -> bool:
    return torch.allclose(result, torch.tensor(expected), atol=TOLERANCE)


@settings(deadline=None, max_examples=40)
@given(worlds(), st.sampled_from([0.0, 0.1, 1.5]))
def test_noise_is_capdecs_formula(world: tuple[Tensor, Tensor, Tensor], scale: float) -> None:
    texts, images, noise = world
    own = bridge(f"noise:noise={scale}")
    learned = own.learn(texts, images)
    assert learned == {}
    rows = zip(texts.tolist(), noise.tolist(), strict=True)
    expected = [unit(plus(unit(text), z, scale)) for text, z in rows]
    assert close(own.text_side(texts, learned, noise), expected)
    assert close(own.text_side(texts, learned, None), [unit(text) for text in texts.tolist()])
    assert close(own.image_side(images, learned), [unit(image) for image in images.tolist()])


@settings(deadline=None, max_examples=40)
@given(worlds(), st.sampled_from([0.1, 1.5]))
def test_shift_is_c3s_formula(world: tuple[Tensor, Tensor, Tensor], scale: float) -> None:
    texts, images, noise = world
    texts, images = torch.cat([texts, -texts[:1]]), torch.cat([images, -images[:1]])
    noise = torch.cat([noise, noise[:1]])
    own = bridge(f"shift:noise={scale}")
    learned = own.learn(texts, images)
    of_texts, of_images = mean(texts.tolist()), mean(images.tolist())
    assert close(learned["text_mean"], of_texts)  # type: ignore[arg-type]
    assert close(learned["image_mean"], of_images)  # type: ignore[arg-type]
    rows = zip(texts.tolist(), noise.tolist(), strict=True)
    expected = [unit(plus(plus(unit(text), of_texts, -1), z, scale)) for text, z in rows]
    assert close(own.text_side(texts, learned, noise), expected)
    moved = [plus(unit(image), of_images, -1) for image in images.tolist()]
    known = [row for row, vector in enumerate(moved) if math.hypot(*vector) > 0.01]
    result = own.image_side(images, learned)[known]
    assert close(result, [unit(moved[row]) for row in known]) or not known


@settings(deadline=None, max_examples=40)
@given(worlds(), st.sampled_from([0.0, 0.5, 1.0]))
def test_close_is_its_papers_formula(world: tuple[Tensor, Tensor, Tensor], share: float) -> None:
    texts, images, noise = world
    own = bridge(f"close:noise=0.3,shift={share}")
    learned = own.learn(texts, images)
    assert set(learned) == ({"shift"} if share else set())
    gap = plus(mean(images.tolist()), mean(texts.tolist()), -1)
    rows = zip(texts.tolist(), noise.tolist(), strict=True)
    expected = [unit(plus(plus(unit(text), gap, share), z, 0.3)) for text, z in rows]
    assert close(own.text_side(texts, learned, noise), expected)
    assert close(own.image_side(images, learned), [unit(image) for image in images.tolist()])


@settings(deadline=None, max_examples=40)
@given(worlds(), st.sampled_from([0.01, 0.1, 1.0]))
def test_memory_is_decaps_formula(world: tuple[Tensor, Tensor, Tensor], temperature: float) -> None:
    texts, images, noise = world
    own = bridge(f"memory:temperature={temperature},noise=0.2")
    learned = own.learn(texts, images)
    memory = [unit(text) for text in texts.tolist()]
    assert close(learned["memory"], memory)
    expected = [softmax_mean(image, memory, temperature) for image in images.tolist()]
    vectors = own.image_side(images, learned)
    entries = own.measure(images, learned)["memory entries"]
    for row, (vector, entropy) in enumerate(expected):
        if math.hypot(*vector) > 0.1:
            assert torch.allclose(vectors[row], torch.tensor(vector), atol=5e-3)
        assert entries[row].item() == pytest.approx(entropy, rel=1e-2)
    rows = zip(texts.tolist(), noise.tolist(), strict=True)
    noisy = [unit(plus(unit(text), z, 0.2)) for text, z in rows]
    assert close(own.text_side(texts, learned, noise), noisy)


def test_a_memory_of_a_size_is_drawn_with_its_own_seed() -> None:
    texts = torch.randn(50, 4, generator=torch.Generator().manual_seed(0))
    one, two, other = (
        bridge(f"memory:size=20,seed={seed}").learn(texts, texts)["memory"] for seed in (0, 0, 1)
    )
    assert torch.equal(one, two)
    assert not torch.equal(one, other)
    all_of_them = bridge("memory:size=none").learn(texts, texts)["memory"]
    known = {tuple(row) for row in all_of_them.tolist()}
    assert len(known) == 50
    assert {tuple(row) for row in one.tolist()} < known
    assert len(one) == 20


class Endless:
    """The embeddings of more texts than any memory holds."""

    shape = (10**12, 512)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, _: object) -> Tensor:
        raise AssertionError("nothing should be read")


def test_a_memory_that_does_not_fit_is_refused() -> None:
    with pytest.raises(PrefixcapError) as caught:
        bridge("memory:size=none").learn(Endless(), Endless())
    assert "not enough memory for the bridge's memory of 1,000,000,000,000 texts" in str(
        caught.value
    )
    assert str(caught.value).endswith("set a smaller size, as in --bridge memory:size=10000")


def test_many_images_are_compared_with_the_memory_in_parts(monkeypatch: Any) -> None:
    from prefixcap_mappers import bridges

    stream = torch.Generator().manual_seed(2)
    texts, images = (torch.randn(30, 5, generator=stream) for _ in range(2))
    own = bridge("memory")
    learned = own.learn(texts, images)
    whole, entries = own.image_side(images, learned), own.measure(images, learned)
    monkeypatch.setattr(bridges, "_SIMILARITIES", 100)
    assert torch.allclose(own.image_side(images, learned), whole, atol=1e-5)
    (name,) = entries
    assert torch.allclose(own.measure(images, learned)[name], entries[name], rtol=1e-4)
