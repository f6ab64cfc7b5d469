"""Metrics of decoding methods, against plain loops over the papers' formulas."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import Any

import attrs
import prefixcap_metrics.configs as metrics
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from prefixcap_metrics import clip_score
from prefixcap_metrics.clip_score import score_suffix

from prefixcap.errors import PrefixcapError
from prefixcap.evaluation.evaluate import score, unmet_requirement
from prefixcap.interfaces.dataset import ImageItem
from prefixcap.interfaces.metric import MetricConfig, Record, Scores
from prefixcap.interfaces.text_encoder import TextEncoder
from prefixcap.testing.rules.metrics import PERFECT
from prefixcap.testing.word_encoder import WordsEncoder

WORDS = ("a", "dog", "cat", "runs", "on", "grass")


def captions(stream: random.Random, count: int) -> tuple[str, ...]:
    return tuple(" ".join(stream.choices(WORDS, k=stream.randint(1, 7))) for _ in range(count))


def records(seed: int, images: int = 5, several: int = 4) -> list[Record]:
    stream = random.Random(seed)
    made = []
    for number in range(images):
        texts = captions(stream, several)
        made.append(
            Record(
                image=str(number),
                references=captions(stream, 3),
                prediction=texts[0],
                captions=texts,
            )
        )
    return made


# ------------------------------------------------------------------------------------- repetition


@settings(deadline=None, max_examples=50)
@given(words=st.lists(st.sampled_from("abc"), max_size=9), max_n=st.integers(2, 4))
def test_repetition_equals_its_formula(words: list[str], max_n: int) -> None:
    record = Record(image="1", references=("x",), prediction=" ".join(words) + ".")
    values = metrics.Repetition(max_n=max_n).build().score([record]).values
    for n in range(2, max_n + 1):
        grams = [tuple(words[i : i + n]) for i in range(len(words) - n + 1)]
        expected = 1 - len(set(grams)) / len(grams) if grams else 0.0
        assert values[f"Rep_{n}"] == pytest.approx(expected)
    joined = [
        words[i : i + n] == words[i + n : i + 2 * n]
        for n in range(1, max_n + 1)
        for i in range(len(words) - 2 * n + 1)
    ]
    assert values["Rep_consecutive"] == float(any(joined))


def test_repetition_by_hand() -> None:
    texts = ("a dog and a dog and a cat", "a red red dog", "a cat")
    result = (
        metrics.Repetition(max_n=3)
        .build()
        .score([Record(image=t, references=("x",), prediction=t) for t in texts])
    )
    assert result.per_image["Rep_2"] == pytest.approx((1 - 4 / 7, 0.0, 0.0))
    assert result.per_image["Rep_consecutive"] == (1.0, 1.0, 0.0)
    assert result.values["Rep_consecutive"] == pytest.approx(2 / 3)


# -------------------------------------------------------------------------------------- diversity


def bleu(captions: Sequence[Sequence[str]], others: Sequence[list[list[str]]], order: int) -> float:
    """BLEU of a corpus by its formula, with pycocoevalcap's tiny and small."""
    right, total = [0] * order, [0] * order
    length = closest = 0
    for caption, references in zip(captions, others, strict=True):
        length += len(caption)
        closest += min((abs(len(r) - len(caption)), len(r)) for r in references)[1]
        for n in range(1, order + 1):
            grams = [tuple(caption[i : i + n]) for i in range(len(caption) - n + 1)]
            total[n - 1] += max(0, len(caption) - n + 1)
            for gram in set(grams):
                most = max(
                    sum(tuple(r[i : i + n]) == gram for i in range(len(r) - n + 1))
                    for r in references
                )
                right[n - 1] += min(grams.count(gram), most)
    product = math.prod((r + 1e-15) / (t + 1e-9) for r, t in zip(right, total, strict=True))
    value = product ** (1 / order)
    ratio = (length + 1e-15) / (closest + 1e-9)
    return value * math.exp(1 - 1 / ratio) if ratio < 1 else value


