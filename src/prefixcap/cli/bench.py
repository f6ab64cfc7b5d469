"""`prefixcap bench`: train, caption and score a grid, and show the results."""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from prefixcap.cli.errors import several, stoppable
from prefixcap.cli.options import Trackers, Trust, takes_study
from prefixcap.cli.output import echo, echo_json, quiet_stdout
from prefixcap.errors import PrefixcapError
from prefixcap.study.definition import options
from prefixcap.training.launcher import refuse_launcher
from prefixcap.util.files import new_folder

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from prefixcap.study.definition.study import Study
    from prefixcap.util.progress import Reporter


@takes_study()
def bench(
    study: Annotated[
        Path | None, typer.Argument(help="A study file (TOML); options override its values.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="The study's folder, continued if it exists. (default: runs/TIME-NAME)"),
    ] = None,
    save_study: Annotated[
        Path | None, typer.Option(help="Write the study into a file, to run or change it later.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would be computed and what exists.")
    ] = False,
    launcher: Annotated[
        str,
        typer.Option(help="Start processes that share the work, such as ray:address=auto."),
    ] = "local",
    tracker: Trackers = None,
    trust: Trust = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object, everything else to stderr.")
    ] = False,
    **values: Any,
) -> None:
    """Train, caption and score every combination; show a table, captions and a picture.

    Without options: the drawn scenes, an mlp mapper with a prefix of 10, beam search.
    """
    from prefixcap.cli.progress import reporter
    from prefixcap.interfaces.launching.launcher import LauncherConfig
    from prefixcap.plugin.events import parse_trackers
    from prefixcap.plugin.registry import default_registry

    refuse_launcher()
    given = options.provided(values)
    chosen = (_read_study(study, given) if study is not None else {}) | given
    with quiet_stdout():
        plan = options.study(chosen, default_registry())
        parse_trackers(tracker or ())
        default_registry().parse(LauncherConfig, launcher)
        shown = reporter(details=not as_json)
        if save_study is not None:
            options.write_file(save_study, options.from_study(plan))
        folder = out or Path("runs") / f"{time.strftime('%Y%m%d-%H%M%S')}-{_name(plan)}"
        if dry_run:
            answer, text = _plan(plan, folder)
        elif out is not None:
            answer, text = _run(plan, folder, shown, tracker or (), launcher)
        else:
            with new_folder(folder) as made:
                answer, text = _run(plan, made, shown, tracker or (), launcher)
    echo_json(answer) if as_json else echo(text)


def _read_study(path: Path, given: Mapping[str, Any]) -> dict[str, Any]:
    """Read a study file, unless its name is another value of an option."""
    from prefixcap.interfaces.kinds import KINDS
    from prefixcap.plugin.registry import default_registry

    word = str(path)
    name = word.partition(":")[0]
    if not path.exists() and not word.endswith(".toml"):
        for option, field in options.OPTIONS.items():
            value = given.get(option)
            values = ",".join(map(str, value if isinstance(value, list) else [value]))
            kind = "metric" if option == "metrics" else option
            is_component = kind in KINDS and name in default_registry().names(kind)
            is_number = word.isdigit() and option in ("prefix_len", "seed")
            if value is not None and field.many and (is_component or is_number):
                raise PrefixcapError(several(word, field.flag, f"{values},{word}"))
    return options.read_file(path)


def _name(study: Study) -> str:
    return f"{study.dataset.name}-{'-'.join(mapper.name for mapper in study.mappers)}"[:40]


def _plan(study: Study, folder: Path) -> tuple[dict[str, Any], str]:
    from prefixcap.study.execution.plan import plan

    estimate = plan(study, folder)
    return estimate, "\n".join(estimate["lines"])


def _run(
    study: Study, folder: Path, reporter: Reporter, trackers: Sequence[str], launcher: str
) -> tuple[dict[str, Any], str]:
    from prefixcap.cli.table import WIDE, text
    from prefixcap.study.execution.runner import run_study

    if folder.exists() and not folder.is_dir():
        raise PrefixcapError(f"--out {folder} cannot be a folder: it is a file")
    advice = (
        f"everything finished so far is saved in {folder}: run the same command with "
        f"--out {folder} to continue"
    )
    with stoppable(advice):
        results = run_study(study, folder, reporter, trackers=trackers, launcher=launcher)
    return results.to_json(), text(results, shutil.get_terminal_size((WIDE, 24)).columns)
