"""Best of n, minimum Bayes risk and mirostat."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from decoder_checks import rescore, tokens_of
from decoder_models import prefixes, small_model
from prefixcap_decoders.reranking.config import MBR, BestOf
from prefixcap_decoders.reranking.mbr_utility import UTILITIES
from prefixcap_decoders.sampling.config import Mirostat, Sample
from torch import Tensor

import prefixcap
from prefixcap.decoding.decode import collect
from prefixcap.engine.causal_lm import CausalLM
from prefixcap.errors import PrefixcapError
from prefixcap.interfaces.dataset import ImageItem
from prefixcap.interfaces.decoder import DecodingTask
from prefixcap.interfaces.encoder import Encoder
from prefixcap.testing.table_lm import TableLM

LM = TableLM(vocab_size=5, seed=1)


def test_best_of_returns_the_most_likely_samples() -> None:
    prefix = prefixes(4, width=4)
    for penalty in (0.0, 1.0):
        config = BestOf(samples=12, length_penalty=penalty, n=2)
        result = prefixcap.decode(LM, prefix, config, max_new_tokens=6)
        everything = prefixcap.decode(LM, prefix, config, max_new_tokens=6, n=12)
        for two, twelve in zip(result, everything, strict=True):
            assert len(twelve) == 12
            assert two[0] == max(twelve, key=lambda h: h.score)
            assert two[0].ids != two[1].ids
            for h in twelve:
                assert h.score == pytest.approx(h.logprob / len(tokens_of(h)) ** penalty)


class LettersEncoder(Encoder):
    """Counts the letters of a text, or of an image's name."""

    width, tokens = 5, None  # type: ignore[assignment]

    def preprocess(self, image: ImageItem) -> Tensor:
        return self.encode_text([image.id])[0]

    def encode(self, inputs: Tensor) -> Tensor:
        return inputs

    def digest(self) -> str:
        return "letters"

    def encode_text(self, texts: Sequence[str]) -> Tensor:
        return torch.tensor([[float(text.count(c)) for c in "abcdP"] for text in texts])


class Silent(LettersEncoder):
    def encode_text(self, texts: Sequence[str]) -> None:  # type: ignore[override]
        return None


def test_best_of_by_clip_is_the_cosine_of_image_and_prompted_caption() -> None:
    prefix, encoder = prefixes(4, width=4), LettersEncoder()
    features = 3 * encoder.encode_text(["aab", "bc", "dda", "cP"])
    for prompt in ("", "P P", "ab"):
        config = BestOf(samples=10, by="clip", prompt=prompt, n=10)
        result = prefixcap.decode(
            LM, prefix, config, max_new_tokens=6, features=features, encoder=encoder
        )
        assert [len(hypotheses) for hypotheses in result] == [10] * 4
        for row, (feature, hypotheses) in enumerate(zip(features, result, strict=True)):
            for h in hypotheses:
                text = f"{prompt} {h.text}" if prompt else h.text
                own = np.array([text.count(c) for c in "abcdP"], float)
                norms = np.linalg.norm(own) * np.linalg.norm(feature)
                cosine = own @ feature.numpy() / norms if norms else 0.0
                assert h.score == pytest.approx(cosine, abs=1e-5)
                assert h.logprob == pytest.approx(rescore(LM, prefix[row], h), abs=1e-4)
            scores = [h.score for h in hypotheses]
            assert scores == sorted(scores, reverse=True)


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({}, "the feature is missing"),
        ({"features": torch.ones(1, 5)}, "the features' encoder is missing"),
        ({"features": torch.ones(1, 5), "encoder": Silent()}, "'Silent' has no text tower"),
        ({"features": torch.ones(1, 3), "encoder": LettersEncoder()}, "width 3 and the texts .* 5"),
        ({"features": torch.ones(1, 2, 5), "encoder": LettersEncoder()}, "one vector per image"),
        ({"features": torch.ones(1, 5), "encoder": "precomputed"}, "'precomputed' has no text"),
    ],
)
def test_missing_inputs_of_best_of_by_clip_are_errors(given: dict[str, Any], sentence: str) -> None:
    with pytest.raises(PrefixcapError, match=sentence):
        prefixcap.decode(LM, prefixes(1, width=4), "best-of:by=clip", max_new_tokens=3, **given)


