"""ConZIC against its algorithm in plain loops, its edges, and what it says of wrong inputs."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from decoder_checks import rescore, tokens_of
from decoder_models import LetterLM, letter_model, prefixes, seen, small_model
from masked_lm_folder import SPECIAL, masked_lm_folder
from prefixcap_decoders.guided import masked_lm
from prefixcap_decoders.guided.conzic_config import ConZIC
from test_magic import Pairs
from torch import Tensor
from transformers import AutoModelForMaskedLM

import prefixcap
from prefixcap import PrefixcapError
from prefixcap.engine.causal_lm import CausalLM
from prefixcap.errors import NonFiniteError
from prefixcap.interfaces.decoder import DecodingTask
from prefixcap.plugin.registry import default_registry
from prefixcap.plugin.specs import to_spec
from prefixcap.study.artifacts.keys import decoder_key
from prefixcap.testing.table_lm import TableLM

LETTERS = "abcdefgh.!"
TINY: dict[str, Any] = {"length": 4, "sweeps": 3, "top_k": 5, "prompt": ""}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(masked_lm_folder(tmp_path_factory.mktemp("mlm"), LETTERS))


@pytest.fixture(scope="module")
def lm() -> LetterLM:
    return LetterLM(small_model("gpt2"))


def conzic_by_loops(
    config: ConZIC, feature: Tensor, stream: np.random.Generator
) -> tuple[str, float]:
    """Zeng et al.'s algorithm for one image."""
    model, encoder = AutoModelForMaskedLM.from_pretrained(config.mlm).eval(), Pairs(len(feature))
    pieces = [*SPECIAL, *LETTERS]
    head = [pieces.index("[CLS]"), *(pieces.index(letter) for letter in config.prompt)]
    caption = [pieces.index("[MASK]")] * config.length

    def cosine(text: str) -> float:
        vector = encoder.encode_text([f"{config.prompt} {text}" if config.prompt else text])[0]
        norms = float(vector.norm() * feature.norm())
        return float(vector @ feature) / norms if norms else 0.0

    def text(ids: list[int]) -> str:
        return "".join(pieces[number] for number in ids if number >= len(SPECIAL))

    best, order = ("", -math.inf), list(range(config.length))
    if config.order == "shuffle":
        order = stream.permutation(config.length).tolist()
    for _ in range(config.sweeps):
        if config.order == "random":
            order = stream.integers(config.length, size=config.length).tolist()
        for place in order:
            caption[place] = pieces.index("[MASK]")
            row = torch.tensor([[*head, *caption, pieces.index("[SEP]")]])
            with torch.inference_mode():
                logits = model(row).logits[0, len(head) + place]
            chances = (logits / config.temperature).softmax(-1).tolist()
            words = [pieces.index(letter) for letter in "abcdefgh"]
            if place == config.length - 1:
                words.append(pieces.index("."))
            words = sorted(words, key=lambda word: -float(logits[word]))[: config.top_k]
            texts = [text([*caption[:place], word, *caption[place + 1 :]]) for word in words]
            weights = [math.exp(cosine(each) / config.clip_temperature) for each in texts]
            values = [
                config.alpha * chances[word] + config.beta * weight / sum(weights)
                for word, weight in zip(words, weights, strict=True)
            ]
            chosen = values.index(max(values))
            caption[place], similarity = words[chosen], cosine(texts[chosen])
        if similarity > best[1]:
            best = text(caption), similarity
    return best


@pytest.mark.parametrize(
    "changes",
    [
        {"order": "shuffle"},
        {"order": "sequential", "alpha": 3.0, "temperature": 1.0, "clip_temperature": 0.3},
        {"order": "random", "prompt": "bad", "top_k": 99, "beta": 0.3, "clip_temperature": 0.1},
    ],
)
def test_conzic_is_its_algorithm(lm: LetterLM, folder: str, changes: dict[str, Any]) -> None:
    config = ConZIC(mlm=folder, **{**TINY, **changes})
    prefix, features = prefixes(3), seen(3, 8)["features"]
    given = {"image_ids": ["a", "b", "c"], "seed": 3, "max_new_tokens": 9, "stop_ids": [22]}
    result = prefixcap.decode(lm, prefix, config, features=features, encoder=Pairs(8), **given)
    task = DecodingTask(
        lm=lm, prefix=prefix, image_ids=["a", "b", "c"], max_new_tokens=9,
        stop_ids=frozenset([22]), seed=3, stream=to_spec(config),
    )  # fmt: skip
    for number, (hypothesis,) in enumerate(result):
        text, similarity = conzic_by_loops(config, features[number], task.generator(number))
        # "." is no letter of the language model
        assert hypothesis.text == text.replace(".", "")
        assert tokens_of(hypothesis)[-1] == 22
        assert hypothesis.score == pytest.approx(similarity, abs=1e-5)
        assert hypothesis.logprob == pytest.approx(
            rescore(lm, prefix[number], hypothesis), abs=1e-3
        )


