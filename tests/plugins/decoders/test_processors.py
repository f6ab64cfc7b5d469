"""transformers' processors by name, on rows of different lengths."""

from __future__ import annotations

import math

import pytest
import torch
from decoder_models import prefixes
from prefixcap_decoders.beam.config import Beam
from prefixcap_decoders.greedy.config import Greedy
from prefixcap_decoders.logits.by_name import UNFIT, NamedProcessor, generation
from prefixcap_decoders.logits.settings import Controlled
from transformers.generation import logits_process

import prefixcap
from prefixcap import DecoderConfig, PrefixcapError
from prefixcap.engine.causal_lm import CausalLM
from prefixcap.plugin.registry import default_registry
from prefixcap.plugin.specs import to_spec
from prefixcap.testing.table_lm import TableLM

STOPS = [5, 11]


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"repetition_penalty": 1.6},
        {"no_repeat_ngram_size": 2, "min_new_tokens": 5},
        {"min_new_tokens": 3, "repetition_penalty": 0.7},
    ],
    ids=str,
)
def test_greedy_is_transformers_greedy(lm: CausalLM, options: dict[str, float]) -> None:
    prefix = prefixes(8)
    out = lm.model.generate(
        inputs_embeds=prefix, attention_mask=torch.ones(8, 3, dtype=torch.long), do_sample=False,
        max_new_tokens=10, eos_token_id=STOPS, pad_token_id=0, **options,
    )  # fmt: skip
    expected = []
    for ids in out.tolist():
        cut = next((k for k, token in enumerate(ids) if token in STOPS), len(ids))
        expected.append(tuple(ids[:cut]))
    for max_rows in (320, 3):
        result = prefixcap.decode(
            lm, prefix, Greedy(**options), max_new_tokens=10, stop_ids=STOPS, max_rows=max_rows
        )
        assert [hs[0].ids for hs in result] == expected


def test_a_processor_by_name() -> None:
    lm, prefix = TableLM(vocab_size=6), prefixes(4, width=4)
    spec = (
        "greedy:processors=SuppressTokensLogitsProcessor(suppress_tokens=[0])"
        "+MinLengthLogitsProcessor(min_length=4)"
    )
    for hypotheses in prefixcap.decode(lm, prefix, spec, max_new_tokens=6):
        assert 0 not in hypotheses[0].ids
        assert len(hypotheses[0].ids) >= 4


@pytest.mark.parametrize(
    "text",
    [
        "SuppressTokensLogitsProcessor(suppress_tokens=[0,3])",
        "SuppressTokensAtBeginLogitsProcessor(begin_suppress_tokens=[1,2];begin_index=0)",
        "SequenceBiasLogitsProcessor(sequence_bias=[[[1,2],-5.0],[[0],2.0]])",
        "NoBadWordsLogitsProcessor(bad_words_ids=[[0,1],[2]])",
        "ExponentialDecayLengthPenalty(exponential_decay_length_penalty=(1,1.5);input_ids_seq_length=0)",
        "ForcedEOSTokenLogitsProcessor(max_length=3)",
        "WatermarkLogitsProcessor(vocab_size=6;bias=5.0)",
        "TemperatureLogitsWarper(temperature=0.5)+InfNanRemoveLogitsProcessor",
    ],
)
@pytest.mark.parametrize("spec", ["greedy:{}", "beam:num_beams=2,{}", "guidance:decoder=greedy:{}"])
def test_processors_with_lists_are_named_as_in_python(text: str, spec: str) -> None:
    lm, prefix = TableLM(vocab_size=6), prefixes(3, width=4)
    setting = f"processors={text}"
    result = prefixcap.decode(lm, prefix, spec.format(setting), max_new_tokens=5)
    comma = prefixcap.decode(lm, prefix, spec.format(setting.replace(";", ",")), max_new_tokens=5)
    assert result == comma
    if "suppress_tokens=[0,3]" in text:
        assert not {0, 3} & {token for hyps in result for token in hyps[0].ids}
    config = prefixcap.Registry().parse(prefixcap.DecoderConfig, spec.format(setting))
    assert prefixcap.Registry().parse(prefixcap.DecoderConfig, to_spec(config)) == config


BARRED = "no_repeat_ngram_size=1,min_new_tokens=6"


@pytest.mark.parametrize(
    "decoder",
    [
        "greedy:{}", "sample:{}", "top-k:{}", "mirostat:{}", "contrastive:{}", "stochastic-beam:{}",
        "beam:{}", "diverse-beam:{}", "beam:num_beams=1,{}", "speculative:decoder=greedy:{}",
        "speculative:decoder=sample:{}", "guidance:decoder=beam:{}",
    ],
)  # fmt: skip
def test_settings_that_exclude_every_token_are_ignored(decoder: str) -> None:
    # after four letters nothing is left: a fifth would be a repetition, and it is too early to stop
    lm, prefix = TableLM(vocab_size=5, seed=1), prefixes(4, width=4)
    spec = decoder.format(BARRED.replace(",", ";") if "decoder=" in decoder else BARRED)
    result = prefixcap.decode(lm, prefix, spec, max_new_tokens=8)
    for hypotheses in result:
        assert hypotheses
        for h in hypotheses:
            assert sorted(h.ids[:4]) == [0, 1, 2, 3]
            assert math.isfinite(h.logprob)
            assert math.isfinite(h.score)
    if decoder == "greedy:{}":
        for row, (h, *_) in zip(prefix, result, strict=True):
            assert h.ids[4:5] == tuple(
                token for token in [int(lm.distribution(row, h.ids[:4]).argmax())]
                if token != lm.eos_id
            )  # fmt: skip


