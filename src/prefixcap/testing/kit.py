"""The conformance kit's front: the checks of a case, for pytest and for the shell."""

from __future__ import annotations

from collections.abc import Iterable
from importlib import import_module
from typing import TYPE_CHECKING

from prefixcap.config import Component
from prefixcap.errors import PrefixcapError, nearest
from prefixcap.registry import Registry
from prefixcap.testing import configs
from prefixcap.testing.case import Case
from prefixcap.testing.rules import BrokenRule, Check, CheckResult, Rule

if TYPE_CHECKING:
    import pytest

_MODULES = {
    "dataset": "datasets",
    "decoder": "decoders",
    "encoder": "encoders",
    "lm": "lms",
    "mapper": "mappers",
    "metric": "metrics",
    "tuning": "tunings",
}


def rules(kind: str) -> tuple[Rule, ...]:
    """Returns the rules of a kind, those for every config first.

    Raises:
        PrefixcapError: there is no such kind.
    """
    if kind not in _MODULES:
        raise PrefixcapError(f"no kind {kind!r}{nearest(kind, _MODULES)}")
    own: tuple[Rule, ...] = import_module(f"prefixcap.testing.{_MODULES[kind]}").RULES
    return (*configs.RULES, *own)


def checks(case: Case) -> list[Check]:
    """Returns the named checks of a case; each is called without arguments, and raises."""
    return [Check(rule, case) for rule in rules(case.config.kind)]


def parametrize(cases: Iterable[Case]) -> pytest.MarkDecorator:
    """Makes one test of every check of every case.

    Example:
        >>> @parametrize([Case(config=MyDecoder()), Case(config=MyDecoder(k=3))])
        ... def test_conformance(check):
        ...     check()
    """
    import pytest

    return pytest.mark.parametrize(
        "check",
        [
            pytest.param(check, id=f"{case.id}-{check.name}")
            for case in cases
            for check in checks(case)
        ],
    )


def run_check(check: Check) -> CheckResult:
    """Runs one check, whatever the component does."""
    try:
        check()
    except (BrokenRule, PrefixcapError) as error:
        return CheckResult(check.name, check.rule.says, str(error))
    except Exception as error:  # a component can fail in any way
        return CheckResult(check.name, check.rule.says, f"{type(error).__name__}: {error}")
    return CheckResult(check.name, check.rule.says)


def run_checks(
    config: Component, registry: Registry | None = None, case: Case | None = None
) -> list[CheckResult]:
    """Runs every check of a component.

    Args:
        config: the component's config.
        registry: where it is registered, to check that too.
        case: what else its checks need; what is not given is made on the spot.

    Returns:
        One result a check; those that failed have a problem.
    """
    case = Case(config=config, registry=registry) if case is None else case
    return [run_check(check) for check in checks(case)]
