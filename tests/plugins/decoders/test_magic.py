"""MAGIC against its formula in plain loops, and what it says of missing inputs."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import pytest
import torch
from decoder_checks import rescore, tokens_of
from decoder_models import LetterLM, prefixes, seen, small_model
from prefixcap_decoders.guided.config import Magic
from torch import Tensor

import prefixcap
from prefixcap import PrefixcapError
from prefixcap.engine.causal_lm import CausalLM
from prefixcap.errors import NonFiniteError
from prefixcap.testing.word_encoder import WordsEncoder

STOPS = [5, 11]
LIMIT = 6


class Pairs(WordsEncoder):
    """Encodes a text as the counts of its pairs of letters, which have no spaces between them."""

    def encode_text(self, texts: Any) -> Tensor:
        pairs = [" ".join(map("".join, pairwise(text))) for text in texts]
        return super().encode_text(pairs)


@pytest.fixture(scope="module", params=["gpt2", "llama"])
def lm(request: pytest.FixtureRequest) -> LetterLM:
    return LetterLM(small_model(request.param))


def magic_by_loops(lm: LetterLM, prefix: Tensor, feature: Tensor, config: Magic) -> list[int]:
    """Su et al.'s formula without a cache, one candidate at a time."""
    encoder, tokens = Pairs(len(feature)), []

    def run(tokens: list[int]) -> tuple[Tensor, Tensor]:
        inputs = torch.cat([prefix, lm.embed(torch.tensor(tokens, dtype=torch.long))])[None]
        out = lm.model(inputs_embeds=inputs, use_cache=False, output_hidden_states=True)
        return out.logits[0, -1], out.hidden_states[-1][0]

    def cosine(a: Tensor, b: Tensor) -> float:
        norms = float(a.norm() * b.norm())
        return float(a @ b) / norms if norms else 0.0

    with torch.inference_mode():
        while len(tokens) < LIMIT and not set(tokens[-1:]) & set(STOPS):
            logits, _ = run(tokens)
            likely = logits.softmax(-1).topk(config.top_k)
            probabilities, candidates = likely.values.tolist(), likely.indices.tolist()
            penalties, similarities = [], []
            for token in candidates:
                _, states = run([*tokens, token])
                penalties.append(max(cosine(states[-1], state) for state in states[:-1]))
                words = [t for t in [*tokens, token] if t not in STOPS]
                text = config.prompt + " " * bool(config.prompt) + lm.tokenizer.decode(words)
                similarities.append(cosine(encoder.encode_text([text])[0], feature))
            weights = [math.exp(s / config.temperature) for s in similarities]
            values = [
                (1 - config.alpha) * p - config.alpha * s + config.beta * w / sum(weights)
                for p, s, w in zip(probabilities, penalties, weights, strict=True)
            ]
            tokens.append(candidates[values.index(max(values))])
    return tokens


@pytest.mark.parametrize(
    "config",
    [
        Magic(top_k=6, temperature=0.1),
        Magic(top_k=9, alpha=0.4, beta=0.7, temperature=0.05, prompt="a bc"),
        Magic(top_k=4, beta=0.0),
    ],
)
def test_magic_is_its_formula(lm: LetterLM, config: Magic) -> None:
    prefix, features = prefixes(4), seen(4, 8)["features"]
    for max_rows in (320, 2 * config.top_k):
        result = prefixcap.decode(
            lm, prefix, config, max_new_tokens=LIMIT, stop_ids=STOPS, max_rows=max_rows,
            features=features, encoder=Pairs(8), n=2,
        )  # fmt: skip
        for row, feature, (first, copy) in zip(prefix, features, result, strict=True):
            assert tokens_of(first) == magic_by_loops(lm, row, feature, config)
            assert first == copy
            assert first.logprob == pytest.approx(rescore(lm, row, first), abs=1e-3)


def test_the_image_decides(lm: LetterLM) -> None:
    # one prefix for all images, as of the mapper `begin`
    prefix = prefixes(1).expand(6, -1, -1)
    captions = {
        beta: prefixcap.decode(
            lm, prefix, Magic(top_k=12, beta=beta), max_new_tokens=LIMIT, stop_ids=[],
            features=seen(6, 8)["features"], encoder=Pairs(8),
        )
        for beta in (0.0, 2.0)
    }  # fmt: skip
    assert len({hypotheses[0].ids for hypotheses in captions[0.0]}) == 1
    assert len({hypotheses[0].ids for hypotheses in captions[2.0]}) > 1


def test_an_excluded_token_has_no_share_of_clip() -> None:
    lm, given = LetterLM(small_model("gpt2")), {"max_new_tokens": 5, "stop_ids": [22]}
    config = Magic(top_k=23, min_new_tokens=5, beta=50.0)
    for hypotheses in prefixcap.decode(lm, prefixes(4), config, **given, **seen(4)):
        assert len(hypotheses[0].ids) == 5


class Silent(WordsEncoder):
    def encode_text(self, texts: Any) -> Any:
        return None


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({}, "magic compares captions with the image, but the feature is missing"),
        ({"features": torch.ones(1, 5)}, "magic compares .* the features' encoder is missing"),
        ({"features": torch.ones(1, 5), "encoder": Silent(5)}, "'Silent' has no text tower"),
        ({"features": torch.ones(1, 2, 5), "encoder": Pairs(5)}, "one vector per image"),
        ({"features": torch.ones(1, 3), "encoder": Pairs(5)}, "width 3 and the texts of 'Pairs' 5"),
    ],
)
def test_missing_inputs_are_errors(given: dict[str, Any], sentence: str) -> None:
    lm = LetterLM(small_model("gpt2"))
    with pytest.raises(PrefixcapError, match=sentence):
        prefixcap.decode(lm, prefixes(1), "magic", max_new_tokens=3, **given)


def test_a_model_without_a_tokenizer_is_an_error() -> None:
    lm = CausalLM(small_model("gpt2"))
    with pytest.raises(PrefixcapError, match=r"magic compares .* the language model has no token"):
        prefixcap.decode(lm, prefixes(1), "magic", max_new_tokens=3, **seen(1))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_feature_that_is_not_finite_loses_its_own_image_alone(value: float) -> None:
    lm, given = LetterLM(small_model("gpt2")), seen(3)
    wanted = prefixcap.decode(lm, prefixes(3), "magic", max_new_tokens=4, stop_ids=[], **given)
    given["features"] = given["features"].clone()
    given["features"][1, 0] = value
    with pytest.raises(
        NonFiniteError, match=r"similarities of image and caption .* image '1'"
    ) as e:
        prefixcap.decode(lm, prefixes(3), "magic", max_new_tokens=4, stop_ids=[], **given)
    assert e.value.captions == {0: wanted[0], 2: wanted[2]}


def test_a_text_tower_must_be_one() -> None:
    with pytest.raises(PrefixcapError, match="text: no encoder 'clop'; did you mean 'clip'"):
        prefixcap.Registry().parse(prefixcap.DecoderConfig, "magic:text=clop")
