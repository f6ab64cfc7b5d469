"""Draws captions, scores them anew and ranks them."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence

import attrs

from prefixcap.errors import PrefixcapError
from prefixcap.interfaces.decoder import Decoder, DecodingTask, Hypothesis
from prefixcap.plugin.text_encoders import named_text_encoder
from prefixcap_decoders.beam.deduplicate import deduplicate
from prefixcap_decoders.beam.length_penalty import divisor
from prefixcap_decoders.reranking.config import MBR, BestOf
from prefixcap_decoders.reranking.mbr_utility import UTILITIES
from prefixcap_decoders.sampling.config import Drawing
from prefixcap_decoders.sampling.decoder import Sampler

Scorer = Callable[[DecodingTask, int, Sequence[Hypothesis]], Sequence[float]]


class Reranker(Decoder):
    """Draws captions and ranks them by a score.

    Args:
        config: what is drawn from.
        samples: how many are drawn an image; more where more are wanted.
        kept: how many are given back, unless a task says `n`.
        score: gives the samples of one of a task's images their scores; higher is better.
    """

    def __init__(self, config: Drawing, samples: int, kept: int, score: Scorer) -> None:
        self.sampler = Sampler(config, samples)
        self.samples = samples
        self.kept = kept
        self.score = score

    def decode(self, task: DecodingTask) -> Iterator[tuple[int, list[Hypothesis]]]:
        """Yields each image's best captions once all of its samples have ended."""
        kept = task.n or self.kept
        drawn = self.sampler.decode(attrs.evolve(task, n=max(kept, self.samples)))
        for image, hypotheses in drawn:
            scored = [
                attrs.evolve(hypothesis, score=score)
                for hypothesis, score in zip(
                    hypotheses, self.score(task, image, hypotheses), strict=True
                )
            ]
            yield image, deduplicate(scored, kept)


def by_model(config: BestOf) -> Scorer:
    """Scores by log-probability against length."""

    def score(task: DecodingTask, image: int, hypotheses: Sequence[Hypothesis]) -> list[float]:
        penalty, norm = config.length_penalty, config.length_norm
        return [
            h.logprob / divisor(len(h.ids) + (h.finish_reason == "stop"), penalty, norm)
            for h in hypotheses
        ]

    return score


def by_clip(config: BestOf) -> Scorer:
    """Scores by the cosine of the image's feature and the caption."""

    def score(task: DecodingTask, image: int, hypotheses: Sequence[Hypothesis]) -> list[float]:
        side = task.text_encoder
        if config.text:
            side = named_text_encoder(config.text, str(task.prefix.device))
        if side is None or task.features is None:
            lacking = (
                "its feature" if task.features is None else "the encoder that made the features"
            )
            raise PrefixcapError(
                f"best-of:by=clip compares captions with the image, and {lacking} was not given"
            )
        prompt = f"{config.prompt} " if config.prompt else ""
        texts = [prompt + hypothesis.text for hypothesis in hypotheses]
        features = task.features[image].expand(len(texts), *task.features.shape[1:])
        return side.cosines(features, texts)

    return score


def by_utility(config: MBR) -> Scorer:
    """Scores by the mean utility against every sample."""
    utility = UTILITIES[config.utility]

    def score(task: DecodingTask, image: int, hypotheses: Sequence[Hypothesis]) -> list[float]:
        # equal captions are compared once and counted as often as they were drawn
        words = [words_of(hypothesis) for hypothesis in hypotheses]
        distinct = list(dict.fromkeys(words))
        weights = [words.count(text) for text in distinct]
        table = utility(distinct, weights).tolist()
        risk = {
            text: sum(w * value for w, value in zip(weights, row, strict=True)) / len(words)
            for text, row in zip(distinct, table, strict=True)
        }
        return [risk[text] for text in words]

    return score


def words_of(hypothesis: Hypothesis) -> tuple[Hashable, ...]:
    """Splits a caption into lower-case words without punctuation; without a text, into ids."""
    if not hypothesis.text:
        return hypothesis.ids
    kept = "".join(c if c.isalnum() or c in "'-" else " " for c in hypothesis.text.lower())
    return tuple(kept.split())
