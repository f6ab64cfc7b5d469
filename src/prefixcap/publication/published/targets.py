"""Published results, and files of them in TOML."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from functools import cached_property
from importlib.resources import files
from pathlib import Path
from typing import Any

import attrs

from prefixcap.errors import PrefixcapError, nearest, shown
from prefixcap.plugin.registry import default_registry
from prefixcap.study.definition import options
from prefixcap.study.definition.study import Study
from prefixcap.util.shapes import Maybe, mismatch
from prefixcap.util.text_files import load_toml, parse_toml

_ENTRY = {
    "arxiv": Maybe(str),
    "table": Maybe(str),
    "scale": Maybe(float),
    "images": Maybe(int),
    "datasets": Maybe([str]),
    "metrics": Maybe(str),
    "needs": Maybe([str]),
    "notes": Maybe([str]),
    "study": Maybe(dict),
}
_KEYS = (*_ENTRY, "values")
_NAME = re.compile(r"[a-z0-9][a-z0-9.-]*")
WEIGHTS = ("encoder", "lm")
"""The options that name weights, which a study needs."""


@attrs.frozen(kw_only=True)
class PublishedValue:
    """A published score.

    Attributes:
        text: As it is printed, whose last digit tells how far it was rounded.
        value: On the scale of prefixcap's scores.
        rounding: The largest error of rounding, on that scale.
    """

    text: str
    value: float
    rounding: float

    @classmethod
    def parse(cls, text: str, scale: float, place: str) -> PublishedValue:
        """Read a score as it is printed, such as "31.7" on a scale of 100.

        Raises:
            PrefixcapError: If it is no decimal number; the message begins with `place`.
        """
        try:
            number = Decimal(text)
            digits = -int(number.as_tuple().exponent)
        except (InvalidOperation, ValueError) as error:
            raise PrefixcapError(f"{place}: {shown(text)} is no decimal number") from error
        half = 0.5 * 10.0**-digits
        return cls(text=text, value=float(number) / scale, rounding=half / scale)


@attrs.frozen(kw_only=True, slots=False)
class Target:
    """A published result.

    Attributes:
        name: Its name in the shell.
        paper: Authors, year and title.
        arxiv: The paper's number, if it has one.
        table: Where the paper has it.
        scale: By how much the paper multiplies scores.
        images: The number of images that it is over.
        datasets: The names of the data sets that read these images.
        metrics: The metrics that give the scores, as specs.
        values: The published scores, by the names of prefixcap's scores.
        settings: The options of `bench` that correspond; none if there is no such command.
        needs: What these need beside data and weights that they name.
        notes: What a reader of the comparison should know.
    """

    name: str
    paper: str
    arxiv: str = ""
    table: str = ""
    scale: float = 1.0
    images: int | None = None
    datasets: tuple[str, ...] = ()
    metrics: str
    values: Mapping[str, PublishedValue]
    settings: Mapping[str, Any] = attrs.field(factory=dict)
    needs: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def source(self) -> str:
        """The paper, its number and the table."""
        number = f" (arXiv:{self.arxiv})" if self.arxiv else ""
        return f"{self.paper}{number}" + (f", {self.table}" if self.table else "")

    @property
    def command(self) -> str:
        """The command of `bench` that corresponds; "" if there is none."""
        if not self.settings:
            return ""
        words = [
            word
            for name, value in self.settings.items()
            for word in (options.OPTIONS[name].flag, str(value))
        ]
        return shlex.join(["prefixcap", "bench", *words, "--out", f"runs/{self.name}"])

    @cached_property
    def study(self) -> Study | None:
        """The study that corresponds; None if there is no command.

        Raises:
            PrefixcapError: If a component or an option is unknown.
        """
        if not self.settings:
            return None
        try:
            return options.study(self.settings, default_registry())
        except PrefixcapError as error:
            raise PrefixcapError(f"the target {self.name!r}: {error}") from error

    def to_json(self) -> dict[str, Any]:
        """Return what `reproduce --json` prints about it."""
        values = {name: attrs.asdict(value) for name, value in self.values.items()}
        own = attrs.asdict(self, filter=lambda field, _: field.name != "values")
        return {**own, "values": values, "command": self.command}


def published() -> dict[str, Target]:
    """Return the targets of this package, by their names."""
    folder = files("prefixcap.publication.published") / "data"
    targets: dict[str, Target] = {}
    for file in sorted(folder.iterdir(), key=lambda each: each.name):
        if file.name.endswith(".toml"):
            targets |= parse(parse_toml(file.read_text("utf-8")), file.name)
    return targets


def read(path: Path) -> dict[str, Target]:
    """Read the targets of a file.

    Raises:
        PrefixcapError: If the file is missing or broken, or a target lacks something.
    """
    return parse(load_toml(path, "the targets"), str(path))


def parse(data: Mapping[str, Any], place: str) -> dict[str, Target]:
    """Build the targets of one paper.

    What the file says before its targets is that of each, unless the target says otherwise; the
    options of `study` are joined.

    Raises:
        PrefixcapError: If something is missing or wrong; the message begins with `place`.
    """
    shape = {"paper": str, **_ENTRY, "target": {str: {**_ENTRY, "values": {str: str}}}}
    if problem := mismatch(dict(data), shape):
        raise PrefixcapError(f"{place}: {problem}")
    _check_keys(data, (*_ENTRY, "paper", "target"), place)
    shared = {key: value for key, value in data.items() if key != "target"}
    targets = {}
    for name, own in data["target"].items():
        where = f"{place}, target {name!r}"
        if not _NAME.fullmatch(name):
            raise PrefixcapError(f"{where}: a name has small letters, digits, '.' and '-'")
        _check_keys(own, _KEYS, where)
        targets[name] = _target(name, {**shared, **own}, shared.get("study", {}), where)
    if not targets:
        raise PrefixcapError(f"{place}: it has no targets")
    return targets


def _target(name: str, data: Mapping[str, Any], shared: Mapping[str, Any], place: str) -> Target:
    settings = {**shared, **data.get("study", {})}
    _check_keys(settings, options.OPTIONS, f"{place}, study")
    scale = float(data.get("scale", 1.0))
    metrics = data.get("metrics") or settings.get("metrics")
    if not data["values"] or not metrics or scale <= 0:
        raise PrefixcapError(f"{place}: it needs values, metrics, and a scale above 0")
    ordered = {key: settings[key] for key in options.OPTIONS if key in settings}
    return Target(
        name=name,
        paper=data["paper"],
        arxiv=data.get("arxiv", ""),
        table=data.get("table", ""),
        scale=scale,
        images=data.get("images"),
        datasets=tuple(data.get("datasets", ())),
        metrics=str(metrics),
        values={
            score: PublishedValue.parse(text, scale, f"{place}, {score}")
            for score, text in data["values"].items()
        },
        settings=ordered,
        needs=tuple(data.get("needs", ())),
        notes=tuple(data.get("notes", ())),
    )


def _check_keys(data: Mapping[str, Any], known: Any, place: str) -> None:
    for key in data:
        if key not in known:
            raise PrefixcapError(f"{place}: no key {key!r}{nearest(key, known)}")


def find(name: str, targets: Mapping[str, Target]) -> Target:
    """Return a target by its name.

    Raises:
        PrefixcapError: If there is none of that name.
    """
    if name not in targets:
        raise PrefixcapError(f"no published result {name!r}{nearest(name, targets)}")
    return targets[name]
