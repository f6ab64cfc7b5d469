"""Components that fail are found before anything is trained, and named."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import attrs
import pytest
import torch

import prefixcap
from prefixcap import (
    Decoder,
    DecoderConfig,
    DecodingTask,
    MapperConfig,
    MapperShape,
    Metric,
    MetricConfig,
    PrefixcapError,
    Scores,
    Study,
    Tuning,
    TuningConfig,
)
from prefixcap.plugin.building import naming_plugin
from prefixcap.study.execution import trial
from prefixcap.study.execution.plan import plan
from prefixcap.study.execution.runner import run_study
from prefixcap.study.execution.training import train_one
from prefixcap.util.progress import Silent


class NoText(Exception):
    def __str__(self) -> str:
        raise ValueError


def fail(error: BaseException) -> Any:
    raise error


WAYS: dict[str, Callable[[], Any]] = {
    "raises": lambda: fail(RuntimeError("no such weights")),
    "none": lambda: None,
    "type": lambda: "a decoder",
    "exits": lambda: sys.exit(0),
    "interrupts": lambda: fail(KeyboardInterrupt()),
    "base": lambda: fail(BaseException("no")),
    "no-text": lambda: fail(NoText()),
}
SENTENCES = {
    "raises": "RuntimeError: no such weights (",
    "none": "TypeError: build() returned None instead of a ",
    "type": "TypeError: build() returned str instead of a ",
    "exits": "SystemExit: 0 (it called sys.exit)",
    "interrupts": "KeyboardInterrupt",
    "base": "BaseException: no (",
    "no-text": "NoText: NoText() (",
}


@attrs.frozen(kw_only=True)
class BadDecoder(DecoderConfig):
    name: ClassVar[str] = "bad"
    way: str = "raises"

    def build(self) -> Decoder:
        return BadSearch(self.way[3:]) if self.way.startswith("in-") else WAYS[self.way]()


class BadSearch(Decoder):
    def __init__(self, way: str) -> None:
        self.way = way

    def decode(self, task: DecodingTask) -> Iterator[Any]:
        yield WAYS[self.way]()


@attrs.frozen(kw_only=True)
class BadMapper(MapperConfig):
    name: ClassVar[str] = "bad"
    way: str = "raises"

    def build(self, shape: MapperShape) -> Any:
        if self.way == "shape":
            return torch.nn.Linear(shape.feature_width, shape.embedding_width)
        return WAYS[self.way]()


@attrs.frozen(kw_only=True)
class BadTuning(TuningConfig):
    name: ClassVar[str] = "bad"
    way: str = "raises"

    def build(self) -> Any:
        return BadSelection(self.way[3:]) if self.way.startswith("in-") else WAYS[self.way]()


class BadSelection(Tuning):
    def __init__(self, way: str) -> None:
        self.way = way

    def apply(self, module: torch.nn.Module, shape: MapperShape) -> None:
        assert not any(p.is_meta for p in module.parameters())  # it may look at the weights
        WAYS[self.way]()


@attrs.frozen(kw_only=True)
class BadMetric(MetricConfig):
    name: ClassVar[str] = "bad"
    way: str = "raises"

    def build(self) -> Any:
        return BadScore(self.way[3:]) if self.way.startswith("in-") else WAYS[self.way]()


class BadScore(Metric):
    def __init__(self, way: str) -> None:
        self.way = way

    def score(self, records: Any) -> Scores:
        result: Scores = WAYS[self.way]()
        return result


FIELDS = {"decoders": BadDecoder, "mappers": BadMapper, "tunings": BadTuning, "metrics": BadMetric}
TYPES = {"decoders": "Decoder", "mappers": "Module", "tunings": "Tuning", "metrics": "Metric"}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("field", FIELDS)
def test_a_build_that_fails_is_found_before_the_training(
    small: Study, tmp_path: Path, field: str, way: str
) -> None:
    config = FIELDS[field](way=way)
    study = attrs.evolve(small, **{field: (*getattr(small, field), config)})
    with pytest.raises(PrefixcapError) as caught:
        run_study(study, tmp_path)
    spec = "bad" if way == "raises" else f"bad:way={way}"
    owner = f"the class {__name__}.{type(config).__name__}"
    start = f"the {config.kind} {spec!r} of {owner} cannot be built: {SENTENCES[way]}"
    assert str(caught.value).startswith(start + (TYPES[field] if way in ("none", "type") else ""))
    assert not (tmp_path / "models").exists()


@pytest.mark.parametrize("way", ["raises", "none", "exits", "no-text"])
@pytest.mark.parametrize(
    ("field", "problem"),
    [("decoders", "cannot caption a first image"), ("metrics", "cannot score first captions")],
)
def test_a_component_that_fails_in_use_is_found_too(
    small: Study, tmp_path: Path, field: str, problem: str, way: str
) -> None:
    config = FIELDS[field](way=f"in-{way}")
    study = attrs.evolve(small, **{field: (*getattr(small, field), config)})
    with pytest.raises(PrefixcapError, match=problem):
        run_study(study, tmp_path)
    assert not (tmp_path / "models").exists()


def test_a_mapper_of_another_shape_is_found(small: Study, tmp_path: Path) -> None:
    study = attrs.evolve(small, mappers=(*small.mappers, BadMapper(way="shape")))
    with pytest.raises(PrefixcapError, match=r"its prefixes are \(2, 16\) instead of \(2, 2, 16\)"):
        run_study(study, tmp_path)
    assert not (tmp_path / "models").exists()


def test_a_plan_and_a_single_training_try_them_too(small: Study, tmp_path: Path) -> None:
    with pytest.raises(PrefixcapError, match=r"the decoder .bad. .* cannot be built"):
        plan(attrs.evolve(small, decoders=(BadDecoder(),)), tmp_path)
    for field in ("tunings", "mappers"):
        with pytest.raises(PrefixcapError, match=r"the \w+ 'bad' .* cannot be built"):
            train_one(attrs.evolve(small, **{field: (FIELDS[field](),)}), tmp_path / "m", Silent())
    assert not (tmp_path / "m" / "config.json").exists()
    # what captions does not matter to a training alone
    train_one(attrs.evolve(small, decoders=(BadDecoder(),)), tmp_path / "m", Silent())


def test_a_built_in_mapper_that_does_not_fit_is_found(small: Study, tmp_path: Path) -> None:
    mapper = prefixcap.Transformer(heads=3)
    with pytest.raises(PrefixcapError, match="3"):
        run_study(attrs.evolve(small, mappers=(*small.mappers, mapper)), tmp_path)
    assert not (tmp_path / "models").exists()


def test_a_tuning_that_fails_in_use_is_found_too(small: Study, tmp_path: Path) -> None:
    study = attrs.evolve(small, tunings=(*small.tunings, BadTuning(way="in-raises")))
    problem = "cannot be applied to the language model: RuntimeError: no such weights"
    with pytest.raises(PrefixcapError, match=problem):
        run_study(study, tmp_path)
    assert not (tmp_path / "models").exists()


def test_a_tuning_that_the_model_has_no_place_for_is_found(small: Study, tmp_path: Path) -> None:
    study = attrs.evolve(small, tunings=(prefixcap.Frozen(), prefixcap.BitFit()), dtype="bfloat16")
    with pytest.raises(PrefixcapError, match=r"'bitfit' .* in bfloat16: use dtype float32"):
        run_study(study, tmp_path)
    assert not (tmp_path / "models").exists()


def test_a_component_that_takes_long_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    class Listening(Silent):
        def message(self, text: str) -> None:
            messages.append(text)

    messages: list[str] = []
    monkeypatch.setattr(trial, "PATIENCE", 0.01)
    with trial.naming_slow(BadDecoder(), Listening()):
        while not messages:
            pass
    assert messages == ["still trying the decoder 'bad'; Ctrl-C stops"]


def test_a_failed_allocation_is_no_error_of_the_plugin() -> None:
    error = RuntimeError("DefaultCPUAllocator: can't allocate memory")
    with pytest.raises(RuntimeError) as caught, naming_plugin(BadDecoder(), "cannot be built"):
        raise error
    assert caught.value is error


def test_random_states_are_kept(small: Study, tmp_path: Path) -> None:
    torch.manual_seed(3)
    before = torch.get_rng_state()
    run_study(small, tmp_path)
    assert torch.equal(torch.get_rng_state(), before)
