"""Every option of transformers' `generate` works on prefixes, or is refused before any training."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from decoder_models import small_model
from prefixcap_decoders.hf_generate.config import HFGenerate
from prefixcap_decoders.hf_generate.options import ACCEPTED, REFUSED, generate_options

import prefixcap
from prefixcap.engine.causal_lm import CausalLM
from prefixcap.errors import PrefixcapError
from prefixcap.interfaces.decoder import DecoderConfig
from prefixcap.plugin.registry import default_registry

SAMPLED, BEAMS = "+do_sample=true", "+num_beams=3"
# a value of each accepted option; whether it changes the captions of the model below
VALUES = {
    "bad_words_ids": ("bad_words_ids=[[TOKEN],[3,4]]", True),
    "begin_suppress_tokens": ("begin_suppress_tokens=[TOKEN]", True),
    "cache_implementation": ("cache_implementation=static", False),
    "disable_compile": ("disable_compile=true", False),
    "do_sample": ("do_sample=true", True),
    "early_stopping": (f"early_stopping=true{BEAMS}", True),
    "epsilon_cutoff": (f"epsilon_cutoff=.06{SAMPLED}", True),
    "eta_cutoff": (f"eta_cutoff=.3{SAMPLED}", True),
    "exponential_decay_length_penalty": ("exponential_decay_length_penalty=(1,9.0)", True),
    "forced_bos_token_id": ("forced_bos_token_id=5", True),
    "forced_eos_token_id": ("forced_eos_token_id=1", True),
    "length_penalty": (f"length_penalty=-9.0{BEAMS}", True),
    "min_new_tokens": ("min_new_tokens=8", True),
    "min_p": (f"min_p=.9{SAMPLED}", True),
    "no_repeat_ngram_size": ("no_repeat_ngram_size=1", True),
    "num_beams": ("num_beams=3", True),
    "renormalize_logits": ("renormalize_logits=true", False),
    "repetition_penalty": ("repetition_penalty=9.0", True),
    "sequence_bias": ("sequence_bias=[[[5],99.0]]", True),
    "suppress_tokens": ("suppress_tokens=[TOKEN]", True),
    "temperature": (f"temperature=.01{SAMPLED}", True),
    "top_h": (f"top_h=.1{SAMPLED}", True),
    "top_k": (f"top_k=1{SAMPLED}", True),
    "top_p": (f"top_p=.1{SAMPLED}", True),
    "typical_p": (f"typical_p=.1{SAMPLED}", True),
    "watermarking_config": ("watermarking_config={'bias': 99.0}", True),
}


@pytest.fixture(scope="module")
def gpt2() -> CausalLM:
    return CausalLM(small_model("gpt2"))


def captions(lm: CausalLM, options: str = "", **settings: Any) -> list[list[tuple[int, ...]]]:
    """Decode by a spec, as a study does."""
    prefix = torch.randn(6, 3, lm.width, generator=torch.Generator().manual_seed(0))
    spec = f"hf-generate:options={options}" if options else "hf-generate"
    config = default_registry().parse(DecoderConfig, spec)
    settings = {"max_new_tokens": 8, "stop_ids": (1,), **settings}
    decoded = prefixcap.decode(lm, prefix, config, **settings)
    return [[tuple(h.ids) for h in hypotheses] for hypotheses in decoded]


def test_every_option_of_the_installed_transformers_is_known() -> None:
    """If this fails, look at what the new option does on prefixes, and accept or refuse it."""
    assert generate_options() <= ACCEPTED.keys() | REFUSED.keys()
    assert not ACCEPTED.keys() & REFUSED.keys()
    assert VALUES.keys() == ACCEPTED.keys()


@pytest.mark.parametrize("name", ACCEPTED)
def test_an_accepted_option_works(name: str, gpt2: CausalLM) -> None:
    text, changes = VALUES[name]
    usual = captions(gpt2)
    text = text.replace("TOKEN", str(usual[0][0][0]))
    without = [part for part in text.split("+") if not part.startswith(f"{name}=")]
    before, after = captions(gpt2, "+".join(without)), captions(gpt2, text)
    assert (after != before) == changes
    assert captions(gpt2, f"{name}=none") == usual


@pytest.mark.parametrize("name", sorted(REFUSED))
def test_a_refused_option_is_refused_with_its_reason(name: str) -> None:
    for value in ("true", "2", "none", "['a']"):
        with pytest.raises(PrefixcapError) as caught:
            default_registry().parse(DecoderConfig, f"hf-generate:options={name}={value}")
        assert f"{name} cannot be set: {REFUSED[name]}" in str(caught.value)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ("num_beams=0", "num_beams must be an integer of at least 1, not 0"),
        ("num_beams=1.5", "num_beams must be an integer of at least 1, not 1.5"),
        ("num_beams=true", "num_beams must be an integer of at least 1, not True"),
        ("do_sample=2", "do_sample must be true or false, not 2"),
        ("temperature=0+do_sample=true", "temperature must be a number above 0, not 0"),
        ("temperature=1e999+do_sample=true", "temperature must be a number above 0, not inf"),
        ("temperature=.5", "rejects temperature=0.5.*do_sample"),
        ("length_penalty=2.0", "rejects length_penalty=2.0.*num_beams"),
        ("top_p=2+do_sample=true", "top_p must be a number from 0 to 1, not 2"),
        ("top_k=-1+do_sample=true", "top_k must be an integer of at least 0, not -1"),
        ("bad_words_ids=[2]", r"rejects bad_words_ids=\[2\]"),
        ("bad_words_ids=[[-1]]", r"rejects bad_words_ids=\[\[-1\]\]"),
        ("suppress_tokens=[1,20000000]", "no language model has the token 20000000"),
        ("bad_words_ids=x", "bad_words_ids must be a list in brackets, not 'x'"),
        ("suppress_tokens=5", "suppress_tokens must be a list in brackets, not 5"),
        ("sequence_bias={5: 9.0}", "rejects sequence_bias"),
        ("exponential_decay_length_penalty=(2)", "must be a start and a factor in parentheses"),
        ("exponential_decay_length_penalty=(2,)", "rejects exponential_decay"),
        ("watermarking_config={'x': 1}", "watermarking_config=.*unexpected keyword argument 'x'"),
        ("cache_implementation=paged", "cache_implementation must be one of dynamic, static"),
        ("suppress_tokens=[1]+forced_eos_token_id=1", "rejects suppress_tokens"),
        ("nothing=1", "has no option 'nothing' to set"),
    ],
)
def test_a_wrong_value_is_refused_when_it_is_parsed(options: str, sentence: str) -> None:
    with pytest.raises(PrefixcapError, match=sentence) as caught:
        default_registry().parse(DecoderConfig, f"hf-generate:options={options}")
    assert "\n" not in str(caught.value)


def test_an_option_that_is_not_known_yet_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(ACCEPTED, "top_h")
    sentence = r"top_h is new in .* on prefixes; did you mean 'top_.'\? known: .* and 15 more$"
    with pytest.raises(PrefixcapError, match=sentence):
        default_registry().parse(DecoderConfig, "hf-generate:options=top_h=.25+do_sample=true")


def test_a_decoder_made_in_python_is_tried_too() -> None:
    with pytest.raises(PrefixcapError, match="max_time cannot be set"):
        HFGenerate(options=("max_time=1",)).subcomponents()
    with pytest.raises(PrefixcapError, match="num_return_sequences"):
        HFGenerate(options=("num_beams=2",), n=3).subcomponents()


def test_trying_options_does_not_change_random_states() -> None:
    before = torch.random.get_rng_state()
    HFGenerate(options=("do_sample=true", "top_k=3")).subcomponents()
    assert torch.equal(torch.random.get_rng_state(), before)


@pytest.mark.parametrize(
    "options",
    [
        "suppress_tokens=[9999]",
        "bad_words_ids=[[2],[9999]]",
        "sequence_bias=[[[9999],1.0]]",
        "sequence_bias={(9999,): 1.0}",
        "forced_bos_token_id=9999",
        "forced_eos_token_id=9999",
    ],
)
def test_a_token_outside_the_vocabulary_is_an_error(options: str, gpt2: CausalLM) -> None:
    with pytest.raises(PrefixcapError, match=r"names the token 9999, and the language model has"):
        captions(gpt2, options)


def test_the_generation_config_of_a_model_cannot_change_the_search() -> None:
    lm = CausalLM(small_model("gpt2"))
    usual = captions(lm)
    own = lm.module.generation_config
    others = {
        "do_sample": True, "num_beams": 4, "penalty_alpha": 0.6, "top_k": 4, "num_beam_groups": 2,
        "dola_layers": "high", "force_words_ids": [[5]], "guidance_scale": 3.0, "max_time": 0.0,
        "prompt_lookup_num_tokens": 3, "stop_strings": ["a"], "token_healing": True,
        "custom_generate": "somebody/else", "temperature": 0.1, "length_penalty": 9.0,
    }  # fmt: skip
    for name, value in others.items():
        setattr(own, name, value)
    before = own.to_dict()
    assert captions(lm) == usual
    assert lm.module.generation_config is own
    assert own.to_dict() == before
    # what transforms logits is a recommendation that counts, as in generate itself
    own.suppress_tokens = [usual[0][0][0]]
    assert captions(lm) == captions(
        CausalLM(small_model("gpt2")), f"suppress_tokens=[{usual[0][0][0]}]"
    )
