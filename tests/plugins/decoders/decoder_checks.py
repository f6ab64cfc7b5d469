"""Helpers of the decoders' tests: rescoring, enumeration, a test of distributions."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import torch
from scipy.stats import chi2
from torch import Tensor

from prefixcap import Hypothesis
from prefixcap.interfaces.language_model import LanguageModel
from prefixcap.plugin.registry import default_registry
from prefixcap.testing.table_lm import TableLM

# every decoder that is registered by prefixcap itself, but for the one that needs the folder of
# another model
DECODERS = sorted(
    component.name
    for plugin in default_registry().plugins
    if plugin.distribution.startswith("prefixcap ")
    for component in plugin.components
    if component.kind == "decoder" and component.name != "conzic"
)

# probability that a test of a distribution rejects a correct sampler; seeds are fixed
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
    """Yield all texts of a table model up to its stop token or the limit, with log-probability."""

    def grow(tokens: tuple[int, ...], logprob: float) -> Iterator[tuple[tuple[int, ...], float]]:
        if tokens and (tokens[-1] == lm.eos_id or len(tokens) == limit):
            yield tokens, logprob
            return
        following = lm.distribution(prefix, tokens).double().log_softmax(-1).tolist()
        for token, value in enumerate(following):
            yield from grow((*tokens, token), logprob + value)

    return grow((), 0.0)


def truncated(logits: Sequence[float], **settings: float) -> list[float]:
    """Truncate a distribution by the papers' definitions, one token at a time.

    Temperature first, then each truncation in the order of `TRUNCATIONS`, on what the ones before
    it left. Of equally likely tokens at the cut, top-k and typical sampling keep all; top-p and
    top-h keep as many as they need, those of lower numbers first.
    """
    temperature = settings.pop("temperature", 1.0)
    result = _normalised(math.exp((x - max(logits)) / temperature) for x in logits)
    unknown = settings.keys() - TRUNCATIONS.keys()
    assert not unknown
    for name, kept in TRUNCATIONS.items():
        if name in settings:
            tokens = kept(result, settings[name])
            result = _normalised(p if token in tokens else 0.0 for token, p in enumerate(result))
    return result


def _normalised(weights: Iterable[float]) -> list[float]:
    listed = list(weights)
    total = math.fsum(listed)
    return [weight / total for weight in listed]


def _entropy(result: Sequence[float]) -> float:
    return -math.fsum(p * math.log(p) for p in result if p)


def _likeliest_first(result: Sequence[float]) -> list[int]:
    return sorted((t for t, p in enumerate(result) if p), key=lambda t: -result[t])


def _at_least(result: Sequence[float], least: float) -> set[int]:
    # the most likely token is always kept
    return {t for t, p in enumerate(result) if p >= least or p == max(result)}


def _top_h(result: Sequence[float], share: float) -> set[int]:
    # of the 100 likeliest, with the entropy that these have among themselves
    order = _likeliest_first(result)[:100]
    among = _normalised(result[token] for token in order)
    kept, used = {order[0]}, 0.0
    for token, p in zip(order, among, strict=True):
        used -= p * math.log(p)
        if used > share * _entropy(among):
            break
        kept.add(token)
    return kept


def _top_k(result: Sequence[float], count: float) -> set[int]:
    order = _likeliest_first(result)
    last = result[order[: int(count)][-1]]
    return {token for token in order if result[token] >= last}


def _top_p(result: Sequence[float], mass: float) -> set[int]:
    kept: set[int] = set()
    for token in _likeliest_first(result):
        if kept and math.fsum(result[t] for t in kept) >= mass:
            break
        kept.add(token)
    return kept


def _typical(result: Sequence[float], mass: float) -> set[int]:
    away = {t: abs(-math.log(p) - _entropy(result)) for t, p in enumerate(result) if p}
    total = 0.0
    for token in sorted(away, key=away.__getitem__):
        total += result[token]
        if total >= mass:
            return {t for t in away if away[t] <= away[token]}
    return set(away)


TRUNCATIONS: dict[str, Callable[[Sequence[float], float], set[int]]] = {
    "top_h": _top_h,
    "top_k": _top_k,
    "top_p": _top_p,
    "min_p": lambda result, share: _at_least(result, share * max(result)),
    "typical_p": _typical,
    "epsilon": _at_least,
    "eta": lambda result, eta: _at_least(result, min(eta, eta**0.5 * math.exp(-_entropy(result)))),
}


def drawn_texts(
    lm: TableLM, prefix: Tensor, limit: int, **settings: float
) -> dict[tuple[int, ...], float]:
    """The probability of every caption of a table model with truncated distributions."""
    result = {}
    for text, _ in texts(lm, prefix, limit):
        result[text] = 1.0
        for at, token in enumerate(text):
            logits = lm.distribution(prefix, text[:at]).double().tolist()
            result[text] *= truncated(logits, **settings)[token]
    return result


def fits(drawn: Sequence[Any], expected: dict[Any, float]) -> bool:
    """Return whether draws fit a distribution, by Pearson's chi-square test at ERROR_RATE.

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
