"""What a check is: a named rule of a kind, held against one case."""

from __future__ import annotations

from collections.abc import Callable
from inspect import getdoc
from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    from prefixcap.testing.case import Case


class BrokenRule(AssertionError):  # noqa: N818  (what is broken is the component)
    """A component broke a rule; the sentence says where and how."""


@attrs.frozen
class Rule:
    """Something that every component of a kind must do.

    Attributes:
        name: what the rule is called, such as "batch-alone".
        says: the rule in one sentence.
        holds: raises `BrokenRule` (or lets the component's own error through) where it does not;
            returns the reason where the rule says nothing of such a component.
    """

    name: str
    says: str
    holds: Callable[[Case], str | None] = attrs.field(eq=False, repr=False)


@attrs.frozen
class Check:
    """One rule held against one case; call it, and it raises where the rule is broken."""

    rule: Rule
    case: Case = attrs.field(repr=False)

    @property
    def name(self) -> str:
        """The rule's name."""
        return self.rule.name

    def __call__(self) -> None:
        """Holds the rule against the case.

        Raises:
            BrokenRule: the rule is broken; other errors are the component's own.
        """
        self.hold()

    def hold(self) -> str:
        """Holds the rule against the case, as calling the check does.

        Returns:
            Why the rule was left out; "" where it was held.
        """
        return self.case.without.get(self.name) or self.rule.holds(self.case) or ""


@attrs.frozen
class CheckResult:
    """What came of one check.

    Attributes:
        name: the rule's name.
        says: the rule in one sentence.
        problem: how it was broken; "" where it held.
        left_out: why it was not held against the component; "" where it was.
    """

    name: str
    says: str
    problem: str = ""
    left_out: str = ""

    @property
    def ok(self) -> bool:
        """Whether the rule was not broken."""
        return not self.problem


def rule(name: str) -> Callable[[Callable[[Case], str | None]], Rule]:
    """Makes a rule of a function; the first line of its docstring is what the rule says."""

    def make(holds: Callable[[Case], str | None]) -> Rule:
        return Rule(name, (getdoc(holds) or "").split("\n")[0], holds)

    return make


def require(condition: bool, problem: str) -> None:
    """Raises `BrokenRule` with a sentence where a condition does not hold."""
    if not condition:
        raise BrokenRule(problem)
