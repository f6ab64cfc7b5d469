"""The options that several commands share; those of a study come from the fields of `Study`."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import typer

from prefixcap.plugin import specs
from prefixcap.study.definition.options import EPOCHS, FIELDS, OPTIONS
from prefixcap.util.weights import trust_each

_MANY = "Repeatable, or a comma list."


def _help(name: str) -> str:
    return f"{OPTIONS[name].help} {_MANY}" if OPTIONS[name].many else OPTIONS[name].help


Trust = Annotated[
    list[Path] | None,
    typer.Option(
        "--trust",
        metavar="FILE",
        callback=trust_each,
        help="Allow the code in this file of weights to run. Repeatable.",
    ),
]
Trackers = Annotated[
    list[str] | None,
    typer.Option(
        "--tracker",
        help="Record losses and scores with: tensorboard, wandb, trackio. Repeatable.",
    ),
]
Metrics = Annotated[list[str] | None, typer.Option(help=_help("metrics"))]
MaxNewTokens = Annotated[int | None, typer.Option(help=_help("max_new_tokens"))]
Correction = Annotated[str | None, typer.Option(help=_help("correction"))]
EncodeBatch = Annotated[int | None, typer.Option(help=_help("encode_batch"))]
MaxRows = Annotated[int | None, typer.Option(help=_help("max_rows"))]
Device = Annotated[str | None, typer.Option(help=_help("device"))]
Dtype = Annotated[str | None, typer.Option(help=_help("dtype"))]


def takes_study(
    *, single: bool = False, without: Collection[str] = ()
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Return a decorator that gives a command the options of a study, as keyword arguments.

    With `single`, options take one value each, for a study of one model.
    """

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        hints = get_type_hints(command, include_extras=True)
        own = [
            parameter.replace(annotation=hints[parameter.name], kind=parameter.KEYWORD_ONLY)
            for parameter in inspect.signature(command).parameters.values()
            if parameter.kind is not parameter.VAR_KEYWORD
        ]
        options = [_parameter(name, single) for name in OPTIONS if name not in without]
        # help shows the study file or the folder first, and what is about the output last
        parameters = [*own[:1], *options, *own[1:]]
        command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        return command

    return decorate


def _parameter(name: str, single: bool) -> inspect.Parameter:
    option, default = OPTIONS[name], None
    own = int if option is EPOCHS else str  # of the options that stand for a field of another name
    type_: Any = FIELDS[name].type if name in FIELDS else own
    many = option.many and not single
    if many:
        type_ = list[str] | None
    elif type_ is bool:
        default = False
    else:
        type_ = int | None if type_ in (int, int | None) else str | None
    info = typer.Option(option.flag, *option.aliases, help=_help(name) if many else option.help)
    return inspect.Parameter(
        name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=Annotated[type_, info]
    )


def split_values(values: Sequence[str] | None, default: Sequence[str]) -> list[str]:
    """Split the values of a repeatable option, each of which may be a comma list."""
    return [spec for value in values for spec in specs.split_list(value)] if values else [*default]
