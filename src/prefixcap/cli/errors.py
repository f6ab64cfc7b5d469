"""Errors as one sentence and an exit status."""

from __future__ import annotations

import errno
import sys
from typing import Any

import typer

from prefixcap.errors import PrefixcapError, nearest
from prefixcap.util.text import visible

BAD_INPUT = 2
INTERRUPTED = 130

# since 0.26 typer vendors click, so take the base class from a public class
UsageError: Any = typer.BadParameter.__base__


class Stopped(Exception):  # noqa: N818  (stopping is no error)
    """Ctrl-C in a command that saves its work; the text tells where, and how to resume."""


def print_error(message: str) -> None:
    """Print a sentence to standard error, in one line whatever values it contains."""
    print(f"prefixcap: {visible(message)}", file=sys.stderr)


def status_of(error: BaseException) -> int | None:
    """Print an error's sentence and return the exit status; return None for a bug."""
    if isinstance(error, Stopped | KeyboardInterrupt):
        print_error(str(error) or "stopped")
        return INTERRUPTED
    if isinstance(error, BrokenPipeError):
        return 1
    if sentence := sentence_of(error):
        print_error(sentence)
        return BAD_INPUT
    return None


def sentence_of(error: BaseException) -> str | None:
    """Return the sentence for an error of the input or the machine; None for any other error."""
    if isinstance(error, PrefixcapError):
        return str(error)
    if isinstance(error, UsageError):
        return _usage(error)
    if getattr(error, "errno", None) == errno.ENOSPC or "No space left on device" in str(error):
        place = f" for {error.filename}" if isinstance(error, OSError) and error.filename else ""
        return (
            f"no space is left on the disk{place}; finished work is saved: free some space, then "
            "run the same command again with the same --out"
        )
    if type(error).__name__ == "OutOfMemoryError" or "can't allocate memory" in str(error):
        return (
            "there is not enough memory; finished work is saved: run the same command again with "
            "the same --out and a smaller batch (--encode-batch for encoding, --max-rows for "
            "captioning, --training batch_size= for training), or with --dtype bfloat16"
        )
    if isinstance(error, RuntimeError) and "home directory" in str(error):  # of pathlib
        return (
            "the home folder is unknown: set the environment variable HOME, or PREFIXCAP_CACHE to "
            "a folder for cached files"
        )
    if isinstance(error, OSError) and error.filename:
        return f"cannot use {error.filename}: {error.strerror}"
    return None


def _usage(error: Any) -> str:
    command = error.ctx.command if error.ctx else None
    place = error.ctx.command_path if error.ctx else "prefixcap"
    option = getattr(error, "option_name", None)
    if option and command and "No such option" in str(error.message):
        known = [name for parameter in command.params for name in parameter.opts]
        options = [name for name in known if name.startswith("-")]
        return f"{place} has no option {option!r}{nearest(option, options)}"
    commands = getattr(command, "commands", {})
    argument = next((word for word in (error.ctx.args if error.ctx else []) if word), "")
    if "No such command" in str(error.message):
        name = str(error.message).split("'")[1]
        return f"{place} has no command {name or argument!r}{nearest(name, commands)}"
    return f"{place}: {error.format_message()}; see `{place} --help`"
