"""Guidance, contrastive decoding and DoLa against their formulas in plain loops."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import attrs
import pytest
import torch
from core.test_captioner import lm_folder
from decoder_checks import rescore, texts, tokens_of
from decoder_models import Turned, prefixes, small_model
from prefixcap_decoders.beam.config import Beam
from prefixcap_decoders.contrast.config import ContrastiveDecoding, DoLa, Guidance
from prefixcap_decoders.contrast.decoder import ContrastDecoder
from prefixcap_decoders.contrast.dola import early_layers
from prefixcap_decoders.contrast.logits_wrapper import LogitsWrapper
from prefixcap_decoders.greedy.config import Greedy
from torch import Tensor

import prefixcap
from prefixcap import PrefixcapError
from prefixcap.decoding.decode import collect
from prefixcap.engine.causal_lm import CausalLM
from prefixcap.interfaces.decoder import DecoderConfig, DecodingTask
from prefixcap.interfaces.language_model import LanguageModel, LMConfig
from prefixcap.interfaces.session import Session, SessionOptions
from prefixcap.plugin.registry import default_registry
from prefixcap.testing.table_lm import TableLM

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


@cache
def bloom() -> CausalLM:
    return CausalLM(small_model("bloom"))


def eos(model: Any) -> Any:
    model.config.eos_token_id = STOP
    return model


def greedy(step: Callable[[list[int]], Tensor]) -> list[int]:
    tokens: list[int] = []
    while len(tokens) < LIMIT and tokens[-1:] != [STOP]:
        tokens.append(int(step(tokens).argmax()))
    return tokens


def logp(lm: CausalLM, prefix: Tensor, tokens: list[int]) -> Tensor:
    result: Tensor = logits_of(lm, prefix, tokens).logits[0, -1].log_softmax(-1)
    return result


@pytest.mark.parametrize("against", ["start", "null", "zero", "mean"])
def test_guidance_is_its_formula(ended: CausalLM, against: str) -> None:
    prefix, scale = prefixes(6), 1.8
    with torch.inference_mode():
        start = ended.embed(torch.tensor([STOP]))
    null = prefixes(1, length=2, seed=8)[0]
    views = {"start": start, "null": null, "zero": torch.zeros(1, 16), "mean": prefix.mean(0)}
    config, empty = Guidance(scale=scale, against=against), views[against]
    result = prefixcap.decode(
        ended, prefix, config, max_new_tokens=LIMIT, max_rows=4, null_prefix=null
    )
    for row, hypotheses in zip(prefix, result, strict=True):

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


@pytest.mark.parametrize("inner", ["greedy", "beam:num_beams=2;n=2", "sample:n=2", "contrastive"])
@pytest.mark.parametrize("amateur", ["itself", "gpt2", "bloom"])
def test_refilling_two_sessions_changes_nothing(ended: CausalLM, amateur: str, inner: str) -> None:
    # bloom runs in a `CacheSession`, which admits images at other times
    other = {"itself": ended, "gpt2": CausalLM(small_model("gpt2", 9)), "bloom": bloom()}[amateur]
    decoder = default_registry().parse(DecoderConfig, inner.replace(";", ","))
    config = ContrastiveDecoding(alpha=0.02, against="zero")
    task = DecodingTask(
        lm=ended, prefix=prefixes(11), image_ids=list("abcdefghijk"), max_new_tokens=LIMIT,
        stop_ids=frozenset({STOP, 7, 9}),
    )  # fmt: skip

    def run(max_rows: int, images: list[int]) -> list[list[tuple[int, ...]]]:
        part = attrs.evolve(
            task, max_rows=max_rows, prefix=task.prefix[images],
            image_ids=[task.image_ids[image] for image in images],
        )  # fmt: skip
        with torch.inference_mode():
            result = ContrastDecoder(config, decoder.build(), other).decode(part)
            return [[h.ids for h in hs] for hs in collect(result, len(images))]

    usual = run(320, list(range(11)))
    assert len({len(ids) for hs in usual for ids in hs}) > 1
    for rows in (1, 7):
        assert run(rows, list(range(11))) == usual
    assert run(10, list(range(10, -1, -1)))[::-1] == usual


def test_lockstep_sessions_admit_images_as_others_leave(ended: CausalLM) -> None:
    def add(sessions: Sequence[Session]) -> Tensor:
        return sessions[0].logits + sessions[1].logits

    for other, new in ((ended, [3]), (bloom(), [])):
        lm = LogitsWrapper(ended, add, [(other, lambda images: torch.zeros(images, 1, 16))])
        with torch.inference_mode():
            session = lm.start(prefixes(7), SessionOptions(max_rows=3))
            assert session.admit() == [0, 1, 2]
            session.advance(torch.tensor([4, 4]), torch.tensor([0, 2]))
            # the second session cannot take it in yet, so it waits in the first
            assert (session.admit(), session.waiting) == (new, 4 - len(new))
            session.advance(torch.tensor([], dtype=torch.long), torch.tensor([], dtype=torch.long))
            came = session.admit()
            assert came == list(range(3 + len(new), 6 + len(new)))


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
    task = DecodingTask(
        lm=lm, prefix=prefix, image_ids=["a", "b", "c"], max_new_tokens=limit,
        stop_ids=frozenset({3}), max_rows=400,
    )  # fmt: skip
    decoder = ContrastDecoder(Guidance(scale=scale, against="zero"), inner)
    with torch.inference_mode():
        result = collect(decoder.decode(task), 3)
    for row, hypotheses in zip(prefix, result, strict=True):
        best = max(guided(row, text) for text, _ in texts(lm, row, limit))
        assert hypotheses[0].score == pytest.approx(best, abs=1e-4)


@pytest.mark.parametrize("own", [True, False], ids=["itself", "amateur"])
def test_contrastive_decoding_is_its_formula(ended: CausalLM, own: bool) -> None:
    prefix, config = prefixes(6), ContrastiveDecoding(alpha=0.05, weight=0.9, temperature=0.5)
    amateur = ended if own else CausalLM(small_model("gpt2", seed=9))
    amateur.model.config.eos_token_id = STOP
    decoder = ContrastDecoder(config, Beam(num_beams=1).build(), None if own else amateur)
    task = DecodingTask(
        lm=ended, prefix=prefix, image_ids=list("abcdef"), max_new_tokens=LIMIT,
        stop_ids=frozenset({STOP}),
    )  # fmt: skip
    with torch.inference_mode():
        result = collect(decoder.decode(task), 6)
        start = amateur.embed(torch.tensor([STOP]))
    for row, hypotheses in zip(prefix, result, strict=True):

        def step(tokens: list[int], row: Tensor = row) -> Tensor:
            expert = logp(ended, row, tokens)
            other = (logits_of(amateur, start, tokens).logits[0, -1] / 0.5).log_softmax(-1)
            kept = expert.exp() >= 0.05 * expert.exp().max()
            return torch.where(kept, expert - 0.9 * other, float("-inf"))

        assert tokens_of(hypotheses[0]) == greedy(step)


@pytest.fixture(scope="module", params=["gpt2", "llama"])
def deep(request: pytest.FixtureRequest) -> CausalLM:
    model = small_model(request.param, layers=8)
    model.config.eos_token_id = STOP
    return CausalLM(model)


# GPT-2 ties its output layer to the embedding, so nothing is read off the embedding itself
LAYERS = {
    "gpt2": {"low": [2], "high": [4, 6], "1+3+5+7": [1, 3, 5, 7]},
    "llama": {"low": [0, 2], "high": [4, 6], "7+0+3": [0, 3, 7]},
}


@pytest.mark.parametrize("which", ["low", "high", "numbers"])
def test_dola_is_its_formula(deep: CausalLM, which: str) -> None:
    prefix, alpha = prefixes(6), 0.1
    known = LAYERS[deep.model.config.model_type]
    setting = which if which in known else list(known)[-1]
    spec = f"dola:layers={setting},decoder=greedy"
    result = prefixcap.decode(deep, prefix, spec, max_new_tokens=LIMIT, max_rows=2)
    head = deep.model.get_output_embeddings()
    chosen: set[int] = set()
    for row, hypotheses in zip(prefix, result, strict=True):

        def step(tokens: list[int], row: Tensor = row) -> Tensor:
            out = logits_of(deep, row, tokens, output_hidden_states=True)
            last = out.logits[0, -1].double().softmax(-1)
            best, farthest, contrast = -1.0, 0, last
            for layer in known[setting]:
                with torch.inference_mode():
                    early = head(out.hidden_states[layer][0, -1]).double().softmax(-1)
                middle = (last + early) / 2
                js = sum(0.5 * float((p * (p / middle).log()).nansum()) for p in (last, early))
                if js > best:
                    best, farthest, contrast = js, layer, early
            chosen.add(farthest)
            return torch.where(last >= alpha * last.max(), (last / contrast).log(), -math.inf)

        assert tokens_of(hypotheses[0]) == greedy(step)
    # with several candidates, more than one must have been chosen
    assert len(chosen) > 1 or len(known[setting]) == 1


def test_early_layers_are_those_of_transformers() -> None:
    assert early_layers("low", 12, tied=True) == [2, 4]
    assert early_layers("high", 12, tied=True) == [6, 8, 10]
    assert early_layers("low", 12, tied=False) == [0, 2, 4]
    assert early_layers("high", 30, tied=True) == list(range(15, 30, 2))
    assert early_layers("low", 2, tied=True) == [1]
    assert early_layers("low", 40, tied=False) == list(range(0, 20, 2))
    assert early_layers("high", 40, tied=False) == list(range(20, 40, 2))
    # of deeper models, such as GPT-2 XL with its 48 layers, the first or the last 20
    assert early_layers("low", 48, tied=True) == [2, 4, 6, 8, 10, 12, 14, 16, 18]
    assert early_layers("low", 48, tied=False) == [0, 2, 4, 6, 8, 10, 12, 14, 16, 18]
    assert early_layers("high", 48, tied=True) == [28, 30, 32, 34, 36, 38, 40, 42, 44, 46]
    assert early_layers("high", 41, tied=False) == [21, 23, 25, 27, 29, 31, 33, 35, 37, 39]


def test_wrong_layers_are_errors(deep: CausalLM) -> None:
    for wrong in ("middle", "2+", "-1", "2+x"):
        with pytest.raises(
            ValueError, match=r"layers must be 'low', 'high' or numbers .* '2\+4\+6'"
        ):
            DoLa(layers=wrong)
    with pytest.raises(PrefixcapError, match=r"8 is not an earlier layer of a model of 8.* 0 to 7"):
        prefixcap.decode(deep, prefixes(1), "dola:layers=2+8")


def test_mismatches_are_errors(ended: CausalLM) -> None:
    with pytest.raises(ValueError, match="needs an amateur"):
        ContrastiveDecoding(against="prefix")
    config = ContrastiveDecoding()
    task = DecodingTask(
        lm=ended, prefix=prefixes(1), image_ids=["a"], max_new_tokens=2, stop_ids=frozenset()
    )
    other = ContrastDecoder(config, Beam().build(), TableLM())
    with pytest.raises(PrefixcapError, match="vocabulary of 5, the language model one of 23"):
        list(other.decode(task))
    with pytest.raises(PrefixcapError, match="no decoder 'gredy'; did you mean 'greedy'"):
        prefixcap.decode(ended, prefixes(1), "guidance:decoder=gredy")
    with pytest.raises(PrefixcapError, match="dola reads earlier layers"):
        prefixcap.decode(TableLM(), prefixes(1, width=4), "dola")


def test_an_amateur_that_does_not_fit_is_an_error(ended: CausalLM) -> None:
    def run(lm: LanguageModel, amateur: LanguageModel, width: int, limit: int) -> None:
        task = DecodingTask(
            lm=lm, prefix=prefixes(2, width=width), image_ids=["a", "b"], max_new_tokens=limit,
            stop_ids=frozenset(),
        )  # fmt: skip
        list(ContrastDecoder(ContrastiveDecoding(), Greedy().build(), amateur).decode(task))

    name = "contrastive-decoding: the amateur"
    with pytest.raises(
        PrefixcapError, match=f"{name} has 64 positions, and its prefix of 1 with 70"
    ):
        run(ended, CausalLM(eos(small_model("gpt2", seed=9))), 16, 70)
    with pytest.raises(
        PrefixcapError, match=f"{name}'s token 0 is 'z', and the language model's 'a'"
    ):
        run(TableLM(vocab_size=27), Turned(vocab_size=27), 4, 3)


def test_an_amateur_has_the_dtype_of_the_language_model(tmp_path: Path) -> None:
    amateur = default_registry().parse(
        LMConfig, f"hf:model={lm_folder(tmp_path / 'small', seed=1)}"
    )
    large = default_registry().parse(
        LMConfig, f"hf:model={lm_folder(tmp_path / 'large', n_embd=24)}"
    )
    lm = large.build(dtype="bfloat16")
    decoder = ContrastDecoder(ContrastiveDecoding(), Greedy().build(), amateur)
    task = DecodingTask(
        lm=lm, prefix=prefixes(2, width=24), image_ids=["a", "b"], max_new_tokens=4,
        stop_ids=frozenset(),
    )  # fmt: skip
    with torch.inference_mode():
        result = collect(decoder.decode(task), 2)
    assert [len(hypotheses[0].ids) for hypotheses in result] == [4, 4]
    assert isinstance(decoder.amateur, LanguageModel)
    assert next(decoder.amateur.module.parameters()).dtype == torch.bfloat16


def test_the_mean_of_one_image_is_refused(ended: CausalLM) -> None:
    for spec in ("guidance:against=mean", "contrastive-decoding:against=mean"):
        with pytest.raises(PrefixcapError, match=r"against='mean' needs several images.*'start'"):
            prefixcap.decode(ended, prefixes(1), spec)
        assert len(prefixcap.decode(ended, prefixes(2), spec, max_new_tokens=3)) == 2


@pytest.mark.parametrize("against", ["prefix", "mean"])
def test_an_amateur_may_see_the_image(ended: CausalLM, against: str) -> None:
    prefix, config = prefixes(4), ContrastiveDecoding(amateur="scenes-gpt2", against=against)
    amateur = CausalLM(eos(small_model("gpt2", seed=9)))
    task = DecodingTask(
        lm=ended, prefix=prefix, image_ids=list("abcd"), max_new_tokens=LIMIT,
        stop_ids=frozenset({STOP}),
    )  # fmt: skip
    with torch.inference_mode():
        result = collect(ContrastDecoder(config, Greedy().build(), amateur).decode(task), 4)
    for row, hypotheses in zip(prefix, result, strict=True):
        seen = row if against == "prefix" else prefix.mean(0)

        def step(tokens: list[int], row: Tensor = row, seen: Tensor = seen) -> Tensor:
            expert = logp(ended, row, tokens)
            kept = expert.exp() >= 0.1 * expert.exp().max()
            return torch.where(kept, expert - logp(amateur, seen, tokens), float("-inf"))

        assert tokens_of(hypotheses[0]) == greedy(step)


def test_batch_dependence_of_a_nested_decoder_is_declared() -> None:
    def together(spec: str) -> bool:
        return default_registry().parse(DecoderConfig, spec).batch_dependent()

    assert together("guidance:against=mean")
    assert together("dola:decoder=guidance:against=mean")
    assert together("contrastive-decoding:decoder=guidance:against=mean")
    assert not together("dola:decoder=guidance:against=zero")
