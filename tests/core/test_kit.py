"""The conformance kit: correct components pass, and every rule has a mutant that breaks it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, ClassVar

import attrs
import pytest
import torch
from mutants.all_mutants import CORRECT, LETTERS, MUTANTS, Mutant
from mutants.configs import (
    Aliased,
    ErrorRate,
    Together,
    TwistedDecoder,
    TwistedLM,
    TwistedMapper,
    TwistedMetric,
)
from second_device import moved, second_device

from prefixcap.engine.causal_lm import CausalLM
from prefixcap.errors import PrefixcapError
from prefixcap.interfaces.decoder import DecoderConfig
from prefixcap.interfaces.kinds import KINDS
from prefixcap.interfaces.mapper import MapperConfig
from prefixcap.interfaces.session import SessionOptions
from prefixcap.interfaces.tuning import TuningConfig
from prefixcap.plugin.registry import default_registry
from prefixcap.testing import (
    BrokenRule,
    Case,
    Check,
    CheckResult,
    TableLM,
    checks,
    parametrize,
    rules_for,
    run_check,
    run_checks,
)
from prefixcap.testing.case import drawn_images, small_gpt2
from prefixcap.testing.rules.helpers import is_close, max_difference


def run_rule(case: Case, name: str) -> CheckResult:
    (result,) = (run_check(check) for check in checks(case) if check.name == name)
    return result


@parametrize(CORRECT)
def test_a_correct_component_passes(check: Check) -> None:
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
    assert [rule.name for rule in rules_for(kind) if rule.name not in broken] == []


@pytest.mark.parametrize("kind", KINDS)
def test_rules_have_unique_names_and_a_sentence(kind: str) -> None:
    names = [rule.name for rule in rules_for(kind)]
    assert len(set(names)) == len(names)
    assert all(rule.requirement.endswith(".") for rule in rules_for(kind))


def test_results_name_the_rule_and_the_problem() -> None:
    results = {r.name: r for r in run_checks(TwistedDecoder(twist="own n"))}
    assert results["limit"].ok
    assert results["n"].problem == "1 captions were requested, and images got [2]"
    assert results["n"].requirement == "An image gets as many captions as requested."


def test_an_error_of_the_component_is_a_problem_with_its_type() -> None:
    result = run_rule(Case(config=TwistedLM(twist="needs rows"), texts=LETTERS), "no-rows")
    assert result.problem.startswith("IndexError: ")


def test_an_error_of_the_component_names_its_own_last_line() -> None:
    result = run_rule(Case(config=TwistedMetric(twist="needs two")), "finite")
    path, line = result.problem.rpartition("(")[2].rstrip(")").split(":")
    assert Path(path).name == "other_parts.py"
    assert "stdev" in Path(path).read_text(encoding="utf-8").splitlines()[int(line) - 1]


@pytest.mark.parametrize("error", [PrefixcapError, BrokenRule])
def test_an_error_without_a_sentence_is_a_problem_too(error: type[Exception]) -> None:
    @attrs.frozen(kw_only=True)
    class Silent(TwistedMetric):
        """Says nothing."""

        def build(self) -> Any:
            raise error

    result = run_rule(Case(config=Silent()), "finite")
    assert (result.ok, result.problem) == (False, error.__name__)


def test_a_rule_is_skipped_with_its_reason() -> None:
    case = Case(config=TwistedDecoder(twist="needs stop"), without={"no-stop": "it needs one"})
    result = run_rule(case, "no-stop")
    assert (result.ok, result.skipped) == (True, "it needs one")
    (mark,) = (
        param.marks[0]
        for param in parametrize([case]).args[1]
        if param.id == f"{case.id}-no-stop" and param.marks
    )
    assert (mark.name, mark.kwargs) == ("skip", {"reason": "it needs one"})


@pytest.mark.parametrize(
    ("without", "sentence"),
    [
        ({"no-stops": "why"}, "without: no rule 'no-stops'; did you mean 'no-stop'?"),
        ({"no-stop": ""}, "without: give a reason for skipping the rule 'no-stop'"),
    ],
)
def test_only_known_rules_are_skipped_and_with_a_reason(
    without: dict[str, str], sentence: str
) -> None:
    with pytest.raises(PrefixcapError) as caught:
        checks(Case(config=TwistedDecoder(), without=without))
    assert str(caught.value).startswith(sentence)


def test_rules_that_do_not_apply_say_why() -> None:
    together = run_rule(Case(config=Together(twist="by batch size")), "batch-alone")
    assert "depend on the rest of the batch" in together.skipped
    greedy = default_registry().parse(DecoderConfig, "greedy")
    assert "do not change with the seed" in run_rule(Case(config=greedy), "streams").skipped
    assert run_rule(Case(config=TwistedDecoder()), "streams").skipped == ""
    registered = run_rule(Case(config=greedy), "config-registered")
    assert registered.skipped == "the case has no registry"


def test_a_config_of_no_kind_is_reported() -> None:
    class Kindless(TwistedDecoder):
        """Has a wrong kind."""

        kind: ClassVar[str] = "decoders"

    results = {result.name: result for result in run_checks(Kindless())}
    assert results["config-name"].problem == "'decoders' is not its kind"
    assert all(name.startswith("config-") for name in results)


def test_a_class_of_the_running_script_cannot_be_imported_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(TwistedDecoder, "__module__", "__main__")
    assert "the running script" in run_rule(Case(config=TwistedDecoder()), "config-light").skipped


def test_imports_of_the_interpreter_at_start_do_not_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sitecustomize.py").write_text("import numpy\n")
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    assert run_rule(Case(config=TwistedDecoder()), "config-light").problem == ""


@pytest.mark.parametrize(
    "text",
    ["x: a number", "x (float): a number", "x : float\n    A number.", ":param x: a number", "x"],
)
def test_a_setting_is_documented_in_any_of_the_usual_styles(
    text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    @attrs.frozen(kw_only=True)
    class Styled(TwistedDecoder):
        """Takes x and more."""

        x: float = 0.0

    assert not run_rule(Case(config=Styled()), "config-documented").ok
    monkeypatch.setattr(Styled, "__doc__", f"A decoder.\n\n    {text}\n")
    assert run_rule(Case(config=Styled()), "config-documented").problem == ""


def test_a_config_with_aliased_settings_passes() -> None:
    results = run_checks(Aliased(sharpness=2.0))
    assert {r.name: r.problem for r in results if not r.ok} == {}


def test_a_metric_whose_scale_is_lower_must_be_lower_if_right() -> None:
    result = run_rule(Case(config=ErrorRate()), "perfect-is-best")
    assert result.problem.endswith("if wrong, and lower is better")


def test_shapes_that_a_mapper_refuses_are_skipped_unless_it_refuses_all() -> None:
    @attrs.frozen(kw_only=True)
    class Wide(TwistedMapper):
        """Takes wide embeddings only.

        Attributes:
            least: The smallest E.
        """

        least: int = 0

        def build(self, shape: Any) -> Any:
            if shape.embedding_width < self.least:
                raise PrefixcapError(f"E must be {self.least} or more")
            return super().build(shape)

    assert run_rule(Case(config=Wide(least=200)), "prefix-shape").problem == ""
    result = run_rule(Case(config=Wide(least=300)), "prefix-shape")
    assert "none of the 4 shapes that the case has (E must be 300 or more)" in result.problem
    own = attrs.evolve(Case(config=Wide()).shapes[0], embedding_width=301)
    assert run_rule(Case(config=Wide(least=300), shapes=(own,)), "prefix-shape").problem == ""


@pytest.mark.parametrize("spec", ["transformer:heads=5,num_layers=1", "mlp:parameters=500"])
def test_mappers_of_unusual_sizes_pass(spec: str) -> None:
    results = run_checks(default_registry().parse(MapperConfig, spec))
    assert {r.name: r.problem for r in results if not r.ok} == {}


@pytest.mark.parametrize("spec", ["guidance:against=mean", "best-of:by=clip"])
def test_decoders_that_use_features_or_other_images_pass(spec: str) -> None:
    results = run_checks(default_registry().parse(DecoderConfig, spec))
    assert {r.name: r.problem for r in results if not r.ok} == {}


def test_log_probabilities_are_compared_on_the_models_device() -> None:
    config = default_registry().parse(DecoderConfig, "greedy")
    with second_device():
        result = run_rule(Case(config=config, lm=lambda: CausalLM(moved(small_gpt2()))), "logprob")
    assert result.problem == ""


def test_a_drawn_image_is_greyscale_and_the_others_are_in_colour() -> None:
    modes = [item.open().mode for item in drawn_images() if item.open is not None]
    assert modes == ["RGB", "RGB", "RGB", "L"]


def test_hidden_states_of_the_table_are_as_wide_as_its_embeddings() -> None:
    lm = TableLM(vocab_size=5, width=8)
    session = lm.start(torch.zeros(2, 3, 8), SessionOptions(hidden_states=True))
    session.admit()
    assert [layer.shape for layer in session.hidden()] == [(2, 8)] * 3
    assert session.prefix_hidden().shape == (2, 3, 8)


def test_differences_are_relative_to_the_largest_number() -> None:
    assert max_difference(torch.tensor([0.5, 1.0]), torch.tensor([0.0, 1.0])) == 0.5
    assert max_difference(torch.tensor([1.0, 1000.0]), torch.tensor([0.0, 1000.0])) == 0.001
    assert max_difference(torch.empty(0), torch.empty(0)) == 0.0
    assert not max_difference(torch.tensor([float("nan")]), torch.zeros(1)) <= 1.0


def test_numbers_are_close_up_to_rounding() -> None:
    assert is_close(100.0, 100.00001)
    assert is_close(float("nan"), float("nan"))
    assert not is_close(100.0, 100.001)
    assert not is_close(float("nan"), 0.0)


def test_an_unknown_kind_is_named_with_the_nearest() -> None:
    with pytest.raises(PrefixcapError, match=r"no kind 'decoders'; did you mean 'decoder'\?"):
        rules_for("decoders")


def test_a_model_with_an_untied_output_layer_passes_the_rules_of_tunings() -> None:
    def untied() -> Any:
        from transformers import LlamaConfig, LlamaForCausalLM

        config = LlamaConfig(
            vocab_size=23, hidden_size=16, num_hidden_layers=1, num_attention_heads=2,
            intermediate_size=32, tie_word_embeddings=False,
        )  # fmt: skip
        with torch.random.fork_rng():
            torch.manual_seed(3)
            return LlamaForCausalLM(config).eval()

    config = default_registry().parse(TuningConfig, "full")
    for check in checks(Case(config=config, module=untied)):
        check()


@pytest.mark.parametrize(
    "spec",
    [
        "beam:num_beams=1",
        "beam:num_beams=2",
        "beam:num_beams=3",
        "diverse-beam:num_beams=2,num_groups=2",
        "clipcap-beam:num_beams=2",
        "best-of:samples=2",
        "mbr:samples=3",
        "sample:n=3",
    ],
)
def test_a_decoder_is_not_asked_for_more_captions_than_it_has(spec: str) -> None:
    case = Case(config=default_registry().parse(DecoderConfig, spec))
    for name in ("best-first", "n"):
        assert run_rule(case, name).problem == ""