@pytest.mark.parametrize("seed", range(4))
def test_diversity_equals_its_formulas(seed: int) -> None:
    order = 2 + seed % 3
    result = metrics.Diversity(max_n=2, order=order).build().score(made := records(seed))
    sets = [[text.split() for text in record.captions] for record in made]
    for row, texts in enumerate(sets):
        for n in (1, 2):
            grams = [tuple(t[i : i + n]) for t in texts for i in range(len(t) - n + 1)]
            expected = len(set(grams)) / sum(map(len, texts))
            assert result.per_image[f"Div_{n}"][row] == pytest.approx(expected)
        unique = len({tuple(text) for text in texts}) / len(texts)
        assert result.per_image["Unique_captions"][row] == pytest.approx(unique)
        own = [bleu([t], [[*texts[:i], *texts[i + 1 :]]], order) for i, t in enumerate(texts)]
        assert result.per_image[f"Self_BLEU_{order}"][row] == pytest.approx(fmean(own), abs=1e-9)
    corpora = [
        bleu([t[i] for t in sets], [[*t[:i], *t[i + 1 :]] for t in sets], order) for i in range(4)
    ]
    assert result.values[f"mBLEU_{order}"] == pytest.approx(fmean(corpora), abs=1e-9)
    for name, each in result.per_image.items():
        assert result.values[name] == pytest.approx(fmean(each))


def test_identical_captions_have_no_diversity() -> None:
    made = [
        attrs.evolve(r, captions=("a dog runs on grass",) * 3, prediction="a dog runs on grass")
        for r in records(0)
    ]
    values = metrics.Diversity().build().score(made).values
    assert values["Self_BLEU_4"] == pytest.approx(1.0, abs=1e-6)
    assert values["mBLEU_4"] == pytest.approx(1.0, abs=1e-6)
    assert values["Div_1"] == pytest.approx(1 / 3)
    assert values["Unique_captions"] == pytest.approx(1 / 3)


def test_diversity_is_over_words_as_in_its_papers() -> None:
    texts = ("A dog runs.", "a dog sits", "")
    record = attrs.evolve(records(0)[0], captions=texts, prediction=texts[0])
    values = metrics.Diversity().build().score([record]).values
    assert (values["Div_1"], values["Div_2"]) == (4 / 6, 3 / 6)  # of n-grams it would be 3 / 4
    silent = metrics.Diversity().build().score([attrs.evolve(record, captions=("", "."))])
    assert (silent.values["Div_1"], silent.values["Div_2"]) == (0.0, 0.0)


# ----------------------------------------------------------------------------------------- oracle


@pytest.mark.parametrize(
    "metric", [metrics.Cider(), metrics.Bleu(), metrics.Rouge(), metrics.Length()]
)
def test_the_oracle_is_the_score_of_the_best_captions(metric: MetricConfig) -> None:
    made = records(3)
    ranks = [
        [attrs.evolve(r, prediction=r.captions[i], captions=()) for r in made] for i in range(4)
    ]
    scores = [metric.build().score(rank) for rank in ranks]
    result = metrics.Oracle(metric=(metric.name,)).build().score(made)
    for name in scores[0].values:
        if name not in scores[0].per_image:
            continue
        each = [[s.per_image[name][row] for s in scores] for row in range(5)]
        best = [max(range(4), key=row.__getitem__) for row in each]
        chosen = [ranks[i][row] for row, i in enumerate(best)]
        expected = metric.build().score(chosen).values[name]
        assert result.values[f"{name}_oracle"] == pytest.approx(expected, abs=1e-6)
        mean = fmean(s.values[name] for s in scores)
        assert result.values[f"{name}_average"] == pytest.approx(mean, abs=1e-6)
        assert result.per_image[f"{name}_oracle"] == pytest.approx([max(row) for row in each])
        assert result.per_image[f"{name}_average"] == pytest.approx([fmean(row) for row in each])


