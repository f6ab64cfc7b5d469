"""METEOR 1.5, computed by a Java process that answers line by line."""

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

from typing_extensions import override

from prefixcap.errors import PrefixcapError
from prefixcap.evaluation.stats import Resamplable, Statistic
from prefixcap.interfaces.metric import Metric, Record, Scores
from prefixcap_metrics.java import executable, jars, running
from prefixcap_metrics.ptb_tokenizer import tokenise_records
from prefixcap_metrics.resampling.meteor import MeteorStatistic

Pairs = list[tuple[str, Sequence[str]]]  # tokenized predictions with their references
SEPARATOR = " ||| "
TIMEOUT = 300.0  # seconds to wait for an answer; loading takes about ten
MOST_WORDS = 20_000  # of a text; METEOR needs quadratic time and memory for more
IDLE_TIMEOUT = 60.0  # seconds that an idle process stays alive for the next score


@cache
def shared_metric(pid: int) -> MeteorMetric:
    """Return the metric of an operating system process, since a fork must not share its pipes."""
    return MeteorMetric()


class MeteorMetric(Metric, Resamplable):
    """Corpus METEOR, from the summed statistics of all images."""

    def __init__(self) -> None:
        self._process: MeteorProcess | None = None
        self._latest: tuple[Pairs, list[str]] = ([], [])
        self._lock = Lock()
        self._timer = Timer(0, self._end)

    @override
    def score(self, records: Sequence[Record]) -> Scores:
        with self._running() as process:  # it loads while the tokenizer runs
            value, each = process.score(self._statistics(process, records))
        return Scores(values={"METEOR": value}, per_image={"METEOR": each})

    @override
    def statistic(self, records: Sequence[Record]) -> Statistic:
        with self._running() as process:
            lines = self._statistics(process, records)
        return MeteorStatistic(lines, [record.image for record in records])

    def _statistics(self, process: MeteorProcess, records: Sequence[Record]) -> list[str]:
        # the latest are cached, because resampling follows scoring
        pairs = _pairs(records)
        if pairs != self._latest[0]:
            self._latest = pairs, process.statistics(pairs)
        return self._latest[1]

    @contextmanager
    def _running(self) -> Iterator[MeteorProcess]:
        with self._lock:
            self._timer.cancel()
            if self._process is None or not self._process.alive:
                self._process = MeteorProcess()
            yield self._process
            # loading takes about ten seconds, so the process stays for the next score
            self._timer = Timer(IDLE_TIMEOUT, self._end)
            self._timer.daemon = True
            self._timer.start()

    def _end(self) -> None:
        with self._lock:
            self._process = None


class MeteorProcess:
    """The Java process, which ends with this object or with the interpreter."""

    def __init__(self) -> None:
        folder = jars() / "meteor"
        command = [executable(), "-Xmx2G", "-Dfile.encoding=UTF-8", "-jar", "meteor-1.5.jar"]
        command += ["-", "-", "-stdio", "-l", "en", "-norm"]
        self._errors = TemporaryFile()  # noqa: SIM115  # an unread pipe would block it
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
        """Whether the process is running."""
        return self._process.poll() is None

    def statistics(self, pairs: Pairs) -> list[str]:
        """Count the matches of predictions with the best of their references.

        Returns:
            The statistics of each pair, 23 numbers in a string.

        Raises:
            PrefixcapError: If the process has ended or does not answer.
        """
        return [self._ask(_score_line(*pair)) for pair in pairs]

    def score(self, statistics: Sequence[str]) -> tuple[float, tuple[float, ...]]:
        """Score the results of `statistics`; raises as it does.

        Returns:
            The corpus score, and the score of each pair.
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
            answer = self._answers.get(timeout=TIMEOUT)
        except Empty:
            raise self._failure(f"gave no answer for {TIMEOUT:.0f} s") from None
        if not answer:
            raise self._failure("ended early")
        return answer.decode().strip()

    def _failure(self, event: str) -> PrefixcapError:
        self._process.kill()
        self._errors.seek(0)
        lines = self._errors.read().decode(errors="replace").strip().splitlines()
        self.close()
        reason = f": {lines[-1]}" if lines else ""
        return PrefixcapError(f"METEOR's Java process {event}{reason}")


def _pairs(records: Sequence[Record]) -> Pairs:
    tokens = tokenise_records(records)
    return [(tokens.predictions[i][0], tokens.references[i]) for i in range(len(records))]


def _score_line(prediction: str, references: Sequence[str]) -> str:
    # pycocoevalcap cleans only the prediction, but "|||" in a reference would split it too
    texts = [text.replace("|||", "").replace("  ", " ") for text in [*references, prediction]]
    texts = [" ".join(text.split(" ", MOST_WORDS)[:MOST_WORDS]) for text in texts]
    return SEPARATOR.join(["SCORE", *texts])


def _listen(stream: IO[bytes], answers: SimpleQueue[bytes]) -> None:
    with stream:
        for line in stream:
            answers.put(line)
    answers.put(b"")


def _stop(process: subprocess.Popen[bytes], errors: IO[bytes], owner: int) -> None:
    if os.getpid() != owner:
        return  # a fork of the owner ends, to which the process does not belong
    process.kill()  # it has nothing to save
    if process.stdin is not None:
        with suppress(OSError):  # the buffer could not be flushed
            process.stdin.close()
    process.wait()
    errors.close()
