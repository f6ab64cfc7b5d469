"""The conformance kit: sound components pass, and every rule has a mutant that breaks it."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from mutants.all_mutants import LETTERS, MUTANTS, SOUND, Mutant
from mutants.configs import TwistedDecoder, TwistedLM

from prefixcap.errors import PrefixcapError
from prefixcap.kinds import KINDS, TuningConfig
from prefixcap.registry import Registry
from prefixcap.testing import Case, Check, checks, parametrize, rules, run_check, run_checks


@parametrize(SOUND)
def test_a_sound_component_passes(check: Check) -> None:
    check()


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: f"{mutant.case.id}-{mutant.breaks}")
def test_a_mutant_breaks_its_rule_and_no_unrelated_one(mutant: Mutant) -> None:
    own = mutant.breaks.startswith("config-")
    relevant = [check for check in checks(mutant.case) if check.name.startswith("config-") == own]
    broken = {check.name for check in relevant if not run_check(check).ok}
    assert mutant.breaks in broken
    assert broken - {mutant.breaks} <= mutant.also


@pytest.mark.parametrize("kind", KINDS)
def test_every_rule_has_a_mutant(kind: str) -> None:
    broken = {mutant.breaks for mutant in MUTANTS if mutant.case.config.kind == kind}
    broken |= {mutant.breaks for mutant in MUTANTS if mutant.breaks.startswith("config-")}
    assert [rule.name for rule in rules(kind) if rule.name not in broken] == []


@pytest.mark.parametrize("kind", KINDS)
def test_rules_have_names_of_their_own_and_say_what_they_ask(kind: str) -> None:
    names = [rule.name for rule in rules(kind)]
    assert len(set(names)) == len(names)
    assert all(rule.says.endswith(".") for rule in rules(kind))


def test_results_name_the_rule_and_the_problem() -> None:
    results = {r.name: r for r in run_checks(TwistedDecoder(twist="own n"))}
    assert results["limit"].ok
    assert results["n"].problem == "1 captions were wanted and [2] came"
    assert results["n"].says == "An image gets as many captions as are asked for."


def test_an_error_of_the_component_is_a_problem_with_its_type() -> None:
    case = Case(config=TwistedLM(twist="needs rows"), texts=LETTERS)
    (result,) = (run_check(check) for check in checks(case) if check.name == "no-rows")
    assert result.problem.startswith("IndexError: ")


def test_an_unknown_kind_is_named_with_the_nearest() -> None:
    with pytest.raises(PrefixcapError, match=r"no kind 'decoders'; did you mean 'decoder'\?"):
        rules("decoders")


def test_a_model_whose_output_layer_is_apart_passes_the_rules_of_tunings() -> None:
    def untied() -> Any:
        from transformers import LlamaConfig, LlamaForCausalLM

        config = LlamaConfig(
            vocab_size=23, hidden_size=16, num_hidden_layers=1, num_attention_heads=2,
            intermediate_size=32, tie_word_embeddings=False,
        )  # fmt: skip
        with torch.random.fork_rng():
            torch.manual_seed(3)
            return LlamaForCausalLM(config).eval()

    config = Registry().parse(TuningConfig, "full")
    for check in checks(Case(config=config, module=untied)):
        check()
