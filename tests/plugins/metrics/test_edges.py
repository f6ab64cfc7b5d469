"""Every metric on captions and references at their edges."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping, Sequence

import attrs
import numpy as np
import prefixcap_metrics.configs as metrics
import pytest
import torch
from prefixcap_metrics import caption_sets, ptb_tokenizer
from prefixcap_metrics.overlap import common_length, rouge_l
from pycocoevalcap.bleu.bleu import Bleu
from pycocoevalcap.cider.cider import Cider
from pycocoevalcap.rouge.rouge import Rouge, my_lcs

from prefixcap.errors import PrefixcapError
from prefixcap.evaluation.evaluate import LONGEST, evaluate, sample_warnings, score
from prefixcap.evaluation.stats import Resamplable
from prefixcap.interfaces.metric import Metric, MetricConfig, Record, Scores
from prefixcap.interfaces.text_encoder import TextEncoder
from prefixcap.testing.word_encoder import WordsEncoder

COCO = (metrics.Bleu(), metrics.Rouge(), metrics.Cider())
METRICS: Sequence[MetricConfig] = (
    *COCO,
    metrics.Meteor(),
    metrics.Length(),
    metrics.Distinct(),
    metrics.Repetition(),
    metrics.Diversity(),
    metrics.Oracle(),
    metrics.ClipScore(),
    metrics.Logprob(),
    metrics.Finish(),
    metrics.Bleu(tokenizer="characters"),
    metrics.Rouge(tokenizer="characters"),
    metrics.Cider(tokenizer="characters"),
    metrics.Length(tokenizer="characters"),
    metrics.Distinct(tokenizer="characters"),
    metrics.Repetition(tokenizer="characters"),
    metrics.Diversity(tokenizer="characters"),
)


def record(image: object, references: Sequence[str], *captions: str) -> Record:
    both = captions if len(captions) > 1 else captions * 2
    return Record(
        image=str(image),
        references=tuple(references),
        prediction=both[0],
        captions=both,
        logprobs=(-1.0,) * len(both),
        tokens=(3,) * len(both),
        finishes=("stop",) * len(both),
        feature=torch.ones(64),
        text_encoder=TextEncoder("clip", WordsEncoder),
    )


GOOD = record(1, ["a dog runs on grass", "the dog is running"], "a dog runs on grass")
CASES: Mapping[str, Sequence[Record]] = {
    "an empty caption": [GOOD, record(2, ["a cat"], "")],
    "only empty captions": [record(n, ["a cat"], "") for n in range(2)],
    "references without words": [GOOD, record(2, ["...", "!"], "a cat")],
    "only references without words": [record(n, ["...", "!"], "a cat") for n in range(2)],
    "no words at all": [record(n, ["..."], "!") for n in range(2)],
    "an empty reference": [GOOD, record(2, [""], "a cat")],
    "one image": [GOOD],
    "one word": [record(n, ["dog"], "dog") for n in range(2)],
    "the same captions": [record(n, ["a dog runs on grass"], "a dog runs on grass") for n in "123"],
    "punctuation": [GOOD, record(2, ["a cat"], "?!...")],
    "emoji": [GOOD, record(2, ["a 🐶 runs"], "🐶 🐶 👨\u200d👩\u200d👧")],
    "control characters": [
        record(
            1, ["a\ndog\truns\u2028on\u2029grass\x85here"], "a\ndog\r\n\truns\x0b\x0c\x1c\x1eb\0"
        ),
        record(2, ["\x01\x02 cat\x7f"], "\x1b[2J cat \x9b \u202e"),
    ],
    "surrogates": [GOOD, record(2, ["a \ud800 cat"], "a \udfff cat")],
    "separators of METEOR": [GOOD, record(2, ["a ||| cat", "|||"], "||| a ||| cat")],
    "scripts": [record(1, ["一只狗在跑", "कुत्ता"], "一只狗在跑"), record(2, ["สุนัขวิ่ง"], "ສຸນັກ")],
}


CHINESE = [
    record(1, ["一只狗在草地上跑", "狗在跑"], "一只狗在草地上跑"),
    record(2, ["两只猫在睡觉", "猫在床上睡觉"], "两只猫在睡觉"),
]
DIVIDED = [
    attrs.evolve(
        each,
        references=tuple(map(" ".join, each.references)),
        prediction=" ".join(each.prediction),
        captions=tuple(map(" ".join, each.captions)),
    )
    for each in CHINESE
]


@pytest.fixture(scope="module", autouse=True)
def _one_run_of_java() -> Iterator[None]:
    """Tokenize the cases' texts together, because each run of Java takes a second."""
    records = [record for case in CASES.values() for record in case] + CHINESE + DIVIDED
    texts = dict.fromkeys(text for r in records for text in (*r.captions, *r.references))
    usual = ptb_tokenizer.tokenise
    known = dict(zip(texts, usual(tuple(texts)), strict=True))

    def tokenise(wanted: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(known[t] for t in wanted) if {*wanted} <= known.keys() else usual(wanted)

    with pytest.MonkeyPatch.context() as patch:
        for module in (ptb_tokenizer, caption_sets):
            patch.setattr(module, "tokenise", tokenise)
        yield


@pytest.mark.parametrize("name", CASES)
def test_every_metric_is_defined(name: str) -> None:
    records = CASES[name]
    for config in METRICS:
        scores = score(records, config)
        assert scores.values, config
        for measure, value in scores.values.items():
            assert math.isfinite(value), (config, measure)
            assert type(value) is float
            low, high = scale.range if (scale := config.scale(measure)) else (None, None)
            assert low is None or value >= low - 1e-9, (config, measure)
            assert high is None or value <= high + 1e-9, (config, measure)
        for measure, each in scores.per_image.items():
            assert len(each) == len(records)
            assert all(map(math.isfinite, each)), (config, measure)
        metric = config.build()
        if isinstance(metric, Resamplable):
            statistic = metric.statistic(records)
            whole = statistic.resampled(np.ones((1, len(records)), dtype=np.int64))[0]
            assert whole == pytest.approx([scores.values[n] for n in statistic.names], abs=1e-6)
            drawn = np.random.default_rng(0).multinomial(
                len(records), [1 / len(records)] * len(records), 20
            )
            assert np.isfinite(statistic.resampled(drawn)).all()


@pytest.mark.parametrize("name", CASES)
def test_values_are_those_of_pycocoevalcap(name: str) -> None:
    records = CASES[name]
    tokens = ptb_tokenizer.tokenise_records(records)
    for config, published in zip(COCO, (Bleu(4), Rouge(), Cider()), strict=True):
        values = [*config.build().score(records).values.values()]
        try:
            options = {"verbose": 0} if isinstance(published, Bleu) else {}
            expected, _ = published.compute_score(tokens.references, tokens.predictions, **options)
        except ValueError:  # CIDEr needs a word in some reference
            expected = 0.0
            assert name in ("only references without words", "no words at all")
        assert values == pytest.approx(np.atleast_1d(expected).tolist(), abs=1e-12)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("only empty captions", {"Bleu_1": 0, "ROUGE_L": 0, "CIDEr": 0, "METEOR": 0, "Length": 0}),
        (
            "only empty captions",
            {"Distinct_1": 0, "Distinct_captions": 0.5, "Rep_2": 0, "Div_1": 0},
        ),
        ("no words at all", {"Bleu_4": 0, "ROUGE_L": 1, "CIDEr": 0, "METEOR": 0, "Vocabulary": 0}),
        ("one image", {"Bleu_4": 1, "ROUGE_L": 1, "CIDEr": 0, "METEOR": 1, "Length_std": 0}),
        ("one word", {"Bleu_1": 1, "Bleu_4": 0, "ROUGE_L": 1, "Vocabulary": 1, "Distinct_2": 0}),
        ("the same captions", {"CIDEr": 0, "Distinct_captions": 1 / 3, "Self_BLEU_4": 1}),
        ("punctuation", {"Length": 2.5}),
        ("emoji", {"Length": 2.5}),
    ],
)
def test_values_at_the_edges(name: str, expected: Mapping[str, float]) -> None:
    values = evaluate(CASES[name], METRICS).values
    for measure, value in expected.items():
        assert values[measure] == pytest.approx(value, abs=1e-4)


