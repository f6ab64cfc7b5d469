"""ZeroCap against its formula in plain loops, one beam and one tensor at a time."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from core.training.world import gpt2, world
from decoder_checks import rescore, tokens_of
from decoder_models import LetterLM, letter_model, prefixes, seen, small_model
from prefixcap_decoders.guided.config import ZeroCap
from test_magic import Pairs
from torch import Tensor
from transformers import DynamicCache

import prefixcap
from prefixcap import PrefixcapError, TrainingConfig
from prefixcap.engine.causal_lm import CausalLM
from prefixcap.errors import NonFiniteError
from prefixcap.testing.table_lm import TableLM
from prefixcap.testing.word_encoder import WordsEncoder

STOPS = [5, 11]
LIMIT = 4
SMALL = {"candidates": 7, "iterations": 2, "temperature": 0.1, "prompt": "a bc"}


@pytest.fixture(scope="module", params=["gpt2", "llama"])
def lm(request: pytest.FixtureRequest) -> LetterLM:
    return LetterLM(small_model(request.param))


class Loops:
    """Tewel et al.'s method for one image; its texts are lists of tokens."""

    def __init__(self, lm: LetterLM, prefix: Tensor, feature: Tensor, config: ZeroCap) -> None:
        self.lm, self.prefix, self.feature, self.config = lm, prefix, feature, config
        self.encoder = Pairs(len(feature))

    def cosine(self, text: str) -> float:
        vector = self.encoder.encode_text([text])[0]
        norms = float(vector.norm() * self.feature.norm())
        return float(vector @ self.feature) / norms if norms else 0.0

    def logits(self, last: Tensor, states: list[tuple[Tensor, Tensor]]) -> Tensor:
        cache = DynamicCache()
        for number, (key, value) in enumerate(states):
            cache.update(key, value, number)
        return self.lm.model(inputs_embeds=last, past_key_values=cache).logits[0, -1]

    def next(self, tokens: list[int]) -> Tensor:
        config, model = self.config, self.lm.model
        with torch.no_grad():
            inputs = torch.cat([self.prefix, self.lm.embed(torch.tensor(tokens).long())])[None]
            before = model(inputs_embeds=inputs).logits[0, -1].softmax(-1)
            own: list[tuple[Tensor, Tensor]] = []
            if inputs.shape[1] > 1:
                cache = model(inputs_embeds=inputs[:, :-1], use_cache=True).past_key_values
                own = [(layer.keys, layer.values) for layer in cache.layers]
        last, moved = inputs[:, -1:], [tuple(map(torch.zeros_like, pair)) for pair in own]
        for _ in range(config.iterations if own else 0):
            for pair in moved:
                for delta in pair:
                    delta.requires_grad_()
            states = [(k + a, v + b) for (k, v), (a, b) in zip(own, moved, strict=True)]
            probabilities = self.logits(last, states).softmax(-1)
            top = probabilities.topk(min(config.candidates, len(probabilities))).indices.tolist()
            similar = torch.tensor([self.cosine(self.shown([*tokens, token])) for token in top])
            target = (similar / config.temperature).softmax(-1)
            loss = -sum(target[n] * probabilities[token].log() for n, token in enumerate(top))
            for p, q in zip(probabilities, before, strict=True):
                loss = loss + config.kl_weight * p * (p.log() - q.log())
            loss.backward()
            after = []
            for pair in moved:
                steps = []
                for delta in pair:
                    norm = delta.grad.norm() + 1e-15
                    change = config.step_size * delta.grad / norm**config.norm_power
                    steps.append(delta.detach() - change)
                after.append(tuple(steps))
            moved = after
            model.zero_grad()
        with torch.no_grad():
            states = [(k + a, v + b) for (k, v), (a, b) in zip(own, moved, strict=True)]
            logits = self.logits(last, states).clone()
            factor = config.end_factor if tokens else 1 / 1.6
            for stop in STOPS:
                logits[stop] = logits[stop] * (factor if logits[stop] > 0 else 1 / factor)
            mixed = logits.softmax(-1) ** config.fusion * before ** (1 - config.fusion)
            return (mixed / mixed.sum()).log().double()

    def shown(self, tokens: list[int]) -> str:
        text = self.lm.tokenizer.decode([t for t in tokens if t not in STOPS])
        return f"{self.config.prompt} {text}"

    def search(self) -> list[tuple[list[int], float]]:
        beams: list[tuple[list[int], float]] = [([], 0.0)]
        for _ in range(LIMIT):
            longer = []
            for tokens, total in beams:
                if tokens and tokens[-1] in STOPS:
                    longer.append((tokens, total))
                    continue
                values = self.next(tokens).tolist()
                longer += [([*tokens, token], total + x) for token, x in enumerate(values)]
            longer.sort(key=lambda beam: -beam[1] / len(beam[0]))
            beams = longer[: self.config.num_beams]
        texts = [(t, self.lm.tokenizer.decode([i for i in t if i not in STOPS])) for t, _ in beams]
        return sorted(((t, self.cosine(text)) for t, text in texts), key=lambda pair: -pair[1])


