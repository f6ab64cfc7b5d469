"""Speculative decoding changes nothing but the number of runs."""

from __future__ import annotations

from pathlib import Path

import attrs
import pytest
import torch
from core.test_captioner import features, lm_folder, make
from decoder_checks import drawn_texts, fits, rescore, tokens_of
from decoder_models import Turned, prefixes, small_model
from prefixcap_decoders.speculative import acceptance
from prefixcap_decoders.speculative.config import Speculative
from prefixcap_decoders.speculative.decoder import SpeculationStats, SpeculativeDecoder
from prefixcap_decoders.speculative.draft import DraftState
from prefixcap_decoders.speculative.drafters import CountDrafter, LookupDrafter
from torch import Tensor

import prefixcap
from prefixcap import Hypothesis, PrefixcapError
from prefixcap.decoding.decode import collect
from prefixcap.engine.causal_lm import CausalLM
from prefixcap.interfaces.decoder import DecodingTask
from prefixcap.interfaces.language_model import LanguageModel
from prefixcap.testing import Case, run_checks
from prefixcap.testing.table_lm import TableLM

STOPS = frozenset({3, 5, 11, 17})
LIMIT = 9
MODELS = {
    "gpt2": small_model("gpt2"),
    "llama": small_model("llama"),
    "other gpt2": small_model("gpt2", 4),
    # runs in a `CacheSession`, which groups its rows into batches of equal lengths
    "bloom": small_model("bloom"),
}
FAMILIES = {name: CausalLM(model) for name, model in MODELS.items()}
for model in MODELS.values():
    model.config.eos_token_id = 0


def run(
    lm: LanguageModel, draft: LanguageModel | None, config: Speculative, prefix: Tensor, **more: int
) -> tuple[list[list[Hypothesis]], SpeculationStats]:
    task = DecodingTask(
        lm=lm, prefix=prefix, image_ids=[str(n) for n in range(len(prefix))],
        max_new_tokens=LIMIT, stop_ids=STOPS if lm.vocab_size > 11 else frozenset({lm.eos_id}),
    )  # fmt: skip
    decoder = SpeculativeDecoder(config, draft)
    with torch.inference_mode():
        actual = collect(decoder.decode(attrs.evolve(task, **more)), len(prefix))
    return actual, decoder.stats


@pytest.mark.parametrize(
    ("model", "draft"),
    [
        ("gpt2", "other gpt2"),
        ("gpt2", "gpt2"),
        ("llama", "bloom"),
        ("bloom", "llama"),
        ("llama", None),
    ],
)
@pytest.mark.parametrize(
    ("tokens", "inner"),
    [(1, "greedy"), (4, "greedy"), (3, "greedy:repetition_penalty=1.4;min_new_tokens=2")],
)
def test_captions_are_those_of_greedy_search(
    model: str, draft: str | None, tokens: int, inner: str
) -> None:
    lm, prefix = FAMILIES[model], prefixes(9)
    plain = prefixcap.decode(
        lm, prefix, inner.replace(";", ","), max_new_tokens=LIMIT, stop_ids=sorted(STOPS)
    )
    assert len({hyps[0].finish_reason for hyps in plain}) == 2
    config = Speculative(tokens=tokens, decoder=inner)
    for rows in (320, 2 * tokens + 3):
        actual, stats = run(lm, FAMILIES[draft] if draft else None, config, prefix, max_rows=rows)
        assert [hyps[0].ids for hyps in actual] == [hyps[0].ids for hyps in plain]
        for one, two in zip(actual, plain, strict=True):
            assert one[0].finish_reason == two[0].finish_reason
            assert one[0].logprob == pytest.approx(two[0].logprob, abs=1e-3)
        assert stats.tokens == sum(len(tokens_of(hyps[0])) for hyps in plain)
        assert 0 <= stats.accepted <= stats.drafted
        # each round gives a caption what was accepted and at most one token more
        assert stats.tokens <= stats.accepted + stats.rounds + len(prefix)


