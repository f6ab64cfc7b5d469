"""Training with text around prefixes: its tokens, its loss, what is saved, and interruptions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from core.training.test_resuming import Killed, WritesAt, same
from torch import Tensor

import prefixcap
from prefixcap.captioning.captioner import Captioner
from prefixcap.captioning.prompting.prompts import PromptRows, Prompts
from prefixcap.captioning.prompting.training import PromptTraining
from prefixcap.errors import PrefixcapError
from prefixcap.interfaces.decoder import DecoderConfig
from prefixcap.interfaces.language_model import LanguageModel, LMConfig
from prefixcap.interfaces.mapper import MapperShape
from prefixcap.interfaces.text_encoder import TextEncoder
from prefixcap.plugin.registry import default_registry
from prefixcap.testing.table_lm import TableLM
from prefixcap.testing.word_encoder import WordsEncoder
from prefixcap.training.batches import CaptionBatch, TokenizedCaption
from prefixcap.training.checkpoint import TrainingCheckpoint
from prefixcap.training.config import TrainingConfig
from prefixcap.training.train import train
from prefixcap.training.trainer import Trainer

NOUNS = ("dog", "cat", "horse", "ball")
CAPTIONS = [
    [f"A {colour} {noun}.", f"There is a {noun} that is {colour}."]
    for noun in NOUNS
    for colour in ("red", "blue", "green")
]
SHAPE = MapperShape(
    feature_width=16, feature_tokens=None, prefix_length=2, embedding_width=128, prompt_length=1
)
IDS = [f"{number}.png" for number in range(12)]
WORDS = WordsEncoder(16)
FEATURES = torch.stack([WORDS.encode_text(texts).mean(0) for texts in CAPTIONS])
SPECS = ("retrieved:k=2,tokens=48", "retrieved:k=2,by=text,tokens=48", "entities:threshold=0.1")


@pytest.fixture(scope="module")
def lm() -> LanguageModel:
    return default_registry().parse(LMConfig, "scenes-gpt2").build()


def learned(spec: str) -> PromptTraining:
    texts = TextEncoder("words", lambda: WORDS)
    return PromptTraining.learn(spec, FEATURES, CAPTIONS, IDS, texts)


def trained(lm: LanguageModel | str, spec: str, **options: Any) -> Captioner:
    settings = {"epochs": 2, "batch_size": 6, "learning_rate": 1e-2}
    return train(
        lm,
        "linear",
        2,
        "frozen",
        FEATURES,
        CAPTIONS,
        config=TrainingConfig(**settings),
        prompt=learned(spec),
        val_features=FEATURES[:3],
        val_captions=CAPTIONS[:3],
        **options,
    )


@pytest.fixture(scope="module")
def models() -> dict[str, Captioner]:
    return {spec: trained("scenes-gpt2", spec) for spec in SPECS}


def prompts_of(model: Captioner) -> Prompts:
    assert model.prompts is not None
    return model.prompts


def test_the_text_is_that_of_the_papers(lm: LanguageModel) -> None:
    prompts = Prompts(*_parts("retrieved:k=2,tokens=60"), lm, SHAPE)
    assert lm.tokenizer is not None
    ((one, two),) = prompts.items(FEATURES[:1], IDS[:1])
    # the red dog's own captions are left out; other dogs and red things are the nearest
    assert all("dog" in text or "red" in text for text in (one, two))
    assert not {one, two} & set(CAPTIONS[0])
    tokens = prompts.tokens([(one, two)])[0].tolist()
    before = lm.tokenizer.encode(f"Similar images show\n\n{one}\n\n{two}\n\n")
    after = lm.tokenizer.encode("\n\nThis image shows\n\n")
    assert tokens == [lm.eos_id] * (60 - len(before) - len(after)) + before + after
    entities = Prompts(*_parts("entities"), lm, SHAPE)
    expected = lm.tokenizer.encode("There are dog, ball in image.")
    assert entities.tokens([("dog", "ball")])[0].tolist()[-len(expected) :] == expected
    nothing = lm.tokenizer.encode("There are something in image.")
    assert entities.tokens([()])[0].tolist()[-len(nothing) :] == nothing


def _parts(spec: str) -> tuple[Any, Any]:
    made = learned(spec)
    return made.prompt, made.datastore


def test_captions_that_do_not_fit_are_left_out_whole(lm: LanguageModel) -> None:
    assert lm.tokenizer is not None
    captions = ("A blue dog.", "A green dog.")
    needed = len(lm.tokenizer.encode("Similar images show\n\nA blue dog.\n\nA green dog.\n\n"))
    after = len(lm.tokenizer.encode("\n\nThis image shows\n\n"))
    for room, shown in ((needed, 2), (needed - 1, 1)):
        prompts = Prompts(*_parts(f"retrieved:k=2,tokens={room + after}"), lm, SHAPE)
        text = lm.tokenizer.decode(prompts.tokens([captions])[0].tolist())
        assert [caption in text for caption in captions] == [True, shown == 2]


def test_the_loss_is_that_of_the_whole_text(lm: LanguageModel) -> None:
    model = trained(lm, SPECS[0])
    prompts = prompts_of(model)
    rows = PromptRows(prompts, prompts.items(FEATURES, IDS))
    batch = CaptionBatch.of([TokenizedCaption(r, (5, 9, 11, 0)[: 2 + r]) for r in (0, 1, 2)])
    trainer = Trainer(lm, model.prefixer, TrainingConfig(), 1)
    loss = trainer.loss(FEATURES[batch.rows], batch, rows).item()
    total = 0.0
    for row in (0, 1, 2):
        tokens = prompts.tokens([rows.items[row]])[0]
        before, after = tokens.tensor_split([48 - len(_after(lm))])
        caption = torch.tensor((5, 9, 11, 0)[: 2 + row])
        prefix = model.prefixer(FEATURES[row : row + 1])[0]
        inputs = torch.cat([lm.embed(before), prefix, lm.embed(after), lm.embed(caption)])
        with torch.no_grad():
            logits = lm.module(inputs_embeds=inputs[None]).logits[0]
        predicted = logits[len(inputs) - len(caption) - 1 : -1].log_softmax(-1)
        total -= predicted[torch.arange(len(caption)), caption].sum().item()
    assert loss == pytest.approx(total / batch.tokens, rel=1e-4)


def _after(lm: LanguageModel) -> list[int]:
    assert lm.tokenizer is not None
    return lm.tokenizer.encode("\n\nThis image shows\n\n")


def test_entities_are_left_out_at_random_in_training_only(lm: LanguageModel) -> None:
    prompts = Prompts(*_parts("entities:mask=0.4"), lm, SHAPE)
    rows = PromptRows(prompts, [("dog", "ball")] * 300)
    prefix, every = torch.zeros(300, 2, lm.width), torch.arange(300)
    full = rows.around(prefix, every, training=False)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        some = rows.around(prefix, every, training=True)
    kept = (some == full).flatten(1).all(1).float().mean().item()
    assert kept == pytest.approx(0.6**2, abs=0.1)
    always = Prompts(*_parts("entities:mask=1"), lm, SHAPE)
    none = PromptRows(always, [("dog",)]).around(prefix[:1], every[:1], training=True)
    assert torch.equal(none, always.around(prefix[:1], always.tokens([()])))


@pytest.mark.parametrize("spec", SPECS)
def test_a_saved_model_captions_new_images_the_same(
    models: dict[str, Captioner], spec: str, tmp_path: Path
) -> None:
    model = models[spec]
    loaded = Captioner.load(model.save(tmp_path), "cpu")
    assert prompts_of(loaded).config == prompts_of(model).config
    new = FEATURES + 0.1
    assert torch.equal(loaded.prefixes(new), model.prefixes(new))
    assert loaded.caption(features=new[:3]) == model.caption(features=new[:3])
    assert f"prompt={spec.partition(':')[0]!r}"[:-1] in repr(loaded)


def test_the_datastore_is_checked(models: dict[str, Captioner], tmp_path: Path) -> None:
    folder = models[SPECS[0]].save(tmp_path)
    file = folder / "datastore.safetensors"
    content = file.read_bytes()
    file.write_bytes(content.replace(b"horse", b"house"))
    with pytest.raises(PrefixcapError, match=r"this is not the datastore that config\.json was"):
        Captioner.load(folder)
    file.unlink()
    with pytest.raises(PrefixcapError, match=r"the run has no datastore\.safetensors"):
        Captioner.load(folder)


def test_training_never_shows_an_images_own_captions(
    models: dict[str, Captioner],
) -> None:
    for spec in SPECS[:2]:
        for own, items in zip(CAPTIONS, prompts_of(models[spec]).items(FEATURES, IDS), strict=True):
            assert len(items) == 2
            assert not set(own) & set(items)
        # the captions of other images that are as similar may be shown
        similar = prompts_of(models[spec]).items(FEATURES + 0.5)
        assert any(set(own) & set(items) for own, items in zip(CAPTIONS, similar, strict=True))


@pytest.mark.parametrize("spec", ["retrieved:k=2,tokens=48", "entities:mask=0.5,threshold=0.1"])
def test_a_resumed_training_ends_with_the_same_bits(spec: str, tmp_path: Path) -> None:
    def progress(done: int, _total: int, _info: object) -> None:
        if done == 5:
            raise Killed

    whole = trained("scenes-gpt2", spec)
    with pytest.raises(Killed):
        trained("scenes-gpt2", spec, checkpoint=WritesAt(tmp_path / "t", {3}), progress=progress)
    torch.rand(7)
    assert same(trained("scenes-gpt2", spec, checkpoint=TrainingCheckpoint(tmp_path / "t")), whole)


def test_other_prompts_are_another_training(tmp_path: Path) -> None:
    losses = [
        trained("scenes-gpt2", spec, checkpoint=TrainingCheckpoint(tmp_path / "t")).history["loss"]
        for spec in ("retrieved:k=1,tokens=48", "retrieved:k=2,tokens=48")
    ]
    assert losses[0] != losses[1]


# conzic writes with a masked language model instead
DECODERS = [name for name in default_registry().names("decoder") if name != "conzic"]
SETTINGS = {
    "best-of": "best-of:samples=2",
    "contrastive-decoding": "contrastive-decoding:amateur=scenes-gpt2",
    "constrained": "constrained:force_words=dog",
    "mbr": "mbr:samples=3",
    "speculative": "speculative:draft=scenes-gpt2",
}


@pytest.mark.parametrize("name", DECODERS)
def test_every_decoder_continues_a_prompt(models: dict[str, Captioner], name: str) -> None:
    model = models[SPECS[0]]
    config = default_registry().parse(DecoderConfig, SETTINGS.get(name, name))
    texts = TextEncoder("words", lambda: WORDS)
    options: dict[str, Any] = {"max_new_tokens": 6, "text_encoder": texts}
    found = dict(model.iter_caption(FEATURES[:3], config, image_ids=["0", "1", "2"], **options))
    assert sorted(found) == [0, 1, 2]
    if not config.batch_dependent():
        alone = dict(model.iter_caption(FEATURES[1:2], config, image_ids=["1"], **options))
        assert alone[0][0].ids == found[1][0].ids


def test_greedy_search_is_that_of_transformers(models: dict[str, Captioner]) -> None:
    model = models[SPECS[0]]
    prefix = model.prefixes(FEATURES[:4])
    assert prefix.shape[1] == model.prefix_length == 48 + 2
    ids = model.lm.module.generate(  # type: ignore[operator]
        inputs_embeds=prefix,
        attention_mask=torch.ones(prefix.shape[:2]),
        max_new_tokens=8,
        do_sample=False,
        pad_token_id=0,
        eos_token_id=model.stop_ids[0],
    )
    ours = prefixcap.decode(model.lm, prefix, "greedy", max_new_tokens=8, stop_ids=model.stop_ids)
    for row, hypotheses in zip(ids.tolist(), ours, strict=True):
        ended = row.index(model.stop_ids[0]) if model.stop_ids[0] in row else len(row)
        assert list(hypotheses[0].ids) == row[:ended]


@pytest.mark.parametrize(
    ("mapper", "tuning"),
    [("deep", "frozen"), ("linear", "cross-attention"), ("mlp", "deep-prefix")],
)
def test_prompts_go_with_prefixes_that_hold_more(mapper: str, tuning: str, tmp_path: Path) -> None:
    """Greedy search takes the tokens that teacher forcing has as the likeliest."""
    model = train(
        "scenes-gpt2",
        mapper,
        2,
        tuning,
        FEATURES,
        CAPTIONS,
        config=TrainingConfig(epochs=1, batch_size=6, learning_rate=1e-2),
        prompt=learned(SPECS[0]),
    )
    prefix = model.prefixes(FEATURES[:4])
    found = model.caption(features=FEATURES[:4], decoder="greedy", max_new_tokens=5)
    plain = Captioner.load(model.save(tmp_path), "cpu").caption(
        features=FEATURES[:4], decoder="greedy", max_new_tokens=5
    )
    assert plain == found
    for row, (hypothesis,) in enumerate(found):
        ids = torch.tensor([[*hypothesis.ids, *model.stop_ids]])
        mask = torch.ones_like(ids).bool()
        with torch.no_grad():
            likeliest = model.lm.teacher_forced(prefix[row : row + 1], ids, mask).argmax(-1)[0]
        expected = ids[0] if hypothesis.finish_reason == "stop" else ids[0, :-1]
        assert likeliest[: len(expected)].tolist() == expected.tolist()


@pytest.mark.parametrize(
    ("spec", "sentence"),
    [
        ("retrieved:k=30", "k=30 captions of other images are to be retrieved, and of 12 images"),
        ("retrieved:tokens=9", "its own words take"),
        ("retrieved:tokens=120", "a prefix of 122 with its prompt and a caption"),
        ("retrieved:retriever=exakt", "retriever: no retriever 'exakt'"),
        ("entities:words=nowhere.txt", "nowhere.txt"),
    ],
)
def test_what_does_not_fit_is_a_sentence(lm: LanguageModel, spec: str, sentence: str) -> None:
    with pytest.raises(PrefixcapError) as caught:
        trained(lm, spec)
    assert sentence in str(caught.value)


class Silent(WordsEncoder):
    """Has no text tower."""

    def encode_text(self, texts: Any) -> Any:
        return None


@pytest.mark.parametrize("spec", ["retrieved:by=text", "entities"])
def test_texts_need_a_text_tower(spec: str) -> None:
    for tower, sentence in (
        (TextEncoder("silent", lambda: Silent()), "the encoder 'silent' has no text tower"),
        (None, "needs an encoder with a text tower"),
        (TextEncoder("wide", lambda: WordsEncoder(5)), "they do not share one space"),
    ):
        with pytest.raises(PrefixcapError) as caught:
            PromptTraining.learn(spec, FEATURES, CAPTIONS, IDS, tower)
        assert sentence in str(caught.value)


def test_other_bad_input_is_a_sentence(lm: LanguageModel) -> None:
    made = learned(SPECS[0])
    with pytest.raises(PrefixcapError, match="needs a language model with a tokenizer and an end"):
        Prompts(made.prompt, made.datastore, _without_end(), SHAPE)
    with pytest.raises(PrefixcapError, match="and the images have none"):
        PromptTraining.learn("retrieved", FEATURES, [[]] * 12, IDS)
    with pytest.raises(PrefixcapError, match="knows the names of 12 training images, and there a"):
        made.apply(lm, SHAPE, FEATURES[:3], CAPTIONS[:3], None)


def _without_end() -> LanguageModel:
    class Endless(TableLM):
        @property
        def eos_id(self) -> None:
            return None

    return Endless()


def test_captions_are_rows_if_a_model_is_trained_on_texts(lm: LanguageModel) -> None:
    texts: Tensor = WORDS.encode_text([text for each in CAPTIONS for text in each])
    prompted = learned(SPECS[1]).apply(lm, SHAPE, texts, CAPTIONS, None)
    assert prompted.train is not None
    assert len(prompted.train.items) == 24
    for own, first, second in zip(CAPTIONS, *_halves(prompted.train.items), strict=True):
        assert not set(own) & {*first, *second}


def _halves(items: Any) -> tuple[Any, Any]:
    return items[::2], items[1::2]
