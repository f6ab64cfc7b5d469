"""`prefixcap train`: train one captioner."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from prefixcap.cli.errors import stoppable
from prefixcap.cli.options import Trackers, Trust, takes_study
from prefixcap.cli.output import echo, echo_json, no_output, quiet_stdout
from prefixcap.errors import PrefixcapError
from prefixcap.study.definition import options
from prefixcap.training.launcher import is_main

if TYPE_CHECKING:
    from collections.abc import Mapping

    from prefixcap.study.definition.study import Study

_OF_CAPTIONS = (
    *("split", "decoder", "metrics", "max_new_tokens", "max_rows"),
    *("no_baselines", "correction"),
)


@takes_study(single=True, without=_OF_CAPTIONS)
def train(
    out: Annotated[Path, typer.Option(help="The folder of the run to write.")],
    tracker: Trackers = None,
    trust: Trust = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    **values: Any,
) -> None:
    """Train one captioner, into a folder that `prefixcap caption` reads."""
    from prefixcap.cli.progress import reporter
    from prefixcap.plugin.events import parse_trackers
    from prefixcap.plugin.registry import default_registry

    silence = nullcontext() if is_main() else no_output()
    with silence, quiet_stdout():
        study = options.study(options.provided(values), default_registry())
        _check_single(study)
        parse_trackers(tracker or ())
        from prefixcap.study.execution.training import train_one  # slow, so after the checks

        advice = (
            f"features and the training's state are saved in {out}: run the same command to "
            "continue"
        )
        with stoppable(advice):
            answer = train_one(study, out, reporter(details=not as_json), trackers=tracker or ())
    if answer is None:  # another process has the result
        return
    if as_json:
        echo_json({"run": str(out), **answer})
    else:
        loss = "" if answer["val_loss"] is None else f", val loss {answer['val_loss']:.3f}"
        echo(
            f"{out}: {answer['trained_parameters']:,} parameters trained in "
            f"{answer['training_seconds']:.0f} s{loss}"
        )
        if gap := answer.get("gap"):
            echo(_gap_line(gap))


def _gap_line(gap: Mapping[str, Any]) -> str:
    before, after = gap["before"], gap["after"]
    names = ("cosine", "text to image R@1", "image to text R@1")
    changes = (f"{name} {before[name]:.2f} to {after[name]:.2f}" for name in names)
    where = f"{gap['images']} images of {gap['split']}"
    return f"the bridge, on {where} and their captions: {', '.join(changes)}"


def _check_single(study: Study) -> None:
    for name, field in options.FIELDS.items():
        values = getattr(study, field.name)
        if isinstance(values, tuple) and name not in _OF_CAPTIONS and len(values) > 1:
            raise PrefixcapError(
                f"train makes one captioner, and {options.OPTIONS[name].flag} has {len(values)} "
                "values: use bench"
            )
