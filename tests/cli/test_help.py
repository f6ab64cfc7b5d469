"""The page docs/cli.md documents every command and option."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import typer

from prefixcap.cli import app
from prefixcap.cli.app import build_app

PAGE = (Path(__file__).parents[2] / "docs" / "cli.md").read_text("utf-8")


def commands(name: str = "") -> dict[str, Any]:
    return dict(typer.main.get_command(build_app(name)).commands)  # type: ignore[attr-defined]


SUMMARIES = commands()
COMMANDS = {
    " ".join([name, *([part] if part else [])]): command
    for name in SUMMARIES
    for part, command in getattr(
        commands(name)[name], "commands", {"": commands(name)[name]}
    ).items()
}
"""Every command by its words, such as "data check"."""


def section(name: str) -> str:
    """Return the section of the page whose heading names a command."""
    for heading, text in re.findall(r"^## (.+?)$(.*?)(?=^## |\Z)", PAGE, re.M | re.S):
        if name in heading.split(", "):
            return str(text)
    raise AssertionError(f"docs/cli.md has no section for {name!r}")


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_command_and_option_is_documented(name: str) -> None:
    text = section(name)
    assert f"`prefixcap {name}" in text
    for parameter in COMMANDS[name].params:
        if parameter.param_type_name == "option":
            for option in parameter.opts:
                assert f"`{option}`" in text or f"`{option} " in text, option


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_documented_option_exists(name: str) -> None:
    known = {option for command in COMMANDS.values() for p in command.params for option in p.opts}
    assert set(re.findall(r"(?<![\w`-])--[a-z][a-z-]+", section(name))) <= known | {"--version"}


def test_every_option_has_a_help_text() -> None:
    for command in COMMANDS.values():
        for parameter in command.params:
            assert parameter.help, f"{command.name} {parameter.name}"


@pytest.mark.parametrize("name", sorted(app.COMMANDS))
def test_every_summary_fits_on_a_line(name: str) -> None:
    assert SUMMARIES[name].get_short_help_str(60) == SUMMARIES[name].help
    assert COMMANDS[name].help
