"""The conformance kit's front: the checks of a case, for pytest and for the shell."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Iterable
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from prefixcap.errors import PrefixcapError, nearest
from prefixcap.interfaces.component import Component
from prefixcap.plugin.registry import Registry
from prefixcap.testing.case import Case
from prefixcap.testing.rules import configs
from prefixcap.testing.rules.rule import BrokenRule, Check, CheckResult, Rule

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


def rules_for(kind: str) -> tuple[Rule, ...]:
    """Returns the rules of a kind, those for every config first.

    Raises:
        PrefixcapError: there is no such kind.
    """
    if kind not in _MODULES:
        raise PrefixcapError(f"no kind {kind!r}{nearest(kind, _MODULES)}")
    own: tuple[Rule, ...] = import_module(f"prefixcap.testing.rules.{_MODULES[kind]}").RULES
    return (*configs.RULES, *own)


def checks(case: Case) -> list[Check]:
    """Returns the named checks of a case; each is called without arguments, and raises.

    Raises:
        PrefixcapError: the case leaves out a rule that there is not, or says no reason.
    """
    # a config of no kind has its own rule that says so
    known = rules_for(case.config.kind) if case.config.kind in _MODULES else configs.RULES
    names = [rule.name for rule in known]
    for name, reason in case.without.items():
        if name not in names:
            raise PrefixcapError(f"without: no rule {name!r}{nearest(name, names)}")
        if not reason:
            raise PrefixcapError(f"without: say why the rule {name!r} is left out")
    return [Check(rule, case) for rule in known]


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
            pytest.param(check, id=f"{case.id}-{check.name}", marks=_marks(check))
            for case in cases
            for check in checks(case)
        ],
    )


def run_check(check: Check) -> CheckResult:
    """Runs one check, whatever the component does."""
    problem = left_out = ""
    try:
        left_out = check.hold()
    except (BrokenRule, PrefixcapError) as error:
        problem = str(error) or type(error).__name__
    except Exception as error:  # a component can fail in any way
        problem = f"{type(error).__name__}: {error} ({_place(error, check.case.config)})"
    return CheckResult(check.name, check.rule.says, problem, left_out)


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


def _marks(check: Check) -> list[pytest.MarkDecorator]:
    import pytest

    reason = check.case.without.get(check.name)
    return [pytest.mark.skip(reason=reason)] if reason else []


def _place(error: Exception, config: Component) -> str:
    """Returns the last line of the plugin's own that an error passed; any last line without one."""
    frames = traceback.extract_tb(error.__traceback__)
    file = getattr(sys.modules.get(type(config).__module__), "__file__", None)
    folder = None if file is None else Path(file).parent
    own = [frame for frame in frames if folder in Path(frame.filename).parents]
    last = (own or frames)[-1]
    return f"{last.filename}:{last.lineno}"
