"""Sessions compared with running each row from its prefix, without any cache."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import pytest
import torch
from core.engine.models import PREFIX, VOCABULARY, made, prefixes, uncached
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from prefixcap import decode, from_transformers
from prefixcap.engine.architectures import GPT2Network, LlamaNetwork, OPTNetwork
from prefixcap.engine.cache_session import CacheSession
from prefixcap.engine.network_selection import NetworkSelector
from prefixcap.engine.prefixes.inputs import PrefixInputs
from prefixcap.engine.top_tokens import top_tokens, top_tokens_of
from prefixcap.engine.transformers_network import TransformersNetwork
from prefixcap.engine.tree_session import TreeSession
from prefixcap.interfaces.session import Session, SessionOptions

torch.set_num_threads(1)

model = cache(made)
Opened = Callable[..., Session]


@cache
def opener(name: str, kind: Any) -> Opened:
    if kind is CacheSession:
        return lambda prefix, **options: CacheSession(
            model(name), PrefixInputs(embeddings=prefix), SessionOptions(**options)
        )
    network = kind(model(name))
    return lambda prefix, **options: TreeSession(
        network, PrefixInputs(embeddings=prefix), SessionOptions(**options)
    )


CASES = [
    ("gpt2", CacheSession),
    ("gpt2", GPT2Network),
    ("gpt2", TransformersNetwork),
    ("llama", CacheSession),
    ("llama", LlamaNetwork),
    ("llama", TransformersNetwork),
    ("opt", CacheSession),
    ("opt", OPTNetwork),
    ("opt", TransformersNetwork),
    ("qwen2", LlamaNetwork),
    ("qwen3", LlamaNetwork),
    ("mistral", LlamaNetwork),
    ("gpt_neox", TransformersNetwork),
    ("bloom", CacheSession),
    ("gpt_neo", CacheSession),
    ("windowed", CacheSession),
    ("lfm2", CacheSession),
]
cases = pytest.mark.parametrize(
    ("name", "kind"), CASES, ids=[f"{name}-{kind.__name__}" for name, kind in CASES]
)


class Checked:
    """A session and the tokens of its rows, from which the expected results follow."""

    def __init__(self, name: str, kind: Any, images: int, **options: Any) -> None:
        self.model, self.prefix = model(name), prefixes(images)
        self.session = opener(name, kind)(self.prefix, hidden_states=True, **options)
        self.rows: list[tuple[int, ...]] = []
        self.images: list[int] = []
        self.admitted: list[int] = []

    def admit(self) -> None:
        live = len(self.rows)
        new = self.session.admit()
        assert new or live or not self.session.waiting
        self.admitted += new
        self.images += new
        self.rows += [()] * len(new)
        self.check()
        if new:
            whole = self.model(inputs_embeds=self.prefix[new], output_hidden_states=True)
            close(self.session.prefix_hidden(), whole.hidden_states[-1].detach())

    def advance(self, tokens: list[int], parents: list[int]) -> None:
        result = self.session.advance(torch.tensor(tokens), torch.tensor(parents, dtype=torch.long))
        self.rows = [(*self.rows[p], t) for t, p in zip(tokens, parents, strict=True)]
        self.images = [self.images[p] for p in parents]
        assert result is self.session.logits
        self.check()

    def extend(self, tokens: list[int], parents: list[int], kept: list[int] | None) -> None:
        stay = None if kept is None else torch.tensor(kept, dtype=torch.long)
        before = self.session.logits[[] if kept is None else kept].clone()
        index = torch.tensor(parents, dtype=torch.long)
        result = self.session.extend(torch.tensor(tokens, dtype=torch.long), index, stay)
        rows, images = list(self.rows), list(self.images)
        for token, parent in zip(tokens, parents, strict=True):
            rows.append((*rows[parent], token))
            images.append(images[parent])
        live = range(len(self.rows), len(rows))
        self.rows = [rows[row] for row in (*(kept or ()), *live)]
        self.images = [images[row] for row in (*(kept or ()), *live)]
        assert result is self.session.logits
        assert torch.equal(result[: len(before)], before)
        self.check()

    def check(self) -> None:
        assert self.session.images == self.images
        assert self.session.logits.shape == (len(self.rows), VOCABULARY)
        assert self.session.logits.dtype == torch.float32
        if not self.rows:
            return
        logits, hidden = uncached(self.model, self.prefix, self.rows, self.images)
        close(self.session.logits, logits)
        states = self.session.hidden()
        assert len(states) == len(hidden)
        for result, wanted in zip(states, hidden, strict=True):
            close(result, wanted)


def close(result: Tensor, wanted: Tensor) -> None:
    torch.testing.assert_close(result, wanted, atol=1e-4, rtol=1e-4)


@cases
@settings(max_examples=12, deadline=None, derandomize=True)
@given(data=st.data())
def test_any_sequence_of_calls_matches_uncached_logits(name: str, kind: Any, data: Any) -> None:
    images = data.draw(st.integers(1, 5), label="images")
    rows_per_image = data.draw(st.integers(1, 3), label="rows an image")
    max_rows = data.draw(st.none() | st.integers(1, 9), label="max rows")
    checked = Checked(name, kind, images, rows_per_image=rows_per_image, max_rows=max_rows)
    for _ in range(data.draw(st.integers(2, 7), label="steps")):
        checked.admit()
        live = len(checked.rows)
        if not live:
            break
        if data.draw(st.booleans(), label="extend"):
            checked.extend(*drawn_trees(data, live))
            continue
        row = st.integers(0, live - 1)
        parents = data.draw(st.lists(row, max_size=live + 2), label="parents")
        checked.advance(drawn_tokens(data, len(parents)), parents)


def drawn_tokens(data: Any, count: int) -> list[int]:
    token = st.integers(0, VOCABULARY - 1)
    return data.draw(st.lists(token, min_size=count, max_size=count), label="tokens")


def drawn_trees(data: Any, live: int) -> tuple[list[int], list[int], list[int] | None]:
    """Draw new tokens, each after a live row or an earlier token, and the rows that stay."""
    count = data.draw(st.integers(0, 5), label="new tokens")
    parents = [data.draw(st.integers(0, live + n - 1), label="parent") for n in range(count)]
    rows = st.lists(st.integers(0, live - 1), unique=True)
    kept = data.draw(st.none() | rows, label="kept")
    return drawn_tokens(data, count), parents, kept


@cases
def test_every_image_is_admitted_once_within_the_row_limit(name: str, kind: Any) -> None:
    checked = Checked(name, kind, 7, rows_per_image=2, max_rows=6)
    step = 0
    while checked.session.waiting or checked.rows:
        checked.admit()
        assert len(set(checked.images)) * 2 <= 6
        # Image i ends after i % 3 + 1 steps, so that slots become free one by one.
        parents = [r for r, row in enumerate(checked.rows) if len(row) <= checked.images[r] % 3]
        first = [p for p in parents for _ in range(2 if not checked.rows[p] else 1)]
        checked.advance([step % VOCABULARY] * len(first), first)
        step += 1
    assert checked.admitted == list(range(7))


@pytest.mark.parametrize("name", ["gpt2", "llama", "opt", "gpt_neox"])
def test_a_batch_is_refilled_while_rows_are_live(name: str) -> None:
    network = NetworkSelector(model(name)).network()
    assert network is not None
    session = TreeSession(network, PrefixInputs(embeddings=prefixes(3)), SessionOptions(max_rows=2))
    assert session.admit() == [0, 1]
    session.advance(torch.tensor([1]), torch.tensor([1]))
    assert session.admit() == [2]
    assert session.images == [1, 2]


def test_a_long_text_outgrows_the_first_columns() -> None:
    checked = Checked("gpt2", GPT2Network, 2, rows_per_image=3)
    checked.admit()
    checked.advance([1, 2, 3, 4], [0, 0, 0, 1])
    for step in range(30):
        checked.advance([step % 7, 5, 6, step % 5], [1, 0, 2, 3])


@cases
def test_hundreds_of_rows_are_like_a_few(name: str, kind: Any) -> None:
    """Kernels may treat many rows differently: 135 positions, then 225 rows."""
    checked = Checked(name, kind, 45, rows_per_image=5)
    checked.admit()
    checked.advance([n % VOCABULARY for n in range(225)], [n // 5 for n in range(225)])
    result = [top_tokens(checked.session, count) for count in (1, 4)]
    for ranked, count in zip(result, (1, 4), strict=True):
        wanted = top_tokens_of(checked.session.logits, count)
        assert torch.equal(ranked.tokens, wanted.tokens)
        torch.testing.assert_close(ranked.logits, wanted.logits)
        torch.testing.assert_close(ranked.log_normalizer, wanted.log_normalizer)
    checked.advance([n % 7 for n in range(131)], [(n * 3) % 225 for n in range(131)])


@cases
def test_dropping_all_rows_leaves_none(name: str, kind: Any) -> None:
    checked = Checked(name, kind, 3, max_rows=2)
    checked.admit()
    checked.advance([], [])
    assert checked.session.images == []
    assert all(len(state) == 0 for state in checked.session.hidden())
    checked.admit()
    assert checked.images == [2]


@cases
def test_a_text_is_extended_at_once_and_partly_rejected(name: str, kind: Any) -> None:
    checked = Checked(name, kind, 3, rows_per_image=5, max_rows=10)
    checked.admit()
    # Three tokens and a branch after the first one for image 0, two tokens for image 1.
    checked.extend([1, 2, 3, 4, 5, 6], [0, 2, 3, 2, 1, 6], None)
    # Continue from the end of the first text and the middle of the other.
    checked.extend([7, 8, 9], [2, 6, 4], [0, 5])
    # Image 0 is gone, so image 2 is admitted next to half of image 1's text.
    checked.extend([], [], [1])
    checked.admit()
    checked.advance([1, 2], [0, 0])
    while checked.session.waiting or checked.rows:
        checked.advance([], [])
        checked.admit()


@pytest.mark.parametrize("kind", [GPT2Network, CacheSession])
@pytest.mark.parametrize("parents", [[2], [2, 3], [0, 3], [-1], [0, 4, 2]])
def test_a_token_continues_a_row_or_a_token_before_it(kind: Any, parents: list[int]) -> None:
    session = opener("gpt2", kind)(prefixes(2))
    session.admit()
    with pytest.raises(IndexError, match="cannot continue row"):
        session.extend(torch.zeros(len(parents), dtype=torch.long), torch.tensor(parents))


def test_two_sessions_of_one_model_are_independent() -> None:
    first = Checked("llama", TransformersNetwork, 2, rows_per_image=2)
    second = Checked("llama", LlamaNetwork, 3)
    third = Checked("llama", CacheSession, 3)
    for checked in (first, second, third):
        checked.admit()
    for step in range(3):
        first.advance([step, 2, 3], [1, 0, 0])
        second.advance([step, 4], [1, 0])
        third.advance([step, 4], [1, 0])


@pytest.mark.parametrize("name", ["gpt2", "llama", "opt"])
@pytest.mark.parametrize("kind", [CacheSession, TransformersNetwork, "native"])
def test_bfloat16_stays_near_float32(name: str, kind: Any) -> None:
    half, exact = made(name).to(torch.bfloat16), model(name)
    prefix, options = prefixes(3), SessionOptions(rows_per_image=2)
    inputs = PrefixInputs(embeddings=prefix)
    if kind is CacheSession:
        session: Session = CacheSession(half, inputs, options)
    else:
        network = NetworkSelector(half).network() if kind == "native" else kind(half)
        assert network is not None
        session = TreeSession(network, inputs, options)
    session.admit()
    parents, tokens = torch.tensor([0, 2, 1, 2]), torch.tensor([5, 6, 7, 8])
    logits = session.advance(tokens, parents)
    assert logits.dtype == torch.float32
    wanted, _ = uncached(exact, prefix, [(t,) for t in tokens.tolist()], parents.tolist())
    assert (logits - wanted).abs().mean() < 0.05 * wanted.std()


@pytest.mark.parametrize(
    ("name", "kind"), [("gpt2", GPT2Network), ("llama", LlamaNetwork), ("opt", OPTNetwork)]
)
def test_requesting_hidden_states_changes_no_logits(name: str, kind: Any) -> None:
    plain, full = (
        opener(name, kind)(prefixes(3, length=5), hidden_states=wanted) for wanted in (False, True)
    )
    for session in (plain, full):
        session.admit()
    close(plain.logits, full.logits)
    tokens, parents = torch.tensor([5, 6, 7, 8]), torch.tensor([0, 2, 1, 2])
    close(plain.advance(tokens, parents), full.advance(tokens, parents))


@pytest.mark.parametrize("kind", [CacheSession, GPT2Network, TransformersNetwork])
def test_hidden_states_must_be_requested(kind: Any) -> None:
    session = opener("gpt2", kind)(prefixes(1))
    session.admit()
    for states in (session.hidden, session.prefix_hidden):
        with pytest.raises(RuntimeError, match="hidden_states=True"):
            states()


@pytest.mark.parametrize("kind", [CacheSession, GPT2Network])
def test_the_example_of_a_session_runs(kind: Any) -> None:
    lines = [line.strip() for line in (Session.__doc__ or "").splitlines()]
    example = "\n".join(line[4:] for line in lines if line.startswith((">>> ", "... ")))
    (result,) = decode(from_transformers(model("gpt2")), prefixes(1), "greedy", stop_ids=())
    session = opener("gpt2", kind)(prefixes(1).expand(3, -1, -1), max_rows=2)
    exec(example, {"session": session, "stop": result[0].ids[2]})
    assert not session.images
    assert not session.waiting


@pytest.mark.parametrize("kind", [GPT2Network, TransformersNetwork])
def test_a_prefix_is_stored_once_for_all_rows_of_its_image(kind: Any) -> None:
    rows, length, steps = 8, 32, 4
    session = opener("gpt2", kind)(prefixes(2, length=length), rows_per_image=rows)
    assert isinstance(session, TreeSession)
    session.admit()
    session.advance(torch.arange(2 * rows), torch.arange(2 * rows) // rows)
    for _ in range(steps - 1):
        session.advance(torch.arange(2 * rows), torch.arange(2 * rows).flip(0))
    assert session.columns == length + rows * steps


def test_columns_of_dropped_rows_are_reused() -> None:
    checked = Checked("gpt2", GPT2Network, 2, rows_per_image=4)
    checked.admit()
    for step in range(20):
        # Drop all rows except the first of each image, and repeat that one.
        parents = [0, 0, 0, 0, 1, 1, 1, 1] if step == 0 else [0, 0, 0, 0, 4, 4, 4, 4]
        checked.advance([(step + n) % VOCABULARY for n in range(8)], parents)
    assert isinstance(checked.session, TreeSession)
    assert checked.session.columns == PREFIX + 19 + 4
