"""Beam search against transformers' own."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import Any

import pytest
import torch
from decoder_models import prefixes
from prefixcap_decoders import Beam

import prefixcap
from prefixcap import Hypothesis
from prefixcap.engine.causal import CausalLM

STOPS = [5, 11]


def oracle(
    lm: CausalLM,
    prefix: torch.Tensor,
    n: int,
    max_new_tokens: int,
    stops: list[int],
    **options: Any,
) -> list[list[tuple[tuple[int, ...], float]]]:
    if options.get("num_beams") == 1:
        options.pop("early_stopping", None)
        options.pop("length_penalty", None)
    out = lm.model.generate(
        inputs_embeds=prefix,
        attention_mask=torch.ones(prefix.shape[:2], dtype=torch.long),
        do_sample=False,
        num_return_sequences=n,
        max_new_tokens=max_new_tokens,
        eos_token_id=stops or None,
        pad_token_id=0,
        return_dict_in_generate=True,
        output_scores=True,
        **options,
    )
    rows = []
    scores = out.sequences_scores if options["num_beams"] > 1 else None
    for i, ids in enumerate(out.sequences.tolist()):
        cut = next((k for k, token in enumerate(ids) if token in stops), len(ids))
        rows.append((tuple(ids[:cut]), float("nan") if scores is None else float(scores[i])))
    return [rows[i : i + n] for i in range(0, len(rows), n)]


def cases() -> Iterator[dict[str, Any]]:
    for num_beams, penalty in product(range(1, 9), (0.0, 1.0, -0.7)):
        yield {"num_beams": num_beams, "length_penalty": penalty}
    for num_beams, penalty, early in product((2, 4), (0.6, -0.5), (True, False, "never")):
        yield {"num_beams": num_beams, "length_penalty": penalty, "early_stopping": early}
    for num_beams in (1, 3):
        yield {"num_beams": num_beams, "min_new_tokens": 4}
        yield {"num_beams": num_beams, "no_repeat_ngram_size": 2}
    # a single beam is greedy search in transformers, which penalises logits, not log-probabilities
    yield {"num_beams": 3, "repetition_penalty": 1.7}
    yield {"num_beams": 3, "no_repeat_ngram_size": 2, "repetition_penalty": 0.8}


@pytest.mark.parametrize(
    "options", cases(), ids=lambda o: ",".join(f"{k}={v}" for k, v in o.items())
)
def test_same_tokens_and_scores_as_transformers(lm: CausalLM, options: dict[str, Any]) -> None:
    prefix = prefixes(6)
    n = min(options["num_beams"], 3)
    expected = oracle(lm, prefix, n, 9, STOPS, **options)
    config = Beam(**options, n=n)
    batch = prefixcap.decode(lm, prefix, config, max_new_tokens=9, stop_ids=STOPS)
    alone = [
        prefixcap.decode(lm, row[None], config, max_new_tokens=9, stop_ids=STOPS)[0]
        for row in prefix
    ]
    for found in (batch, alone):
        check(found, expected, options["num_beams"] > 1)


def check(
    found: list[list[Hypothesis]],
    expected: list[list[tuple[tuple[int, ...], float]]],
    scored: bool,
) -> None:
    assert [[h.ids for h in hs] for hs in found] == [[ids for ids, _ in row] for row in expected]
    if scored:
        got = [h.score for hs in found for h in hs]
        want = [score for row in expected for _, score in row]
        assert got == pytest.approx(want, abs=1e-4)
