"""`prefixcap eval` and `export`: score a file of predictions, or write it as COCO's results."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from prefixcap.cli import options
from prefixcap.cli.output import echo, echo_json, quiet_stdout

if TYPE_CHECKING:
    from prefixcap.interfaces.metric import MetricConfig, Record, Scores


def evaluate_file(
    file: Annotated[
        Path,
        typer.Argument(
            help="JSON lines with image, references, prediction; or COCO's results (.json)."
        ),
    ],
    metrics: options.Metrics = None,
    references: Annotated[
        Path | None,
        typer.Option(
            help="JSON lines with image and references, if the predictions have none; or COCO's "
            "annotations (.json)."
        ),
    ] = None,
    split: Annotated[
        str | None, typer.Option(help="Only the images of this split of the references.")
    ] = None,
    common: Annotated[
        bool, typer.Option("--common", help="Ignore images that are in only one of the files.")
    ] = False,
    intervals: Annotated[
        bool, typer.Option("--intervals", help="Show the 95 % interval of each score over images.")
    ] = False,
    trust: options.Trust = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Score predicted captions against their references."""
    from prefixcap.cli.progress import reporter
    from prefixcap.evaluation.evaluate import FILE_METRICS, evaluate, sample_warnings
    from prefixcap.evaluation.readers import read_records
    from prefixcap.interfaces.metric import MetricConfig
    from prefixcap.plugin.registry import default_registry

    registry = default_registry()
    names = options.split_values(metrics, FILE_METRICS)
    configs = [registry.parse(MetricConfig, name) for name in names]
    records = read_records(file, references, split=split, common=common)
    for text in sample_warnings(records, configs):
        reporter().message(text)
    with quiet_stdout(), reporter().task("scoring", len(configs), "metrics") as task:
        scored: list[tuple[MetricConfig, Scores]] = []
        scores = evaluate(
            records,
            configs,
            progress=lambda done, _: task.update(done),
            scored=lambda config, own: scored.append((config, own)),
        )
        task.update(len(configs))
        ranges = _intervals(records, scored) if intervals else {}
    if scores.undefined:
        reporter().message(f"warning: {scores.undefined}")
    if as_json:
        values = dict(scores.values)
        echo_json({"scores": values, "intervals": ranges} if intervals else values)
        return
    for name, value in scores.values.items():
        interval = "  {:.4f} to {:.4f}".format(*ranges[name]) if name in ranges else ""
        echo(f"{name:12} {value:.4f}{interval}")


def export(
    what: Annotated[Literal["results"], typer.Argument(help="What to write.")],
    file: Annotated[
        Path,
        typer.Argument(
            help="Predictions, such as cells/CELL/captions.jsonl of a study, or COCO's results."
        ),
    ],
    out: Annotated[Path, typer.Option(help="The .json file to write.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Write predictions as results of COCO's evaluation server."""
    from prefixcap.evaluation.readers import read_results
    from prefixcap.util.files import write_text

    results = read_results(file)
    write_text(out, json.dumps(results, ensure_ascii=False) + "\n")
    if as_json:
        echo_json({"file": str(out), "what": what, "images": len(results)})
    else:
        echo(f"{out}: captions of {len(results)} images")


def _intervals(
    records: Sequence[Record], scored: Sequence[tuple[MetricConfig, Scores]]
) -> dict[str, list[float]]:
    from prefixcap.study.artifacts.replicates import resampled, score_intervals

    drawn = resampled(records, scored)
    return {} if drawn is None else score_intervals(drawn, [metric for metric, _ in scored])
