"""Time of 1,000 resamples of corpus CIDEr-D and BLEU, next to pycocoevalcap's CIDEr once.

    python benchmarks/stats.py [FILE.jsonl]

The file's lines have `image`, `references` and `prediction`, as in `prefixcap eval`; without a
file, captions are drawn with word frequencies by Zipf's law. One thread is used.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from time import perf_counter, process_time
from typing import TypeVar

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from prefixcap_metrics.resampling.bleu import BleuStatistic
from prefixcap_metrics.resampling.cider import CiderStatistic

from prefixcap.evaluation.stats import bootstrap_interval, replicate

T = TypeVar("T")
Captions = dict[str, list[str]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", nargs="?", type=Path, help="JSONL of references and predictions")
    parser.add_argument("--resamples", type=int, default=1000)
    settings = parser.parse_args()
    references, predictions = read(settings.file) if settings.file else synthetic(5000)
    print(f"{len(references)} images, {settings.resamples} resamples; seconds: wall, processor")
    published = timed("pycocoevalcap's CIDEr, once", partial(once, references, predictions))
    kinds: list[type[CiderStatistic] | type[BleuStatistic]] = [CiderStatistic, BleuStatistic]
    for kind in kinds:
        name = kind.__name__
        statistic = timed(f"{name}: counting", partial(kind, references, predictions))
        drawn = timed(
            f"{name}: resampling",
            partial(replicate, statistic, resamples=settings.resamples),
        )
        for score, estimate in bootstrap_interval(drawn).items():
            print(f"    {score} {estimate}")
        if kind is CiderStatistic:
            print(f"    difference to pycocoevalcap's {abs(drawn.observed[0, 0] - published):.1e}")


def timed(what: str, work: Callable[[], T]) -> T:
    wall, processor = perf_counter(), process_time()
    result = work()
    print(f"{what:<30}{perf_counter() - wall:8.2f}{process_time() - processor:8.2f}", flush=True)
    return result


def once(references: Captions, predictions: Captions) -> float:
    from pycocoevalcap.cider.cider import Cider

    return float(Cider().compute_score(references, predictions)[0])


def read(path: Path) -> tuple[Captions, Captions]:
    from prefixcap_metrics.ptb_tokenizer import tokenise_records

    from prefixcap.interfaces.metric import Record

    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    tokenized = tokenise_records(
        [
            Record(
                image=line["image"],
                references=tuple(line["references"]),
                prediction=line["prediction"],
            )
            for line in lines
        ]
    )
    names = [f"{i}" for i in tokenized.references]
    return (
        dict(zip(names, tokenized.references.values(), strict=True)),
        dict(zip(names, tokenized.predictions.values(), strict=True)),
    )


def synthetic(images: int) -> tuple[Captions, Captions]:
    """Draw five references of eleven words for each image, and a prediction of nine."""
    rng = np.random.default_rng(0)
    odds = 1 / np.arange(1, 8001)
    odds /= odds.sum()

    def captions(count: int, length: int) -> list[str]:
        words = rng.choice(len(odds), size=(count, length), p=odds)
        return [" ".join(f"w{word}" for word in row) for row in words]

    references = captions(5 * images, 11)
    predictions = captions(images, 9)
    return (
        {f"{i}": references[5 * i : 5 * i + 5] for i in range(images)},
        {f"{i}": [prediction] for i, prediction in enumerate(predictions)},
    )


if __name__ == "__main__":
    main()
