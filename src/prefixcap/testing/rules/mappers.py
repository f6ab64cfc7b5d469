"""Rules for mappers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import cast

import torch
from torch import Tensor, nn

from prefixcap.errors import PrefixcapError
from prefixcap.interfaces.mapper import MapperConfig, MapperShape
from prefixcap.testing.case import Case
from prefixcap.testing.rules.helpers import apart, seeded
from prefixcap.testing.rules.rule import BrokenRule, require, rule

TOLERANCE = 1e-5


def shapes(case: Case) -> tuple[MapperShape, ...]:
    """Returns the case's shapes that the mapper does not refuse, such as for its settings.

    Raises:
        BrokenRule: it refuses all of them.
    """

    def taken() -> tuple[MapperShape, ...]:
        refusals = []
        found = []
        for shape in case.shapes:
            try:
                fresh(case, shape)
                found.append(shape)
            except PrefixcapError as error:
                refusals.append(str(error))
        if not found:
            raise BrokenRule(
                f"it takes none of the {len(case.shapes)} shapes that it is tried on "
                f"({refusals[0] if refusals else 'there are none'}); give it others, as in "
                "Case(config=..., shapes=(MapperShape(...),))"
            )
        return tuple(found)

    return cast(tuple[MapperShape, ...], case.once("shapes", taken))


def fresh(case: Case, shape: MapperShape, seed: int = 0) -> nn.Module:
    """Builds the mapper from a seed of torch's random state, which is kept as it was."""
    with seeded(seed):
        return cast(MapperConfig, case.config).build(shape)


def features(shape: MapperShape, images: int = 4) -> Tensor:
    """Draws features (B,D) or (B,N,D), the same ones each time."""
    count = shape.feature_tokens
    sizes = (shape.feature_width,) if count is None else (count, shape.feature_width)
    return torch.randn(images, *sizes, generator=torch.Generator().manual_seed(1))


@rule("prefix-shape")
def prefix_shape(case: Case) -> None:
    """Features (B,D) or (B,N,D) become finite float32 prefixes (B,P,E)."""
    for shape in shapes(case):
        for images in (1, 4):
            with seeded():  # a mapper in training may drop out
                found = fresh(case, shape)(features(shape, images))
            right = (images, shape.prefix_length, shape.embedding_width)
            require(found.shape == right, f"{shape} gives {tuple(found.shape)}, not {right}")
            require(found.dtype == torch.float32, f"{shape} gives {found.dtype}")
            require(bool(found.isfinite().all()), f"{shape} gives a prefix that is not finite")


@rule("image-alone")
def image_alone(case: Case) -> None:
    """In evaluation an image's prefix does not depend on the rest of its batch."""
    for shape in shapes(case):
        mapper, inputs = fresh(case, shape).eval(), features(shape)
        together = mapper(inputs)
        for i in range(len(inputs)):
            near = apart(mapper(inputs[i : i + 1])[0], together[i]) <= TOLERANCE
            require(near, f"{shape}: image {i} alone has another prefix")


@rule("features-matter")
def features_matter(case: Case) -> None:
    """Different features give different prefixes."""
    for shape in shapes(case):
        found = fresh(case, shape).eval()(features(shape))
        require(not torch.allclose(found[0], found[1]), f"{shape}: two images have one prefix")


@rule("gradients")
def gradients(case: Case) -> None:
    """Gradients reach every parameter, and there are some."""
    for shape in shapes(case):
        mapper = fresh(case, shape)
        with seeded():
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
    config = cast(MapperConfig, case.config)
    for shape in shapes(case):
        one, two = (fresh(case, shape).state_dict() for _ in range(2))
        for name, tensor in one.items():
            require(torch.equal(tensor, two[name]), f"{shape}: from one seed, {name} differs")
        after = []
        for seed in (0, 1):
            with seeded(seed):
                config.build(shape)
                after.append(torch.get_rng_state())
        kept = not torch.equal(*after)
        require(
            kept, f"{shape}: from two seeds, building leaves one random state: it sets the seed"
        )


@rule("state-dict")
def state_dict(case: Case) -> None:
    """All that a mapper learns is in its `state_dict`."""
    for shape in shapes(case):
        one, two = fresh(case, shape, 0), fresh(case, shape, 1).eval()
        with seeded():
            one(features(shape))  # what it learns may be a mean that training keeps
        one.eval()
        two.load_state_dict(one.state_dict())
        inputs = features(shape)
        near = apart(one(inputs), two(inputs)) <= TOLERANCE
        require(near, f"{shape}: with the same weights, two mappers differ")


@rule("device")
def device(case: Case) -> None:
    """What it computes with is made on its input's device, or goes along to another one."""
    for shape in shapes(case):
        mapper = fresh(case, shape).eval().to("meta")
        for name, tensor in _plain_tensors(mapper):
            require(
                tensor.device.type == "meta",
                f"{shape}: {name!r} stays on the {tensor.device.type} when the mapper moves: make "
                "it a parameter or a buffer",
            )
        try:
            mapper(features(shape).to("meta"))
        except (RuntimeError, NotImplementedError) as error:
            # what else is refused may be what this device alone cannot: it holds no values
            mixed = "expected device" in str(error) or "same device" in str(error)
            require(not mixed, f"{shape}: moved to another device, it mixes the two: {error}")


def _plain_tensors(mapper: nn.Module) -> Iterator[tuple[str, Tensor]]:
    for place, part in mapper.named_modules():
        for name, value in vars(part).items():
            if isinstance(value, Tensor):
                yield f"{place}.{name}".lstrip("."), value


RULES = (
    prefix_shape,
    image_alone,
    features_matter,
    gradients,
    fresh_weights,
    state_dict,
    device,
)
