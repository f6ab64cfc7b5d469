"""`decode`: the guarantees that it gives to every decoder."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import attrs
import numpy as np
import pytest
import torch
from core.engine.models import made
from core.engine.models import prefixes as embeddings
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import prefixcap
from prefixcap import Decoder, DecoderConfig, NonFiniteError, PrefixcapError, TokenDecoder
from prefixcap.decoding.decode import collect, iter_decode
from prefixcap.interfaces.decoder import DecodingTask
from prefixcap.testing.table_lm import TableLM

LM = TableLM(vocab_size=5, seed=4)


def prefixes(count: int) -> Tensor:
    return torch.randn(count, 2, 4, generator=torch.Generator().manual_seed(8))


class Drawing(TokenDecoder):
    """Samples from the model; checks the arguments of each step."""

    @property
    def samples(self) -> int:
        return 2

    def choose(self, logits: Tensor, uniforms: Tensor, history: Sequence[Sequence[int]]) -> Tensor:
        assert logits.shape == (len(history), LM.vocab_size)
        assert uniforms.dtype == torch.float64  # float32 rounds some of them to 1
        assert ((uniforms >= 0) & (uniforms < 1)).all()
        cumulative = logits.double().softmax(-1).cumsum(-1)
        return (cumulative <= uniforms[:, None]).sum(-1).clamp(max=logits.shape[1] - 1)


@attrs.frozen(kw_only=True)
class DrawingConfig(DecoderConfig):
    name: ClassVar[str] = "drawing"

    def build(self) -> Decoder:
        return Drawing()


def plain(prefix: Tensor, image_id: str, samples: int, limit: int, stops: set[int]) -> list[object]:
    """The expected result of `Drawing` for one image, in plain loops."""
    task = DecodingTask(
        lm=LM, prefix=prefix[None], image_ids=[image_id], max_new_tokens=limit,
        stop_ids=frozenset(stops), stream="drawing",
    )  # fmt: skip
    result = []
    for numbers in task.generator(0).random((samples, limit)):
        tokens, logprob = [], 0.0
        for number in numbers:
            following = LM.distribution(prefix, tokens).double().softmax(-1)
            token = min(int((following.cumsum(-1) <= number).sum()), 4)
            logprob += float(following[token].log())
            tokens.append(token)
            if token in stops:
                break
        ended = tokens[-1] in stops
        result.append((tuple(tokens[:-1] if ended else tokens), logprob, ended))
    return sorted(result, key=lambda caption: -caption[1])


@settings(deadline=None, max_examples=40)
@given(
    images=st.permutations(range(6)).flatmap(lambda p: st.integers(1, 6).map(lambda n: p[:n])),
    max_rows=st.integers(1, 20),
    samples=st.integers(1, 4),
    limit=st.integers(1, 6),
    stops=st.sets(st.integers(0, 4), max_size=3),
)
def test_captions_do_not_depend_on_other_rows(
    images: list[int], max_rows: int, samples: int, limit: int, stops: set[int]
) -> None:
    prefix = prefixes(6)[images]
    names = [f"image {i}" for i in images]
    result = prefixcap.decode(
        LM, prefix, DrawingConfig(), max_new_tokens=limit, stop_ids=sorted(stops),
        image_ids=names, n=samples, max_rows=max_rows,
    )  # fmt: skip
    for row, name, hypotheses in zip(prefix, names, result, strict=True):
        expected = plain(row, name, samples, limit, stops)
        got = [
            (h.ids, pytest.approx(h.logprob, abs=1e-4), h.finish_reason == "stop")
            for h in hypotheses
        ]
        assert expected == got


def test_random_streams_are_keyed_by_image_seed_and_decoder() -> None:
    def numbers(**changes: object) -> list[float]:
        task = DecodingTask(
            lm=LM, prefix=prefixes(1), image_ids=["a"], max_new_tokens=1, stop_ids=frozenset(),
            seed=1, stream="s",
        )  # fmt: skip
        return list(attrs.evolve(task, **changes).generator(0).random(4))  # type: ignore[arg-type]

    assert numbers() == numbers(max_rows=7)
    others = [numbers(image_ids=["b"]), numbers(seed=2), numbers(stream="t")]
    assert all(other != numbers() for other in others)


def test_global_random_states_are_not_changed() -> None:
    before = torch.get_rng_state(), repr(np.random.get_state())
    prefixcap.decode(LM, prefixes(3), DrawingConfig(), max_new_tokens=4)
    after = torch.get_rng_state(), repr(np.random.get_state())
    assert torch.equal(before[0], after[0])
    assert before[1] == after[1]


def test_the_stop_token_and_its_text() -> None:
    hidden = prefixcap.decode(LM, prefixes(5), "greedy", stop_ids=[0, 4], max_new_tokens=9)
    shown = prefixcap.decode(
        LM, prefixes(5), "greedy", stop_ids=[0, 4], max_new_tokens=9, stop_visible=True
    )
    for (one,), (other,) in zip(hidden, shown, strict=True):
        assert one.ids == other.ids
        assert one.finish_reason == ("length" if one.stop_id is None else "stop")
        letter = {None: "", 0: "a", 4: ""}[one.stop_id]
        assert other.text == one.text + letter


def test_images_are_yielded_as_they_finish() -> None:
    order = [image for image, _ in iter_decode(LM, prefixes(6), "greedy", max_new_tokens=8)]
    assert sorted(order) == list(range(6))
    assert order != list(range(6))


def test_inference_mode_is_off_between_yields() -> None:
    for _ in iter_decode(LM, prefixes(3), "greedy"):
        assert not torch.is_inference_mode_enabled()


def test_an_error_that_names_no_image_is_not_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    def choose(*_: Any) -> Tensor:
        raise NonFiniteError({}, "something")

    monkeypatch.setattr(Drawing, "choose", choose)
    with pytest.raises(NonFiniteError, match="something"):
        prefixcap.decode(LM, prefixes(2), DrawingConfig())


def test_a_missing_image_is_an_error() -> None:
    with pytest.raises(PrefixcapError, match=r"returned nothing for 2 images: \[0, 2\]"):
        collect(iter([(1, [])]), 3)


def test_decode_accepts_a_transformers_model() -> None:
    model = made("gpt2")
    wrapped = prefixcap.decode(prefixcap.from_transformers(model), embeddings(2), "beam")
    assert prefixcap.decode(model, embeddings(2), "beam") == wrapped


@pytest.mark.parametrize("decoder", ["greedy", "contrastive:top_k=2"])
def test_a_caption_may_use_all_positions(decoder: str) -> None:
    lm, prefix = prefixcap.from_transformers(made("gpt2", n_positions=12)), embeddings(1)
    ((result,),) = prefixcap.decode(lm, prefix, decoder, stop_ids=(), max_new_tokens=9)
    assert len(result.ids) == 9
    with pytest.raises(PrefixcapError, match="a prefix of 3 and 10 new tokens need 13 positions"):
        prefixcap.decode(lm, prefix, decoder, stop_ids=(), max_new_tokens=10)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"prefix": torch.zeros(2, 4)}, r"of shape \(B,P,4\), not \(2, 4\)"),
        ({"prefix": torch.zeros(2, 1, 3)}, r"of shape \(B,P,4\), not \(2, 1, 3\)"),
        ({"prefix": torch.zeros(2, 0, 4)}, "a prefix must have at least one position"),
        ({"image_ids": ["a"]}, "1 image ids were given for 2 prefixes"),
        ({"features": torch.zeros(3, 7)}, "features of 3 images were given for 2 prefixes"),
        ({"max_new_tokens": 0}, "max_new_tokens must be at least 1, not 0"),
        ({"n": 0}, "n must be at least 1, not 0"),
        ({"max_rows": 0}, "max_rows must be at least 1, not 0"),
        ({"stop_ids": [5]}, "the stop token 5 is not in the vocabulary of 5"),
        ({"decoder": "greddy"}, "no decoder 'greddy'; did you mean 'greedy'"),
        ({"decoder": "beam:num_beam=2"}, "no setting 'num_beam'; did you mean 'num_beams'"),
        ({"decoder": "beam:n=9"}, r"n must be at most num_beams \(5\), not 9"),
        ({"tokenizer": object()}, "has its own tokenizer: leave out `tokenizer`"),
        ({"model": torch.nn.Linear(2, 2)}, "a causal language model of transformers, not Linear"),
        ({"n": 6, "decoder": "beam"}, "6 captions per image were requested, but num_beams is 5"),
    ],
)
def test_invalid_arguments_are_errors(arguments: dict[str, object], sentence: str) -> None:
    wanted: dict[str, Any] = {
        "model": LM,
        "prefix": torch.zeros(2, 1, 4),
        "decoder": "greedy",
        **arguments,
    }
    with pytest.raises(PrefixcapError, match=sentence):
        prefixcap.decode(**wanted)
