"""Penn Treebank tokens, exactly as pycocoevalcap's own tokenizer gives them."""

from __future__ import annotations

import subprocess
from collections.abc import Hashable, Sequence
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory, gettempdir

import attrs

from prefixcap.errors import PrefixcapError
from prefixcap.interfaces.metric import Record
from prefixcap_metrics.java import executable, jars, running

JAR = Path("tokenizer") / "stanford-corenlp-3.4.1.jar"


@attrs.frozen
class Tokens:
    """The records' texts, tokenised: words joined by spaces, lower case, without punctuation.

    The keys are the records' numbers, so that an image may stand in more than one record.
    """

    references: dict[int, list[str]]
    predictions: dict[int, list[str]]


def tokens(records: Sequence[Record]) -> Tokens:
    """Tokenises all references and predictions of some records.

    References and predictions are two runs of the tokenizer, as in pycocoevalcap (a word at a
    line's end can depend on the next line). Both runs are remembered, so all metrics of the same
    records share them, and all cells of a study share the one of the references.

    Raises:
        PrefixcapError: there are no records, a record has no references, or Java fails.
    """
    if not records:
        raise PrefixcapError("there is nothing to score: no records")
    for record in records:
        if not record.references:
            raise PrefixcapError(f"the image {record.image!r} has no reference captions")
    references = iter(tokenise(tuple(text for record in records for text in record.references)))
    predictions = tokenise(tuple(record.prediction for record in records))
    return Tokens(
        {i: [next(references) for _ in r.references] for i, r in enumerate(records)},
        {i: [text] for i, text in enumerate(predictions)},
    )


def by_image(
    records: Sequence[Record],
) -> tuple[dict[Hashable, list[str]], dict[Hashable, list[str]]]:
    """Returns the tokenised references and predictions by image.

    Raises:
        PrefixcapError: as `tokens`, or an image stands in two records.
    """
    found = tokens(records)
    numbers: dict[Hashable, int] = {}
    for i, record in enumerate(records):
        if numbers.setdefault(record.image, i) != i:
            raise PrefixcapError(f"the image {record.image!r} stands in two records")
    return (
        {image: found.references[i] for image, i in numbers.items()},
        {image: found.predictions[i] for image, i in numbers.items()},
    )


@lru_cache(maxsize=8)
def tokenise(texts: tuple[str, ...]) -> tuple[str, ...]:
    """Tokenises texts; what comes back is as many.

    Line breaks of any sort count as spaces. The temporary file is of this call alone and not in
    pycocoevalcap's folder, which may be read-only.

    Raises:
        PrefixcapError: there is no Java, no room for the file, or the tokenizer fails.
    """
    from pycocoevalcap.tokenizer.ptbtokenizer import PUNCTUATIONS

    lines = [" ".join(text.replace("\0", " ").splitlines()) for text in texts]
    try:
        with TemporaryDirectory(prefix="prefixcap-") as folder:
            file = Path(folder) / "captions.txt"
            file.write_bytes("\n".join(lines).encode("utf-8", "replace"))
            output = _run(file)
    except OSError as error:
        raise PrefixcapError(
            f"the tokenizer's file cannot be written in {gettempdir()}: {error.strerror}; "
            "the environment variable TMPDIR chooses another folder"
        ) from error
    tokenised = output.decode("utf-8", "replace").split("\n")
    if len(tokenised) < len(lines):
        raise PrefixcapError(
            f"the tokenizer, on Java {executable()}, gave {len(tokenised)} lines "
            f"for {len(lines)} captions"
        )
    return tuple(
        " ".join(word for word in line.rstrip().split(" ") if word not in PUNCTUATIONS)
        for line in tokenised[: len(lines)]
    )


def _run(file: Path) -> bytes:
    command = [executable(), "-cp", str(jars() / JAR), "edu.stanford.nlp.process.PTBTokenizer"]
    command += ["-preserveLines", "-lowerCase", str(file)]
    with running(command[0]):
        done = subprocess.run(command, capture_output=True, stdin=subprocess.DEVNULL, check=False)
    if done.returncode:
        reason = done.stderr.decode(errors="replace").strip().splitlines() or ["no message"]
        raise PrefixcapError(f"the tokenizer failed on Java {command[0]}: {reason[-1]}")
    return done.stdout
