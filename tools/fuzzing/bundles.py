"""The target `bundle`: bundles whose files or archives were changed."""

from __future__ import annotations

import json
import shutil
import zipfile
from pathlib import Path
from random import Random
from typing import Any

from fuzzing.mutations import TEXTS, dump, encode, mutate_bytes, mutate_json
from fuzzing.shell import finish, make_study
from prefixcap.publication.bundle import manifest
from prefixcap.publication.bundle.verifying import verify
from prefixcap.util.files import NO_SEAL, SEAL, seal


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
        changed = False
        for name in stream.sample(self._files, stream.choice((1, 1, 1, 2))):
            path = self._copy / name
            content = path.read_bytes()
            path.unlink()
            if stream.random() < 0.95:
                path.write_bytes(self._changed(stream, path, content))
            changed |= not path.exists() or path.read_bytes() != content
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

    def _changed(self, stream: Random, path: Path, content: bytes) -> bytes:
        if path.suffix == ".json" and stream.random() < 0.8:
            data: Any = mutate_json(stream, json.loads(content))
            if isinstance(data, dict) and stream.random() < 0.7:  # with a valid hash
                data.pop(SEAL, None)
                return b"".join(seal(json.dumps({SEAL: NO_SEAL, **data}).encode()))
            return encode(stream, dump(stream, data))
        if path.suffix == ".jsonl" and stream.random() < 0.8:
            lines = content.decode().splitlines()
            at = stream.randrange(len(lines))
            lines[at] = dump(stream, mutate_json(stream, json.loads(lines[at])))
            return encode(stream, "\n".join(lines) + "\n")
        if path.suffix in (".md", ".tex", ".txt", ".csv") and stream.random() < 0.5:
            return content + stream.choice(TEXTS).encode(errors="surrogatepass")
        return mutate_bytes(stream, content)

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
