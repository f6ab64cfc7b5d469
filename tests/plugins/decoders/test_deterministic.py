"""Diverse beam search, contrastive search and transformers' generate."""

from __future__ import annotations

import pytest
import torch
from decoder_checks import rescore, tokens_of
from decoder_models import prefixes
from prefixcap_decoders.beam.config import DiverseBeam
from prefixcap_decoders.contrastive_search.config import Contrastive
from prefixcap_decoders.hf_generate.config import HFGenerate
from torch import Tensor

import prefixcap
from prefixcap import Hypothesis, PrefixcapError
from prefixcap.engine.causal_lm import CausalLM
from prefixcap.testing.table_lm import TableLM

STOPS = [5, 11]
Beam = tuple[float, tuple[int, ...]]


def diverse_by_loops(
    lm: TableLM, prefix: Tensor, groups: int, width: int, diversity: float, limit: int
) -> list[Beam]:
    """Vijayakumar et al.'s algorithm for one image, without length penalty or early stopping."""
    stop, live = lm.eos_id, [[(0.0, ())] for _ in range(groups)]
    ended: list[list[Beam]] = [[] for _ in range(groups)]
    for step in range(limit):
        used = [0] * lm.vocab_size
        for group in range(groups):
            result: list[Beam] = []
            for score, text in live[group]:
                following = lm.distribution(prefix, text).log_softmax(-1).tolist()
                result += [
                    (score + value - diversity * used[token], (*text, token))
                    for token, value in enumerate(following)
                ]
            result.sort(key=lambda beam: -beam[0])
            over = [beam[1][-1] == stop or step + 1 == limit for beam in result]
            head = [beam for beam, end in zip(result[:width], over, strict=False) if end]
            ended[group] = sorted(ended[group] + head, key=lambda beam: -beam[0])[:width]
            going = [b for b, end in zip(result[: 2 * width], over, strict=False) if not end]
            live[group] = going[:width]
            for _, text in live[group]:
                used[text[-1]] += 1
    return sorted((beam for group in ended for beam in group), key=lambda beam: -beam[0])


