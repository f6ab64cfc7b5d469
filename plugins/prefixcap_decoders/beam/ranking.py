"""How hypotheses are ranked: their score for their length, and duplicates last."""

from __future__ import annotations

from collections.abc import Sequence

from prefixcap.interfaces.decoder import Hypothesis
from prefixcap.interfaces.validators import between

LENGTH_NORMS = ("power", "gnmt", "none")

# outside this range, powers of a length overflow single precision
PENALTY = between(-10, 10)


def divisor(length: float, penalty: float, norm: str) -> float:
    """Return the number that a log-probability is divided by to become a score.

    Args:
        length: Number of tokens, including the stop token.
        penalty: Exponent; higher favors longer captions, 0 leaves the sum.
        norm: "power" for length**penalty (as transformers; 1 gives the mean), "gnmt" for
            ((5 + length) / 6)**penalty (Wu et al. 2016, equation 14), "none" for 1.
    """
    if norm == "none":
        return 1.0
    if norm == "gnmt":
        return float(((5.0 + length) / 6.0) ** penalty)
    return float(length**penalty)


def deduplicate(hypotheses: Sequence[Hypothesis], count: int) -> list[Hypothesis]:
    """Return the best hypotheses, best first; duplicates only if there are too few others."""
    ranked = sorted(hypotheses, key=lambda h: (-h.score, -h.logprob))
    first: dict[tuple[int, ...], Hypothesis] = {}
    for hypothesis in ranked:
        first.setdefault(hypothesis.ids, hypothesis)
    unique = list(first.values())[:count]
    duplicates = [h for h in ranked if h is not first[h.ids]]
    return sorted(unique + duplicates[: count - len(unique)], key=lambda h: -h.score)
