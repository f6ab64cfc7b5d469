"""What ClipCap's own decoders cost against proper ones, on its two recorded captioners.

Captions the 100 test images of `../shared/data/flickr8k_clip` and prints a table in Markdown:

    python benchmarks/clipcap_decoders.py [--shared FOLDER] [--resamples N] [--metrics cider bleu]

Differences are against ClipCap's own decoder of the same sort, on the same images; their intervals
are of a paired bootstrap over images, and for samples over seeds too.
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
from prefixcap.evaluation.stats import paired_bootstrap, replicate
from prefixcap.interfaces.dataset import DatasetConfig, Example
from prefixcap.plugin.registry import default_registry

CAPTIONERS = ("mlp_k10", "transformer_k10")
COLUMNS = {"CIDEr": "cider", "Bleu_4": "bleu", "METEOR": "meteor"}
MAX_NEW_TOKENS = 40
AGAINST = ("CIDEr against ClipCap's (95 %)", "other captions")
SEEDS = range(5)


@attrs.frozen
class Contest:
    """ClipCap's decoder and the proper ones that it is taken for."""

    own: str
    proper: tuple[str, ...]


CONTESTS = (
    Contest("clipcap-beam", ("beam:num_beams=5", "beam:num_beams=5,early_stopping=never")),
    Contest("clipcap-generate2", ("greedy", "top-p:top_p=0.8")),
)


@attrs.frozen
class Cell:
    """The captions of one decoder, once for each seed."""

    decoder: str
    runs: tuple[tuple[Hypothesis, ...], ...]

    def records(self, run: int, examples: Sequence[Example]) -> list[Record]:
        """Returns the captions of one seed beside their references."""
        return [
            Record(image=e.image.id, references=e.references, prediction=h.text)
            for e, h in zip(examples, self.runs[run], strict=True)
        ]

    def per_token(self) -> float:
        """Returns the mean, over images, of the mean log-probability of a token."""
        return mean(
            h.logprob / (len(h.ids) + (h.finish_reason == "stop")) for run in self.runs for h in run
        )

    def differing(self, other: Cell) -> float:
        """Returns the share of captions that differ from another cell's."""
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


def cell_of(captioner: Captioner, features: torch.Tensor, ids: list[str], decoder: str) -> Cell:
    seeds = SEEDS if decoder.startswith("top-p") else (0,)
    runs = []
    for seed in seeds:
        found = captioner.caption(
            features=features,
            decoder=decoder,
            seed=seed,
            max_new_tokens=MAX_NEW_TOKENS,
            image_ids=ids,
        )
        runs.append(tuple(hypotheses[0] for hypotheses in found))
    return Cell(decoder, tuple(runs))


def statistics(cell: Cell, examples: Sequence[Example], seeds: int) -> list[CiderStatistic]:
    """Returns CIDEr of each seed; a decoder that draws nothing writes the same with every seed."""
    runs = [number % len(cell.runs) for number in range(seeds)]
    found = [tokenise_records(cell.records(run, examples)) for run in runs]
    numbers = range(len(examples))
    return [
        CiderStatistic(
            {i: t.references[i] for i in numbers}, {i: t.predictions[i] for i in numbers}
        )
        for t in found
    ]


@cache
def score(records: tuple[Record, ...], metrics: tuple[str, ...]) -> Mapping[str, float]:
    """Scores captions; those of `generate2` and of greedy search, say, are scored once."""
    registry = default_registry()
    return evaluate(records, [registry.parse(MetricConfig, metric) for metric in metrics]).values


def row(
    name: str, cell: Cell, own: Cell, examples: Sequence[Example], options: argparse.Namespace
) -> str:
    metrics = tuple(options.metrics)
    scores = [score(tuple(cell.records(n, examples)), metrics) for n in range(len(cell.runs))]
    keys = [key for key, metric in COLUMNS.items() if metric in metrics]
    columns = [f"{mean(s[key] for s in scores):.3f}" for key in keys]
    against = ["", ""]
    if cell is not own:
        many = len(cell.runs)
        one, two = (
            replicate(statistics(each, examples, many), resamples=options.resamples)
            for each in (cell, own)
        )
        difference = paired_bootstrap(one, two)[0]
        against = [
            f"{difference.value:+.3f} ({difference.low:+.3f} to {difference.high:+.3f})",
            f"{cell.differing(own):.0%}",
        ]
    return line(name, f"`{cell.decoder}`", *columns, f"{cell.per_token():.3f}", *against)


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
            own = cell_of(captioner, features, ids, contest.own)
            print(row(name, own, own, examples, options), flush=True)
            for decoder in contest.proper:
                cell = cell_of(captioner, features, ids, decoder)
                print(row(name, cell, own, examples, options), flush=True)


if __name__ == "__main__":
    main()
