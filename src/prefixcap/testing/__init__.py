"""The conformance kit: checks of components, and a language model with known probabilities.

A plugin's tests are three lines:

    @parametrize([Case(config=MyDecoder())])
    def test_conformance(check):
        check()
"""

from prefixcap.testing.case import Case
from prefixcap.testing.kit import checks, parametrize, rules_for, run_check, run_checks
from prefixcap.testing.rules.rule import BrokenRule, Check, CheckResult, Rule
from prefixcap.testing.table_lm import LetterTokenizer, TableLM, TableSession

__all__ = [
    "BrokenRule",
    "Case",
    "Check",
    "CheckResult",
    "LetterTokenizer",
    "Rule",
    "TableLM",
    "TableSession",
    "checks",
    "parametrize",
    "rules_for",
    "run_check",
    "run_checks",
]
