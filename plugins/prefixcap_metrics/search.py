"""What a decoder says of its captions: how likely the model finds them, and how they ended."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

from prefixcap.interfaces.metric import Metric, Record, Scores


class LogprobMetric(Metric):
    """`Logprob` (of a whole prediction) and `Logprob_per_token`, means over images, in nats."""

    def score(self, records: Sequence[Record]) -> Scores:
        """Averages what the decoder said."""
        sums = tuple(record.logprobs[0] for record in records)
        each = tuple(record.logprobs[0] / max(1, record.tokens[0]) for record in records)
        return Scores(
            values={"Logprob": fmean(sums), "Logprob_per_token": fmean(each)},
            per_image={"Logprob": sums, "Logprob_per_token": each},
        )


class FinishMetric(Metric):
    """`Ended_by_stop` and `Ended_by_length`, shares of predictions, and `Tokens`, their mean."""

    def score(self, records: Sequence[Record]) -> Scores:
        """Counts endings and tokens."""
        stopped = tuple(float(record.finishes[0] == "stop") for record in records)
        per_image = {
            "Ended_by_stop": stopped,
            "Ended_by_length": tuple(1.0 - share for share in stopped),
            "Tokens": tuple(float(record.tokens[0]) for record in records),
        }
        return Scores(values={k: fmean(v) for k, v in per_image.items()}, per_image=per_image)
