"""Errors as one sentence and an exit status."""

from __future__ import annotations

import errno
import os
import re
import sys
import tempfile
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import typer

from prefixcap.errors import (
    LONGEST_SENTENCE,
    PrefixcapError,
    describe,
    nearest,
    shortened,
    shown,
    synonym,
)
from prefixcap.plugin.building import place_of, responsible
from prefixcap.plugin.contained import TRACEBACK, explained
from prefixcap.util.memory import out_of_memory
from prefixcap.util.process.interrupts import Interrupts, interrupted
from prefixcap.util.text import visible

BAD_INPUT = 2
BUG = 1
AGAIN = "run the same command again with the same --out"

# since 0.26 typer vendors click, so take the base class from a public class
UsageError: Any = typer.BadParameter.__base__

MACHINE = {
    errno.ENOSPC: f"no space is left on the disk{{place}}; finished work is saved: free some "
    f"space, then {AGAIN}",
    errno.EDQUOT: f"your quota of disk space is used up{{place}}; finished work is saved: free "
    f"some space, then {AGAIN}",
    errno.EFBIG: f"a file would be larger than this process may write{{place}}; finished work is "
    f"saved: raise the limit (ulimit -f), then {AGAIN}",
    errno.EMFILE: f"this process may not open more files{{place}}; finished work is saved: raise "
    f"the limit (ulimit -n), then {AGAIN}",
    errno.ENFILE: f"this machine cannot open more files{{place}}; finished work is saved: {AGAIN} "
    "when fewer programs run",
    errno.EAGAIN: f"this machine allows no more processes or threads{{place}}; finished work is "
    f"saved: raise the limit (ulimit -u), then {AGAIN}",
    errno.EROFS: "the file system is read-only{place}: choose a folder that can be written",
    errno.EIO: f"the disk or network failed to read or write{{place}}; finished work is saved: "
    f"{AGAIN} when it works",
}
"""Sentences for what the machine refuses, by the number of the error."""
MEMORY = (
    f"there is not enough memory; finished work is saved: {AGAIN} and a smaller batch "
    "(--encode-batch for encoding, --max-rows for captioning, --training batch_size= for "
    "training), or with --dtype bfloat16"
)


class Stopped(Exception):  # noqa: N818  (stopping is no error)
    """Ctrl-C in a command that saves its work; the text tells where, and how to resume."""


@contextmanager
def stoppable(advice: str) -> Iterator[None]:
    """Raise `Stopped` with the advice if the user stops the work, whatever error that causes."""
    try:
        yield
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt) or interrupted():
            raise Stopped(f"stopped; {advice}") from None
        raise


def print_error(message: str) -> None:
    """Print a sentence to standard error, in one line of limited length whatever it contains."""
    print(f"prefixcap: {shortened(visible(message), LONGEST_SENTENCE)}", file=sys.stderr)


def status_of(error: BaseException, words: Sequence[str], interrupts: Interrupts) -> int:
    """Print an error's sentence and return the exit status; `words` are those of the command."""
    if isinstance(error, Stopped | KeyboardInterrupt) or interrupts.received is not None:
        print_error(str(error) if isinstance(error, Stopped) else interrupts.sentence)
        return interrupts.status
    if isinstance(error, BrokenPipeError):
        return 1  # who reads the output has what it wanted, such as `head`
    sentence = sentence_of(error, words)
    if sentence is None:
        print_error(_bug(error))
        return BUG
    if os.environ.get(TRACEBACK):
        traceback.print_exception(error)
    print_error(sentence)
    return BAD_INPUT


def _bug(error: BaseException) -> str:
    """Save the traceback of an unexpected error, or print it, and return the sentence about it."""
    text = "".join(traceback.format_exception(error))
    where = ""
    if not os.environ.get(TRACEBACK):
        with suppress(OSError):
            number, name = tempfile.mkstemp(prefix="prefixcap-traceback-", suffix=".txt")
            with os.fdopen(number, "w", encoding="utf-8", errors="backslashreplace") as file:
                file.write(text)
            where = f"its traceback is in {name}, please report it"
    if not where:
        print(text, file=sys.stderr)
        where = "please report it with the traceback above"
    plugin = responsible(error)
    what = "an internal error" if plugin is None else f"the plugin {plugin} failed"
    return f"{what}: {explained(error)}{place_of(error)}; finished work is saved; {where}"


