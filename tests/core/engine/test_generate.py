"""Greedy captions are token for token those of transformers' `generate`."""

from __future__ import annotations

from itertools import takewhile

import pytest
import torch
from core.engine.models import made, prefixes

from prefixcap import decode, from_transformers

torch.set_num_threads(1)

STEPS = 12


@pytest.mark.parametrize("name", ["gpt2", "llama", "opt", "qwen3", "gpt_neox", "bloom"])
@pytest.mark.parametrize("max_rows", [320, 3])
def test_greedy_equals_generate_for_a_batch_and_each_image_alone(name: str, max_rows: int) -> None:
    model, prefix, stops = made(name), prefixes(9), list(range(1, 6))
    ids = model.generate(
        inputs_embeds=prefix,
        attention_mask=torch.ones(prefix.shape[:2], dtype=torch.long),
        do_sample=False,
        max_new_tokens=STEPS,
        eos_token_id=stops,
        pad_token_id=stops[0],
    )
    wanted = [tuple(takewhile(lambda token: token not in stops, row)) for row in ids.tolist()]
    assert len({len(row) for row in wanted}) > 1
    lm = from_transformers(model)
    options = {"max_new_tokens": STEPS, "stop_ids": stops, "max_rows": max_rows}
    result = decode(lm, prefix, "greedy", **options)
    assert [hypotheses[0].ids for hypotheses in result] == wanted
    alone = [decode(lm, prefix[i : i + 1], "greedy", **options)[0][0].ids for i in range(9)]
    assert alone == wanted
