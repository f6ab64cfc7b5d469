"""The mapper that begins every caption with the same text, with and without training."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from prefixcap_mappers.begin_config import Begin

import prefixcap
from prefixcap import Captioner, PrefixcapError, TrainingConfig
from prefixcap.engine.causal_lm import CausalLM
from prefixcap.interfaces.language_model import LanguageModel
from prefixcap.plugin.registry import default_registry
from prefixcap.testing.case import small_gpt2
from prefixcap.testing.table_lm import LetterTokenizer

CAPTIONS = [["a bad cab"], ["deaf"], ["a cafe", "a face"]]


class Letters(LetterTokenizer):
    def encode(self, text: str) -> list[int]:
        return super().encode("".join(letter for letter in text.lower() if letter in self.letters))


class LettersLM(CausalLM):
    @property
    def tokenizer(self) -> LetterTokenizer:
        return Letters(self.vocab_size)


def lm() -> LettersLM:
    return LettersLM(small_gpt2())


def trained(model: LanguageModel, mapper: Begin, length: int, tuning: str = "frozen") -> Captioner:
    config = TrainingConfig(epochs=2, batch_size=2)
    features = torch.randn(3, 5, generator=torch.Generator().manual_seed(0))
    return prefixcap.train(
        model, mapper, length, tuning, features, CAPTIONS, config=config,
        val_features=features, val_captions=CAPTIONS,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("config", "tokens"),
    [
        (Begin(), [10]),
        (Begin(text="bad"), [10, 1, 0, 3]),
        (Begin(text="bad", start=False), [1, 0, 3]),
    ],
)
def test_the_prefix_is_the_tokens_own_embeddings(config: Begin, tokens: list[int]) -> None:
    model = lm()
    captioner = trained(model, config, len(tokens))
    prefix = captioner.prefixes(torch.randn(4, 5))
    expected = model.embed(torch.tensor(tokens)).expand(4, -1, -1)
    assert torch.equal(prefix, expected)
    # nothing was trained, and the loss of the val captions is known
    assert captioner.trained_parameters == 0
    assert captioner.history["loss"] == []
    assert len(captioner.history["val_loss"]) == 1
    # captions that follow the text, as if the model had been given its tokens
    greedy = captioner.caption(features=torch.randn(2, 5), decoder="greedy", max_new_tokens=5)
    plain = prefixcap.decode(model, expected[:2], "greedy", max_new_tokens=5)
    assert [each[0].ids for each in greedy] == [each[0].ids for each in plain]


def test_a_tuned_language_model_learns_from_texts_alone() -> None:
    model = lm()
    captioner = trained(model, Begin(), 1, "full")
    assert captioner.trained_parameters == sum(p.numel() for p in model.module.parameters())
    assert len(captioner.history["loss"]) == 4
    assert captioner.history["val_loss"][-1] < captioner.history["loss"][0]


def test_a_saved_one_is_loaded(tmp_path: Path) -> None:
    spec = "scenes-gpt2"
    captioner = prefixcap.train(
        spec, "begin:text=A dog", 3, "frozen", torch.randn(2, 5), [["A dog."], ["A cat."]],
        config=TrainingConfig(epochs=1),
    )  # fmt: skip
    captioner.save(tmp_path / "run")
    loaded = Captioner.load(tmp_path / "run")
    features = torch.randn(2, 5)
    assert torch.equal(loaded.prefixes(features), captioner.prefixes(features))
    assert loaded.mapper_config == Begin(text="A dog")


@pytest.mark.parametrize(
    ("config", "length", "sentence"),
    [
        (Begin(), 10, r"text='' with start=true needs .* of 1 \(--prefix-len 1\), .*, not 10"),
        (Begin(text="bad"), 1, r"text='bad' with start=true needs a prefix length of 4 "),
        (Begin(text="bad", start=False), 4, r"with start=false needs a prefix length of 3 "),
    ],
)
def test_another_prefix_length_is_an_error(config: Begin, length: int, sentence: str) -> None:
    with pytest.raises(PrefixcapError, match=sentence):
        trained(lm(), config, length)


def test_what_a_model_lacks_is_an_error() -> None:
    module = small_gpt2()
    with pytest.raises(PrefixcapError, match="text needs a language model with a tokenizer"):
        read(CausalLM(module), Begin(text="bad"))
    module.config.eos_token_id = None
    with pytest.raises(PrefixcapError, match="no end-of-text token to begin with: set start=false"):
        read(LettersLM(module), Begin())
    with pytest.raises(PrefixcapError, match="a prefix must have at least one token"):
        default_registry().parse(prefixcap.MapperConfig, "begin:start=false")


def read(model: LanguageModel, config: Begin) -> None:
    shape = prefixcap.MapperShape(
        feature_width=5, feature_tokens=None, prefix_length=1, embedding_width=16
    )
    config.build(shape).read_model(model)  # type: ignore[operator]