def test_a_hypothesis_without_allowed_tokens_is_replaced_by_others() -> None:
    lm, prefix = TableLM(vocab_size=5, seed=1), prefixes(6, width=4)
    dead_end = f"NoBadWordsLogitsProcessor(bad_words_ids={[[0, token] for token in range(5)]})"
    greedy = prefixcap.decode(lm, prefix, Greedy(processors=(dead_end,)), max_new_tokens=6)
    assert any(0 in hypotheses[0].ids[:-1] for hypotheses in greedy)
    config = Beam(num_beams=4, n=4, processors=(dead_end,), early_stopping="never")
    for hypotheses in prefixcap.decode(lm, prefix, config, max_new_tokens=6):
        assert len(hypotheses) == 4
        for h in hypotheses:
            assert 0 not in h.ids[:-1]
            assert not (h.finish_reason == "stop" and h.ids[-1:] == (0,))


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("TopKWarper(top_k=1)", "no processor 'TopKWarper'; did you mean 'TopKLogitsWarper'"),
        ("TopKLogitsWarper(top_k=0)", r"cannot be built: .*top_k.* strictly positive"),
        ("TopKLogitsWarper(top_k=1", "lacks a closing parenthesis"),
        ("TopKLogitsWarper(5)", "'5' is not of the form key=value"),
        ("TopKLogitsWarper(k=5)", "cannot be built"),
        ("SynthIDTextWatermarkLogitsProcessor", "keeps state per row of a fixed batch"),
        (
            "ClassifierFreeGuidanceLogitsProcessor(guidance_scale=2)",
            "needs two rows per caption; use the",
        ),
    ],
)
def test_a_wrong_processor_is_an_error(text: str, sentence: str) -> None:
    with pytest.raises(PrefixcapError, match=sentence):
        prefixcap.decode(TableLM(), prefixes(1, width=4), Greedy(processors=(text,)))
    for decoder in ("greedy:", "best-of:", "beam:", "guidance:decoder=top-k:"):
        with pytest.raises(PrefixcapError, match=sentence):
            default_registry().parse(DecoderConfig, f"{decoder}processors={text}")


@pytest.mark.parametrize("name", UNFIT)
def test_unusable_processors_are_refused_with_a_list_of_usable_ones(name: str) -> None:
    assert hasattr(generation(), name)
    with pytest.raises(
        PrefixcapError, match=f"'{name}' cannot be used: it .*; these can: "
    ) as info:
        default_registry().parse(DecoderConfig, f"greedy:processors={name}")
    can = str(info.value).partition("these can: ")[2].split(", ")
    assert "TopKLogitsWarper" in can
    assert not set(can) & UNFIT.keys()


def test_a_processor_that_fails_is_named() -> None:
    text = "ForcedBOSTokenLogitsProcessor(bos_token_id=99)"
    # it is at the second token that this processor acts
    with pytest.raises(
        PrefixcapError, match=r"the processor 'ForcedBOS.*\(bos_token_id=99\)' failed"
    ):
        prefixcap.decode(
            TableLM(), prefixes(1, width=4), Greedy(processors=(text,)),
            max_new_tokens=4, stop_ids=[],
        )  # fmt: skip

    def halved(tokens: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        return scores[:1]

    processor = NamedProcessor("Halved", halved)
    with pytest.raises(
        PrefixcapError, match=r"'Halved' returned scores of shape \(1, 5\) for \(2, 5\)"
    ):
        processor(torch.zeros(2, 0), torch.zeros(2, 5))


class Mine(logits_process.LogitsProcessor):
    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        return scores


TAKING = [
    config
    for name in default_registry().names("decoder")
    if issubclass(config := default_registry().config_class("decoder", name), Controlled)
]


@pytest.mark.parametrize("config", TAKING, ids=lambda config: config.name)
@pytest.mark.parametrize(
    "given",
    [
        (Mine(),),
        ("TopKLogitsWarper(top_k=5)", lambda _, scores: scores),
        Mine(),
        logits_process.LogitsProcessorList([Mine()]),
        "TopKLogitsWarper(top_k=5)",
        None,
    ],
    ids=["object", "function", "bare", "list", "text", "None"],
)
def test_a_processor_that_is_no_text_is_refused_at_once(
    config: type[Controlled], given: object
) -> None:
    with pytest.raises(
        ValueError, match=r"processors must be a tuple of texts, the names of .*, not"
    ):
        config(processors=given)
    with pytest.raises(ValueError, match="bad_words must be a tuple of words or phrases, not"):
        config(bad_words=given)
