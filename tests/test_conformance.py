"""Every built-in component passes the conformance kit."""

from __future__ import annotations

from pathlib import Path

import attrs
import pytest
from conformance_cases import CASES, make_case

from prefixcap.plugin.registry import default_registry
from prefixcap.testing import checks, run_check

REGISTRY = default_registry()
BUILT_IN = sorted(
    (component.kind, component.name)
    for plugin in REGISTRY.plugins
    for component in plugin.components
    if plugin.distribution.startswith("prefixcap ")
)


@pytest.mark.timeout(900)
@pytest.mark.parametrize(("kind", "name"), BUILT_IN)
def test_a_built_in_component_conforms(kind: str, name: str, tmp_path: Path) -> None:
    if (kind, name) not in CASES:
        pytest.fail(f"the {kind} {name!r} has no case in tests/conformance_cases.py: add one")
    case = make_case(REGISTRY, kind, name, tmp_path)
    # one test for all rules of a component, because building it takes time
    results = [run_check(check) for check in checks(case)]
    broken = {result.name: result.problem for result in results if not result.ok}
    if name == "spice" and "stanford-corenlp" in broken.get("finite", ""):
        broken = {rule: problem for rule, problem in broken.items() if rule.startswith("config-")}
        assert broken == {}
        pytest.skip(
            "SPICE's models (a download of 385 MB) are missing, so only its config is tested"
        )
    assert broken == {}


def test_a_language_model_that_prepends_a_token_conforms(tmp_path: Path) -> None:
    case = make_case(REGISTRY, "lm", "hf", tmp_path)
    prepending = attrs.evolve(case, config=attrs.evolve(case.config, prepend="bos"))
    results = [run_check(check) for check in checks(prepending)]
    assert {result.name: result.problem for result in results if not result.ok} == {}


def test_every_case_belongs_to_a_component() -> None:
    assert sorted(CASES.keys() - set(BUILT_IN)) == []
