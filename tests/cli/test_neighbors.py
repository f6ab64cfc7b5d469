"""Decoders that compare captions with those of similar training images, through the shell."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from cli_world import World
from prefixcap_decoders.reranking.mbr_utility import UTILITIES

from prefixcap.util.words import words

Shell = Callable[..., tuple[int, str, str]]
SPEC = "mbr:samples=4,neighbors=5,neighbor_weight=1,n=4"
FIRST_TEST_IMAGE = 36


def nearest_captions(world: World, image: int, count: int) -> list[tuple[str, ...]]:
    """Return the different captions of training images nearest to an image, by a plain loop."""
    lines = [json.loads(line) for line in (world.data / "captions.jsonl").open()]
    features = np.load(world.data / "features.npy").astype(float)
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    cosines = features @ features[image]
    known = [row for row, line in enumerate(lines) if line["split"] == "train"]
    found: list[tuple[str, ...]] = []
    for row in sorted(known, key=lambda row: -cosines[row]):
        for text in lines[row]["captions"] if cosines[row] <= 0.99 else []:
            if tuple(words(text)) not in found:
                found.append(tuple(words(text)))
    return found[:count]


def utility(caption: Sequence[str], others: Sequence[Sequence[str]]) -> float:
    """Return the mean utility of a caption against others."""
    pairs = [UTILITIES["ngram"]([tuple(caption), tuple(other)], [1, 1]) for other in others]
    return float(np.mean([table[0, 1] for table in pairs]))


def test_a_study_finds_the_neighbors_of_its_images(
    shell: Shell, world: World, tmp_path: Path
) -> None:
    status, _, err = shell(*world.bench, "--decoder", SPEC, "--no-baselines", "--out", tmp_path)
    assert status == 0, err
    (captions,) = (tmp_path / "cells").glob("*-mbr-*/captions.jsonl")
    lines = [json.loads(line) for line in captions.open()]
    for number, line in enumerate(lines):
        expected = nearest_captions(world, FIRST_TEST_IMAGE + number, 5)
        for caption in line["captions"]:
            score = utility(words(caption["text"]), expected)
            assert caption["score"] == pytest.approx(score, abs=1e-9)


def test_what_does_not_fit_is_a_sentence(shell: Shell, world: World, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    status, _, err = shell(
        *world.bench, "--decoder", "mbr:neighbors=99", "--out", tmp_path / "study"
    )
    assert status == 2
    assert "the decoder's neighbors: k=99 captions of other images are to be retrieved" in err
    assert shell("train", *world.options, "--out", folder)[0] == 0
    features = ("--features", world.data / "features.npy")
    status, _, err = shell("caption", *features, "--run", folder, "--decoder", "mbr:neighbors=2")
    assert status == 2
    assert "mbr:neighbors=2 reads 2 captions of similar training images, which are missing" in err
