"""Files of precomputed features, read row by row."""

from __future__ import annotations

from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prefixcap.errors import PrefixcapError, nearest

if TYPE_CHECKING:
    import numpy as np

SUFFIXES = (".npy", ".safetensors")
# the first bytes of a .npy file, whatever its name
NPY_MAGIC = b"\x93NUMPY"


class FeatureFile:
    """Features (B,D) or (B,N,D) in a .npy or .safetensors file, which is not loaded into memory.

    Args:
        path: The file; one in numpy's format may have any name.
        key: Name of the tensor in a .safetensors file, or "" for its only one.
        kinds: numpy's kinds of the types that a .npy file may have.

    Raises:
        PrefixcapError: If the file cannot be read, or is not of the shape or type of features.
    """

    def __init__(self, path: Path, key: str = "", kinds: str = "fiu") -> None:
        if not path.is_file():
            near = [p.name for p in path.parent.iterdir()] if path.parent.is_dir() else []
            raise PrefixcapError(f"{path} does not exist{nearest(path.name, near)}")
        self.path = path
        is_npy = path.suffix == ".npy"
        if path.suffix not in SUFFIXES and not (is_npy := _begins_as_npy(path)):
            raise PrefixcapError(f"{path}: features must be a .npy or .safetensors file")
        self._read, self.shape = _open_npy(path, kinds) if is_npy else _open_tensor(path, key)
        if len(self.shape) not in (2, 3) or 0 in self.shape:
            expected = "features must be of shape (B,D) or (B,N,D)"
            raise PrefixcapError(f"{path}: {expected}, not {self.shape}")

    def __len__(self) -> int:
        """B, the number of rows."""
        return self.shape[0]

    def row(self, index: int) -> np.ndarray:
        """Return the feature (D) or (N,D) of a row, float32."""
        import numpy as np

        return np.array(self._read(index), dtype=np.float32)

    def digest(self, index: int) -> str:
        """Return a hash of a row."""
        return sha256(self.row(index).tobytes()).hexdigest()


def _begins_as_npy(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(len(NPY_MAGIC)) == NPY_MAGIC


def _open_npy(path: Path, kinds: str) -> tuple[Callable[[int], Any], tuple[int, ...]]:
    import numpy as np

    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise PrefixcapError(f"{path}: cannot be read as features: {error}") from error
    if array.dtype.kind not in kinds:
        allowed = "floating-point numbers" if kinds == "f" else "numbers"
        raise PrefixcapError(f"{path}: features must be {allowed}, not {array.dtype}")
    return array.__getitem__, array.shape


def _open_tensor(path: Path, key: str) -> tuple[Callable[[int], Any], tuple[int, ...]]:
    from safetensors import SafetensorError, safe_open

    try:
        file: Any = safe_open(path, framework="pt")  # numpy has no bfloat16
    except (OSError, SafetensorError) as error:
        raise PrefixcapError(f"{path}: cannot be read as features: {error}") from error
    names = sorted(file.keys())
    if not key and len(names) != 1:
        raise PrefixcapError(
            f"{path} has {len(names)} tensors ({', '.join(names)}), not one; the encoder "
            "'precomputed' takes one of several by its setting 'key'"
        )
    if key and key not in names:
        raise PrefixcapError(f"{path}: no tensor {key!r}{nearest(key, names)}")
    tensor = file.get_slice(key or names[0])
    return lambda index: tensor[index].float().numpy(), tuple(tensor.get_shape())
