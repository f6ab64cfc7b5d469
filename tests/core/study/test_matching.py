"""Sizes at which models train an equal number of parameters."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import attrs
import pytest
from cli_world import World
from hypothesis import given, settings
from hypothesis import strategies as st

from prefixcap import PrefixcapError, Study
from prefixcap.interfaces.mapper import MapperConfig
from prefixcap.interfaces.tuning import TuningConfig
from prefixcap.plugin.registry import default_registry
from prefixcap.plugin.specs import to_spec
from prefixcap.study.definition import options
from prefixcap.study.execution import matching
from prefixcap.study.execution.plan import plan
from prefixcap.study.execution.runner import run_study
from prefixcap.study.execution.training import train_one
from prefixcap.util.progress import Silent

registry = default_registry()


@settings(deadline=None, max_examples=50)
@given(
    target=st.integers(-10, 10**6),
    slope=st.integers(1, 3000),
    start=st.integers(0, 2000),
    curve=st.integers(0, 3),
)
def test_the_nearest_size_is_found(target: int, slope: int, start: int, curve: int) -> None:
    def count(config: Any) -> int:
        return int(start + slope * config.r + curve * config.r**2)

    lora = registry.parse(TuningConfig, "lora")
    found: Any = matching._nearest(lora, lora.sized, count, target)
    missed = abs(count(found) - target)
    neighbors = [lora.sized(size) for size in (found.r - 1, found.r + 1) if size]
    assert all(missed <= abs(count(other) - target) for other in neighbors)


def test_what_the_user_fixed_or_has_no_size_stays() -> None:
    fixed = (
        "mlp:hidden=3",
        "mlp:parameters=3",
        "linear:rank=2",
        "deep:mapper=linear:rank=2,rank=2",
    )
    for spec in (*fixed, "transformer", "llava"):
        assert registry.parse(MapperConfig, spec).sized(5) is None
    for spec in ("frozen", "full", "ia3", "bitfit", "layernorm"):
        assert registry.parse(TuningConfig, spec).sized(5) is None
    sized = [registry.parse(MapperConfig, spec).sized(5) for spec in ("mlp", "linear")]
    assert [to_spec(each) for each in sized if each] == ["mlp:hidden=5", "linear:rank=5"]
    deep: dict[str, dict[int, str]] = {
        "deep": {5: "deep:mapper=mlp:hidden=5,rank=5", 99: "deep:mapper=mlp:hidden=99,rank=64"},
        "deep:mapper=mlp,rank=3": {5: "deep:mapper=mlp:hidden=5,rank=3"},
        "deep:mapper=transformer": {99: "deep:mapper=transformer,rank=99"},
    }
    for spec, sizes in deep.items():
        configs = {n: registry.parse(MapperConfig, spec).sized(n) for n in sizes}
        assert {n: to_spec(each) for n, each in configs.items() if each} == sizes
    specs = ("lora:targets=attention", "adapter:places=feed-forward")
    found = [registry.parse(TuningConfig, spec).sized(5) for spec in specs]
    expected = ["lora:r=5,targets=attention", "adapter:width=5,places=feed-forward"]
    assert [to_spec(each) for each in found if each] == expected


@pytest.fixture
def several(world: World) -> Study:
    choices = {
        "dataset": f"jsonl:path={world.data}",
        "lm": f"hf:model={world.lm},init=random",
        "tuning": ["frozen", "lora", "adapter", "bitfit"],
        "mapper": ["mlp"],
        "prefix_len": "2,3",
        "epochs": 1,
        "decoder": "greedy",
        "metrics": "length",
        "no_baselines": True,
        "max_new_tokens": 4,
        "match": "parameters=3000",
    }
    return options.study(choices, registry)


def test_rows_and_keys_have_the_sizes(several: Study, tmp_path: Path) -> None:
    several = attrs.evolve(several, tunings=several.tunings[:3], prefix_lengths=(2,))
    results = run_study(several, tmp_path)
    assert results.warnings == []
    assert all(2700 <= row["trained_parameters"] <= 3300 for row in results.rows)
    names = {(row["prefix_length"], row["mapper"], row["tuning"]) for row in results.rows}
    assert len(names) == 3
    one = next(row for row in results.rows if row["tuning"].startswith("lora"))
    by_hand = attrs.evolve(
        several,
        match=None,
        prefix_lengths=(one["prefix_length"],),
        mappers=(registry.parse(MapperConfig, one["mapper"]),),
        tunings=(registry.parse(TuningConfig, one["tuning"]),),
    )
    again = run_study(by_hand, tmp_path)
    assert (again.work["trained_models"], again.rows[0]["cell"]) == (0, one["cell"])
    assert Study.from_json(several.to_json()) == several


def test_what_cannot_come_near_is_told(several: Study, tmp_path: Path) -> None:
    study = attrs.evolve(
        several,
        mappers=(registry.parse(MapperConfig, "mlp:hidden=1"),),
        tunings=several.tunings[:2],
        prefix_lengths=(2,),
    )
    (warning,) = [text for text in plan(study, tmp_path)["warnings"] if "--match" in text]
    assert warning.startswith(
        "warning: --match parameters=3000: mlp:hidden=1 with a prefix of 2 and frozen come no "
        "nearer than "
    )
    assert warning.endswith("% of them; compare them with care")


def test_a_tuning_gets_no_more_positions_than_are_free(several: Study, tmp_path: Path) -> None:
    tunings = (registry.parse(TuningConfig, "deep-prefix"),)
    training = attrs.evolve(several.training, max_tokens=30)
    study = attrs.evolve(several, tunings=tunings, prefix_lengths=(2, 3), training=training)
    results = run_study(attrs.evolve(study, match="parameters=9000"), tmp_path)
    # of 64 positions, 3 are for a prefix, and 31 for a caption with its end
    assert {row["tuning"] for row in results.rows} == {"deep-prefix:length=30"}
    assert all(8100 <= row["trained_parameters"] <= 9900 for row in results.rows)
    few = run_study(attrs.evolve(study, match="parameters=1200"), tmp_path)
    assert {row["tuning"] for row in few.rows} < {f"deep-prefix:length={n}" for n in range(30)}


def test_a_tuning_that_takes_everything_leaves_the_mapper_as_it_is(
    several: Study, tmp_path: Path
) -> None:
    full = attrs.evolve(several, tunings=(registry.parse(TuningConfig, "full"),))
    found = plan(attrs.evolve(full, match="parameters=500"), tmp_path)["warnings"]
    assert [text.split()[3] for text in found if "--match" in text] == ["mlp", "mlp"]
    assert all("times as many" in text for text in found if "--match" in text)


def test_a_single_training_is_matched_too(several: Study, tmp_path: Path) -> None:
    study = attrs.evolve(several, tunings=several.tunings[1:2], prefix_lengths=(2,))
    summary = train_one(study, tmp_path, Silent())
    assert summary is not None
    assert 2700 <= summary["trained_parameters"] <= 3300
    assert train_one(study, tmp_path, Silent()) == summary


def test_two_tunings_of_one_size_are_refused(several: Study, tmp_path: Path) -> None:
    two = tuple(registry.parse(TuningConfig, f"lora:r={r}") for r in (2, 4))
    with pytest.raises(PrefixcapError) as caught:
        plan(attrs.evolve(several, tunings=two), tmp_path)
    assert str(caught.value) == (
        "--match parameters=3000 makes --tuning lora:r=2 and lora:r=4 the same: give one of them"
    )


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("flops=3", "--match: models cannot be matched by 'flops'; known: parameters=N"),
        ("parameter=3", "matched by 'parameter'; did you mean 'parameters'? known: parameters=N"),
        ("parameters", "--match: parameters must be a whole number of at least 1, not ''"),
        ("parameters=0", "--match: parameters must be a whole number of at least 1, not '0'"),
        ("parameters=1e6", "--match: parameters must be a whole number of at least 1, not '1e6'"),
    ],
)
def test_a_wrong_match_is_explained(text: str, sentence: str) -> None:
    with pytest.raises(PrefixcapError) as caught:
        Study(match=text)
    assert sentence in str(caught.value)
