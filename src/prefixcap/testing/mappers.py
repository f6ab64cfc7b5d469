"""Rules for mappers."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from prefixcap.kinds import MapperConfig, MapperShape
from prefixcap.testing.case import Case
from prefixcap.testing.rules import require, rule

SHAPES = tuple(
    MapperShape(
        feature_width=width, feature_tokens=count, prefix_length=length, embedding_width=embedding
    )
    for width, count, length, embedding in (
        # widths that the usual numbers of heads divide
        (8, None, 1, 96),
        (6, None, 5, 192),
        (8, 3, 4, 96),
        (8, 1, 2, 96),
    )
)
TOLERANCE = 1e-5


def fresh(case: Case, shape: MapperShape, seed: int = 0) -> nn.Module:
    """Builds the mapper from a seed of torch's random state, which is kept as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        return cast(MapperConfig, case.config).build(shape)


def features(shape: MapperShape, images: int = 4) -> Tensor:
    """Draws features (B,D) or (B,N,D), the same ones each time."""
    count = shape.feature_tokens
    sizes = (shape.feature_width,) if count is None else (count, shape.feature_width)
    return torch.randn(images, *sizes, generator=torch.Generator().manual_seed(1))


@rule("prefix-shape")
def prefix_shape(case: Case) -> None:
    """Features (B,D) or (B,N,D) become finite float32 prefixes (B,P,E)."""
    for shape in SHAPES:
        for images in (1, 4):
            found = fresh(case, shape)(features(shape, images))
            right = (images, shape.prefix_length, shape.embedding_width)
            require(found.shape == right, f"{shape} gives {tuple(found.shape)}, not {right}")
            require(found.dtype == torch.float32, f"{shape} gives {found.dtype}")
            require(bool(found.isfinite().all()), f"{shape} gives a prefix that is not finite")


@rule("image-alone")
def image_alone(case: Case) -> None:
    """In evaluation an image's prefix does not depend on the rest of its batch."""
    for shape in SHAPES:
        mapper, inputs = fresh(case, shape).eval(), features(shape)
        together = mapper(inputs)
        for i in range(len(inputs)):
            near = torch.allclose(mapper(inputs[i : i + 1])[0], together[i], atol=TOLERANCE)
            require(near, f"{shape}: image {i} alone has another prefix")


@rule("features-matter")
def features_matter(case: Case) -> None:
    """Different features give different prefixes."""
    for shape in SHAPES:
        found = fresh(case, shape).eval()(features(shape))
        require(not torch.allclose(found[0], found[1]), f"{shape}: two images have one prefix")


@rule("gradients")
def gradients(case: Case) -> None:
    """Gradients reach every parameter, and there are some."""
    for shape in SHAPES:
        mapper = fresh(case, shape)
        found = mapper(features(shape))
        weights = torch.randn(found.shape, generator=torch.Generator().manual_seed(2))
        (found * weights).sum().backward()
        parameters = dict(mapper.named_parameters())
        missed = [name for name, p in parameters.items() if p.grad is None]
        require(bool(parameters), f"{shape}: the mapper has no parameters")
        require(not missed, f"{shape}: no gradient reaches {', '.join(missed)}")


@rule("fresh-weights")
def fresh_weights(case: Case) -> None:
    """The fresh weights depend on torch's random state and on nothing else."""
    for shape in SHAPES:
        one, two = (fresh(case, shape).state_dict() for _ in range(2))
        for name, tensor in one.items():
            require(torch.equal(tensor, two[name]), f"{shape}: from one seed, {name} differs")


@rule("state-dict")
def state_dict(case: Case) -> None:
    """All that a mapper learns is in its `state_dict`."""
    for shape in SHAPES:
        one, two = fresh(case, shape, 0).eval(), fresh(case, shape, 1).eval()
        two.load_state_dict(one.state_dict())
        inputs = features(shape)
        near = torch.allclose(one(inputs), two(inputs), atol=TOLERANCE)
        require(near, f"{shape}: with the same weights, two mappers differ")


RULES = (prefix_shape, image_alone, features_matter, gradients, fresh_weights, state_dict)
