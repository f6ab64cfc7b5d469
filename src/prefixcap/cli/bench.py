"""`prefixcap bench`: trains, captions and scores a grid, and shows what came of it."""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from prefixcap.cli import options
from prefixcap.cli.errors import Stopped
from prefixcap.cli.output import quiet_stdout
from prefixcap.errors import PrefixcapError

if TYPE_CHECKING:
    from prefixcap.study.definition.study import Study

KEYS = (*options.GRID, *options.SINGLE)


def bench(
    study: Annotated[
        Path | None, typer.Argument(help="A study file (TOML); options go before what it says.")
    ] = None,
    mapper: options.Mappers = None,
    prefix_len: options.PrefixLengths = None,
    decoder: options.Decoders = None,
    encoder: options.Encoders = None,
    lm: options.LanguageModels = None,
    tuning: options.Tunings = None,
    dataset: options.Dataset = None,
    metrics: options.Metrics = None,
    seed: options.Seeds = None,
    epochs: options.Epochs = None,
    training: options.Training = None,
    limit: options.Limit = None,
    max_new_tokens: options.MaxNewTokens = None,
    device: options.Device = None,
    dtype: options.Dtype = None,
    skip_unreadable: options.SkipUnreadable = False,
    no_baselines: Annotated[
        bool, typer.Option("--no-baselines", help="Leave out captions that need no model.")
    ] = False,
    correction: options.Correction = None,
    encode_batch: options.EncodeBatch = None,
    max_rows: options.MaxRows = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help="The study's folder; what is in it is used. runs/TIME-NAME unless given."
        ),
    ] = None,
    save_study: Annotated[
        Path | None, typer.Option(help="Write the study into a file, to be run or changed later.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be computed and what is there.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object, everything else to stderr.")
    ] = False,
) -> None:
    """Train, caption and score every combination; show a table, captions and a picture.

    Without options: the drawn scenes, an mlp mapper with a prefix of 10, beam search.
    """
    given = {
        "mapper": mapper,
        "prefix_len": prefix_len,
        "decoder": decoder,
        "encoder": encoder,
        "lm": lm,
        "tuning": tuning,
        "metrics": metrics,
        "seed": seed,
        "dataset": dataset,
        "epochs": epochs,
        "training": training,
        "limit": limit,
        "max_new_tokens": max_new_tokens,
        "device": device,
        "dtype": dtype,
        "skip_unreadable": skip_unreadable or None,
        "no_baselines": no_baselines or None,
        "correction": correction,
        "encode_batch": encode_batch,
        "max_rows": max_rows,
    }
    choices = _with_file(study, given)
    with quiet_stdout():
        plan = _study(choices)
        if save_study is not None:
            from prefixcap.plugin.registry import default_registry
            from prefixcap.study.definition import toml

            toml.write(save_study, toml.choices(plan.to_json(), default_registry()))
        folder = out or Path("runs") / f"{time.strftime('%Y%m%d-%H%M%S')}-{_name(plan)}"
        answer, text = _plan(plan, folder) if dry_run else _run(plan, folder)
    typer.echo(json.dumps(answer) if as_json else text)


def _with_file(path: Path | None, given: dict[str, Any]) -> dict[str, Any]:
    from prefixcap.study.definition import toml

    chosen = {key: value for key, value in given.items() if value is not None and value != []}
    return {**(toml.read(path, KEYS) if path is not None else {}), **chosen}


def _study(choices: dict[str, Any]) -> Study:
    from prefixcap.plugin.registry import default_registry

    return options.study(choices, default_registry())


def _name(study: Study) -> str:
    return f"{study.dataset.name}-{'-'.join(mapper.name for mapper in study.mappers)}"[:40]


def _plan(study: Study, folder: Path) -> tuple[dict[str, Any], str]:
    from prefixcap.util.runtime import patch_torchvision

    patch_torchvision()
    from prefixcap.study.execution.plan import plan

    found = plan(study, folder)
    return found, "\n".join(found["lines"])


def _run(study: Study, folder: Path) -> tuple[dict[str, Any], str]:
    from prefixcap.util.runtime import patch_torchvision

    patch_torchvision()
    from prefixcap.cli.progress import reporter
    from prefixcap.cli.table import WIDE, text
    from prefixcap.study.execution.runner import run

    if folder.exists() and not folder.is_dir():
        raise PrefixcapError(f"--out {folder} cannot be a folder: it is a file")
    try:
        results = run(study, folder, reporter())
    except KeyboardInterrupt:
        raise Stopped(
            f"stopped; everything finished so far is kept in {folder}: run the same command with "
            f"--out {folder} to go on"
        ) from None
    return results.to_json(), text(results, shutil.get_terminal_size((WIDE, 24)).columns)
