"""How a sum of log-probabilities is set against a caption's length."""

from __future__ import annotations

from prefixcap.interfaces.validators import between

LENGTH_NORMS = ("power", "gnmt", "none")

# beyond, a power of a caption's length is no number in single precision
PENALTY = between(-10, 10)


def divisor(length: float, penalty: float, norm: str) -> float:
    """Computes what a sum of log-probabilities is divided by to become a score.

    Args:
        length: the number of tokens, the stop token included.
        penalty: the exponent; higher favours longer captions, 0 is the plain sum.
        norm: "power" is length**penalty (transformers; with 1 the mean log-probability), "gnmt"
            is ((5 + length) / 6)**penalty (Wu et al. 2016, "Google's Neural Machine Translation
            System", equation 14), "none" is 1.
    """
    if norm == "none":
        return 1.0
    if norm == "gnmt":
        return float(((5.0 + length) / 6.0) ** penalty)
    return float(length**penalty)
