"""A file of precomputed features, read row by row."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prefixcap.errors import PrefixcapError

if TYPE_CHECKING:
    import numpy as np

SUFFIXES = (".npy", ".safetensors")


class Embeddings:
    """Features (rows,D) or (rows,N,D) of a .npy or .safetensors file; the file is not loaded.

    Raises:
        PrefixcapError: the file cannot be read, or its shape or type is not that of features.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._rows, self.shape = _open_npy(path) if path.suffix == ".npy" else _open_tensors(path)
        if len(self.shape) not in (2, 3) or 0 in self.shape:
            raise PrefixcapError(
                f"{path} has the shape {self.shape}, not (images, width) or (images, tokens, width)"
            )

    def row(self, index: int) -> np.ndarray:
        """Returns the feature (D) or (N,D) of a row, float32.

        Raises:
            PrefixcapError: it is not finite.
        """
        import numpy as np

        row = np.array(self._rows(index), dtype=np.float32)
        if not np.isfinite(row).all():
            raise PrefixcapError(f"{self.path}: row {index} has values that are not finite")
        return row

    def digest(self, index: int) -> str:
        """Returns a hash of a row, finite or not."""
        import numpy as np

        return sha256(np.array(self._rows(index), dtype=np.float32).tobytes()).hexdigest()

    def reader(self, index: int) -> Callable[[], np.ndarray]:
        """Returns the function that reads a row."""
        return partial(self.row, index)


def find(folder: Path, name: str | None) -> Path | None:
    """Returns the named file of embeddings, or the folder's only one; None where there is none.

    Raises:
        PrefixcapError: the named file is not there, or there is more than one.
    """
    if name is not None:
        path = folder / name
        if not path.is_file():
            raise PrefixcapError(f"the embeddings {path} are not there")
        if path.suffix not in SUFFIXES:
            raise PrefixcapError(f"the embeddings {path} are neither .npy nor .safetensors")
        return path
    found = sorted(path for path in folder.glob("*") if path.suffix in SUFFIXES)
    if len(found) > 1:
        names = ", ".join(path.name for path in found)
        raise PrefixcapError(
            f"{folder} has more than one file of embeddings ({names}): "
            f"say which, such as embeddings={found[0].name}"
        )
    return found[0] if found else None


def _open_npy(path: Path) -> tuple[Callable[[int], Any], tuple[int, ...]]:
    import numpy as np

    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise PrefixcapError(f"the embeddings {path} cannot be read: {error}") from error
    if array.dtype.kind not in "fiu":
        raise PrefixcapError(f"the embeddings {path} are of type {array.dtype}, not numbers")
    return array.__getitem__, array.shape


def _open_tensors(path: Path) -> tuple[Callable[[int], Any], tuple[int, ...]]:
    from safetensors import SafetensorError, safe_open

    try:
        file: Any = safe_open(path, framework="pt")  # numpy has no bfloat16
    except (OSError, SafetensorError) as error:
        raise PrefixcapError(f"the embeddings {path} cannot be read: {error}") from error
    names = list(file.keys())
    if len(names) != 1:
        raise PrefixcapError(
            f"the embeddings {path} must hold one tensor, not {len(names)}: {', '.join(names)}"
        )
    tensor = file.get_slice(names[0])
    return lambda index: tensor[index].float().numpy(), tuple(tensor.get_shape())
