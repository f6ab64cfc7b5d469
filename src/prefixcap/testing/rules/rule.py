"""Rules, checks and their results."""

from __future__ import annotations

from collections.abc import Callable
from inspect import getdoc
from typing import TYPE_CHECKING, Any

import attrs

if TYPE_CHECKING:
    from prefixcap.testing.case import Case


class BrokenRule(AssertionError):  # noqa: N818  (the component is at fault)
    """A component breaks a rule; the message describes where and how."""


@attrs.frozen
class Rule:
    """A requirement, in one sentence, for every component of a kind.

    `holds` raises `BrokenRule`, or an error of the component, if a case breaks the rule; it returns
    the reason if the rule does not apply.
    """

    name: str
    requirement: str
    holds: Callable[[Case], str | None] = attrs.field(eq=False, repr=False)


@attrs.frozen
class Check:
    """A rule and a case; call it to apply the rule."""

    rule: Rule
    case: Case = attrs.field(repr=False)

    @property
    def name(self) -> str:
        """The rule's name."""
        return self.rule.name

    def __call__(self) -> str:
        """Apply the rule, and return why it was skipped; "" if it was not.

        Raises:
            BrokenRule: If the rule is broken; other errors come from the component.
        """
        return self.case.without.get(self.name) or self.rule.holds(self.case) or ""


@attrs.frozen
class CheckResult:
    """How a rule is broken (`problem`), or why it was skipped; both "" if it holds."""

    name: str
    requirement: str
    problem: str = ""
    skipped: str = ""

    @property
    def ok(self) -> bool:
        """Whether the rule is not broken."""
        return not self.problem


def rule(
    name: str, of: Callable[[Case], Any] | None = None
) -> Callable[[Callable[[Any], str | None]], Rule]:
    """Turn a function of a case, or of what `of` returns for it, into a rule.

    The first line of its docstring states the rule.
    """

    def decorate(holds: Callable[[Any], str | None]) -> Rule:
        requirement = (getdoc(holds) or "").split("\n")[0]
        return Rule(name, requirement, holds if of is None else lambda case: holds(of(case)))

    return decorate


def require(condition: bool, problem: str) -> None:
    """Raise `BrokenRule` with a message if a condition is false."""
    if not condition:
        raise BrokenRule(problem)
