"""Metrics of what the decoder reports: log-probability, finish reason, number of tokens."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

from typing_extensions import override

from prefixcap.interfaces.metric import Metric, Record, Scores


class LogprobMetric(Metric):
    """`Logprob` (of a whole prediction) and `Logprob_per_token`, means over images, in nats."""

    @override
    def score(self, records: Sequence[Record]) -> Scores:
        sums = tuple(record.logprobs[0] for record in records)
        per_token = tuple(record.logprobs[0] / max(1, record.tokens[0]) for record in records)
        return Scores(
            values={"Logprob": fmean(sums), "Logprob_per_token": fmean(per_token)},
            per_image={"Logprob": sums, "Logprob_per_token": per_token},
        )


class FinishMetric(Metric):
    """`eos_rate` and `length_limit_rate` (shares of predictions), and mean `Tokens`."""

    @override
    def score(self, records: Sequence[Record]) -> Scores:
        stopped = tuple(float(record.finishes[0] == "stop") for record in records)
        per_image = {
            "eos_rate": stopped,
            "length_limit_rate": tuple(1.0 - share for share in stopped),
            "Tokens": tuple(float(record.tokens[0]) for record in records),
        }
        return Scores(values={k: fmean(v) for k, v in per_image.items()}, per_image=per_image)