def test_several_captions_have_orders_of_their_own(lm: LetterLM, folder: str) -> None:
    given: dict[str, Any] = {"max_new_tokens": 9, **seen(4)}
    config = {order: ConZIC(mlm=folder, order=order, **TINY) for order in ("shuffle", "sequential")}
    three = prefixcap.decode(lm, prefixes(4), config["shuffle"], n=3, **given)
    one = prefixcap.decode(lm, prefixes(4), config["shuffle"], **given)
    for several, (single,) in zip(three, one, strict=True):
        # the first order is that of a single caption
        assert (single.ids, single.score) in [(h.ids, h.score) for h in several]
        assert [h.score for h in several] == sorted((h.score for h in several), reverse=True)
    assert any(len({h.ids for h in several}) > 1 for several in three)
    for several in prefixcap.decode(lm, prefixes(4), config["sequential"], n=3, **given):
        assert len(several) == 3
        assert len({h.ids for h in several}) == 1


def test_edges(folder: str) -> None:
    config = ConZIC(mlm=folder, **TINY)

    def decoded(vocabulary: int = 9, images: int = 2, length: int = 3, **more: Any) -> Any:
        given = {"max_new_tokens": 6, **seen(images), **more}
        return prefixcap.decode(letter_model(vocabulary), prefixes(images, length), config, **given)

    assert decoded(images=0) == []
    # the caption is cut at the limit, and at a stop token; without one it is just shorter
    ids = {n: [h[0].ids for h in decoded(max_new_tokens=n)] for n in (1, 3, 6)}
    for long, middle, short in zip(ids[6], ids[3], ids[1], strict=True):
        assert len(long) == 4
        assert (long[:3], long[:1]) == (middle, short)
    assert {h[0].finish_reason for h in decoded(max_new_tokens=4)} == {"length"}
    assert {(h[0].ids, h[0].finish_reason) for h in decoded(stop_ids=range(9))} == {((), "stop")}
    free = decoded(stop_ids=[])
    assert [(h[0].ids, h[0].finish_reason) for h in free] == [(i, "length") for i in ids[6]]
    # a vocabulary without any of the letters
    for stops, reason in (([0], "stop"), ([], "length")):
        for (caption,) in decoded(vocabulary=1, stop_ids=stops):
            assert (caption.ids, caption.finish_reason) == ((), reason)
            assert caption.logprob == pytest.approx(0, abs=1e-5)
    for length in (0, 30):
        with pytest.raises(PrefixcapError, match="a prefix"):
            decoded(length=length)


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({}, "conzic compares captions with the image, but the feature is missing"),
        ({"features": torch.ones(1, 5)}, "conzic compares .* the features' encoder is missing"),
    ],
)
def test_missing_inputs_are_errors(
    lm: LetterLM, folder: str, given: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(PrefixcapError, match=sentence):
        prefixcap.decode(lm, prefixes(1), ConZIC(mlm=folder), max_new_tokens=3, **given)


def test_models_that_it_cannot_use_are_errors(folder: str, lm: LetterLM, tmp_path: Path) -> None:
    def decode(mlm: Path | str, model: CausalLM = lm, **settings: Any) -> Any:
        config = ConZIC(mlm=str(mlm), **settings)
        return prefixcap.decode(model, prefixes(1), config, max_new_tokens=3, **seen(1))

    with pytest.raises(PrefixcapError, match=r"conzic compares .* the language model has no token"):
        decode(folder, CausalLM(small_model("gpt2")))
    (tmp_path / "mlm0").mkdir()
    with pytest.raises(PrefixcapError, match=r"mlm='.*/mlm' does not exist; did you mean 'mlm0'"):
        decode(tmp_path / "mlm")
    with pytest.raises(
        PrefixcapError, match=r"masked language model mlm='.*/mlm0' cannot be loaded"
    ):
        decode(tmp_path / "mlm0")
    causal = tmp_path / "causal"
    small_model("gpt2").save_pretrained(causal)
    with pytest.raises(PrefixcapError, match=r"masked language model mlm='.*/causal' cannot be"):
        decode(causal)
    with pytest.raises(
        PrefixcapError, match=r"length=30 need 36 positions, and '.*' has 24: lower"
    ):
        decode(folder, length=30, prompt="badg")
    with pytest.raises(PrefixcapError, match=r"prompt='\[MASK\] a' holds a mask of"):
        decode(folder, prompt="[MASK] a")
    signs = masked_lm_folder(tmp_path / "signs", "!?.")
    with pytest.raises(PrefixcapError, match=r"mlm='.*' has no token with a letter"):
        decode(signs)


def test_weights_that_could_run_code_are_not_read(lm: LetterLM, tmp_path: Path) -> None:
    folder = masked_lm_folder(tmp_path)
    weights = AutoModelForMaskedLM.from_pretrained(folder).state_dict()
    torch.save(weights, tmp_path / "pytorch_model.bin")
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(PrefixcapError, match=r"cannot be loaded: .*safetensors"):
        prefixcap.decode(lm, prefixes(1), ConZIC(mlm=str(folder)), max_new_tokens=3, **seen(1))


def test_a_masked_model_that_is_not_finite_is_an_error(
    lm: LetterLM, folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def load(name: str, device: str) -> masked_lm.MaskedLM:
        loaded = masked_lm.load_masked.__wrapped__(name, device)
        loaded.model.cls.predictions.bias.data.fill_(float("nan"))
        return loaded

    monkeypatch.setattr("prefixcap_decoders.guided.conzic.load_masked", load)
    with pytest.raises(NonFiniteError, match="masked language model's probabilities are not fin"):
        prefixcap.decode(lm, prefixes(2), ConZIC(mlm=folder, **TINY), max_new_tokens=3, **seen(2))


def test_a_feature_that_is_not_finite_loses_its_own_image_alone(lm: LetterLM, folder: str) -> None:
    config, given = ConZIC(mlm=folder, **TINY), seen(3)
    wanted = prefixcap.decode(lm, prefixes(3), config, max_new_tokens=6, **given)
    given["features"] = given["features"].clone()
    given["features"][1, 0] = float("nan")
    with pytest.raises(NonFiniteError, match=r"similarities .* for the image '1'") as error:
        prefixcap.decode(lm, prefixes(3), config, max_new_tokens=6, **given)
    assert error.value.captions == {0: wanted[0], 2: wanted[2]}


def test_other_weights_are_another_decoder(folder: str, tmp_path: Path) -> None:
    other = masked_lm_folder(tmp_path, LETTERS)
    config = ConZIC(mlm=str(other))
    before = decoder_key(config, "cpu")
    assert decoder_key(config, "cpu") == before
    masked_lm_folder(tmp_path, LETTERS, seed=1)
    assert decoder_key(config, "cpu") != before
    # a name on the hub has no files here
    assert ConZIC().external_digests() == []


@pytest.mark.parametrize(
    ("spec", "sentence"),
    [
        ("conzic:order=span", "order cannot be 'span'; known: random, sequential, shuffle"),
        ("conzic:length=0", "length must be at least 1, not 0"),
        ("conzic:text=clop", "text: no encoder 'clop'; did you mean 'clip'"),
    ],
)
def test_settings_beyond_their_edge(spec: str, sentence: str) -> None:
    with pytest.raises(PrefixcapError, match=sentence):
        default_registry().parse(prefixcap.DecoderConfig, spec).subcomponents()


def test_any_language_model_will_do(tmp_path: Path) -> None:
    config = ConZIC(mlm=str(masked_lm_folder(tmp_path)), **TINY)
    lm = TableLM()
    (caption,), _ = prefixcap.decode(lm, prefixes(2, width=4), config, max_new_tokens=6, **seen(2))
    assert len(caption.text) == 4
