"""Standard output and standard error: a command's result, and text that no terminal obeys."""

from __future__ import annotations

import contextlib
import io
import json
import sys
import warnings
from collections.abc import Iterator
from typing import Any, TextIO, cast

from prefixcap.cli.errors import print_error
from prefixcap.errors import PrefixcapWarning
from prefixcap.util.text import visible_lines


class VisibleStream:
    r"""A text stream on which control characters are escaped, such as `\x1b`.

    Characters that the stream's encoding lacks are escaped as well, instead of being an error.

    Args:
        stream: The stream that is written to.
    """

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)

    def write(self, text: str) -> int:
        """Write a text, visibly; return its length."""
        encoding = getattr(self.stream, "encoding", None) or "utf-8"
        encoded = visible_lines(text).encode(encoding, "backslashreplace")
        self.stream.write(encoded.decode(encoding))
        return len(text)


def unfiltered(stream: TextIO) -> TextIO:
    """Return the stream below a `VisibleStream`, for programs that draw with control characters."""
    return stream.stream if isinstance(stream, VisibleStream) else stream


@contextlib.contextmanager
def visible_output() -> Iterator[None]:
    """Escape control characters in everything that any code prints."""
    out, err = (cast(TextIO, VisibleStream(stream)) for stream in (sys.stdout, sys.stderr))
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        yield


@contextlib.contextmanager
def warnings_as_sentences() -> Iterator[None]:
    """Print what the user should know like an error, without the place in the code."""
    show = warnings.showwarning

    def as_sentence(
        message: Warning | str, category: type[Warning], *place: Any, **named: Any
    ) -> None:
        if issubclass(category, PrefixcapWarning):
            print_error(f"warning: {message}")
        else:
            show(message, category, *place, **named)

    with warnings.catch_warnings():
        warnings.showwarning = as_sentence
        yield


@contextlib.contextmanager
def quiet_stdout() -> Iterator[TextIO]:
    """Redirect what libraries print to standard error, so that `--json` prints one object.

    Yields standard output itself, for results that are printed inside.
    """
    out = sys.stdout
    with contextlib.redirect_stdout(sys.stderr), warnings.catch_warnings():
        # clip-anytorch imports it; the user cannot change that
        warnings.filterwarnings("ignore", message="pkg_resources is deprecated")
        yield out


@contextlib.contextmanager
def no_output() -> Iterator[None]:
    """Drop everything that is printed, but not the sentence of an error that ends the context."""
    nowhere = io.StringIO()
    with contextlib.redirect_stdout(nowhere), contextlib.redirect_stderr(nowhere):
        yield


def echo(text: str, out: TextIO | None = None) -> None:
    """Print a text to standard output (or `out`) at once: a closed pipe is noticed here."""
    print(text, file=out, flush=True)


def echo_json(data: object, out: TextIO | None = None) -> None:
    """Print an object as JSON in ASCII, which is exact and has no control characters."""
    echo(json.dumps(data).replace("\x7f", "\\u007f"), out)
