"""Rules for mappers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import cast

import torch
from torch import Tensor, nn

from prefixcap.errors import PrefixcapError
from prefixcap.interfaces.mapper import MapperConfig, MapperShape
from prefixcap.testing.case import Case
from prefixcap.testing.rules.helpers import SIZES, max_difference, require_growth, seeded
from prefixcap.testing.rules.rule import BrokenRule, require, rule

TOLERANCE = 1e-5
SAME_PREFIX = "it has nothing to train, as `learns` declares"


def mapper_config(case: Case) -> MapperConfig:
    """Return the case's config."""
    return cast(MapperConfig, case.config)


def shapes(case: Case) -> list[MapperShape]:
    """Return the case's shapes without those that the mapper refuses.

    Raises:
        BrokenRule: If it refuses all of them.
    """
    return case.once("shapes", lambda: _accepted_shapes(case))


def _accepted_shapes(case: Case) -> list[MapperShape]:
    accepted, refusals = [], []
    for shape in case.shapes:
        try:
            fresh(case, shape)
            accepted.append(shape)
        except PrefixcapError as error:
            refusals.append(str(error))
    if not accepted:
        raise BrokenRule(
            f"it accepts none of the {len(case.shapes)} shapes that the case has "
            f"({refusals[0] if refusals else 'there are none'}); give it others, as in "
            "Case(config=..., shapes=(MapperShape(...),))"
        )
    return accepted


def fresh(case: Case, shape: MapperShape, seed: int = 0) -> nn.Module:
    """Build the mapper with a seed, and restore torch's random state."""
    with seeded(seed):
        return mapper_config(case).build(shape)


def features(shape: MapperShape, images: int = 4) -> Tensor:
    """Draw features (B,D) or (B,N,D), the same each time."""
    count = shape.feature_tokens
    sizes = (shape.feature_width,) if count is None else (count, shape.feature_width)
    return torch.randn(images, *sizes, generator=torch.Generator().manual_seed(1))


@rule("prefix-shape")
def prefix_shape(case: Case) -> None:
    """Features (B,D) or (B,N,D) become finite float32 prefixes (B,P,E), or states (B,P,W)."""
    for shape in shapes(case):
        for images in (1, 4):
            with seeded():  # there may be dropout in training mode
                prefix = fresh(case, shape)(features(shape, images))
            width = shape.state_width or shape.embedding_width
            expected = (images, shape.prefix_length, width)
            require(
                prefix.shape == expected, f"{shape} gives {tuple(prefix.shape)}, not {expected}"
            )
            require(prefix.dtype == torch.float32, f"{shape} gives {prefix.dtype}")
            require(bool(prefix.isfinite().all()), f"{shape} gives a prefix that is not finite")


@rule("image-alone")
def image_alone(case: Case) -> None:
    """In evaluation mode, an image's prefix does not depend on the rest of its batch."""
    for shape in shapes(case):
        mapper, inputs = fresh(case, shape).eval(), features(shape)
        together = mapper(inputs)
        for i in range(len(inputs)):
            difference = max_difference(mapper(inputs[i : i + 1])[0], together[i])
            require(difference <= TOLERANCE, f"{shape}: image {i} alone has another prefix")


@rule("features-matter")
def features_matter(case: Case) -> str | None:
    """Different features give different prefixes."""
    if not mapper_config(case).learns:
        return SAME_PREFIX
    for shape in shapes(case):
        prefix = fresh(case, shape).eval()(features(shape))
        require(not torch.allclose(prefix[0], prefix[1]), f"{shape}: two images have one prefix")
    return None


@rule("gradients")
def gradients(case: Case) -> str | None:
    """The mapper has parameters, and gradients reach all of them."""
    for shape in shapes(case):
        mapper = fresh(case, shape)
        if not mapper_config(case).learns:
            unused = [name for name, _ in mapper.named_parameters()]
            require(not unused, f"{shape}: it has parameters, though its `learns` is false")
            return SAME_PREFIX
        with seeded():
            prefix = mapper(features(shape))
        weights = torch.randn(prefix.shape, generator=torch.Generator().manual_seed(2))
        (prefix * weights).sum().backward()
        parameters = dict(mapper.named_parameters())
        missed = [name for name, p in parameters.items() if p.grad is None]
        require(bool(parameters), f"{shape}: the mapper has no parameters")
        require(not missed, f"{shape}: no gradient reaches {', '.join(missed)}")
    return None


@rule("initial-weights")
def initial_weights(case: Case) -> str | None:
    """The initial weights depend on torch's random state and on nothing else."""
    config = mapper_config(case)
    if not config.learns:
        return SAME_PREFIX
    for shape in shapes(case):
        one, two = (fresh(case, shape).state_dict() for _ in range(2))
        for name, tensor in one.items():
            require(torch.equal(tensor, two[name]), f"{shape}: with one seed, {name} differs")
        after = []
        for seed in (0, 1):
            with seeded(seed):
                config.build(shape)
                after.append(torch.get_rng_state())
        require(
            not torch.equal(*after),
            f"{shape}: building leaves the same random state for two seeds: it sets a seed",
        )
    return None


@rule("state-dict")
def state_dict(case: Case) -> None:
    """Everything that the mapper learns is in its `state_dict`."""
    for shape in shapes(case):
        one, two = fresh(case, shape, 0), fresh(case, shape, 1).eval()
        inputs = features(shape)
        with seeded():
            one(inputs)  # training mode may learn a running mean
        one.eval()
        two.load_state_dict(one.state_dict())
        difference = max_difference(one(inputs), two(inputs))
        require(difference <= TOLERANCE, f"{shape}: with the same weights, two mappers differ")


@rule("device")
def device(case: Case) -> None:
    """The mapper's tensors are created on its input's device, or move with the module."""
    for shape in shapes(case):
        mapper = fresh(case, shape).eval().to("meta")
        for name, tensor in _plain_tensors(mapper):
            place = tensor.device.type
            problem = f"{shape}: {name!r} stays on the {place} when the mapper moves"
            require(place == "meta", f"{problem}: make it a parameter or a buffer")
        try:
            mapper(features(shape).to("meta"))
        except (RuntimeError, NotImplementedError) as error:
            # other errors may come from the meta device, which holds no values
            mixed = "expected device" in str(error) or "same device" in str(error)
            require(not mixed, f"{shape}: moved to another device, it mixes the two: {error}")


def _plain_tensors(mapper: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Yield the tensors that are neither parameters nor buffers, with their names."""
    for place, module in mapper.named_modules():
        for name, value in vars(module).items():
            if isinstance(value, Tensor):
                yield f"{place}.{name}".lstrip("."), value


@rule("sizes")
def sizes(case: Case) -> str | None:
    """A config of a larger size has more parameters, and any size from 1 can be built."""
    made = [mapper_config(case).sized(size) for size in SIZES]
    for shape in shapes(case):
        counts = []
        for config in made:
            if config is None:
                return "it has no size, or its settings fix it"
            with seeded():
                counts.append(sum(p.numel() for p in config.build(shape).parameters()))
        require_growth(counts)
    return None