@pytest.mark.parametrize("inner", ["greedy", "sample:n=3"])
def test_a_perfect_draft_saves_the_maximum_number_of_runs(inner: str) -> None:
    lm = TableLM()
    with torch.inference_mode():
        prefix = lm.embed(torch.tensor([[lm.eos_id]])).clone()
    config = Speculative(tokens=3, decoder=inner)
    task_stops = {"stop_ids": frozenset[int]()}
    actual, stats = run(lm, TableLM(), config, prefix, **task_stops)  # type: ignore[arg-type]
    assert {len(h.ids) for h in actual[0]} == {LIMIT}
    assert stats.accepted == stats.drafted
    # one token of the prefix, then two runs of three drafted tokens and one more
    assert stats.runs == 2
    assert stats.rounds == 2 * len(actual[0])


@pytest.mark.parametrize("draft", ["alike", "unlike", "lookup"])
@pytest.mark.parametrize(
    ("tokens", "settings"),
    [(1, {}), (3, {}), (2, {"temperature": 0.7, "top_p": 0.85})],
)
def test_samples_have_exactly_the_samplers_distribution(
    draft: str, tokens: int, settings: dict[str, float]
) -> None:
    lm, prefix, limit, n = TableLM(vocab_size=4, seed=2), prefixes(1, width=4), 3, 2_000
    # shorter captions hold little to look up
    limit += 2 * (draft == "lookup")
    other = None if draft == "lookup" else Mixed(lm, prefix[0], 0.7 if draft == "alike" else 0.0)
    inner = "sample:" + ";".join(f"{key}={value}" for key, value in {"n": n, **settings}.items())
    config = Speculative(tokens=tokens, decoder=inner)
    actual, stats = run(lm, other, config, prefix, max_new_tokens=limit)
    drawn = [tuple(tokens_of(h)) for h in actual[0]]
    assert fits(drawn, drawn_texts(lm, prefix[0], limit, **settings))
    for h in actual[0][:20]:
        assert h.logprob == pytest.approx(rescore(lm, prefix[0], h), abs=1e-4)
    if draft != "lookup":
        assert 0 < stats.accepted < stats.drafted
    elif not settings:
        assert stats.drafted > 0


class Mixed(TableLM):
    """A draft that mixes the model itself with another table."""

    def __init__(self, lm: TableLM, prefix: Tensor, share: float) -> None:
        super().__init__(vocab_size=lm.vocab_size, seed=lm.seed + 1)
        self.right, self.real, self.share = lm, prefix, share

    def distribution(self, prefix: Tensor, tokens: list[int]) -> Tensor:
        own = super().distribution(prefix, tokens)
        return self.share * self.right.distribution(self.real, tokens) + (1 - self.share) * own


