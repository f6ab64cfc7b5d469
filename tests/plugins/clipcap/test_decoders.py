"""ClipCap's decoders against its algorithms in plain loops, one image and one beam at a time."""

from __future__ import annotations

import math

import attrs
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from prefixcap_clipcap.configs import ClipCapBeam, ClipCapGenerate2
from prefixcap_decoders.greedy.config import Greedy

from prefixcap import DecoderConfig, Hypothesis, PrefixcapError, decode
from prefixcap.plugin.registry import default_registry
from prefixcap.testing.table_lm import TableLM


@attrs.define
class Beam:
    tokens: tuple[int, ...] = ()
    total: float = 0.0
    length: int = 0
    stopped: bool = False


def plain_beam(
    lm: TableLM, prefix: torch.Tensor, width: int, longest: int, stops: set[int]
) -> list[Beam]:
    """`generate_beam` in plain loops: ended beams stay and append token 0 at no cost."""
    beams = [Beam()]
    for _ in range(longest):
        grown = []
        for beam in beams:
            if beam.stopped:
                grown.append(attrs.evolve(beam, tokens=(*beam.tokens, 0)))
                continue
            logprobs = lm.distribution(prefix, beam.tokens).double().log_softmax(-1).tolist()
            grown += [
                Beam((*beam.tokens, token), beam.total + logprob, beam.length + 1, token in stops)
                for token, logprob in enumerate(logprobs)
            ]
        beams = sorted(grown, key=lambda beam: -beam.total / beam.length)[:width]
        if all(beam.stopped for beam in beams):
            break
    return beams


def prefixes(images: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(images, 2, 4, generator=torch.Generator().manual_seed(seed))


@st.composite
def worlds(draw: st.DrawFn) -> tuple[TableLM, torch.Tensor, set[int]]:
    vocab = draw(st.integers(2, 9))
    lm = TableLM(vocab, seed=draw(st.integers(0, 10**6)), sharpness=draw(st.floats(0.5, 3.0)))
    prefix = prefixes(draw(st.integers(1, 5)), lm.seed)
    return lm, prefix, draw(st.sets(st.integers(0, vocab - 1), max_size=2))


@settings(max_examples=60, deadline=None)
@given(
    world=worlds(), width=st.integers(1, 6), longest=st.integers(1, 7), max_rows=st.integers(1, 30)
)
def test_beam_is_the_plain_search_in_any_batch(
    world: tuple[TableLM, torch.Tensor, set[int]], width: int, longest: int, max_rows: int
) -> None:
    lm, prefix, stops = world
    result = decode(
        lm,
        prefix,
        ClipCapBeam(num_beams=width),
        max_new_tokens=longest,
        stop_ids=sorted(stops),
        max_rows=max_rows,
    )
    for image, hypotheses in enumerate(result):
        wanted = plain_beam(lm, prefix[image], width, longest, stops)
        assert [_tokens(h, stops) for h in hypotheses] == [
            (b.tokens[: b.length - b.stopped], b.stopped) for b in wanted
        ]
        for hypothesis, beam in zip(hypotheses, wanted, strict=True):
            assert hypothesis.logprob == pytest.approx(beam.total, abs=1e-4)
            assert hypothesis.score == pytest.approx(beam.total / beam.length, abs=1e-4)


def _tokens(hypothesis: Hypothesis, stops: set[int]) -> tuple[tuple[int, ...], bool]:
    return hypothesis.ids, hypothesis.finish_reason == "stop"


@settings(max_examples=40, deadline=None)
@given(world=worlds(), top_p=st.floats(0.0, 1.0))
@example(world=(TableLM(5), torch.ones(1, 2, 4), {4}), top_p=0.0)
def test_generate2_is_its_filter_and_the_argmax_and_that_is_greedy(
    world: tuple[TableLM, torch.Tensor, set[int]], top_p: float
) -> None:
    lm, prefix, stops = world
    settings_ = {"max_new_tokens": 6, "stop_ids": sorted(stops)}
    result = decode(lm, prefix, ClipCapGenerate2(top_p=top_p), **settings_)
    assert result == decode(lm, prefix, Greedy(), **settings_)
    for image, hypotheses in enumerate(result):
        tokens: list[int] = []
        while len(tokens) < 6 and not (tokens and tokens[-1] in stops):
            logits, order = lm.distribution(prefix[image], tokens).sort(descending=True)
            # the likeliest is always kept; after it, what the mass before has not filled
            mass = logits.softmax(-1).cumsum(-1)
            kept = [0, *(i for i in range(1, len(order)) if mass[i - 1] <= top_p)]
            tokens.append(int(order[max(kept, key=lambda i: float(logits[i]))]))
        ended = tokens[-1] in stops
        assert hypotheses[0].ids == tuple(tokens[:-1] if ended else tokens)


def test_all_beams_are_returned_unless_fewer_are_requested() -> None:
    lm, prefix = TableLM(6), prefixes(3)
    every = decode(lm, prefix, "clipcap-beam", max_new_tokens=5)
    assert [len(hypotheses) for hypotheses in every] == [5, 5, 5]
    two = decode(lm, prefix, "clipcap-beam", max_new_tokens=5, n=2)
    assert two == [hypotheses[:2] for hypotheses in every]


def test_more_captions_than_beams_is_an_error_with_its_cure() -> None:
    with pytest.raises(PrefixcapError) as error:
        decode(TableLM(6), prefixes(1), "clipcap-beam:num_beams=2", n=3)
    assert str(error.value) == (
        "clipcap-beam with num_beams=2 returns 2 captions per image, not 3: set num_beams=3 "
        "(a wider beam changes the captions)"
    )


@pytest.mark.parametrize("spec", ["clipcap-beam:num_beams=0", "clipcap-generate2:top_p=1.5"])
def test_values_out_of_range_are_refused(spec: str) -> None:
    with pytest.raises(PrefixcapError, match="must be"):
        default_registry().parse(DecoderConfig, spec)


def test_an_ended_caption_can_fall_out_and_is_not_remembered() -> None:
    """The difference to a standard beam search, which would return the lost caption."""
    for seed in range(200):
        lm, prefix = TableLM(4, seed=seed), torch.ones(1, 2, 4)
        result = decode(lm, prefix, ClipCapBeam(num_beams=2), max_new_tokens=6)[0]
        first = lm.distribution(prefix[0], []).log_softmax(-1)
        ended_at_once = float(first[lm.eos_id])
        in_first_beam = int((first > ended_at_once).sum()) < 2
        if in_first_beam and () not in [h.ids for h in result]:
            assert all(h.score > ended_at_once for h in result)
            return
    pytest.fail("no table lost an ended caption")


def test_the_text_holds_the_full_stop_where_stops_are_visible() -> None:
    lm, prefix = TableLM(5, seed=3), prefixes(4)
    for hypotheses in decode(
        lm, prefix, "clipcap-beam", max_new_tokens=6, stop_ids=[1], stop_visible=True
    ):
        for hypothesis in hypotheses:
            assert (hypothesis.text[-1:] == "b") == (hypothesis.finish_reason == "stop")
            assert math.isfinite(hypothesis.logprob)
