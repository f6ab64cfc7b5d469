"""Rules, checks and their results."""

from __future__ import annotations

from collections.abc import Callable
from inspect import getdoc
from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    from prefixcap.testing.case import Case


class BrokenRule(AssertionError):  # noqa: N818  (the component is at fault)
    """A component breaks a rule; the message describes where and how."""


@attrs.frozen
class Rule:
    """A requirement for every component of a kind.

    Attributes:
        name: The rule's name, such as "batch-alone".
        requirement: The rule in one sentence.
        holds: Raises `BrokenRule`, or an error of the component, if the component breaks the rule;
            returns the reason if the rule does not apply to it.
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
        """Apply the rule, and return why it was left out; "" if it was not.

        Raises:
            BrokenRule: If the rule is broken; other errors come from the component.
        """
        return self.case.without.get(self.name) or self.rule.holds(self.case) or ""


@attrs.frozen
class CheckResult:
    """The result of a check.

    Attributes:
        name: The rule's name.
        requirement: The rule in one sentence.
        problem: How the rule is broken; "" if it is not.
        left_out: Why the rule was not applied; "" if it was.
    """

    name: str
    requirement: str
    problem: str = ""
    left_out: str = ""

    @property
    def ok(self) -> bool:
        """Whether the rule is not broken."""
        return not self.problem


def rule(name: str) -> Callable[[Callable[[Case], str | None]], Rule]:
    """Turn a function into a rule, stated by the first line of the function's docstring."""

    def decorate(holds: Callable[[Case], str | None]) -> Rule:
        return Rule(name, (getdoc(holds) or "").split("\n")[0], holds)

    return decorate


def require(condition: bool, problem: str) -> None:
    """Raise `BrokenRule` with a message if a condition is false."""
    if not condition:
        raise BrokenRule(problem)