def test_an_oracle_requires_what_its_metrics_require() -> None:
    assert metrics.Oracle(metric=("cider", "clipscore")).requires == {"several", "image"}
    with pytest.raises(PrefixcapError, match="'distinct' has no per-image scores"):
        metrics.Oracle(metric=("distinct",)).build().score(records(0))
    assert [part.name for part in metrics.Oracle(metric=("cider",)).subcomponents()] == ["cider"]
    assert metrics.Oracle(metric=("length", "cider")).min_samples == metrics.Cider().min_samples
    assert metrics.Oracle(metric=("length",)).min_samples == {"images": 1, "references": 1}


# -------------------------------------------------------------------------------------- CLIPScore


def clip_records(seed: int, encoder: WordsEncoder) -> list[Record]:
    stream = torch.Generator().manual_seed(seed)
    side = TextEncoder("clip", lambda: encoder)
    return [
        attrs.evolve(r, feature=torch.randn(64, generator=stream) + 0.3, text_encoder=side)
        for r in records(seed)
    ]


@pytest.mark.parametrize("prompt", ["A photo depicts", ""])
def test_clip_score_equals_its_formula(prompt: str) -> None:
    encoder = WordsEncoder()
    made = clip_records(1, encoder)
    result = metrics.ClipScore(prompt=prompt).build().score(made)

    def vector(text: str) -> torch.Tensor:
        return encoder.encode_text([f"{prompt} {text}" if prompt else text])[0].double()

    def cosine(a: torch.Tensor, b: torch.Tensor) -> float:
        return float(a.double() @ b.double() / (a.norm() * b.norm()))

    named = "" if prompt else "[prompt=]"
    for row, record in enumerate(made):
        assert record.feature is not None
        own = 2.5 * max(cosine(record.feature, vector(record.prediction)), 0)
        near = max(cosine(vector(record.prediction), vector(t)) for t in record.references)
        assert result.per_image[f"CLIPScore{named}"][row] == pytest.approx(own, abs=1e-5)
        both = 2 * own * near / (own + near) if own + near > 0 else 0.0
        assert result.per_image[f"RefCLIPScore{named}"][row] == pytest.approx(both, abs=1e-5)
    assert (
        min(result.per_image[f"CLIPScore{named}"])
        == 0.0
        < max(result.per_image[f"CLIPScore{named}"])
    )
    assert result.values[f"CLIPScore{named}"] == pytest.approx(
        fmean(result.per_image[f"CLIPScore{named}"])
    )


@pytest.mark.parametrize(
    ("name", "prompt", "shown"),
    [
        ("clip", "A photo depicts", ""),
        ("clip:model=ViT-B/32", "A photo depicts", ""),
        ("clip:download_root=x", "A photo depicts", ""),
        ("clip:model=ViT-L/14", "A photo depicts", "[ViT-L/14]"),
        ("clip:model=ViT-L/14", "", "[ViT-L/14;prompt=]"),
        ("clip", "Look, a", "[prompt=Look; a]"),
        ("scenes-clip", "A photo depicts", "[scenes-clip]"),
        # another plugin's settings may all tell its models apart
        ("other:model=ViT-B/32,data=x", "A photo depicts", "[other:model=ViT-B/32;data=x]"),
    ],
)
def test_scores_are_named_by_their_clip_and_their_prompt(
    name: str, prompt: str, shown: str
) -> None:
    assert score_suffix(TextEncoder(name, WordsEncoder), prompt) == shown


def test_checkpoints_with_the_same_file_name_get_different_score_names(tmp_path: Path) -> None:
    names = []
    for folder, width in (("a", 64), ("b", 32), ("c", 64)):
        file = tmp_path / folder / "mine.bin"
        file.parent.mkdir()
        file.touch()
        side = TextEncoder(f"clip:model={file}", partial(WordsEncoder, width))
        names.append(score_suffix(side, "A photo depicts"))
    assert names[0].startswith("[mine.bin@")
    assert names[0] == names[2] != names[1]


