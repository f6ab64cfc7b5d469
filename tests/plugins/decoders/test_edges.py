"""Numbers at their edges: what docs/decoders.md says of them, for every registered decoder."""

from __future__ import annotations

from functools import cache
from itertools import product
from typing import Any

import pytest
import torch
from decoder_checks import DECODERS, rescore, tokens_of
from decoder_models import LetterLM, letter_model, prefixes, seen
from prefixcap_decoders.sampling.decoder import drawing

import prefixcap
from prefixcap import Hypothesis, PrefixcapError

model = cache(letter_model)


def decoded(
    decoder: str, vocabulary: int = 5, images: int = 2, length: int = 3, limit: int = 3, **more: Any
) -> list[list[Hypothesis]]:
    lm, settings = model(vocabulary), {"max_new_tokens": limit, **seen(images), **more}
    return prefixcap.decode(lm, prefixes(images, length), decoder, **settings)


def every_text(lm: LetterLM, limit: int) -> list[tuple[int, ...]]:
    """Return all texts of a language model, up to its stop token or the limit."""
    stop = lm.eos_id
    return [
        text
        for length in range(1, limit + 1)
        for text in product(range(lm.vocab_size), repeat=length)
        if stop not in text[:-1] and (text[-1] == stop or length == limit)
    ]


@pytest.mark.parametrize("decoder", DECODERS)
def test_every_decoder(decoder: str) -> None:
    """All edges of one decoder in one test, because most of the time is spent on starting one."""
    # no image
    assert decoded(decoder, images=0) == []
    # a vocabulary of one, which is the stop token or is not
    for stops, ids, reason in ((None, (), "stop"), ([], (0, 0, 0), "length")):
        for hypotheses in decoded(decoder, vocabulary=1, stop_ids=stops):
            for caption in hypotheses:
                assert (caption.ids, caption.finish_reason) == (ids, reason)
                assert caption.logprob == pytest.approx(0, abs=1e-5)
            assert hypotheses
    # no stop token, and nothing but stop tokens
    for hypotheses in decoded(decoder, limit=4, stop_ids=[]):
        assert {(len(h.ids), h.finish_reason) for h in hypotheses} == {(4, "length")}
    for hypotheses in decoded(decoder, stop_ids=range(5)):
        assert {(h.ids, h.finish_reason) for h in hypotheses} == {((), "stop")}
    # one token, none, fewer
    lm, prefix = model(5), prefixes(2)
    for row, hypotheses in zip(prefix, decoded(decoder, limit=1), strict=True):
        for caption in hypotheses:
            assert len(tokens_of(caption)) == 1
            assert caption.logprob == pytest.approx(rescore(lm, row, caption), abs=1e-4)
    for limit in (0, -1):
        with pytest.raises(PrefixcapError, match=f"max_new_tokens must be at least 1, not {limit}"):
            decoded(decoder, limit=limit)
    # as many positions as the model has, and more
    assert all(map(len, decoded(decoder, length=29)))
    for length, limit in ((30, 3), (33, 1)):
        with pytest.raises(PrefixcapError, match=f"a prefix of {length} .* the language model has"):
            decoded(decoder, length=length, limit=limit)
    # no prefix
    with pytest.raises(PrefixcapError, match="a prefix must have at least one position"):
        decoded(decoder, length=0)


@pytest.mark.parametrize("decoder", DECODERS)
def test_more_captions_than_there_are(decoder: str) -> None:
    # V=2 and two tokens: the texts are (stop), (0,stop) and (0,0)
    settings = {"beam": "num_beams=9", "constrained": "num_beams=9", "clipcap-beam": "num_beams=9"}
    settings |= {"diverse-beam": "num_beams=9,num_groups=3", "zerocap": "num_beams=9"}
    spec = f"{decoder}:{settings[decoder]}" if decoder in settings else decoder
    known = {(), (0,), (0, 0)}
    for hypotheses in decoded(spec, vocabulary=2, limit=2, n=9):
        assert {h.ids for h in hypotheses} <= known
        assert [h.score for h in hypotheses] == sorted((h.score for h in hypotheses), reverse=True)
        if decoder in ("beam", "constrained", "clipcap-beam", "stochastic-beam", "zerocap"):
            # different captions, of which there are three
            assert len(hypotheses) == 3
            assert {h.ids for h in hypotheses} == known
        else:
            assert len(hypotheses) == 9
    if decoder in settings:
        with pytest.raises(PrefixcapError, match="num_beams"):
            decoded(decoder, vocabulary=2, n=9)


@pytest.mark.parametrize(
    "decoder",
    [
        "beam:num_beams=40,n=40,length_penalty=0,early_stopping=never",
        "constrained:num_beams=40,n=40,early_stopping=never",
        "diverse-beam:num_beams=40,num_groups=1,n=40,length_penalty=0,early_stopping=never",
        "stochastic-beam:n=40",
        "clipcap-beam:num_beams=40",
    ],
)
@pytest.mark.parametrize("vocabulary", [2, 3])
def test_a_beam_wider_than_the_vocabulary_finds_every_text(decoder: str, vocabulary: int) -> None:
    lm, prefix = model(vocabulary), prefixes(2)
    expected = every_text(lm, 3)
    n = 40 if "clipcap" in decoder else None
    for row, hypotheses in zip(prefix, decoded(decoder, vocabulary, n=n), strict=True):
        assert sorted(tuple(tokens_of(h)) for h in hypotheses) == sorted(expected)
        exact = [rescore(lm, row, h) for h in hypotheses]
        assert [h.logprob for h in hypotheses] == pytest.approx(exact, abs=1e-4)
        if "stochastic" not in decoder and "clipcap" not in decoder:
            assert exact == sorted(exact, reverse=True)


