"""Text embeddings in a file, found by their text."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from prefixcap.errors import PrefixcapError, shown
from prefixcap.util.feature_files import FeatureFile
from prefixcap.util.text_files import read_text


class StoredTexts:
    """Rows (T,D) of a file, and the text that each belongs to.

    Args:
        file: A .npy or .safetensors file.
        captions: A text file with a line per row; of equal lines, the first one counts.

    Raises:
        PrefixcapError: If a file is missing or broken, or the number of lines is not that of rows.
    """

    def __init__(self, file: Path, captions: Path) -> None:
        self._file = FeatureFile(file, kinds="f")
        lines = read_text(captions, "the captions").removesuffix("\n").split("\n")
        if len(self._file.shape) != 2:
            raise PrefixcapError(f"{file} must have a row per text, but is {self._file.shape}")
        if len(lines) != len(self._file):
            raise PrefixcapError(
                f"{captions}: there are {len(lines)} captions for {len(self._file)} rows of {file}"
            )
        self._row_of: dict[str, int] = {}
        for row, line in enumerate(lines):
            self._row_of.setdefault(line.strip(), row)

    def encode(self, texts: Sequence[str]) -> Tensor:
        """Return the embeddings (T,D) of texts, float32.

        Raises:
            PrefixcapError: If one has none.
        """
        for text in texts:
            if text.strip() not in self._row_of:
                raise PrefixcapError(
                    f"{self._file.path} has no embedding of the text {shown(text)}: stored "
                    "embeddings serve only the captions that they were made of"
                )
        rows = [self._file.row(self._row_of[text.strip()]) for text in texts]
        return torch.from_numpy(np.stack(rows).astype(np.float32))

    def digest(self) -> str:
        """Return a hash of the embeddings and their texts."""
        digest = sha256(repr((self._file.shape, sorted(self._row_of.items()))).encode())
        for index in range(len(self._file)):
            digest.update(self._file.row(index).tobytes())
        return digest.hexdigest()[:16]
