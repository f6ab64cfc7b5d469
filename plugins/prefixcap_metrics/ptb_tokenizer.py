"""Penn Treebank tokens, identical to those of pycocoevalcap's tokenizer."""

from __future__ import annotations

import subprocess
from collections.abc import Hashable, Sequence
from functools import lru_cache
from pathlib import Path
from tempfile import gettempdir

import attrs

from prefixcap.errors import PrefixcapError
from prefixcap.interfaces.metric import Record
from prefixcap.util.storage.temporary import temporary_folder
from prefixcap.util.words import characters
from prefixcap_metrics.java import executable, jars, running
from prefixcap_metrics.names import PTB

JAR = Path("tokenizer") / "stanford-corenlp-3.4.1.jar"


@attrs.frozen
class Tokens:
    """Tokenized texts of records: words joined by spaces, lower case, without punctuation.

    Keys are indices of records, because an image can appear in more than one record.
    """

    references: dict[int, list[str]]
    predictions: dict[int, list[str]]


def tokenise_records(records: Sequence[Record], tokenizer: str = PTB) -> Tokens:
    """Tokenize all references and predictions.

    These are two runs of the tokenizer, as in pycocoevalcap, because a word at the end of a line
    can depend on the next line. Both are cached, so that all metrics of the same records, and the
    references of all cells of a study, share them.

    Raises:
        PrefixcapError: If there are no records, a record has no references, or Java fails.
    """
    if not records:
        raise PrefixcapError("there are no records to score")
    for record in records:
        if not record.references:
            raise PrefixcapError(f"the image {record.image!r} has no reference captions")
    split = tokenise if tokenizer == PTB else by_characters
    references = iter(split(tuple(text for record in records for text in record.references)))
    predictions = split(tuple(record.prediction for record in records))
    return Tokens(
        {i: [next(references) for _ in r.references] for i, r in enumerate(records)},
        {i: [text] for i, text in enumerate(predictions)},
    )


def by_image(
    records: Sequence[Record], tokenizer: str = PTB
) -> tuple[dict[Hashable, list[str]], dict[Hashable, list[str]]]:
    """Return the tokenized references and predictions by image.

    Raises:
        PrefixcapError: As for `tokenise_records`, or if an image appears in two records.
    """
    tokens = tokenise_records(records, tokenizer)
    indices: dict[Hashable, int] = {}
    for i, record in enumerate(records):
        if indices.setdefault(record.image, i) != i:
            raise PrefixcapError(f"the image {record.image!r} appears in two records")
    return (
        {image: tokens.references[i] for image, i in indices.items()},
        {image: tokens.predictions[i] for image, i in indices.items()},
    )


@lru_cache(maxsize=8)
def by_characters(texts: tuple[str, ...]) -> tuple[str, ...]:
    """Split texts into words, and scripts without spaces into characters."""
    return tuple(" ".join(characters(text)) for text in texts)


@lru_cache(maxsize=8)
def tokenise(texts: tuple[str, ...]) -> tuple[str, ...]:
    """Tokenize texts; line breaks count as spaces.

    Raises:
        PrefixcapError: If Java is missing, the temporary file cannot be written, or the tokenizer
            fails.
    """
    from pycocoevalcap.tokenizer.ptbtokenizer import PUNCTUATIONS

    lines = [" ".join(text.replace("\0", " ").splitlines()) for text in texts]
    try:
        # not in pycocoevalcap's folder, which may be read-only or used by another process
        with temporary_folder() as folder:
            file = folder / "captions.txt"
            file.write_bytes("\n".join(lines).encode("utf-8", "replace"))
            output = _run(file)
    except OSError as error:
        raise PrefixcapError(
            f"the tokenizer's file cannot be written in {gettempdir()}: {error.strerror}; "
            "set the environment variable TMPDIR to another folder"
        ) from error
    tokenised = output.decode("utf-8", "replace").split("\n")
    if len(tokenised) < len(lines):
        raise PrefixcapError(
            f"the tokenizer, on Java {executable()}, returned {len(tokenised)} lines "
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
