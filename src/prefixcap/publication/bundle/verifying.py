"""Verify a bundle: compute every number again from captions and references."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs

from prefixcap.errors import PrefixcapError
from prefixcap.publication.bundle import manifest, numbers, recomputing, settings
from prefixcap.publication.bundle.container import Unpacked, unpacked
from prefixcap.publication.bundle.findings import Discrepancy, Verified
from prefixcap.publication.bundle.manifest import Manifest
from prefixcap.study.analysis.reader import load_study
from prefixcap.study.artifacts.folder import CAPTIONS, CELL, REPLICATES, SCORES, StudyFolder
from prefixcap.util.files import SEAL, AlteredError, read_bytes, read_json, write_json
from prefixcap.util.progress import Reporter, Silent
from prefixcap.util.runtime import version_of

SEALED = ("config.json", "key.json", CELL, SCORES, "analysis.json")


@attrs.frozen(kw_only=True)
class Verification:
    """What a verification found.

    Attributes:
        bundle: The archive or the folder.
        digest: The SHA-256 of its manifest.
        discrepancies: What differs; nothing if the bundle is sound.
        not_recomputed: Why the scores of some metrics were not computed again, by metric. Their
            intervals and comparisons were, from the stored scores of the images.
        notes: What may explain a difference, and what was not compared.
        checked: How many numbers, files and texts were compared, by what they are.
    """

    bundle: Path
    digest: str
    discrepancies: tuple[Discrepancy, ...]
    not_recomputed: Mapping[str, str]
    notes: tuple[str, ...]
    checked: Mapping[str, int]

    @property
    def is_sound(self) -> bool:
        """Whether nothing differs."""
        return not self.discrepancies

    def to_json(self) -> dict[str, Any]:
        """Return what `verify --json` prints."""
        data = attrs.asdict(self)
        return {**data, "bundle": str(self.bundle), "is_sound": self.is_sound}


def verify(
    bundle: Path, *, digest: str | None = None, reporter: Reporter | None = None
) -> Verification:
    """Compute the numbers of a bundle again, and compare them with those that it states.

    Nothing of the bundle is run, and nothing is written but a temporary folder.

    Args:
        bundle: An archive or a folder that `bundle` wrote.
        digest: The SHA-256 of its manifest as published, or at least 8 digits of its beginning.
        reporter: Receives progress messages.

    Raises:
        PrefixcapError: If it is no bundle, a name in it leads elsewhere, it is too large, or the
            digest is no digest.
    """
    expected = _digest(digest)
    with unpacked(bundle) as content:
        stated = manifest.read(content.folder, bundle)
        found = Verified()
        if not stated.digest.startswith(expected):
            found.add("file", manifest.NAME, f"its SHA-256 is {stated.digest}, not {digest}")
        altered = _check_files(content, stated, found)
        _check_versions(stated, found)
        try:
            reseal(content.folder, altered)
            _check_numbers(content.folder, stated, found, reporter or Silent())
        except AlteredError as error:
            place = error.path.relative_to(content.folder).as_posix()
            found.add("file", place, f"{error.reason}; the numbers were not recomputed")
        except PrefixcapError as error:
            text = str(error).replace(str(content.folder), str(bundle))
            found.add("file", str(bundle), f"its numbers cannot be recomputed: {text}")
    return Verification(
        bundle=bundle,
        digest=stated.digest,
        discrepancies=tuple(found.discrepancies),
        not_recomputed=found.not_recomputed,
        notes=tuple(found.notes),
        checked=found.checked,
    )


def _digest(text: str | None) -> str:
    if text is None:
        return ""
    lower = text.strip().lower()
    if not 8 <= len(lower) <= 64 or set(lower) - set("0123456789abcdef"):
        raise PrefixcapError(f"--digest must be 8 to 64 hexadecimal digits, not {text!r}")
    return lower


def _check_files(content: Unpacked, stated: Manifest, found: Verified) -> set[str]:
    """Compare the files of a bundle with its manifest; return the names of those that differ."""
    actual = {name: digest for name, digest in content.digests.items() if name != manifest.NAME}
    found.checked["files"] = len(actual)
    for name in sorted(stated.files.keys() - actual.keys()):
        found.add("file", name, "it is missing")
    for name in sorted(actual.keys() - stated.files.keys()):
        found.add("file", name, f"it is not in {manifest.NAME}")
    altered = {n for n in actual.keys() & stated.files.keys() if actual[n] != stated.files[n]}
    for name in sorted(altered):
        found.add("file", name, f"it was altered: its SHA-256 is not that in {manifest.NAME}")
    return altered


def _check_versions(stated: Manifest, found: Verified) -> None:
    for name in manifest.NUMBERS:
        if (ran := stated.versions.get(name)) != (here := version_of(name)):
            found.note(f"the study was bundled with {name} {ran}, and {here} is installed")


def _check_numbers(folder: Path, stated: Manifest, found: Verified, reporter: Reporter) -> None:
    """Compute all numbers again in a copy of the study."""
    study = load_study(folder)
    settings.check(study, stated, found)
    with reporter.task("scoring", len(study.cells), "cells") as task:
        values = recomputing.recompute(study, stated.renamed, found, task.update)
    numbers.check(study, values, stated, found)


def reseal(folder: Path, altered: set[str]) -> None:
    """Renew the hashes inside files that were altered, so that they can be read and compared.

    Raises:
        AlteredError: If one is not JSON.
    """
    files = StudyFolder(folder)
    for path in folder.rglob(REPLICATES):  # they are computed again
        path.unlink()
    for path in sorted(folder.rglob("*.json")):
        covered = {CELL: path.with_name(CAPTIONS), SCORES: files.test}.get(path.name)
        names = {each.relative_to(folder).as_posix() for each in (path, covered) if each}
        if path.name not in SEALED or altered.isdisjoint(names):
            continue
        data = read_json(path, sealed=False) or {}
        data.pop(SEAL, None)
        digest = manifest.digest_of(read_bytes(covered) or b"") if covered else ""
        if path.name == CELL:
            data["captions_sha256"] = digest
        elif path == files.scores:
            data["digests"] = {files.test.name: digest}
        write_json(path, data)