@pytest.mark.parametrize("config", METRICS, ids=lambda config: config.name)
def test_an_image_without_references_is_an_error(config: MetricConfig) -> None:
    with pytest.raises(PrefixcapError, match="the image '2' has no reference captions"):
        score([GOOD, record(2, [], "a cat")], config)
    with pytest.raises(PrefixcapError, match="got no captions to score"):
        score([], config)


def test_a_caption_of_100_000_words_takes_bounded_time() -> None:
    text = "dog cat " * 50_000
    records = [GOOD, record(2, ["a cat", text], text, "a cat")]
    for config in METRICS[:3] + METRICS[4:8]:
        start = time.process_time()
        scores = score(records, config)
        assert time.process_time() - start < 60
        assert all(map(math.isfinite, scores.values.values()))


def test_longer_captions_are_cut_with_a_warning() -> None:
    text = "dog " * (LONGEST // 4) + "cat " * 1000
    records = [GOOD, record(2, ["a dog"], text)]
    assert score(records, metrics.Length()).values["Length"] == (5 + LONGEST // 4) / 2
    (warning,) = sample_warnings(records, [metrics.Length()])[-1:]
    assert warning.startswith("warning: 1 of 5 captions are longer than 1,000,000 characters: ")


@attrs.frozen(kw_only=True)
class Undefined(MetricConfig):
    """Returns a score that is not a number."""

    name = "undefined"

    def build(self) -> Metric:
        return UndefinedMetric()


class UndefinedMetric(Metric):
    def score(self, records: Sequence[Record]) -> Scores:
        values = {"a": 1.0, "b": math.nan, "c": math.inf}
        return Scores(values=values, per_image={"b": (math.nan,) * len(records)})


def test_a_score_that_is_no_number_is_left_out_and_said() -> None:
    scores = score([GOOD], Undefined())
    assert (scores.values, scores.per_image) == ({"a": 1.0}, {})
    assert scores.undefined == "has no b and no c for these captions"
    whole = evaluate([GOOD], [Undefined(), metrics.Length()])
    assert whole.undefined == "the metric 'undefined' has no b and no c for these captions"


def test_captions_without_spaces_are_scored_by_characters() -> None:
    assert evaluate(CHINESE, COCO).values["Bleu_4"] < 0.01
    for config in (*COCO, metrics.Length(), metrics.Distinct(), metrics.Diversity()):
        by_characters = score(CHINESE, attrs.evolve(config, tokenizer="characters"))
        expected = score(DIVIDED, config)
        for name, value in expected.values.items():
            assert by_characters.values[f"{name}[characters]"] == pytest.approx(value)
            assert config.scale(f"{name}[characters]") == config.scale(name)
        for name, each in expected.per_image.items():
            assert by_characters.per_image[f"{name}[characters]"] == pytest.approx(each)
    whole = evaluate(CHINESE, [metrics.Bleu(tokenizer="characters")]).values
    assert whole["Bleu_4[characters]"] == pytest.approx(1)


@pytest.mark.parametrize(
    ("texts", "share"),
    [
        (("一只狗在草地上跑", "狗在跑"), "100% of the captions (2 of 2)"),
        (("犬が芝生の上を走っている。", "a dog"), "50% of the captions (1 of 2)"),
        (("สุนัขวิ่งบนหญ้า", "ឆ្កែរត់លើស្មៅ"), "100% of the captions (2 of 2)"),
        (("ໝາແລ່ນຢູ່ຫຍ້າ", "ခွေးပြေးနေသည်"), "100% of the captions (2 of 2)"),
        (("一 只 狗 在 草地 上 跑", "a dog runs"), None),
        (("कुत्ता घास पर दौड़ता है", "개가 잔디 위를 달린다"), None),
        (("a dog named 小狗 runs", ""), None),
    ],
)
def test_captions_without_spaces_are_warned_of(texts: Sequence[str], share: str | None) -> None:
    records = [record(1, [texts[1]], texts[0])]
    found = [w for w in sample_warnings(records, [*COCO, metrics.Length()]) if "spaces" in w]
    assert bool(found) == (share is not None)
    assert share is None or found[0].startswith(f"warning: {share} have no spaces between words, ")
    assert share is None or "in 'bleu', 'rouge', 'cider', 'length'; the setting" in found[0]
    by_characters = [attrs.evolve(each, tokenizer="characters") for each in COCO]
    assert not [w for w in sample_warnings(records, by_characters) if "spaces" in w]


def test_rouge_is_that_of_pycocoevalcap_in_linear_memory() -> None:
    stream = np.random.default_rng(0)
    for _ in range(200):
        one, two = (stream.choice(list("abc"), stream.integers(0, 9)).tolist() for _ in range(2))
        assert common_length(one, two) == my_lcs(one, two)
        texts = " ".join(one), [" ".join(two), "a b c"]
        assert rouge_l(*texts) == Rouge().calc_score([texts[0]], texts[1])
