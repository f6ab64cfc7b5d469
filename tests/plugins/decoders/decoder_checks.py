"""What the decoders' tests share: rescoring, enumeration, a test of distributions."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from scipy.stats import chi2
from torch import Tensor

from prefixcap import Hypothesis
from prefixcap.kinds import LanguageModel
from prefixcap.testing.table import TableLM

# each test of a distribution calls a right sampler wrong once in this many seeds; seeds are fixed
ERROR_RATE = 1e-4


def tokens_of(hypothesis: Hypothesis) -> list[int]:
    stop = [] if hypothesis.stop_id is None else [hypothesis.stop_id]
    return [*hypothesis.ids, *stop]


def rescore(lm: LanguageModel, prefix: Tensor, hypothesis: Hypothesis) -> float:
    ids = torch.tensor([tokens_of(hypothesis)])
    with torch.inference_mode():
        logits = lm.teacher_forced(prefix[None], ids, torch.ones_like(ids, dtype=torch.bool))
    return float(logits.double().log_softmax(-1).gather(2, ids[:, :, None]).sum())


def texts(lm: TableLM, prefix: Tensor, limit: int) -> Iterator[tuple[tuple[int, ...], float]]:
    """All texts of a table model that end by its stop token or the limit, with log-probability."""

    def grow(tokens: tuple[int, ...], logprob: float) -> Iterator[tuple[tuple[int, ...], float]]:
        if tokens and (tokens[-1] == lm.eos_id or len(tokens) == limit):
            yield tokens, logprob
            return
        following = lm.distribution(prefix, tokens).double().log_softmax(-1).tolist()
        for token, value in enumerate(following):
            yield from grow((*tokens, token), logprob + value)

    return grow((), 0.0)


def fits(drawn: Sequence[Any], expected: dict[Any, float]) -> bool:
    """Whether draws come from a distribution, by Pearson's chi-square test at ERROR_RATE.

    Outcomes expected fewer than five times are counted together, as the test asks.
    """
    counts = Counter(drawn)
    if any(outcome not in expected or expected[outcome] <= 0 for outcome in counts):
        return False
    assert math.isclose(sum(expected.values()), 1.0, abs_tol=1e-6)
    rare_seen = rare_hoped = statistic = 0.0
    cells = 0
    for outcome, probability in expected.items():
        hoped = probability * len(drawn)
        if hoped < 5:
            rare_seen, rare_hoped = rare_seen + counts[outcome], rare_hoped + hoped
            continue
        statistic += (counts[outcome] - hoped) ** 2 / hoped
        cells += 1
    if rare_hoped >= 5:
        statistic += (rare_seen - rare_hoped) ** 2 / rare_hoped
        cells += 1
    return cells < 2 or bool(statistic < chi2.ppf(1 - ERROR_RATE, cells - 1))
