"""Nouns, entities and retrievers of prompts."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from prefixcap_retrieval.nouns import nouns
from prefixcap_retrieval.prompt_configs import Entities, Retrieved

from prefixcap.errors import PrefixcapError
from prefixcap.interfaces.retrieval.prompt import CaptionedImages
from prefixcap.interfaces.retrieval.retriever import directions
from prefixcap.interfaces.text_encoder import TextEncoder
from prefixcap.plugin.registry import default_registry
from prefixcap.testing.word_encoder import WordsEncoder

CAPTIONS = [
    ["A black dog runs on the grass.", "The dog is wet, and it runs through a pair of hoops."],
    ["Two boys on a beach.", "The dog and the boys on the beach"],
    ["A black and white cat sleeps on the grass.", "A cat on the grass."],
    ["A cat in the grass; a black bird."],
]
WORDS = WordsEncoder(64)
FEATURES = torch.cat([WORDS.encode_text(texts).mean(0)[None] for texts in CAPTIONS])


def images() -> CaptionedImages:
    texts = TextEncoder("words", lambda: WORDS)
    ids = ["0", "1", "2", "3"]
    return CaptionedImages(
        vectors=directions(FEATURES), captions=CAPTIONS, ids=ids, text_encoder=texts
    )


def test_nouns_stand_between_a_determiner_and_the_end_of_a_phrase() -> None:
    # "black" stands before nouns, "pair" before "of", "runs" and "sleeps" after no determiner
    assert nouns(CAPTIONS, 10) == ["grass", "beach", "boys", "cat", "dog"]
    assert nouns(CAPTIONS, 2) == ["grass", "beach"]


def test_captions_of_another_language_have_no_nouns() -> None:
    with pytest.raises(PrefixcapError) as caught:
        nouns([["Ein Hund rennt.", "Der Hund bellt im Gras."]], 10)
    assert str(caught.value).endswith("name a file of entities, as in entities:words=FILE")


def test_entities_are_the_likeliest_ones(tmp_path: Path) -> None:
    file = tmp_path / "words.txt"
    file.write_text("dog\n\ncat\numbrella\ndog\n")
    config = Entities(words=str(file), k=2, threshold=0.2, temperature=0.1)
    datastore = config.learn(images())
    assert datastore.texts["entities"] == ["dog", "cat", "umbrella"]
    sentences = WORDS.encode_text(
        ["A photo of a dog.", "A photo of a cat.", "A photo of an umbrella."]
    )
    vectors = directions(sentences).half().double()
    shares = (directions(FEATURES).double() @ vectors.T / 0.1).softmax(1)
    expected = [
        tuple(
            ["dog", "cat", "umbrella"][e]
            for e in sorted(range(3), key=lambda e: -row[e])[:2]
            if row[e] >= 0.2
        )
        for row in shares.tolist()
    ]
    assert config.build(datastore).items(FEATURES) == expected
    file.write_text("dog\n")
    other = config.external_digests()
    file.write_text("cat\n")
    assert config.external_digests() != other
    file.write_text("\n \n")
    with pytest.raises(PrefixcapError, match="the file of entities has none: write one per line"):
        config.learn(images())


def test_a_prompt_may_use_any_retriever() -> None:
    specs = ("exact", "faiss", "faiss:index=hnsw;links=4;spare=2")
    configs = [Retrieved(k=2, retriever=spec, duplicate=1.0) for spec in specs]
    found = [
        config.build(config.learn(images())).items(FEATURES, ["0", "1", "2", "3"])
        for config in configs
    ]
    assert found[0] == found[1] == found[2]
    parsed = default_registry().parse(Retrieved, "retrieved:retriever=faiss:index=hnsw;spare=2")
    assert [part.name for part in parsed.subcomponents()] == ["faiss"]
