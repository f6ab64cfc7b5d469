"""Which of an image's hypotheses are given back."""

from __future__ import annotations

from collections.abc import Sequence

from prefixcap.interfaces.decoder import Hypothesis


def deduplicate(hypotheses: Sequence[Hypothesis], kept: int) -> list[Hypothesis]:
    """Chooses the best hypotheses, of different captions before any comes twice; best first."""
    ranked = sorted(hypotheses, key=lambda h: (-h.score, -h.logprob))
    first: dict[tuple[int, ...], Hypothesis] = {}
    for hypothesis in ranked:
        first.setdefault(hypothesis.ids, hypothesis)
    chosen = list(first.values())[:kept]
    again = [h for h in ranked if h is not first[h.ids]]
    return sorted(chosen + again[: kept - len(chosen)], key=lambda h: -h.score)