def test_a_named_clip_encodes_each_image_once(monkeypatch: Any) -> None:
    encoder = WordsEncoder()
    seen: list[str] = []

    class Counting(WordsEncoder):
        def preprocess(self, image: ImageItem) -> torch.Tensor:
            seen.append(image.id)
            return super().preprocess(image)

    side = TextEncoder("mine", Counting)
    asked: list[tuple[str, str]] = []

    def named(*messages: str) -> TextEncoder:
        asked.append((messages[0], messages[1]))
        return side

    monkeypatch.setattr(clip_score, "named_text_encoder", named)
    bare = [attrs.evolve(r, feature=None, text_encoder=None) for r in PERFECT]
    of_study = TextEncoder("mine", lambda: encoder, "cuda:1")
    usual = [attrs.evolve(r, text_encoder=of_study) for r in PERFECT]
    config = metrics.ClipScore(encoder="mine")
    own = metrics.ClipScore().build().score(usual)
    assert score(bare, config) == own == score(bare, config)
    assert list(own.values) == ["CLIPScore[mine]", "RefCLIPScore[mine]"]
    assert len(seen) == len(PERFECT)
    # only the text tower is another's
    messages = [attrs.evolve(r, text_encoder=None) for r in PERFECT]
    assert score(messages, metrics.ClipScore(text="mine")) == own
    # it goes where the study's own encoder is
    assert {device for _, device in asked} == {"auto"}
    for config in (metrics.ClipScore(text="mine"), metrics.ClipScore(encoder="mine")):
        assert score(usual, config) == own
        assert asked[-1] == ("mine", "cuda:1")


def test_missing_inputs_of_clip_score_are_errors() -> None:
    record = clip_records(0, WordsEncoder())[0]
    short = attrs.evolve(record, feature=torch.ones(3))
    with pytest.raises(PrefixcapError, match="width 3 and the texts of 'clip' 64"):
        score([short], metrics.ClipScore())
    with pytest.raises(PrefixcapError, match="the encoder of the image '0' is unknown"):
        score([attrs.evolve(record, text_encoder=None)], metrics.ClipScore())
    with pytest.raises(ValueError, match="give either encoder or text"):
        metrics.ClipScore(encoder="clip", text="clip")
    assert metrics.ClipScore(text="clip:model=ViT-L/14;download_root=x").subcomponents()


# ------------------------------------------------------------------------- what the decoder says


def test_log_probabilities_and_finish_reasons() -> None:
    result: dict[str, Scores] = {
        config.name: config.build().score(PERFECT)
        for config in (metrics.Logprob(), metrics.Finish())
    }
    logprobs, tokens = [-9.0, -10.0, -11.0, -12.0], [9, 10, 11, 12]
    assert result["logprob"].values["Logprob"] == fmean(logprobs)
    ratio = fmean(a / b for a, b in zip(logprobs, tokens, strict=True))
    assert result["logprob"].values["Logprob_per_token"] == pytest.approx(ratio)
    assert result["finish"].values == {
        "eos_rate": 0.75,
        "length_limit_rate": 0.25,
        "Tokens": fmean(tokens),
    }


def test_a_record_can_predict_another_of_its_captions() -> None:
    record = PERFECT[0].predicting(1)
    assert record.prediction == record.captions[0] == PERFECT[0].captions[1]
    assert record.captions[1:] == PERFECT[0].captions[:1]
    assert record.logprobs == PERFECT[0].logprobs[::-1]
    assert record.predicting(0) == record


def test_unmet_requirements_name_the_image() -> None:
    one = attrs.evolve(PERFECT[2], captions=PERFECT[2].captions[:1])
    reason = unmet_requirement([*PERFECT[:2], one], metrics.Diversity())
    assert reason == "needs at least two captions per image, but 'image 2' has 1"
    assert unmet_requirement(PERFECT, metrics.Diversity()) is None
