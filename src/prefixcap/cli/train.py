"""`prefixcap train`: trains one captioner."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from prefixcap.cli import options
from prefixcap.cli.errors import Stopped
from prefixcap.cli.output import quiet_stdout
from prefixcap.errors import PrefixcapError

if TYPE_CHECKING:
    from prefixcap.study.definition.study import Study


def train(
    out: Annotated[Path, typer.Option(help="The folder of the run to write.")],
    mapper: options.Mapper = None,
    prefix_len: options.PrefixLength = None,
    encoder: options.Encoder = None,
    lm: options.LanguageModel = None,
    tuning: options.Tuning = None,
    dataset: options.Dataset = None,
    seed: options.Seed = None,
    epochs: options.Epochs = None,
    training: options.Training = None,
    limit: options.Limit = None,
    device: options.Device = None,
    dtype: options.Dtype = None,
    skip_unreadable: options.SkipUnreadable = False,
    encode_batch: options.EncodeBatch = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Train one captioner, into a folder that `prefixcap caption` reads."""
    from prefixcap.plugin.registry import default_registry

    choices = {
        "mapper": mapper,
        "prefix_len": prefix_len,
        "encoder": encoder,
        "lm": lm,
        "tuning": tuning,
        "dataset": dataset,
        "seed": seed,
        "epochs": epochs,
        "training": training,
        "limit": limit,
        "device": device,
        "dtype": dtype,
        "skip_unreadable": skip_unreadable,
        "encode_batch": encode_batch,
    }
    with quiet_stdout():
        study = options.study(choices, default_registry())
        _check_single(study)
        answer = _train(study, out)
    if as_json:
        typer.echo(json.dumps({"run": str(out), **answer}))
    else:
        typer.echo(
            f"{out}: {answer['trained_parameters']:,} parameters trained in "
            f"{answer['training_seconds']:.0f} s"
        )


def _train(study: Study, out: Path) -> dict[str, Any]:
    from prefixcap.util.runtime import patch_torchvision

    patch_torchvision()
    from prefixcap.cli.progress import reporter
    from prefixcap.study.execution.runner import train_one

    try:
        return train_one(study, out, reporter())
    except KeyboardInterrupt:
        raise Stopped(
            f"stopped; features and the training's state are kept in {out}: run the same command "
            "to go on"
        ) from None


def _check_single(study: Study) -> None:
    for option, values in (
        ("--mapper", study.mappers),
        ("--prefix-len", study.prefix_lengths),
        ("--encoder", study.encoders),
        ("--lm", study.lms),
        ("--tuning", study.tunings),
        ("--seed", study.seeds),
    ):
        if len(values) > 1:
            raise PrefixcapError(
                f"train makes one captioner, and {option} has {len(values)} values: use bench"
            )