def test_the_text_tower_can_be_named() -> None:
    clip = "scenes-clip"
    features = torch.ones(1, 256)
    result = [
        prefixcap.decode(
            LM, prefixes(1, width=4), spec, max_new_tokens=3, features=features, encoder=encoder
        )
        for spec, encoder in (
            (f"best-of:by=clip,text={clip}", None),
            ("best-of:by=clip", clip),
            (f"best-of:by=clip,text={clip}", "precomputed"),
        )
    ]
    # the spec keys the random streams, so only the scores of the same captions can be compared
    scores = [{h.ids: h.score for h in hypotheses} for (hypotheses,) in result]
    assert scores[0] == scores[2]
    for ids in scores[0].keys() & scores[1].keys():
        assert scores[0][ids] == pytest.approx(scores[1][ids], abs=1e-5)


def test_mbr_is_its_formula() -> None:
    prefix = prefixes(5, width=4)
    result = prefixcap.decode(LM, prefix, MBR(samples=9, utility="rouge"), max_new_tokens=6, n=9)
    for row, hypotheses in zip(prefix, result, strict=True):
        texts = [tuple(h.text.split()) for h in hypotheses]
        for h, text in zip(hypotheses, texts, strict=True):
            table = [UTILITIES["rouge"]([text, other], [1, 1])[0][1] for other in texts]
            assert h.score == pytest.approx(sum(table) / 9)
            assert h.logprob == pytest.approx(rescore(LM, row, h), abs=1e-4)
        assert [h.score for h in hypotheses] == sorted((h.score for h in hypotheses), reverse=True)


def test_mbr_also_compares_with_captions_of_neighbors() -> None:
    prefix, utility = prefixes(4, width=4), UTILITIES["ngram"]
    neighbors = [["a", "B", "b.", "c"], ["c"], [], ["d a", "dd"]]
    for weight in (0.0, 0.3, 1.0):
        config = MBR(samples=6, neighbors=3, neighbor_weight=weight, n=6)
        result = prefixcap.decode(LM, prefix, config, max_new_tokens=5, neighbors=neighbors)
        for texts, hypotheses in zip(neighbors, result, strict=True):
            samples = [tuple(h.text.split()) for h in hypotheses]
            known = [tuple(text.lower().strip(".").split()) for text in texts[:3]]
            for h, own in zip(hypotheses, samples, strict=True):
                among, beside = (
                    [float(utility([own, other], [1, 1])[0][1]) for other in others]
                    for others in (samples, known)
                )
                expected = sum(among) / 6
                if known:
                    expected = (1 - weight) * expected + weight * sum(beside) / len(known)
                assert h.score == pytest.approx(expected)


def test_missing_neighbors_are_errors() -> None:
    prefix, spec = prefixes(2, width=4), "mbr:neighbors=3"
    missing = "neighbors=3 reads 3 captions of similar training images, which are missing"
    with pytest.raises(PrefixcapError, match=missing):
        prefixcap.decode(LM, prefix, spec)
    with pytest.raises(PrefixcapError, match=missing):
        prefixcap.decode(LM, prefix, f"guidance:decoder={spec}")
    with pytest.raises(PrefixcapError, match="neighbors of 1 images were given for 2 prefixes"):
        prefixcap.decode(LM, prefix, spec, neighbors=[["a"]])
    silent = CausalLM(small_model("gpt2"))
    given = {"neighbors": [["a"]] * 2, "max_new_tokens": 2}
    with pytest.raises(PrefixcapError, match="mbr:neighbors compares the texts of captions"):
        prefixcap.decode(silent, prefixes(2, width=silent.width), spec, **given)  # type: ignore[arg-type]


