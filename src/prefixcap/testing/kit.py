"""The conformance kit: the rules of a kind, and the checks of a case for pytest and the shell."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Iterable
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from prefixcap.errors import PrefixcapError, nearest
from prefixcap.interfaces.component import Component
from prefixcap.interfaces.kinds import KINDS
from prefixcap.plugin.registry import Registry, check_kind
from prefixcap.testing.case import Case
from prefixcap.testing.rules import configs
from prefixcap.testing.rules.rule import BrokenRule, Check, CheckResult, Rule

if TYPE_CHECKING:
    import pytest


def rules_for(kind: str) -> tuple[Rule, ...]:
    """Return the rules of a kind, those of every config first.

    Raises:
        PrefixcapError: If there is no such kind.
    """
    check_kind(kind)
    # the rules of the kind "decoder" are in rules.decoders, and so on
    return (*_rules(configs), *_rules(import_module(f"prefixcap.testing.rules.{kind}s")))


def checks(case: Case) -> list[Check]:
    """Return the checks of a case; each is called without arguments, and raises if it fails.

    Raises:
        PrefixcapError: If the case skips an unknown rule, or gives no reason.
    """
    # config-name reports a config of no kind
    known = rules_for(case.config.kind) if case.config.kind in KINDS else _rules(configs)
    names = [rule.name for rule in known]
    for name, reason in case.without.items():
        if name not in names:
            raise PrefixcapError(f"without: no rule {name!r}{nearest(name, names)}")
        if not reason:
            raise PrefixcapError(f"without: give a reason for skipping the rule {name!r}")
    return [Check(rule, case) for rule in known]


def parametrize(cases: Iterable[Case]) -> pytest.MarkDecorator:
    """Make a test of every check of every case.

    Example:
        >>> @parametrize([Case(config=MyDecoder()), Case(config=MyDecoder(k=3))])
        ... def test_conformance(check):
        ...     check()
    """
    import pytest

    tests = []
    for case in cases:
        for check in checks(case):
            reason = case.without.get(check.name)
            marks = [pytest.mark.skip(reason=reason)] if reason else []
            tests.append(pytest.param(check, id=f"{case.id}-{check.name}", marks=marks))
    return pytest.mark.parametrize("check", tests)


def run_check(check: Check) -> CheckResult:
    """Run one check, and turn any error into a result."""
    problem = skipped = ""
    try:
        skipped = check()
    except (BrokenRule, PrefixcapError) as error:
        problem = str(error) or type(error).__name__
    except Exception as error:  # a component can fail in any way
        problem = f"{type(error).__name__}: {error} ({_place(error, check.case.config)})"
    return CheckResult(check.name, check.rule.requirement, problem, skipped)


def run_checks(
    config: Component, registry: Registry | None = None, case: Case | None = None
) -> list[CheckResult]:
    """Run every check of a case, by default one with the config and the registry."""
    case = Case(config=config, registry=registry) if case is None else case
    return [run_check(check) for check in checks(case)]


def _rules(module: ModuleType) -> tuple[Rule, ...]:
    return tuple(value for value in vars(module).values() if isinstance(value, Rule))


def _place(error: Exception, config: Component) -> str:
    """Return the last line in the plugin's folder that an error passed, or else its last line."""
    frames = traceback.extract_tb(error.__traceback__)
    file = getattr(sys.modules.get(type(config).__module__), "__file__", None)
    folder = None if file is None else Path(file).parent
    own = [frame for frame in frames if folder in Path(frame.filename).parents]
    last = (own or frames)[-1]
    return f"{last.filename}:{last.lineno}"