@pytest.mark.parametrize("vocabulary", [2, 3, 5])
@pytest.mark.parametrize("beams", [1, 2, 7])
def test_a_wide_beam_is_that_of_transformers(vocabulary: int, beams: int) -> None:
    own = decoded(f"beam:num_beams={beams}", vocabulary, limit=4)
    theirs = decoded(f"hf-generate:options=num_beams={beams}", vocabulary, limit=4)
    for ours, other in zip(own, theirs, strict=True):
        assert ours[0].ids == other[0].ids
        assert ours[0].logprob == pytest.approx(other[0].logprob, abs=1e-4)


@pytest.mark.parametrize(
    "decoder",
    [
        *("sample:top_p=0", "top-p:top_p=0", "top-k:top_k=1", "min-p:min_p=1", "top-h:top_h=1e-9"),
        *("epsilon:epsilon=0.999", "eta:eta=0.999,temperature=0.1", "beam:num_beams=1"),
        *("contrastive:alpha=0", "contrastive:top_k=1", "constrained:num_beams=1"),
        *("magic:alpha=0,beta=0", "magic:top_k=1", "zerocap:num_beams=1,fusion=0"),
        *("guidance:scale=1", "contrastive-decoding:weight=0", "contrastive-decoding:alpha=1"),
        *("diverse-beam:num_beams=1,num_groups=1", "clipcap-beam:num_beams=1", "dola:alpha=1"),
        *("best-of:samples=1,top_k=1", "mbr:samples=1,top_k=1", "clipcap-generate2", "hf-generate"),
        *("speculative", "speculative:tokens=100", "speculative:decoder=top-k:top_k=1"),
        *(f"{name}:temperature=1e-6" for name in ("sample", "top-k", "top-p", "min-p", "mirostat")),
        *(f"{name}:temperature=1e-6" for name in ("typical", "epsilon", "eta", "top-h", "best-of")),
        *("mbr:temperature=1e-6", "stochastic-beam:temperature=1e-6,n=1"),
        "speculative:decoder=sample:temperature=1e-6",
    ],
)
def test_settings_at_their_edge_that_are_greedy(decoder: str) -> None:
    greedy = decoded("greedy", 23, images=3, limit=5)
    for own, expected in zip(decoded(decoder, 23, images=3, limit=5), greedy, strict=True):
        assert own[0].ids == expected[0].ids
        assert own[0].logprob == pytest.approx(expected[0].logprob, abs=1e-4)


@pytest.mark.parametrize(
    "settings",
    [
        {"top_p": 1.0}, {"top_k": 6}, {"top_k": 10**9}, {"min_p": 0.0}, {"typical_p": 1.0},
        {"top_h": 1.0}, {"top_k": 7, "top_p": 1.0, "min_p": 0.0},
    ],
)  # fmt: skip
def test_settings_at_their_edge_that_change_nothing(settings: dict[str, float]) -> None:
    stream = torch.Generator().manual_seed(0)
    logits = torch.randn(400, 6, generator=stream)
    uniforms = torch.rand(400, generator=stream, dtype=torch.float64)
    # with top-k, tokens are drawn in the order of their ranks
    plain, other = drawing()(logits, uniforms), drawing(**settings)(logits, uniforms)
    if "top_k" not in settings:
        assert torch.equal(plain, other)
    ranked = logits.sort(descending=True, stable=True)
    plain = ranked.indices.gather(1, drawing()(ranked.values, uniforms)[:, None]).squeeze(1)
    if "top_k" in settings:
        assert torch.equal(plain, other)


def test_more_candidates_than_tokens() -> None:
    for decoder in ("contrastive", "magic"):
        assert decoded(f"{decoder}:top_k=1000") == decoded(f"{decoder}:top_k=5")


@pytest.mark.parametrize(
    ("spec", "sentence"),
    [
        ("sample:temperature=0", "temperature must be greater than 0, not 0.0"),
        ("sample:temperature=1e-9", "temperature must be at least 1e-06, not 1e-09"),
        ("top-p:top_p=1.1", "top_p must be between 0 and 1, not 1.1"),
        ("top-p:top_p=-0.1", "top_p must be between 0 and 1, not -0.1"),
        ("top-k:top_k=0", "top_k must be at least 1, not 0"),
        ("sample:n=0", "n must be at least 1, not 0"),
        ("beam:num_beams=0", "num_beams must be at least 1, not 0"),
        ("beam:n=6", r"n must be at most num_beams \(5\), not 6"),
        ("stochastic-beam:n=0", "n must be at least 1, not 0"),
        ("best-of:samples=0", "samples must be at least 1, not 0"),
        ("speculative:tokens=0", "tokens must be at least 1, not 0"),
        ("contrastive:top_k=0", "top_k must be at least 1, not 0"),
        ("typical:typical_p=0", "typical_p must be greater than 0, not 0.0"),
        ("zerocap:n=6", r"n must be at most num_beams \(5\), not 6"),
        ("sample:temperature=nan", "temperature must be"),
        ("sample:temperature=inf", "temperature must be"),
        ("beam:length_penalty=nan", "length_penalty must be"),
        ("guidance:scale=nan", "scale must be"),
        ("contrastive-decoding:weight=inf", "weight must be"),
        ("mirostat:tau=inf", "tau must be"),
        ("diverse-beam:diversity=inf", "diversity must be"),
    ],
)
def test_settings_beyond_their_edge(spec: str, sentence: str) -> None:
    with pytest.raises(PrefixcapError, match=sentence):
        decoded(spec)
