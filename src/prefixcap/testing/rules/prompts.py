"""Rules for prompts."""

from __future__ import annotations

import json
from typing import cast

import torch
from torch import Tensor

from prefixcap.interfaces.retrieval.prompt import (
    CaptionedImages,
    Datastore,
    PromptConfig,
    Prompter,
)
from prefixcap.interfaces.retrieval.retriever import directions
from prefixcap.interfaces.text_encoder import TextEncoder
from prefixcap.testing.case import Case
from prefixcap.testing.rules.rule import require, rule
from prefixcap.testing.word_encoder import WordsEncoder

NOUNS = ("dog", "cat", "horse", "boat", "kite", "tree")
PLACES = ("beach", "field", "road", "lake")


def captions() -> list[list[str]]:
    """Return two captions of each of 24 images; each noun is in four, each place in six."""
    return [
        [f"A {noun} near the {place}.", f"There is a {noun} on the {place}, and a {noun}."]
        for noun in NOUNS
        for place in PLACES
    ]


def features() -> Tensor:
    """Return the features (24,D) of the images, which are near their captions' own."""
    return torch.stack([WordsEncoder().encode_text(texts).mean(0) for texts in captions()])


def ids() -> list[str]:
    """Return the names of the images."""
    return [f"image {number}" for number in range(24)]


def learned(case: Case) -> Datastore:
    """Make the datastore of the images."""
    images = CaptionedImages(
        vectors=directions(features()),
        captions=captions(),
        ids=ids(),
        text_encoder=TextEncoder("words", WordsEncoder),
    )
    return cast(PromptConfig, case.config).learn(images)


def prompter(case: Case) -> Prompter:
    """Return the prompter of the images, built once."""
    config = cast(PromptConfig, case.config)
    return case.once("prompter", lambda: config.build(learned(case)))


def is_empty(case: Case) -> bool:
    """Return whether the prompt is no text at all."""
    return cast(PromptConfig, case.config).length == 0


@rule("own-captions")
def own_captions(case: Case) -> None:
    """No prompt of a training image has one of its own captions."""
    for own, items in zip(captions(), prompter(case).items(features(), ids()), strict=True):
        text = prompter(case).before(items)
        shown = [caption for caption in own if caption in text]
        require(not shown, f"the prompt of the image with the caption {own[0]!r} shows {shown}")


@rule("image-alone")
def image_alone(case: Case) -> None:
    """What a prompt says of an image does not depend on the other images."""
    together = prompter(case).items(features(), ids())
    require(len(together) == 24, f"24 images get {len(together)} prompts")
    for row in range(0, 24, 5):
        (alone,) = prompter(case).items(features()[row : row + 1], ids()[row : row + 1])
        require(
            alone == together[row],
            f"an image gets {alone} alone, and {together[row]} with others",
        )


@rule("images-matter")
def images_matter(case: Case) -> str | None:
    """Different images get different prompts."""
    if is_empty(case):
        return "it has no text"
    texts = {prompter(case).before(items) for items in prompter(case).items(features())}
    require(len(texts) > 1, f"24 images get the one prompt {next(iter(texts))!r}")
    return None


@rule("items")
def items_in_text(case: Case) -> str | None:
    """A prompt contains its items; a prompt of length 0 has no text, and any other has some."""
    config, written = cast(PromptConfig, case.config), prompter(case)
    text = written.before(()) + written.after
    require(bool(text) == bool(config.length), f"length is {config.length}, and the text {text!r}")
    for items in written.items(features()):
        before = written.before(items)
        missing = [item for item in items if item not in before]
        require(not missing, f"{missing} are not in the text {before!r}")
    return None


@rule("repeatable")
def repeatable(case: Case) -> None:
    """The same images always give the same datastore."""
    one, two = learned(case), learned(case)
    same = one.vectors.keys() == two.vectors.keys() and all(
        torch.equal(one.vectors[name], two.vectors[name]) for name in one.vectors
    )
    require(same and one.texts == two.texts, "two datastores of the same images differ")


@rule("reload")
def reload(case: Case) -> None:
    """A datastore that was saved and read again gives the same prompts."""
    from safetensors.torch import load, save

    config, made = cast(PromptConfig, case.config), learned(case)
    content = save({name: tensor.contiguous() for name, tensor in made.vectors.items()})
    restored = Datastore(vectors=load(content), texts=json.loads(json.dumps(made.texts)))
    before, after = (each.items(features()) for each in (prompter(case), config.build(restored)))
    require(before == after, "a saved and restored datastore gives other prompts")
