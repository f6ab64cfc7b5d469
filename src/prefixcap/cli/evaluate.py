"""`prefixcap eval`: scores a file of predictions."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from prefixcap.cli import options
from prefixcap.cli.output import quiet_stdout

if TYPE_CHECKING:
    from prefixcap.interfaces.metric import MetricConfig, Record, Scores


def evaluate_file(
    file: Annotated[
        Path,
        typer.Argument(
            help="A JSON object a line: image, references, prediction; or COCO's results (.json)."
        ),
    ],
    metrics: options.Metrics = None,
    references: Annotated[
        Path | None,
        typer.Option(
            help="A file of image and references, where the predictions have none; or COCO's "
            "annotations (.json)."
        ),
    ] = None,
    split: Annotated[
        str | None, typer.Option(help="Only the images of this split of the references.")
    ] = None,
    common: Annotated[
        bool, typer.Option("--common", help="Leave out images that only one of the files has.")
    ] = False,
    intervals: Annotated[
        bool, typer.Option("--intervals", help="Show each score's 95 % interval over images.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Score predicted captions against their references."""
    from prefixcap.cli.progress import reporter
    from prefixcap.evaluation.evaluate import evaluate, too_few
    from prefixcap.evaluation.readers import read_records
    from prefixcap.interfaces.metric import MetricConfig
    from prefixcap.plugin.registry import default_registry

    registry = default_registry()
    names = options.many(metrics, options.DEFAULT_EVAL_METRICS)
    configs = [registry.parse(MetricConfig, name) for name in names]
    records = read_records(file, references, split=split, common=common)
    for text in too_few(records, configs):
        reporter().message(text)
    with quiet_stdout(), reporter().task("scoring", len(configs), "metrics") as task:
        scored: list[tuple[MetricConfig, Scores]] = []
        scores = evaluate(
            records,
            configs,
            progress=lambda done, _: task.update(done),
            scored=lambda config, found: scored.append((config, found)),
        )
        task.update(len(configs))
        ends = _intervals(records, scored) if intervals else {}
    if as_json:
        values = dict(scores.values)
        typer.echo(json.dumps({"scores": values, "intervals": ends} if intervals else values))
        return
    for name, value in scores.values.items():
        between = f"  {ends[name][0]:.4f} to {ends[name][1]:.4f}" if name in ends else ""
        typer.echo(f"{name:12} {value:.4f}{between}")


def _intervals(
    records: Sequence[Record], scored: Sequence[tuple[MetricConfig, Scores]]
) -> dict[str, list[float]]:
    from prefixcap.evaluation.stats import bootstrap_interval, replicate
    from prefixcap.study.artifacts.replicates import RESAMPLES, SEED, statistic

    prepared = [statistic(config, found, records) for config, found in scored]
    drawn = [replicate(each, resamples=RESAMPLES, seed=SEED) for each in prepared if each]
    found = [each for one in drawn for each in bootstrap_interval(one)]
    return {each.name: [each.low, each.high] for each in found}
