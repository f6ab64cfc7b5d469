"""Sizes of mappers and tunings at which models have an equal number of trained parameters."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import TYPE_CHECKING, TypeVar

import attrs

from prefixcap.errors import PrefixcapError
from prefixcap.interfaces.language_model import LanguageModel
from prefixcap.interfaces.mapper import MapperConfig, MapperShape
from prefixcap.interfaces.tuning import TuningConfig
from prefixcap.plugin import specs
from prefixcap.plugin.building import build, is_foreign
from prefixcap.study.definition.study import Model

if TYPE_CHECKING:
    from prefixcap.study.execution.encoding import EncodedImages

C = TypeVar("C", MapperConfig, TuningConfig)
TOLERANCE = 0.1
"""The share of the wanted number by which a model may miss it without a warning."""


@attrs.frozen(kw_only=True)
class Matched:
    """Models with the sizes that come nearest to a number, and warnings of those that miss it."""

    models: Sequence[Model]
    warnings: Sequence[str] = ()


def matched(
    models: Sequence[Model],
    parameters: int,
    lm: LanguageModel,
    images: EncodedImages,
    free_positions: int | None = None,
) -> Matched:
    """Give models the sizes at which mapper and tuning together train so many parameters.

    A tuning with a size gets half of them if the mapper has a size too, which takes the rest;
    otherwise the one that has a size takes what the other one leaves. A tuning gets no more
    positions than prefixes and captions leave free; None: any number.

    Raises:
        PrefixcapError: If two models become the same.
    """
    counter = _Counter(lm, *_feature_shape(images))
    given = dict.fromkeys((m.mapper, m.prefix_length, m.tuning) for m in models)
    chosen = {each: _sized(*each, parameters, counter, free_positions) for each in given}
    _check_distinct(chosen, parameters)
    result, warnings = [], dict[str, None]()
    for model in models:
        mapper, tuning = chosen[model.mapper, model.prefix_length, model.tuning]
        total = counter.mapper(mapper, model.prefix_length) + counter.tuning(tuning)
        if abs(total - parameters) > TOLERANCE * parameters:
            warnings[_miss(model.prefix_length, mapper, tuning, total, parameters)] = None
        result.append(attrs.evolve(model, mapper=mapper, tuning=tuning))
    return Matched(models=result, warnings=list(warnings))


class _Counter:
    """Counts parameters for one language model and features of one shape, each once."""

    def __init__(self, lm: LanguageModel, tokens: int | None, width: int) -> None:
        from prefixcap.captioning.tuned import trained_size  # imports torch

        shape = MapperShape(
            feature_width=width,
            feature_tokens=tokens,
            prefix_length=1,
            embedding_width=lm.width,
        )

        def mapper(config: MapperConfig, length: int) -> int:
            states = lm.state_width if config.gives_states else None
            return _parameters_of(
                config, attrs.evolve(shape, prefix_length=length, state_width=states)
            )

        self.mapper = cache(mapper)
        # those of a tuning do not depend on the image's prefix
        self.tuning = cache(lambda config: trained_size(lm, config, shape))


def _parameters_of(config: MapperConfig, shape: MapperShape) -> int:
    import torch

    device = torch.device("cpu" if is_foreign(config) else "meta")
    with torch.random.fork_rng(devices=[]), device:
        return sum(parameter.numel() for parameter in build(config, shape).parameters())


def _feature_shape(images: EncodedImages) -> tuple[int | None, int]:
    """Return N (None for single vectors) and D."""
    encoder = images.features.encoder
    try:
        return encoder.tokens, encoder.width
    except PrefixcapError:  # that of a data set's embeddings is unknown until one is read
        first = encoder.preprocess(images.train[0].image)
        _, *tokens, width = encoder.encode(first[None]).shape
        return (tokens[0] if tokens else None), width


def _sized(
    mapper: MapperConfig,
    length: int,
    tuning: TuningConfig,
    parameters: int,
    counter: _Counter,
    free_positions: int | None,
) -> tuple[MapperConfig, TuningConfig]:
    """Return a mapper and a tuning that together come nearest to a number of parameters."""
    if tuning.sized(1) is not None:
        given = parameters // 2 if mapper.sized(1) else parameters - counter.mapper(mapper, length)
        largest = _largest(tuning, free_positions)
        if largest is not None and counter.tuning(largest) <= given:
            tuning = largest
        else:
            tuning = _nearest(tuning, tuning.sized, counter.tuning, given)
    rest = parameters - counter.tuning(tuning)
    # A tuning that leaves nothing, such as `full`, is no reason for the smallest mapper.
    if rest > 0 and mapper.sized(1) is not None:
        mapper = _nearest(mapper, mapper.sized, lambda m: counter.mapper(m, length), rest)
    return mapper, tuning


def _largest(tuning: TuningConfig, free_positions: int | None) -> TuningConfig | None:
    """Return a tuning with the largest size that leaves enough positions; None if any does."""
    one, two = tuning.sized(1), tuning.sized(2)
    if free_positions is None or one is None or two is None or one.positions == two.positions:
        return None
    size = 1 + (free_positions - one.positions) // (two.positions - one.positions)
    return tuning.sized(max(1, size))


def _nearest(
    config: C, sized: Callable[[int], C | None], count: Callable[[C], int], target: int
) -> C:
    """Return a config with the size whose number of parameters is nearest to a target."""

    def at(size: int) -> int:
        return count(sized(size) or config)

    low, step = at(1), at(2) - at(1)
    if step <= 0 or low >= target:
        return sized(1) or config
    # Most numbers grow evenly with the size, so that the first guess is the answer.
    below, above = 1, max(2, round((target - low) / step) + 2)
    while at(above) < target:
        below, above = above, 2 * above
    if above > 3 and at(above - 2) < target:
        below = above - 2
    while above - below > 1:
        middle = (below + above) // 2
        below, above = (middle, above) if at(middle) < target else (below, middle)
    return sized(min(below, above, key=lambda size: abs(at(size) - target))) or config


def _check_distinct(
    chosen: dict[tuple[MapperConfig, int, TuningConfig], tuple[MapperConfig, TuningConfig]],
    parameters: int,
) -> None:
    known: dict[object, tuple[MapperConfig, TuningConfig]] = {}
    for (mapper, length, tuning), result in chosen.items():
        other = known.setdefault((length, *result), (mapper, tuning))
        for one, two in zip(other, (mapper, tuning), strict=True):
            if one != two:
                raise PrefixcapError(
                    f"--match parameters={parameters} makes --{one.kind} {specs.to_spec(one)} and "
                    f"{specs.to_spec(two)} the same: give one of them"
                )


def _miss(
    length: int, mapper: MapperConfig, tuning: TuningConfig, total: int, parameters: int
) -> str:
    ratio = total / parameters
    how = f"{ratio:.0f} times as many" if ratio > 2 else f"{ratio:.0%} of them"
    return (
        f"warning: --match parameters={parameters}: {specs.to_spec(mapper)} with a prefix of "
        f"{length} and {specs.to_spec(tuning)} come no nearer than {total:,} parameters, {how}; "
        "compare them with care"
    )
