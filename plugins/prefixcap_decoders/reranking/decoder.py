"""Draws captions, scores them and ranks them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import Any

import attrs
from typing_extensions import override

from prefixcap.interfaces.decoder import Decoder, DecodingTask, Hypothesis
from prefixcap.util.words import words
from prefixcap_decoders.beam.ranking import deduplicate, divisor
from prefixcap_decoders.image_texts import ImageTexts, require_text, with_prompt
from prefixcap_decoders.reranking.config import MBR, BestOf
from prefixcap_decoders.reranking.mbr_utility import UTILITIES
from prefixcap_decoders.sampling.decoder import Sampler

Scorer = Callable[[Any, DecodingTask, int, Sequence[Hypothesis]], Sequence[float]]


class Reranker(Decoder):
    """Draws captions and ranks them by a score.

    Args:
        config: Distribution to draw from, with the numbers of samples and of captions.
        score: Returns the scores of the samples of an image, given the config, the task, the
            image's number and the samples; higher is better.
    """

    def __init__(self, config: BestOf | MBR, score: Scorer) -> None:
        self.config = config
        self.sampler = Sampler(config, config.samples)
        self.score = score

    @override
    def decode(self, task: DecodingTask) -> Iterator[tuple[int, list[Hypothesis]]]:
        count = task.n or self.config.n
        samples = max(count, self.config.samples)
        for image, hypotheses in self.sampler.decode(attrs.evolve(task, n=samples)):
            scores = self.score(self.config, task, image, hypotheses)
            scored = zip(hypotheses, scores, strict=True)
            yield image, deduplicate([attrs.evolve(h, score=s) for h, s in scored], count)


def by_model(
    config: BestOf, task: DecodingTask, image: int, hypotheses: Sequence[Hypothesis]
) -> list[float]:
    """Score by length-normalized log-probability."""
    penalty, norm = config.length_penalty, config.length_norm
    return [
        h.logprob / divisor(len(h.ids) + (h.finish_reason == "stop"), penalty, norm)
        for h in hypotheses
    ]


def by_clip(
    config: BestOf, task: DecodingTask, image: int, hypotheses: Sequence[Hypothesis]
) -> list[float]:
    """Score by the cosine similarity of the image's feature and the caption."""
    judge = ImageTexts.of(task, config.text, "best-of:by=clip")
    texts = [with_prompt(config.prompt, hypothesis.text) for hypothesis in hypotheses]
    cosines: list[float] = judge.cosines([image] * len(texts), texts).tolist()
    return cosines


def by_utility(
    config: MBR, task: DecodingTask, image: int, hypotheses: Sequence[Hypothesis]
) -> list[float]:
    """Score by the mean utility against every sample, and against captions of similar images."""
    captions = [words_of(hypothesis) for hypothesis in hypotheses]
    samples, known = Counter(captions), Counter(_neighbors(config, task, image))
    # duplicates are compared once and weighted by their count
    distinct, counts = list(samples | known), samples + known
    table = UTILITIES[config.utility](distinct, [counts[text] for text in distinct])
    weight = config.neighbor_weight if known else 0.0
    by_sample, by_neighbor = (
        table @ [each[text] / max(each.total(), 1) for text in distinct]
        for each in (samples, known)
    )
    mixed = ((1 - weight) * by_sample + weight * by_neighbor).tolist()
    means = dict(zip(distinct, mixed, strict=True))
    return [means[caption] for caption in captions]


def _neighbors(config: MBR, task: DecodingTask, image: int) -> list[tuple[Hashable, ...]]:
    """Return the words of the captions of similar images.

    Raises:
        PrefixcapError: If the language model's captions have no words to compare.
    """
    if not config.neighbors or task.neighbors is None:
        return []
    require_text(task, "mbr:neighbors")
    return [tuple(words(text)) for text in task.neighbors[image][: config.neighbors]]


def words_of(hypothesis: Hypothesis) -> tuple[Hashable, ...]:
    """Return a caption's lower-case words without punctuation; its ids if there is no text."""
    if not hypothesis.text:
        return hypothesis.ids
    return tuple(words(hypothesis.text))