def test_utilities_by_hand() -> None:
    a, b, c = (tuple(text.split()) for text in ("a dog runs fast", "a dog runs", "two cats"))
    counts = [1, 1, 1]
    assert UTILITIES["ngram"]([a, b, c], counts)[0][1] == pytest.approx(
        (6 / 7 + 4 / 5 + 2 / 3 + 0) / 4
    )
    precision, recall = 3 / 4, 1.0
    rouge = (1 + 1.44) * precision * recall / (recall + 1.44 * precision)
    assert UTILITIES["rouge"]([a, b, c], counts)[0][1] == pytest.approx(rouge)
    bleu = math.exp(sum(map(math.log, (3 / 4, 3 / 4, 2 / 3, 1 / 2))) / 4)
    assert UTILITIES["bleu"]([a, b, c], counts)[0][1] == pytest.approx(bleu)
    for utility in UTILITIES.values():
        table = np.array(utility([a, b, c, ()], [1, 2, 1, 1]))
        assert np.diag(table) == pytest.approx(1.0)
        assert table[0, 2] == table[2, 0] == table[0, 3] == table[3, 0] == 0.0
        assert ((table >= 0) & (table <= 1 + 1e-9)).all()
        assert table[0, 1] > 0.3


def test_cider_weighs_rare_words_more() -> None:
    texts = [tuple(t.split()) for t in ("a dog", "a cat", "the dog", "a man", "a car")]
    table = UTILITIES["cider"](texts, [1] * 5)
    assert table[0][2] > table[0][1] > 0  # "dog" is rarer than "a"


class Listed(TableLM):
    """Returns the same distributions for every context."""

    def __init__(self, logits: Tensor) -> None:
        super().__init__(vocab_size=logits.shape[1])
        self.logits = logits

    def distribution(self, prefix: Tensor, tokens: Sequence[int]) -> Tensor:
        return self.logits[len(tokens)]


@pytest.mark.parametrize("temperature", [1.0, 0.6, 1.7])
def test_mirostat_is_its_formula(temperature: float) -> None:
    stream = torch.Generator().manual_seed(0)
    logits = torch.randn(40, 9, generator=stream) * 2
    task = DecodingTask(
        lm=Listed(logits), prefix=prefixes(1, width=4), image_ids=["a"], max_new_tokens=40,
        stop_ids=frozenset(),
    )  # fmt: skip
    config = Mirostat(tau=1.2, eta=0.4, temperature=temperature)
    with torch.inference_mode():
        ((result,),) = collect(config.build().decode(task), 1)
    numbers = task.generator(0).random((1, 40))[0]
    mu = 2 * 1.2
    for step in range(40):
        probability = (logits[step].double() / temperature).softmax(-1)
        surprise = -probability.log2()
        kept = [t for t in range(9) if surprise[t] <= mu] or [int(probability.argmax())]
        mass = np.cumsum([float(probability[t]) for t in kept])
        expected = kept[int((mass <= numbers[step] * mass[-1]).sum())]
        assert result.ids[step] == expected
        mu -= 0.4 * (float(surprise[expected]) - 1.2)


def test_mirostat_approaches_its_target_surprisal() -> None:
    lm, prefix = TableLM(vocab_size=26, sharpness=1.5), prefixes(6, width=4)

    def bits(spec: Mirostat | Sample) -> float:
        result = prefixcap.decode(lm, prefix, spec, max_new_tokens=60, stop_ids=[], n=3)
        return float(np.mean([-h.logprob / 60 / math.log(2) for hs in result for h in hs]))

    for tau in (2.4, 3.0):
        assert bits(Mirostat(tau=tau, eta=0.3)) == pytest.approx(tau, abs=0.15)
    assert bits(Sample()) > 3.2
