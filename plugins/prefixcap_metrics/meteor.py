"""METEOR 1.5, in a Java process that answers line by line."""

from __future__ import annotations

import os
import subprocess
import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from queue import Empty, SimpleQueue
from tempfile import TemporaryFile
from threading import Lock, Thread, Timer
from typing import IO

from prefixcap.errors import PrefixcapError
from prefixcap.evaluation.stats import Resamplable, Statistic
from prefixcap.interfaces.metric import Metric, Record, Scores
from prefixcap_metrics.java import executable, jars, running
from prefixcap_metrics.ptb_tokenizer import tokens
from prefixcap_metrics.resampling.meteor import MeteorStatistic

Pairs = list[tuple[str, Sequence[str]]]
"""Tokenised predictions, each with its tokenised references."""
SEPARATOR = " ||| "
PATIENCE = 300.0
"""Seconds without an answer after which the process counts as hung; loading takes about ten."""
KEPT = 60.0
"""Seconds for which an idle process is kept for the next score."""


@cache
def shared_metric(process: int) -> MeteorMetric:  # a fork must not share its pipes
    """Returns the one metric of an operating system's process, by its number."""
    return MeteorMetric()


class MeteorMetric(Metric, Resamplable):
    """METEOR of the corpus, from the statistics of all images together."""

    def __init__(self) -> None:
        self._process: MeteorProcess | None = None
        self._counted: tuple[Pairs, list[str]] = ([], [])
        self._lock = Lock()
        self._timer = Timer(0, self._end)

    def score(self, records: Sequence[Record]) -> Scores:
        """Scores all records together.

        Raises:
            PrefixcapError: as `tokens`, or the process fails.
        """
        with self._running() as process:  # it loads while the tokenizer runs
            value, each = process.score(self._statistics(process, records))
        return Scores(values={"METEOR": value}, per_image={"METEOR": each})

    def statistic(self, records: Sequence[Record]) -> Statistic:
        """Prepares METEOR for resampling.

        Raises:
            PrefixcapError: as `score`.
        """
        with self._running() as process:
            lines = self._statistics(process, records)
        return MeteorStatistic(lines, [record.image for record in records])

    def _statistics(self, process: MeteorProcess, records: Sequence[Record]) -> list[str]:
        """Counts matches; the last ones are kept, to resample what was scored a moment ago."""
        pairs = _pairs(records)
        if pairs != self._counted[0]:
            self._counted = pairs, process.statistics(pairs)
        return self._counted[1]

    @contextmanager
    def _running(self) -> Iterator[MeteorProcess]:
        """Gives the process, which takes about ten seconds to load, so it is kept for a while."""
        with self._lock:
            self._timer.cancel()
            if self._process is None or not self._process.alive:
                self._process = MeteorProcess()
            yield self._process
            self._timer = Timer(KEPT, self._end)
            self._timer.daemon = True
            self._timer.start()

    def _end(self) -> None:
        with self._lock:
            self._process = None


class MeteorProcess:
    """The Java process; it ends with this object, and with the interpreter at the latest."""

    def __init__(self) -> None:
        folder = jars() / "meteor"
        command = [executable(), "-Xmx2G", "-Dfile.encoding=UTF-8", "-jar", "meteor-1.5.jar"]
        command += ["-", "-", "-stdio", "-l", "en", "-norm"]
        self._errors = TemporaryFile()  # noqa: SIM115  # a pipe that nobody reads would block it
        with running(command[0]):
            self._process = subprocess.Popen(
                command,
                cwd=folder,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._errors,
            )
        self._answers: SimpleQueue[bytes] = SimpleQueue()
        assert self._process.stdout is not None
        Thread(target=_listen, args=(self._process.stdout, self._answers), daemon=True).start()
        self.close = weakref.finalize(self, _stop, self._process, self._errors, os.getpid())

    @property
    def alive(self) -> bool:
        """Whether the process runs."""
        return self._process.poll() is None

    def statistics(self, pairs: Pairs) -> list[str]:
        """Counts matches of tokenised predictions with the best of their tokenised references.

        Returns:
            Each pair's statistics, 23 numbers in a text.

        Raises:
            PrefixcapError: the process has ended or does not answer.
        """
        return [self._ask(_score_line(*pair)) for pair in pairs]

    def score(self, statistics: Sequence[str]) -> tuple[float, tuple[float, ...]]:
        """Scores what `statistics` counted; raises as it does.

        Returns:
            The corpus score, and each pair's.
        """
        answers = [self._ask(SEPARATOR.join(["EVAL", *statistics]))]
        answers += [self._answer() for _ in statistics]
        *each, total = map(float, answers)
        return total, tuple(each)

    def _ask(self, line: str) -> str:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(line.encode("utf-8", "replace") + b"\n")
            self._process.stdin.flush()
        except OSError as error:
            raise self._failure("ended early") from error
        return self._answer()

    def _answer(self) -> str:
        try:
            answer = self._answers.get(timeout=PATIENCE)
        except Empty:
            raise self._failure(f"gave no answer for {PATIENCE:.0f} s") from None
        if not answer:
            raise self._failure("ended early")
        return answer.decode().strip()

    def _failure(self, what: str) -> PrefixcapError:
        self._process.kill()
        self._errors.seek(0)
        said = self._errors.read().decode(errors="replace").strip().splitlines()
        self.close()
        reason = f": {said[-1]}" if said else ""
        return PrefixcapError(f"METEOR's Java process {what}{reason}")


def _pairs(records: Sequence[Record]) -> Pairs:
    found = tokens(records)
    return [(found.predictions[i][0], found.references[i]) for i in range(len(records))]


def _score_line(prediction: str, references: Sequence[str]) -> str:
    # pycocoevalcap cleans the prediction alone; a "|||" in a reference would split it in two
    texts = [text.replace("|||", "").replace("  ", " ") for text in [*references, prediction]]
    return SEPARATOR.join(["SCORE", *texts])


def _listen(stream: IO[bytes], answers: SimpleQueue[bytes]) -> None:
    with stream:
        for line in stream:
            answers.put(line)
    answers.put(b"")


def _stop(process: subprocess.Popen[bytes], errors: IO[bytes], owner: int) -> None:
    if os.getpid() != owner:
        return  # a fork of the owner goes; the process is not its own
    process.kill()  # it has nothing to save
    if process.stdin is not None:
        with suppress(OSError):  # what was still in the buffer went nowhere
            process.stdin.close()
    process.wait()
    errors.close()
