"""Guidance, contrastive decoding and DoLa against their formulas in plain loops."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from decoder_checks import rescore, texts, tokens_of
from decoder_models import prefixes, small_model
from prefixcap_decoders import Beam, ContrastiveDecoding, Guidance
from prefixcap_decoders.contrast import ContrastiveDecoder, GuidanceDecoder
from prefixcap_decoders.dola_search import early_layers
from torch import Tensor

import prefixcap
from prefixcap import PrefixcapError
from prefixcap.decoding import Task, collect
from prefixcap.engine.causal import CausalLM
from prefixcap.testing.table import TableLM

STOP = 5
LIMIT = 8


@pytest.fixture(scope="module", params=["gpt2", "llama"])
def ended(request: pytest.FixtureRequest) -> CausalLM:
    model = small_model(request.param)
    model.config.eos_token_id = STOP
    return CausalLM(model)


def logits_of(lm: CausalLM, prefix: Tensor, tokens: list[int], **options: Any) -> Any:
    """The uncached forward pass of one prefix (P,E) and tokens."""
    inputs = torch.cat([prefix, lm.embed(torch.tensor(tokens, dtype=torch.long))])[None]
    with torch.inference_mode():
        return lm.model(inputs_embeds=inputs, use_cache=False, **options)


def greedy(step: Callable[[list[int]], Tensor]) -> list[int]:
    tokens: list[int] = []
    while len(tokens) < LIMIT and tokens[-1:] != [STOP]:
        tokens.append(int(step(tokens).argmax()))
    return tokens


def logp(lm: CausalLM, prefix: Tensor, tokens: list[int]) -> Tensor:
    found: Tensor = logits_of(lm, prefix, tokens).logits[0, -1].log_softmax(-1)
    return found


@pytest.mark.parametrize("against", ["start", "zero", "mean"])
def test_guidance_is_its_formula(ended: CausalLM, against: str) -> None:
    prefix, scale = prefixes(6), 1.8
    with torch.inference_mode():
        start = ended.embed(torch.tensor([STOP]))
    empty = {"start": start, "zero": torch.zeros(1, 16), "mean": prefix.mean(0)}[against]
    config = Guidance(scale=scale, against=against)
    found = prefixcap.decode(ended, prefix, config, max_new_tokens=LIMIT, max_rows=4)
    for row, hypotheses in zip(prefix, found, strict=True):

        def step(tokens: list[int], row: Tensor = row) -> Tensor:
            return scale * logp(ended, row, tokens) + (1 - scale) * logp(ended, empty, tokens)

        expected = greedy(step)
        assert tokens_of(hypotheses[0]) == expected
        score = sum(
            float(step(expected[:at]).log_softmax(-1)[token]) for at, token in enumerate(expected)
        )
        assert hypotheses[0].score == pytest.approx(score, abs=1e-3)
        assert hypotheses[0].logprob == pytest.approx(rescore(ended, row, hypotheses[0]), abs=1e-3)


def test_guidance_of_scale_one_is_the_decoder_itself(ended: CausalLM) -> None:
    prefix = prefixes(5)
    for inner in ("beam:num_beams=3;n=2", "sample:n=3"):
        config = Guidance(scale=1.0, decoder=inner)
        guided = prefixcap.decode(ended, prefix, config, max_new_tokens=LIMIT)
        if inner.startswith("beam"):
            plain = prefixcap.decode(ended, prefix, inner.replace(";", ","), max_new_tokens=LIMIT)
            assert [[h.ids for h in hs] for hs in guided] == [[h.ids for h in hs] for hs in plain]
        assert [len(hs) for hs in guided] == [3 if "sample" in inner else 2] * 5


def test_a_wide_beam_finds_the_guided_optimum() -> None:
    lm, prefix, limit, scale = TableLM(vocab_size=4), prefixes(3, width=4), 4, 1.5
    zero = torch.zeros(1, 4)

    def guided(row: Tensor, text: tuple[int, ...]) -> float:
        total = 0.0
        for at, token in enumerate(text):
            one, none = (lm.distribution(p, text[:at]).log_softmax(-1) for p in (row, zero))
            total += float((scale * one + (1 - scale) * none).log_softmax(-1)[token])
        return total

    inner = Beam(num_beams=4**3, length_norm="none", early_stopping="never").build()
    task = Task(
        lm=lm, prefix=prefix, image_ids=["a", "b", "c"], max_new_tokens=limit,
        stop_ids=frozenset({3}), max_rows=400,
    )  # fmt: skip
    decoder = GuidanceDecoder(Guidance(scale=scale, against="zero"), inner)
    with torch.inference_mode():
        found = collect(decoder.decode(task), 3)
    for row, hypotheses in zip(prefix, found, strict=True):
        best = max(guided(row, text) for text, _ in texts(lm, row, limit))
        assert hypotheses[0].score == pytest.approx(best, abs=1e-4)


@pytest.mark.parametrize("own", [True, False], ids=["itself", "amateur"])
def test_contrastive_decoding_is_its_formula(ended: CausalLM, own: bool) -> None:
    prefix, config = prefixes(6), ContrastiveDecoding(alpha=0.05, weight=0.9, temperature=0.5)
    amateur = ended if own else CausalLM(small_model("gpt2", seed=9))
    amateur.model.config.eos_token_id = STOP
    decoder = ContrastiveDecoder(config, Beam(num_beams=1).build(), None if own else amateur)
    task = Task(
        lm=ended, prefix=prefix, image_ids=list("abcdef"), max_new_tokens=LIMIT,
        stop_ids=frozenset({STOP}),
    )  # fmt: skip
    with torch.inference_mode():
        found = collect(decoder.decode(task), 6)
        start = amateur.embed(torch.tensor([STOP]))
    for row, hypotheses in zip(prefix, found, strict=True):

        def step(tokens: list[int], row: Tensor = row) -> Tensor:
            expert = logp(ended, row, tokens)
            other = (logits_of(amateur, start, tokens).logits[0, -1] / 0.5).log_softmax(-1)
            kept = expert.exp() >= 0.05 * expert.exp().max()
            return torch.where(kept, expert - 0.9 * other, float("-inf"))

        assert tokens_of(hypotheses[0]) == greedy(step)


@pytest.mark.parametrize("half", ["low", "high"])
def test_dola_is_its_formula(ended: CausalLM, half: str) -> None:
    prefix, alpha = prefixes(6), 0.1
    spec = f"dola:layers={half},decoder=greedy"
    found = prefixcap.decode(ended, prefix, spec, max_new_tokens=LIMIT, max_rows=2)
    head = ended.model.get_output_embeddings()
    tied = head.weight is ended.model.get_input_embeddings().weight
    for row, hypotheses in zip(prefix, found, strict=True):

        def step(tokens: list[int], row: Tensor = row) -> Tensor:
            out = logits_of(ended, row, tokens, output_hidden_states=True)
            last = out.logits[0, -1].softmax(-1)
            best, contrast = -1.0, last
            for layer in early_layers(half, 2, tied=tied):
                with torch.inference_mode():
                    early = head(out.hidden_states[layer][0, -1]).softmax(-1)
                middle = (last + early) / 2
                js = sum(0.5 * float((p * (p / middle).log()).nansum()) for p in (last, early))
                if js > best:
                    best, contrast = js, early
            return torch.where(last >= alpha * last.max(), (last / contrast).log(), -math.inf)

        assert tokens_of(hypotheses[0]) == greedy(step)


def test_early_layers_are_those_of_transformers() -> None:
    assert early_layers("low", 12, tied=True) == [2, 4]
    assert early_layers("high", 12, tied=True) == [6, 8, 10]
    assert early_layers("low", 12, tied=False) == [0, 2, 4]
    assert early_layers("high", 30, tied=True) == list(range(15, 30, 2))
    assert early_layers("low", 2, tied=True) == [1]


def test_what_does_not_fit_is_said(ended: CausalLM) -> None:
    with pytest.raises(ValueError, match="needs an amateur"):
        ContrastiveDecoding(against="prefix")
    config = ContrastiveDecoding()
    task = Task(
        lm=ended, prefix=prefixes(1), image_ids=["a"], max_new_tokens=2, stop_ids=frozenset()
    )
    other = ContrastiveDecoder(config, Beam().build(), TableLM())
    with pytest.raises(PrefixcapError, match="vocabulary of 5, the language model one of 23"):
        list(other.decode(task))
    with pytest.raises(PrefixcapError, match="no decoder 'gredy'; did you mean 'greedy'"):
        prefixcap.decode(ended, prefixes(1), "guidance:decoder=gredy")
    with pytest.raises(PrefixcapError, match="dola reads earlier layers"):
        prefixcap.decode(TableLM(), prefixes(1, width=4), "dola")