@pytest.mark.parametrize(("groups", "beams"), [(1, 3), (3, 3), (2, 6)])
@pytest.mark.parametrize("diversity", [0.0, 0.7])
def test_diverse_beam_is_its_algorithm(groups: int, beams: int, diversity: float) -> None:
    lm, prefix, limit = TableLM(vocab_size=7, seed=3), prefixes(6, width=4), 5
    config = DiverseBeam(
        num_beams=beams, num_groups=groups, diversity=diversity, n=beams, length_norm="none",
        early_stopping="never",
    )  # fmt: skip
    for max_rows in (320, beams, 2 * beams + 1):
        result = prefixcap.decode(lm, prefix, config, max_new_tokens=limit, max_rows=max_rows)
        for row, hypotheses in zip(prefix, result, strict=True):
            expected = diverse_by_loops(lm, row, groups, beams // groups, diversity, limit)
            assert [h.score for h in hypotheses] == pytest.approx(
                [score for score, _ in expected], abs=1e-4
            )
            if diversity:
                assert [tuple(tokens_of(h)) for h in hypotheses] == [text for _, text in expected]
            for h in hypotheses:
                assert h.logprob == pytest.approx(rescore(lm, row, h), abs=1e-4)


def test_more_diversity_gives_more_first_words() -> None:
    prefix, lm = prefixes(8, width=4), TableLM(vocab_size=8, sharpness=3.0)

    def first_words(result: list[list[Hypothesis]]) -> int:
        return sum(len({tokens_of(h)[0] for h in hs}) for hs in result)

    none, some = (
        prefixcap.decode(lm, prefix, f"diverse-beam:n=5,diversity={d}", max_new_tokens=4)
        for d in (0, 3)
    )
    assert first_words(some) > first_words(none)


def test_duplicates_of_several_groups_come_last() -> None:
    # without diversity every group finds the same captions
    lm, prefix = TableLM(vocab_size=7, seed=3), prefixes(6, width=4)
    config = DiverseBeam(num_beams=6, num_groups=2, diversity=0.0)
    beam = prefixcap.decode(lm, prefix, "beam:num_beams=3,n=3", max_new_tokens=5)
    for n in (2, 3, 5):
        result = prefixcap.decode(lm, prefix, config, max_new_tokens=5, n=n)
        for hypotheses, single in zip(result, beam, strict=True):
            assert {h.ids for h in hypotheses} == {h.ids for h in single[:n]}
            assert len(hypotheses) == n
            scores = [h.score for h in hypotheses]
            assert scores == sorted(scores, reverse=True)


def test_groups_must_divide_the_beams() -> None:
    with pytest.raises(
        PrefixcapError, match=r"num_beams \(5\) must be a multiple of num_groups \(2\)"
    ):
        prefixcap.decode(TableLM(), prefixes(1, width=4), "diverse-beam:num_groups=2")


def contrastive_by_loops(
    lm: CausalLM, prefix: Tensor, alpha: float, top_k: int, limit: int, context: str
) -> list[int]:
    """Su et al.'s search without a cache: each candidate against all previous hidden states."""
    tokens: list[int] = []
    first = {"prefix": 0, "last": len(prefix) - 1, "caption": len(prefix)}[context]

    def run(tokens: list[int]) -> tuple[Tensor, Tensor]:
        inputs = torch.cat([prefix, lm.embed(torch.tensor(tokens, dtype=torch.long))])[None]
        out = lm.model(inputs_embeds=inputs, use_cache=False, output_hidden_states=True)
        return out.logits[0, -1], out.hidden_states[-1][0, first:]

    with torch.inference_mode():
        while len(tokens) < limit and not set(tokens[-1:]) & set(STOPS):
            logits, _ = run(tokens)
            values = []
            for probability, token in zip(*logits.softmax(-1).topk(top_k), strict=True):
                _, states = run([*tokens, int(token)])
                cosines = [
                    float(torch.cosine_similarity(states[-1], state, dim=0))
                    for state in states[:-1]
                ]
                alike = max(cosines, default=0.0)
                values.append(((1 - alpha) * float(probability) - alpha * alike, int(token)))
            tokens.append(max(values)[1])
    return tokens


@pytest.mark.parametrize(
    ("alpha", "top_k", "context"),
    [(0.6, 4, "prefix"), (0.3, 7, "last"), (0.6, 4, "caption"), (0.0, 3, "prefix")],
)
def test_contrastive_search_is_its_algorithm(
    lm: CausalLM, alpha: float, top_k: int, context: str
) -> None:
    prefix, config = prefixes(5), Contrastive(alpha=alpha, top_k=top_k, context=context)
    for max_rows in (320, 2 * top_k):
        result = prefixcap.decode(
            lm, prefix, config, max_new_tokens=7, stop_ids=STOPS, max_rows=max_rows
        )
        for row, hypotheses in zip(prefix, result, strict=True):
            assert tokens_of(hypotheses[0]) == contrastive_by_loops(
                lm, row, alpha, top_k, 7, context
            )
            rescored = rescore(lm, row, hypotheses[0])
            assert hypotheses[0].logprob == pytest.approx(rescored, abs=1e-3)


def test_the_compared_context_changes_captions(lm: CausalLM) -> None:
    result = {
        tuple(hyps[0].ids for hyps in prefixcap.decode(lm, prefixes(8), config, max_new_tokens=6))
        for config in (Contrastive(alpha=0.8, context=c) for c in ("prefix", "last", "caption"))
    }
    assert len(result) == 3


def test_contrastive_search_never_takes_a_forbidden_token() -> None:
    lm, prefix = TableLM(vocab_size=4), prefixes(6, width=4)
    config = Contrastive(alpha=1.0, top_k=4, min_new_tokens=5, no_repeat_ngram_size=3)
    for hypotheses in prefixcap.decode(lm, prefix, config, max_new_tokens=6, n=2):
        assert len(hypotheses) == 2
        assert len(hypotheses[0].ids) >= 5


@pytest.mark.parametrize(
    ("options", "spec"),
    [
        ((), "greedy"),
        (("num_beams=4", "length_penalty=0.5"), "beam:num_beams=4,length_penalty=0.5"),
    ],
)
def test_generate_is_the_baseline(lm: CausalLM, options: tuple[str, ...], spec: str) -> None:
    prefix = prefixes(5)
    settings = {"max_new_tokens": 8, "stop_ids": STOPS}
    theirs = prefixcap.decode(lm, prefix, HFGenerate(options=options, batch=2), **settings)
    ours = prefixcap.decode(lm, prefix, spec, **settings)
    for a, b in zip(theirs, ours, strict=True):
        assert a[0].ids == b[0].ids
        assert a[0].logprob == pytest.approx(b[0].logprob, abs=1e-3)
        assert a[0].score == pytest.approx(b[0].score, abs=1e-3)


def test_generate_samples_by_the_images_own_seed(lm: CausalLM) -> None:
    prefix, ids = prefixes(3), ["a", "b", "c"]
    with pytest.raises(PrefixcapError, match=r"set n=\.\.\. for several captions per image"):
        HFGenerate(options=("num_beams=2", "num_return_sequences=2")).build()
    config = HFGenerate(options=("do_sample=true", "top_k=0"), n=2)
    before = torch.random.get_rng_state()
    usual = prefixcap.decode(lm, prefix, config, image_ids=ids, max_new_tokens=6, stop_ids=STOPS)
    last = prefixcap.decode(
        lm, prefix[2:], config, image_ids=["c"], max_new_tokens=6, stop_ids=STOPS
    )
    assert last[0] == usual[2]
    assert torch.equal(torch.random.get_rng_state(), before)


@pytest.mark.parametrize("sampled", [False, True])
def test_generate_does_not_change_random_states(
    lm: CausalLM, sampled: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: object, **__: object) -> None:
        raise AssertionError("a random state was touched")

    # this seeds the generators of every GPU
    monkeypatch.setattr(torch, "manual_seed", never)
    if not sampled:
        monkeypatch.setattr(torch.random, "fork_rng", never)
    config = HFGenerate(options=("do_sample=true",) if sampled else (), batch=1)
    before = torch.random.get_rng_state()
    for _ in prefixcap.decoding.decode.iter_decode(lm, prefixes(2), config, max_new_tokens=3):
        assert torch.equal(torch.random.get_rng_state(), before)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ("num_beam=4", "has no option 'num_beam' to set; did you mean 'num_beams'"),
        ("early_stopping=maybe", "early_stopping must be true, false or never, not 'maybe'"),
        ("num_beams", "the option 'num_beams' is not of the form key=value"),
        ("num_return_sequences=2", r"set n=\.\.\. for several captions per image"),
    ],
)
def test_a_wrong_option_is_an_error_when_it_is_parsed(options: str, sentence: str) -> None:
    with pytest.raises(PrefixcapError, match=sentence):
        prefixcap.Registry().parse(prefixcap.DecoderConfig, f"hf-generate:options={options}")


def test_generate_without_a_transformers_model_is_an_error() -> None:
    with pytest.raises(PrefixcapError, match="needs a model of transformers, not Embedding"):
        prefixcap.decode(TableLM(), prefixes(1, width=4), "hf-generate")
