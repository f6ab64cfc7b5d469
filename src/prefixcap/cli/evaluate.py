"""`prefixcap eval`: scores a file of predictions."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from prefixcap.cli import options
from prefixcap.cli.output import quiet_stdout
from prefixcap.kinds import MetricConfig


def evaluate_file(
    file: Annotated[
        Path, typer.Argument(help="A JSON object a line: image, references, prediction.")
    ],
    metrics: options.Metrics = None,
    references: Annotated[
        Path | None,
        typer.Option(help="A file of image and references, where the predictions have none."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Score predicted captions against their references."""
    from prefixcap.cli.progress import reporter
    from prefixcap.evaluation import evaluate, read_records, too_few
    from prefixcap.registry import Registry

    registry = Registry()
    names = options.many(metrics, options.DEFAULT_EVAL_METRICS)
    configs = [registry.parse(MetricConfig, name) for name in names]
    records = read_records(file, references)
    for text in too_few(records, configs):
        reporter().say(text)
    with quiet_stdout(), reporter().task("scoring", len(configs), "metrics") as task:
        scores = evaluate(records, configs, progress=lambda done, _: task.reach(done))
        task.reach(len(configs))
    if as_json:
        typer.echo(json.dumps(dict(scores.values)))
        return
    for name, value in scores.values.items():
        typer.echo(f"{name:12} {value:.4f}")