def test_without_the_correction_the_distribution_is_noticeably_wrong(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lm, prefix = TableLM(vocab_size=4, seed=2), prefixes(1, width=4)
    monkeypatch.setattr(acceptance, "_residual", lambda own, tokens, drafted: own)
    config = Speculative(tokens=3, decoder="sample:n=3000")
    actual, _ = run(lm, Mixed(lm, prefix[0], 0.0), config, prefix, max_new_tokens=3)
    drawn = [tuple(tokens_of(h)) for h in actual[0]]
    assert not fits(drawn, drawn_texts(lm, prefix[0], 3))


@pytest.mark.parametrize("draft", ["gpt2", None])
def test_a_sampled_caption_depends_on_its_image_alone(draft: str | None) -> None:
    lm, prefix = FAMILIES["llama"], prefixes(7)
    config = Speculative(tokens=2, decoder="top-p:top_p=0.95;n=2")
    other = FAMILIES[draft] if draft else None
    usual, _ = run(lm, other, config, prefix)
    few, _ = run(lm, other, config, prefix, max_rows=7)
    assert [[h.ids for h in hyps] for hyps in few] == [[h.ids for h in hyps] for hyps in usual]
    assert len({h.ids for hyps in usual for h in hyps}) > 7


def lines(*captions: list[int]) -> list[DraftState]:
    return [DraftState(0, [], 0, tokens=caption) for caption in captions]


def test_counted_captions_propose_what_followed_most_often() -> None:
    drafter = CountDrafter([[1, 2, 3, 9], [1, 2, 4, 9], [7, 2, 4, 9], [5, 2, 3, 8]])
    actual = lines([1, 2], [7, 2], [0, 5], [6], [1])
    drafter.propose(actual, [3, 1, 2, 4, 0])
    assert [line.drafted for line in actual] == [[3, 9], [4], [2, 3], [], []]


def test_a_lookup_proposes_what_followed_in_the_caption_itself() -> None:
    actual = lines([1, 2, 3, 1, 2], [1, 2, 5, 2], [4, 4], [1, 2, 3], [3])
    LookupDrafter().propose(actual, [2, 4, 3, 3, 3])
    assert [line.drafted for line in actual] == [[3, 1], [5, 2], [4], [], []]


def test_a_data_sets_captions_are_a_draft() -> None:
    lm = prefixcap.Registry().parse(prefixcap.LMConfig, "scenes-gpt2").build()
    assert lm.tokenizer is not None
    ids = [lm.tokenizer.encode(text) for text in ("A red", "There is", "Two small")]
    with torch.inference_mode():
        prefix = torch.stack([lm.embed(torch.tensor(each[:2])) for each in ids])
    plain = prefixcap.decode(lm, prefix, "greedy", max_new_tokens=20)
    spec = "speculative:captions=scenes:train=60"
    actual = prefixcap.decode(lm, prefix, spec, max_new_tokens=20)
    assert [hyps[0].text for hyps in actual] == [hyps[0].text for hyps in plain]
    config = prefixcap.Registry().parse(prefixcap.DecoderConfig, spec)
    assert isinstance(config, Speculative)
    stops = frozenset({lm.eos_id}) - {None}
    _, stats = run(lm, None, config, prefix, stop_ids=stops)  # type: ignore[arg-type]
    assert stats.accepted > stats.drafted / 4


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"draft": "hf:model=a", "captions": "scenes"}, "not both draft and captions"),
        ({"tokens": 0}, "tokens must be at least 1, not 0"),
    ],
)
def test_wrong_settings_are_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Speculative(**options)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("speculative:decoder=beam", "decoder='beam' cannot be verified token by token; these can"),
        ("speculative:decoder=gredy", "no decoder 'gredy'; did you mean 'greedy'"),
        ("speculative:draft=h", "decoder 'speculative:draft=h': draft: no lm 'h'"),
        ("speculative:captions=scene", "captions: no dataset 'scene'; did you mean 'scenes'"),
        ("speculative:run=nowhere", "nowhere"),
    ],
)
def test_unknown_components_are_errors(spec: str, message: str) -> None:
    with pytest.raises(PrefixcapError, match=message):
        prefixcap.decode(FAMILIES["gpt2"], prefixes(1), spec)


def test_a_draft_that_does_not_fit_is_an_error() -> None:
    lm, config, prefix = FAMILIES["gpt2"], Speculative(), prefixes(2)
    with pytest.raises(PrefixcapError, match="vocabulary of 5, the language model one of 23"):
        run(lm, TableLM(), config, prefix)
    with pytest.raises(PrefixcapError, match=r"has 64 positions.*of 1 with 70 new tokens needs 71"):
        run(lm, FAMILIES["llama"], config, prefix, max_new_tokens=70)
    table, turned = TableLM(vocab_size=27), Turned(vocab_size=27)
    with pytest.raises(PrefixcapError, match=r"draft's token 0 is 'z', and the .* model's 'a'"):
        run(table, turned, config, prefixes(1, width=4))


def test_a_trained_captioner_drafts_by_its_own_mapper(tmp_path: Path) -> None:
    model = make(lm_folder(tmp_path / "large", n_embd=32, n_layer=2))
    run_folder = make(lm_folder(tmp_path / "small", seed=1)).save(tmp_path / "run")
    plain, actual = (
        model.caption(features=features(), decoder=decoder, max_new_tokens=20)
        for decoder in ("greedy", f"speculative:run={run_folder},tokens=3")
    )
    assert [hyps[0].text for hyps in actual] == [hyps[0].text for hyps in plain]
    with pytest.raises(PrefixcapError, match="the draft's mapper needs the images' features"):
        prefixcap.decode(model.lm, model.prefixes(features()), f"speculative:run={run_folder}")


def test_a_named_draft_conforms(tmp_path: Path) -> None:
    draft = lm_folder(tmp_path / "small", seed=1)
    target = lm_folder(tmp_path / "large", n_embd=24)
    config = prefixcap.Registry().parse(prefixcap.LMConfig, f"hf:model={target}")
    case = Case(
        config=Speculative(draft=f"hf:model={draft}", tokens=2, decoder="top-k:n=2"),
        lm=config.build,  # type: ignore[attr-defined]
    )
    broken = {result.name: result.problem for result in run_checks(case.config, case=case)}
    assert {name: problem for name, problem in broken.items() if problem} == {}
