"""The target `bundle`: bundles whose files or archives were changed."""

from __future__ import annotations

import json
import shutil
import zipfile
from pathlib import Path
from random import Random

from fuzzing.mutations import mutate_bytes
from fuzzing.shell import alter, finish, make_study
from prefixcap.publication.bundle import manifest
from prefixcap.publication.bundle.verifying import verify


class Bundles:
    """Changes a bundle and verifies it; every change has to be noticed or refused."""

    def __init__(self, folder: Path) -> None:
        self._archive, self._made = folder / "bundle.zip", folder / "unpacked"
        if not self._archive.exists():
            finish(["bundle", str(make_study(folder)), "--out", str(self._archive)])
        with zipfile.ZipFile(self._archive) as archive:
            archive.extractall(self._made)
        content = (self._made / manifest.NAME).read_bytes()
        self._digest = manifest.digest_of(content)
        names = (path.relative_to(self._made) for path in self._made.rglob("*") if path.is_file())
        self._files = sorted(names)
        self._copy = folder / "copy"

    def run(self, stream: Random) -> None:
        """Run one case."""
        if stream.random() < 0.1:
            self._verify_archive(stream)
            return
        shutil.rmtree(self._copy, ignore_errors=True)
        shutil.copytree(self._made, self._copy)
        changed = alter(stream, self._copy, self._files)
        if stream.random() < 0.1:
            (self._copy / "cells" / "added").write_bytes(b"added")
            changed = True
        if stream.random() < 0.5:  # as somebody does who knows the format
            self._renew()
        found = verify(self._copy, digest=self._digest)
        assert found.discrepancies or not changed, "a change was not noticed"

    def _verify_archive(self, stream: Random) -> None:
        content = self._archive.read_bytes()
        changed = self._archive.with_name("changed.zip")
        changed.write_bytes(mutate_bytes(stream, content))
        # a change between the entries of an archive is none of the bundle
        verify(changed, digest=self._digest)

    def _renew(self) -> None:
        """Write the digests of the files as they are now into the manifest, if it can be read."""
        path = self._copy / manifest.NAME
        try:
            data = json.loads(path.read_bytes())
            for name in data["files"]:
                content = (self._copy / name).read_bytes()
                data["files"][name] = {
                    "bytes": len(content),
                    "sha256": manifest.digest_of(content),
                }
        except (OSError, ValueError, TypeError, KeyError):
            return
        path.write_text(json.dumps(data))
