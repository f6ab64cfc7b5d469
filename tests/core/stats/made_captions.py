"""Made-up corpora of tokenized captions, and the published code's scores of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from prefixcap.evaluation.stats import Mean

Captions = dict[str, list[str]]

WORDS = ("a", "the", "dog", "cat", "man", "runs", "sits", "on", "grass", "red", "with", "ball")


def corpus(images: int, seed: int, quality: float = 0.6) -> tuple[Captions, Captions]:
    """Draw references and predictions; a better prediction copies more of a reference."""
    rng = np.random.default_rng(seed)
    odds = 1 / np.arange(1, len(WORDS) + 1)
    odds /= odds.sum()

    def caption() -> list[str]:
        return [str(word) for word in rng.choice(WORDS, size=rng.integers(1, 12), p=odds)]

    references, predictions = {}, {}
    for i in range(images):
        result = [caption() for _ in range(rng.integers(1, 5))]
        copied = [w if rng.random() < quality else str(rng.choice(WORDS)) for w in result[0]]
        references[f"image {i}"] = [" ".join(words) for words in result]
        predictions[f"image {i}"] = [" ".join(copied)]
    return references, predictions


def repeated(captions: Mapping[str, Sequence[str]], weights: np.ndarray) -> dict[int, list[str]]:
    """Write a resample out: repeat every image by its weight."""
    images = [image for image, weight in zip(captions, weights, strict=True) for _ in range(weight)]
    return {i: list(captions[image]) for i, image in enumerate(images)}


def published_cider(references: dict[int, list[str]], predictions: dict[int, list[str]]) -> float:
    from pycocoevalcap.cider.cider import Cider

    return float(Cider().compute_score(references, predictions)[0])


def mean_cider(references: Captions, predictions: Captions) -> Mean:
    """Return CIDEr as the mean of the published code's per-image scores."""
    from pycocoevalcap.cider.cider import Cider

    each = Cider().compute_score(references, predictions)[1]
    return Mean({"CIDEr": [float(value) for value in each]}, list(references))


def published_bleu(
    references: dict[int, list[str]], predictions: dict[int, list[str]]
) -> list[float]:
    from pycocoevalcap.bleu.bleu import Bleu

    return [float(v) for v in Bleu(4).compute_score(references, predictions, verbose=0)[0]]
