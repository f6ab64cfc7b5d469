"""Prepended tokens: the same as prefixes that contain their embeddings."""

from __future__ import annotations

import pytest
import torch
from core.engine.models import PREFIX, VOCABULARY, made, prefixes
from torch import Tensor

from prefixcap import decode, from_transformers
from prefixcap.engine.cache_session import CacheSession
from prefixcap.engine.tree_session import TreeSession
from prefixcap.errors import PrefixcapError
from prefixcap.interfaces.session import SessionOptions

torch.set_num_threads(1)

BEFORE = (5, 9)


def written_out(model: object, prefix: Tensor) -> Tensor:
    """Prepend the tokens by hand."""
    first: Tensor = model.get_input_embeddings()(torch.tensor(BEFORE)).detach()  # type: ignore[attr-defined]
    return torch.cat([first.expand(len(prefix), -1, -1), prefix], 1)


@pytest.mark.parametrize("name", ["gpt2", "llama", "gpt_neox", "bloom"])
@pytest.mark.parametrize(
    "decoder", ["greedy", "beam:num_beams=3,n=2", "top-p:n=2", "hf-generate:options=num_beams=3"]
)
def test_captions_equal_those_of_manually_extended_prefixes(name: str, decoder: str) -> None:
    model, prefix = made(name), prefixes(3)
    plain, prepended = from_transformers(model), from_transformers(model, prepend=BEFORE)
    options = {"max_new_tokens": 6, "stop_ids": (0,), "seed": 3}
    expected = decode(plain, written_out(model, prefix), decoder, **options)
    for ours, theirs in zip(decode(prepended, prefix, decoder, **options), expected, strict=True):
        assert [h.ids for h in ours] == [h.ids for h in theirs]
        assert [h.logprob for h in ours] == pytest.approx([h.logprob for h in theirs], abs=1e-4)
    without = decode(plain, prefix, decoder, **options)
    assert [h.ids for hyps in without for h in hyps] != [h.ids for hyps in expected for h in hyps]


@pytest.mark.parametrize(("name", "kind"), [("llama", TreeSession), ("bloom", CacheSession)])
def test_logits_and_states_exclude_prepended_positions(name: str, kind: type) -> None:
    model, prefix = made(name), prefixes(3)
    plain, prepended = from_transformers(model), from_transformers(model, prepend=BEFORE)
    ids = torch.randint(VOCABULARY, (3, 4), generator=torch.Generator().manual_seed(1))
    mask = torch.ones_like(ids, dtype=torch.bool)
    with torch.no_grad():
        torch.testing.assert_close(
            prepended.teacher_forced(prefix, ids, mask),
            plain.teacher_forced(written_out(model, prefix), ids, mask),
        )
    session = prepended.start(prefix, SessionOptions(hidden_states=True))
    assert isinstance(session, kind)
    session.admit()
    whole = plain.start(written_out(model, prefix), SessionOptions(hidden_states=True))
    whole.admit()
    states = session.prefix_hidden()
    assert states.shape[1] == PREFIX
    torch.testing.assert_close(states, whole.prefix_hidden()[:, len(BEFORE) :])
    assert prepended.digest() != plain.digest()


def test_prepended_tokens_use_up_positions() -> None:
    plain, prepended = (
        from_transformers(made("gpt2")),
        from_transformers(made("gpt2"), prepend=BEFORE),
    )
    assert plain.max_positions == 64
    assert prepended.max_positions == 62
    assert torch.equal(plain.prepend_tokens(prefixes(1)), prefixes(1))


def test_an_unknown_token_is_an_error() -> None:
    with pytest.raises(
        PrefixcapError, match=r"prepend: 37 is not in the vocabulary of 37 tokens \(0 t"
    ):
        from_transformers(made("gpt2"), prepend=(0, VOCABULARY))
