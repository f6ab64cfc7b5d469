"""ClipCap's own decoders against standard ones, on its two recorded captioners.

Captions the 100 test images of `../shared/data/flickr8k_clip` and prints a Markdown table:

    python benchmarks/clipcap_decoders.py [--shared FOLDER] [--resamples N] [--metrics cider bleu]

Differences are relative to ClipCap's own decoder, on the same images, with intervals from a paired
bootstrap over images (and over seeds for samplers).
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from statistics import mean

import attrs
import torch
from prefixcap_clipcap.convert import import_checkpoint
from prefixcap_metrics.ptb_tokenizer import tokenise_records
from prefixcap_metrics.resampling.cider import CiderStatistic

from prefixcap import Hypothesis, MetricConfig, Record
from prefixcap.captioning.captioner import Captioner
from prefixcap.evaluation.evaluate import evaluate
from prefixcap.evaluation.stats import CellTable, replicate
from prefixcap.interfaces.dataset import DatasetConfig, Example
from prefixcap.plugin.registry import default_registry

CAPTIONERS = ("mlp_k10", "transformer_k10")
COLUMNS = {"CIDEr": "cider", "Bleu_4": "bleu", "METEOR": "meteor"}
MAX_NEW_TOKENS = 40
AGAINST = ("CIDEr difference (95 %)", "changed")
SEEDS = range(5)


@attrs.frozen
class Comparison:
    """A decoder of ClipCap and the standard ones that it resembles."""

    own: str
    standard: tuple[str, ...]


CONTESTS = (
    Comparison("clipcap-beam", ("beam:num_beams=5", "beam:num_beams=5,early_stopping=never")),
    Comparison("clipcap-generate2", ("greedy", "top-p:top_p=0.8")),
)


@attrs.frozen
class DecoderRun:
    """The captions of one decoder, for each seed."""

    decoder: str
    runs: tuple[tuple[Hypothesis, ...], ...]

    def records(self, run: int, examples: Sequence[Example]) -> list[Record]:
        """Return the captions of one seed with their references."""
        return [
            Record(image=e.image.id, references=e.references, prediction=h.text)
            for e, h in zip(examples, self.runs[run], strict=True)
        ]

    def per_token(self) -> float:
        """Return the mean over images of the mean log-probability per token."""
        return mean(
            h.logprob / (len(h.ids) + (h.finish_reason == "stop")) for run in self.runs for h in run
        )

    def differing(self, other: DecoderRun) -> float:
        """Return the share of captions that differ from another decoder's."""
        return mean(
            h.text != o.text
            for number, run in enumerate(self.runs)
            for h, o in zip(run, other.runs[number % len(other.runs)], strict=True)
        )


def captioner_of(folder: Path, name: str) -> Captioner:
    settings = json.loads((folder / f"{name}.json").read_text())
    return import_checkpoint(
        folder / f"{name}.pt",
        settings["mapping_type"],
        settings["prefix_length"],
        normalize_prefix=settings["normalize_prefix"],
        feature_scale=settings["feature_scale"],
        lm=str(folder),
    )


def run_of(
    captioner: Captioner, features: torch.Tensor, ids: list[str], decoder: str
) -> DecoderRun:
    seeds = SEEDS if decoder.startswith("top-p") else (0,)
    runs = []
    for seed in seeds:
        captions = captioner.caption(
            features=features,
            decoder=decoder,
            seed=seed,
            max_new_tokens=MAX_NEW_TOKENS,
            image_ids=ids,
        )
        runs.append(tuple(hypotheses[0] for hypotheses in captions))
    return DecoderRun(decoder, tuple(runs))


def statistics(
    decoded: DecoderRun, examples: Sequence[Example], seeds: int
) -> list[CiderStatistic]:
    """Return CIDEr for each seed; a deterministic decoder repeats its only run."""
    runs = [number % len(decoded.runs) for number in range(seeds)]
    tokenised = [tokenise_records(decoded.records(run, examples)) for run in runs]
    numbers = range(len(examples))
    return [
        CiderStatistic(
            {i: t.references[i] for i in numbers}, {i: t.predictions[i] for i in numbers}
        )
        for t in tokenised
    ]


@cache
def score(records: tuple[Record, ...], metrics: tuple[str, ...]) -> Mapping[str, float]:
    """Score captions, once for identical ones such as those of `generate2` and greedy search."""
    registry = default_registry()
    return evaluate(records, [registry.parse(MetricConfig, metric) for metric in metrics]).values


def row(
    name: str,
    run: DecoderRun,
    own: DecoderRun,
    examples: Sequence[Example],
    options: argparse.Namespace,
) -> str:
    metrics = tuple(options.metrics)
    scores = [score(tuple(run.records(n, examples)), metrics) for n in range(len(run.runs))]
    keys = [key for key, metric in COLUMNS.items() if metric in metrics]
    columns = [f"{mean(s[key] for s in scores):.3f}" for key in keys]
    against = ["", ""]
    if run is not own:
        many = len(run.runs)
        replicates = [
            replicate(statistics(each, examples, many), resamples=options.resamples)
            for each in (run, own)
        ]
        pair = CellTable(replicates=replicates, fixed=[False, False]).pairs()
        against = [
            f"{pair.value[0, 0]:+.3f} ({pair.low[0, 0]:+.3f} to {pair.high[0, 0]:+.3f})",
            f"{run.differing(own):.0%}",
        ]
    return line(name, f"`{run.decoder}`", *columns, f"{run.per_token():.3f}", *against)


def line(*columns: str) -> str:
    return f"| {' | '.join(columns)} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--shared", type=Path, default=Path(__file__).parents[2] / "shared")
    parser.add_argument("--resamples", type=int, default=2000)
    parser.add_argument(
        "--metrics", nargs="+", default=[*COLUMNS.values()], choices=COLUMNS.values()
    )
    options = parser.parse_args()
    data = options.shared / "data"
    registry = default_registry()
    config = registry.from_json(
        DatasetConfig, {"name": "jsonl", "path": str(data / "flickr8k_clip")}
    )
    examples = config.build().examples("test")
    features = torch.stack(
        [torch.as_tensor(e.image.embedding()).float() for e in examples if e.image.embedding]
    )
    ids = [example.image.id for example in examples]
    keys = [key for key, metric in COLUMNS.items() if metric in options.metrics]
    print(line("captioner", "decoder", *keys, "nats a token", *AGAINST))
    print(line(*["---"] * (5 + len(keys))))
    for name in CAPTIONERS:
        captioner = captioner_of(data / "clipcap", name)
        for contest in CONTESTS:
            own = run_of(captioner, features, ids, contest.own)
            print(row(name, own, own, examples, options), flush=True)
            for decoder in contest.standard:
                run = run_of(captioner, features, ids, decoder)
                print(row(name, run, own, examples, options), flush=True)


if __name__ == "__main__":
    main()
