"""A file of precomputed features, read row by row."""

from __future__ import annotations

from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prefixcap.errors import PrefixcapError

if TYPE_CHECKING:
    import numpy as np

SUFFIXES = (".npy", ".safetensors")


class Embeddings:
    """Features (B,D) or (B,N,D) in a .npy or .safetensors file, which is not loaded into memory.

    Raises:
        PrefixcapError: If the file cannot be read, or is not of the shape or type of features.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._rows, self.shape = _open_npy(path) if path.suffix == ".npy" else _open_tensors(path)
        if len(self.shape) not in (2, 3) or 0 in self.shape:
            raise PrefixcapError(
                f"{path} has the shape {self.shape}, not (images, width) or (images, tokens, width)"
            )

    def row(self, index: int) -> np.ndarray:
        """Return the feature (D) or (N,D) of a row, float32.

        Raises:
            PrefixcapError: If it is not finite.
        """
        import numpy as np

        row = np.array(self._rows(index), dtype=np.float32)
        if not np.isfinite(row).all():
            raise PrefixcapError(f"{self.path}: row {index} has values that are not finite")
        return row

    def digest(self, index: int) -> str:
        """Return a hash of a row, finite or not."""
        import numpy as np

        return sha256(np.array(self._rows(index), dtype=np.float32).tobytes()).hexdigest()


def find_embeddings(folder: Path, name: str | None) -> Path | None:
    """Return the named embedding file, or the folder's only one, or None if it has none.

    Raises:
        PrefixcapError: If the named file does not exist, or there is more than one.
    """
    if name is not None:
        path = folder / name
        if not path.is_file():
            raise PrefixcapError(f"the embedding file {path} does not exist")
        if path.suffix not in SUFFIXES:
            raise PrefixcapError(f"the embedding file {path} is neither .npy nor .safetensors")
        return path
    files = sorted(path for path in folder.glob("*") if path.suffix in SUFFIXES)
    if len(files) > 1:
        names = ", ".join(path.name for path in files)
        raise PrefixcapError(
            f"{folder} has more than one embedding file ({names}): "
            f"choose one, such as embeddings={files[0].name}"
        )
    return files[0] if files else None


def _open_npy(path: Path) -> tuple[Callable[[int], Any], tuple[int, ...]]:
    import numpy as np

    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise PrefixcapError(f"the embedding file {path} cannot be read: {error}") from error
    if array.dtype.kind not in "fiu":
        raise PrefixcapError(f"the embedding file {path} has type {array.dtype}, not numbers")
    return array.__getitem__, array.shape


def _open_tensors(path: Path) -> tuple[Callable[[int], Any], tuple[int, ...]]:
    from safetensors import SafetensorError, safe_open

    try:
        file: Any = safe_open(path, framework="pt")  # numpy has no bfloat16
    except (OSError, SafetensorError) as error:
        raise PrefixcapError(f"the embedding file {path} cannot be read: {error}") from error
    names = list(file.keys())
    if len(names) != 1:
        raise PrefixcapError(
            f"the embedding file {path} must hold one tensor, not {len(names)}: {', '.join(names)}"
        )
    tensor = file.get_slice(names[0])
    return lambda index: tensor[index].float().numpy(), tuple(tensor.get_shape())
