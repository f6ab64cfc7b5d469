"""Decoders in bfloat16, where logits are rounded and many are equal."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain

import pytest
import torch
from core.engine.models import made, prefixes

from prefixcap import Hypothesis, decode, from_transformers
from prefixcap.engine.network_selection import NetworkSelector
from prefixcap.engine.tree_session import TreeSession
from prefixcap.interfaces.session import SessionOptions

torch.set_num_threads(1)

IMAGES = 8
Found = Sequence[Sequence[Hypothesis]]


@pytest.mark.parametrize("name", ["gpt2", "llama"])
@pytest.mark.parametrize("decoder", ["greedy", "beam:num_beams=3,n=2", "top-p:n=2"])
def test_captions_agree_across_batches_and_sessions_up_to_rounding(
    name: str, decoder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    lm, prefix = from_transformers(made(name).to(torch.bfloat16)), prefixes(IMAGES)
    options = {"max_new_tokens": 6, "stop_ids": (0, 3, 5)}
    assert isinstance(lm.start(prefix, SessionOptions()), TreeSession)
    result = decode(lm, prefix, decoder, **options)
    alone = [
        decode(lm, prefix[i : i + 1], decoder, image_ids=[str(i)], **options)[0]
        for i in range(IMAGES)
    ]
    assert agreement(result, alone) >= 0.75
    for image, hypothesis in ((i, h) for i, group in enumerate(result) for h in group):
        stop = [] if hypothesis.stop_id is None else [hypothesis.stop_id]
        ids = torch.tensor([[*hypothesis.ids, *stop]])
        with torch.no_grad():
            logits = lm.teacher_forced(prefix[image : image + 1], ids, torch.ones_like(ids).bool())
        each = logits.float().log_softmax(-1).gather(2, ids[..., None])
        assert hypothesis.logprob == pytest.approx(float(each.sum()), abs=0.25)
    monkeypatch.setattr(NetworkSelector, "network", lambda _: None)
    general = decode(lm, prefix, decoder, **options)
    # A sample's random number may fall on either side of a rounded probability.
    assert agreement(result, general) >= 0.5


def agreement(one: Found, other: Found) -> float:
    """The share of identical captions."""
    pairs = list(zip(chain(*one), chain(*other), strict=True))
    return sum(a.ids == b.ids for a, b in pairs) / len(pairs)


def test_one_beam_is_greedy_search_with_equal_logits() -> None:
    model = made("gpt2", vocab_size=9000, initializer_range=0.2).to(torch.bfloat16)
    lm, prefix = from_transformers(model), prefixes(96)
    session = lm.start(prefix, SessionOptions())
    ties = 0
    for _ in range(4):
        session.admit()
        ties += int((session.logits == session.logits.amax(-1, keepdim=True)).sum()) - 96
        session.advance(session.logits.argmax(-1), torch.arange(96))
    assert ties > 0
    options = {"max_new_tokens": 4, "stop_ids": ()}
    result = decode(lm, prefix, "beam:num_beams=1", **options)
    assert agreement(result, decode(lm, prefix, "greedy", **options)) == 1.0