@pytest.mark.parametrize(
    ("config", "length"),
    [
        (ZeroCap(num_beams=3, **SMALL), 3),
        (ZeroCap(num_beams=2, kl_weight=1.5, step_size=1.0, fusion=0.8, **SMALL), 1),
        (ZeroCap(num_beams=2, norm_power=0.5, end_factor=1.6, **{**SMALL, "candidates": 99}), 2),
    ],
)
def test_zerocap_is_its_formula(lm: LetterLM, config: ZeroCap, length: int) -> None:
    prefix, features = prefixes(2, length), seen(2, 8)["features"]
    given: dict[str, Any] = {"max_new_tokens": LIMIT, "stop_ids": STOPS, "n": 2}
    given |= {"features": features, "encoder": Pairs(8)}
    result = prefixcap.decode(lm, prefix, config, **given)
    plain = prefixcap.decode(
        lm, prefix, f"zerocap:iterations=0,num_beams={config.num_beams}", **given
    )
    assert [h[0].ids for h in result] != [h[0].ids for h in plain]
    for row, feature, hypotheses in zip(prefix, features, result, strict=True):
        expected = Loops(lm, row, feature, config).search()[:2]
        for h, (tokens, score) in zip(hypotheses, expected, strict=True):
            assert h.score == pytest.approx(score, abs=1e-4)
            assert tokens_of(h) == tokens
            assert h.logprob == pytest.approx(rescore(lm, row, h), abs=1e-3)


@pytest.mark.parametrize(
    ("mapper", "tuning"),
    [("mlp", "cross-attention"), ("mlp", "deep-prefix"), ("mlp", "prompt"), ("deep", "frozen")],
)
def test_prefixes_that_reach_every_layer(mapper: str, tuning: str) -> None:
    features, captions = world(6)
    captioner = prefixcap.train(
        gpt2(), mapper, 2, tuning, features, captions, config=TrainingConfig(epochs=1)
    )
    captioner.encoder = WordsEncoder(6)
    plain, greedy, moved = (
        captioner.caption(features=features, decoder=spec, max_new_tokens=4)
        for spec in (
            "zerocap:num_beams=1,iterations=0,fusion=0",
            "greedy",
            "zerocap:num_beams=1,iterations=2,step_size=9,kl_weight=0",
        )
    )
    assert [h[0].ids for h in plain] == [h[0].ids for h in greedy]
    assert [h[0].ids for h in moved] != [h[0].ids for h in greedy]


def test_the_model_and_the_gradients_are_left_alone() -> None:
    lm = letter_model(5)
    before = {name: p.clone() for name, p in lm.module.named_parameters()}
    captions = prefixcap.iter_decode(
        lm, prefixes(2), ZeroCap(num_beams=2, iterations=1), max_new_tokens=3, **seen(2)
    )
    for _ in captions:
        assert not torch.is_inference_mode_enabled()
        assert torch.is_grad_enabled()
    for name, parameter in lm.module.named_parameters():
        assert torch.equal(parameter, before[name])
        assert parameter.grad is None


def test_a_prefix_from_inference_mode_will_do() -> None:
    lm, prefix = letter_model(5), prefixes(2)
    with torch.inference_mode():
        same = prefix.clone()
    one, other = (
        prefixcap.decode(lm, each, ZeroCap(num_beams=2), max_new_tokens=3, **seen(2))
        for each in (prefix, same)
    )
    assert one == other


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({}, "zerocap compares captions with the image, but the feature is missing"),
        ({"features": torch.ones(1, 5)}, "zerocap compares .* the features' encoder is missing"),
        ({**seen(1), "n": 9}, "9 captions per image were requested, but num_beams is 5"),
    ],
)
def test_missing_inputs_are_errors(given: dict[str, Any], sentence: str) -> None:
    with pytest.raises(PrefixcapError, match=sentence):
        prefixcap.decode(letter_model(5), prefixes(1), "zerocap", max_new_tokens=3, **given)


def test_models_that_it_cannot_use_are_errors() -> None:
    for lm, sentence in (
        (TableLM(), "zerocap needs a model of transformers, not TableLM"),
        (CausalLM(small_model("gpt2")), "zerocap compares .* the language model has no tokenizer"),
    ):
        width = lm.width
        with pytest.raises(PrefixcapError, match=sentence):
            prefixcap.decode(lm, prefixes(1, width=width), "zerocap", max_new_tokens=3, **seen(1))


def test_a_model_without_keys_and_values_is_an_error() -> None:
    from transformers import MambaConfig, MambaForCausalLM

    config = MambaConfig(vocab_size=11, hidden_size=16, num_hidden_layers=1, state_size=4)
    lm = LetterLM(MambaForCausalLM(config))
    with pytest.raises(PrefixcapError, match="MambaForCausalLM has a layer without: use another"):
        prefixcap.decode(lm, prefixes(1), "zerocap:num_beams=1", max_new_tokens=2, **seen(1))


def test_logits_that_are_not_finite_lose_their_own_image_alone() -> None:
    lm, prefix, spec = (
        LetterLM(small_model("gpt2")),
        prefixes(3),
        "zerocap:num_beams=1,iterations=1",
    )
    given: dict[str, Any] = {"max_new_tokens": 3, "stop_ids": [], **seen(3)}
    wanted = prefixcap.decode(lm, prefix, spec, **given)
    first = prefix[1, 0].clone()

    def spoil(module: Any, inputs: Any, output: Tensor) -> Tensor:
        return output * (float("nan") if torch.equal(seen_first[-1], first) else 1.0)

    seen_first: list[Tensor] = []
    lm.model.register_forward_pre_hook(
        lambda m, args, kwargs: (
            seen_first.append(kwargs["inputs_embeds"][0, 0])
            if kwargs["inputs_embeds"].shape[1] > 1
            else None
        ),
        with_kwargs=True,
    )
    lm.model.lm_head.register_forward_hook(spoil)
    with pytest.raises(NonFiniteError, match=r"logits are not finite for the image '1'") as error:
        prefixcap.decode(lm, prefix, spec, **given)
    assert error.value.captions == {0: wanted[0], 2: wanted[2]}