def sentence_of(error: BaseException, words: Sequence[str] = ()) -> str | None:
    """Return the sentence for an error of the input or the machine; None for any other error."""
    if isinstance(error, PrefixcapError):
        return str(error)
    if isinstance(error, UsageError):
        return _usage(error, words)
    text = describe(error)
    number = getattr(error, "errno", None)
    if number is None and (found := re.search(r"\(os error (\d+)\)", text)):
        number = int(found[1])
    elif "No space left on device" in text:
        number = errno.ENOSPC
    file = getattr(error, "filename", None)
    if isinstance(number, int) and number in MACHINE and not isinstance(file, int):
        return MACHINE[number].format(place=f" for {file}" if file else "")
    if "PytorchStreamWriter failed" in text:
        return f"a file could not be written; finished work is saved: free some space, then {AGAIN}"
    if out_of_memory(error):
        return MEMORY
    if isinstance(error, RuntimeError) and "home directory" in text:  # of pathlib
        return (
            "the home folder is unknown: set the environment variable HOME, or PREFIXCAP_CACHE to "
            "a folder for cached files"
        )
    if "No usable temporary directory" in text:
        return "no folder for temporary files can be written: set TMPDIR to one that can"
    if isinstance(error, OSError) and file:
        return f"cannot use {file}: {error.strerror}"
    return None


def _usage(error: Any, words: Sequence[str]) -> str:
    command = error.ctx.command if error.ctx else None
    path = error.ctx.command_path if error.ctx else ""
    place = path.removeprefix("prefixcap").strip()
    option = getattr(error, "option_name", None)
    message = str(error.message)
    if option and command and "No such option" in message:
        known = [name for parameter in command.params for name in parameter.opts]
        options = [name for name in known if name.startswith("-")]
        if setting := "--training" in options and _training_setting(option):
            return f"{place} has no option {option!r}: write --training {setting}=..."
        return f"{place or 'prefixcap'} has no option {option!r}{nearest(option, options)}"
    if "No such command" in message:
        argument = next((word for word in (error.ctx.args if error.ctx else []) if word), "")
        name = message.split("'")[1] or argument
        commands = getattr(command, "commands", {})
        return f"there is no command {name!r}{nearest(name, commands)}"
    text = error.format_message()
    text = f"{text[:1].lower()}{text[1:]}".rstrip(".")
    if "unexpected extra argument" in message and (cure := _comma_cure(error, words)):
        return f"{place}: {cure}"
    return f"{place}: {text}; see `{path} --help`" if place else f"{text}; see `{path} --help`"


def _training_setting(option: str) -> str | None:
    """Return the training setting that an unknown option stands for."""
    import attrs

    from prefixcap.training.config import TrainingConfig

    return synonym(option, [field.name for field in attrs.fields(TrainingConfig)])


def _comma_cure(error: Any, words: Sequence[str]) -> str:
    """Return how to write several values of an option, if that is what was meant."""
    extra = str(error.message).rpartition("(")[2].rstrip(").").split(" ")[0]
    command = error.ctx.command
    options = {name for parameter in command.params for name in parameter.opts if name[:1] == "-"}
    position = words.index(extra) if extra in words else 0
    before = [i for i in range(position) if words[i] in options]
    if not before or position - before[-1] < 2:
        return ""
    values = ",".join(words[before[-1] + 1 : position + 1])
    return several(extra, words[before[-1]], values)


def several(value: str, option: str, values: str) -> str:
    """Return the sentence for a value of an option that stands apart from the first."""
    return f"{shown(value)} is not used: join several values with commas, as in {option} {values}"
