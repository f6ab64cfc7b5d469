"""Logits that are NaN or infinite: an error that names the images, and the captions of the others.

Every registered decoder is tried under every condition.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import pytest
import torch
from decoder_checks import DECODERS
from decoder_models import LetterLM, prefixes, seen, small_model
from prefixcap_decoders.hf_generate.config import HFGenerate
from prefixcap_decoders.lockstep import LockstepSession
from prefixcap_decoders.logits import by_name, processors
from torch import Tensor
from typing_extensions import override

import prefixcap
from prefixcap import Hypothesis, NonFiniteError, PrefixcapError
from prefixcap.engine.causal_lm import CausalLM
from prefixcap.interfaces.session import Session, SessionOptions

NAN, INF = float("nan"), float("inf")
# What becomes of the logits (V) of an image, and after how many tokens.
CORRUPTIONS: dict[str, tuple[int | slice, float, int]] = {
    "NaN": (slice(None), NAN, 0),
    "+inf": (3, INF, 0),
    "all -inf": (slice(None), -INF, 0),
    "one NaN from the third token on": (3, NAN, 2),
}


class BrokenSession(LockstepSession):
    """A session with wrong logits for image "b", wherever it is in the batch."""

    def __init__(self, inner: Session, broken: Sequence[int], kind: str, length: int) -> None:
        super().__init__(inner)
        self.broken, self.kind = broken, kind
        self.ages = [0] * length

    @property
    @override
    def logits(self) -> Tensor:
        logits, (tokens, value, after) = super().logits.clone(), CORRUPTIONS[self.kind]
        for row, image in enumerate(self.images):
            if image in self.broken and self.ages[image] >= after:
                logits[row, tokens] = value
        return logits

    @override
    def extend(self, tokens: Tensor, parents: Tensor, kept: Tensor | None = None) -> Tensor:
        super().extend(tokens, parents, kept)
        for image in () if kept is not None and len(kept) else self.images:
            self.ages[image] += 1
        return self.logits

    @override
    def advance(self, tokens: Tensor, parents: Tensor) -> Tensor:
        super().advance(tokens, parents)
        for image in set(self.images):
            self.ages[image] += 1
        return self.logits


class BrokenLM(LetterLM):
    """A language model whose logits are wrong for the image with the prefix `broken`."""

    def __init__(self, model: Any, kind: str, broken: Tensor) -> None:
        super().__init__(model)
        self.kind, self.broken = kind, broken

    @override
    def start(self, prefix: Tensor, options: SessionOptions) -> Session:
        inner = super().start(prefix, options)
        numbers = [n for n, row in enumerate(prefix) if torch.equal(row, self.broken)]
        return BrokenSession(inner, numbers, self.kind, len(prefix))


# these run the model themselves, without a session
OWN_RUNS = ("hf-generate", "zerocap")


@cache
def model(family: str, dtype: torch.dtype = torch.float32) -> Any:
    built = small_model(family).to(dtype)
    built.config.eos_token_id = 0
    return built


def decoded(lm: Any, prefix: Tensor, decoder: Any, ids: Sequence[str]) -> list[list[Hypothesis]]:
    # each image keeps its own feature when others are left out
    known = seen(26)
    known["features"] = known["features"][[ord(name[-1]) % 26 for name in ids]]
    return prefixcap.decode(
        lm, prefix, decoder, max_new_tokens=4, stop_ids=[], image_ids=ids, **known
    )


@cache
def alone(decoder: str, family: str, dtype: torch.dtype) -> list[list[Hypothesis]]:
    return decoded(LetterLM(model(family, dtype)), prefixes(3)[[0, 2]], decoder, ["a", "c"])


def check(
    lm: Any, prefix: Tensor, decoder: str, family: str = "gpt2", dtype: torch.dtype = torch.float32
) -> None:
    """Decode, and check the error that names image "b", with the captions of the others."""
    with pytest.raises(NonFiniteError) as caught:
        decoded(lm, prefix, decoder, ["a", "b", "c"])
    error = caught.value
    assert "for the image 'b'" in str(error)
    assert "bfloat16 or float32" in str(error)
    assert error.images == {1: "b"}
    first, last = alone(decoder, family, dtype)
    assert error.captions == {0: first, 2: last}


@pytest.mark.parametrize("decoder", [d for d in DECODERS if d not in OWN_RUNS])
@pytest.mark.parametrize("kind", CORRUPTIONS)
def test_logits(decoder: str, kind: str) -> None:
    prefix = prefixes(3)
    check(BrokenLM(model("gpt2"), kind, prefix[1]), prefix, decoder)


@pytest.mark.parametrize(
    ("decoder", "value"), [*((name, NAN) for name in DECODERS), ("beam", INF), ("greedy", -INF)]
)
def test_prefixes(decoder: str, value: float) -> None:
    prefix = prefixes(3)
    prefix[1, 2, 0] = value
    check(LetterLM(model("gpt2")), prefix, decoder)


@pytest.mark.parametrize(
    ("decoder", "family", "dtype"),
    [
        *((name, "gpt2", torch.float16) for name in DECODERS),
        *((name, "bloom", torch.bfloat16) for name in ("beam", "greedy", "hf-generate")),
    ],
)
def test_overflow(decoder: str, family: str, dtype: torch.dtype) -> None:
    prefix = prefixes(3)
    prefix[1, 2, 0] = 1e5 if dtype == torch.float16 else torch.finfo(torch.float32).max
    check(LetterLM(model(family, dtype)), prefix, decoder, family, dtype)


GENERATE = ("num_beams=1", "num_beams=3", "do_sample=true")


@pytest.mark.parametrize("options", GENERATE)
@pytest.mark.parametrize("kind", CORRUPTIONS)
def test_logits_in_generate(options: str, kind: str) -> None:
    tokens, value, after = CORRUPTIONS[kind]
    steps, broken = 0, small_model("gpt2")

    def corrupt(module: Any, inputs: Any, output: Tensor) -> Tensor:
        nonlocal steps
        steps += 1
        if steps > after:
            output = output.clone()
            output[..., tokens] = value
        return output

    broken.lm_head.register_forward_hook(corrupt)
    with pytest.raises(NonFiniteError, match="for 3 images: 'a', 'b', 'c'"):
        decoded(CausalLM(broken), prefixes(3), f"hf-generate:options={options}", ["a", "b", "c"])


def test_single_impossible_tokens_are_legal() -> None:
    bias = torch.zeros(23)
    bias[3:20] = -INF
    lm = CausalLM(small_model("gpt2"))
    lm.model.lm_head.register_forward_hook(lambda module, inputs, output: output + bias)
    for decoder in ("greedy", "sample:n=3", "beam", "hf-generate"):
        for captions in decoded(lm, prefixes(2), decoder, ["a", "b"]):
            assert captions
            assert all(not 3 <= token < 20 for caption in captions for token in caption.ids)


def test_an_image_of_a_mean_that_fails() -> None:
    prefix = prefixes(4)
    prefix[1, 0, 0] = NAN
    decoder = "guidance:against=mean,scale=2"
    with pytest.raises(NonFiniteError) as caught:
        decoded(LetterLM(model("gpt2")), prefix, decoder, "abcd")
    others = decoded(LetterLM(model("gpt2")), prefix[[0, 2, 3]], decoder, "acd")
    assert list(caught.value.captions.values()) == others


def test_many_images_are_counted() -> None:
    broken = small_model("gpt2")
    broken.lm_head.weight.data.fill_(NAN)
    ids = [f"image {n}" for n in range(12)]
    with pytest.raises(NonFiniteError, match=r"for 12 images: 'image 0', .* and 2 more: ") as e:
        decoded(CausalLM(broken), prefixes(12), "beam", ids)
    assert list(e.value.images.values()) == ids
    assert e.value.captions == {}


def test_iter_decode_yields_the_others_first() -> None:
    prefix = prefixes(3)
    prefix[0] = NAN
    captions = prefixcap.iter_decode(CausalLM(model("gpt2")), prefix, "greedy", max_new_tokens=3)
    assert sorted((next(captions)[0], next(captions)[0])) == [1, 2]
    with pytest.raises(NonFiniteError, match="'0'"):
        next(captions)


class Broken:
    """A logits processor that returns a score which cannot be ranked."""

    value = NAN

    def __call__(self, tokens: Tensor, scores: Tensor) -> Tensor:
        scores = scores.clone()
        scores[-1, 2] = self.value
        return scores


@pytest.mark.parametrize("value", [NAN, INF])
@pytest.mark.parametrize(
    "decoder",
    [
        *("beam", "constrained", "contrastive", "diverse-beam", "greedy", "magic", "mbr"),
        "mirostat",
        *("sample", "stochastic-beam", "top-k"),
        *("speculative:decoder=greedy", "speculative:decoder=sample"),
    ],
)
def test_processors(decoder: str, value: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Broken, "value", value)
    monkeypatch.setattr(processors, "named_processor", lambda *_: Broken())
    monkeypatch.setattr(by_name, "named_processor", lambda *_: Broken())
    spec = f"{decoder}:processors=X"
    with pytest.raises(PrefixcapError, match="processors returned scores that are NaN or"):
        decoded(LetterLM(model("gpt2")), prefixes(2), spec, "ab")


@pytest.mark.parametrize("sampling", [(), ("do_sample=true",), ("num_beams=3",)])
def test_options_of_generate_that_forbid_every_token(sampling: tuple[str, ...]) -> None:
    every = f"suppress_tokens={list(range(23))}"
    spec = HFGenerate(options=(every, *sampling))
    with pytest.raises(NonFiniteError, match="are not finite for"):
        decoded(LetterLM(model("gpt2")), prefixes(2), spec, "ab")
