"""The rows of a study's files of features, read when they are needed."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor
from typing_extensions import override

from prefixcap.captioning.feature_rows import FeatureRows
from prefixcap.errors import PrefixcapError
from prefixcap.util.feature_files import FeatureFile
from prefixcap.util.files import AlteredError

OPEN_FILES = 256
"""The number of files that stay open, each of which counts for the limit of a process."""


class ShardRows(FeatureRows):
    """Rows of several files, whose hashes were checked when the study began.

    Args:
        places: The file and the row in it of each image, at least one.
        digest: What identifies the features.
    """

    def __init__(self, places: Sequence[tuple[Path, int]], digest: str) -> None:
        self._places, self._digest = places, digest
        self._open = lru_cache(OPEN_FILES)(_open)

    @property
    @override
    def shape(self) -> tuple[int, ...]:
        return (len(self._places), *self._open(self._places[0][0]).shape[1:])

    @override
    def digest(self) -> str:
        return self._digest

    @override
    def read(self, rows: Sequence[int]) -> Tensor:
        places = [self._places[row] for row in rows]
        read = torch.stack([torch.from_numpy(self._open(f).row(row)) for f, row in places])
        if not read.isfinite().all():
            file, _ = places[int((~read.isfinite()).flatten(1).any(1).nonzero()[0])]
            raise AlteredError(file, "a feature is not finite")
        return read


def _open(file: Path) -> FeatureFile:
    try:
        return FeatureFile(file, "features")
    except PrefixcapError as error:
        raise AlteredError(file, error) from error
