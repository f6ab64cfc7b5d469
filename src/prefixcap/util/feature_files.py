"""Files of precomputed features, read row by row."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from prefixcap.errors import PrefixcapError, listed, nearest, shortened, shown
from prefixcap.util.text_files import decode, open_file, parse_json

if TYPE_CHECKING:
    import numpy as np

SUFFIXES = (".npy", ".safetensors")
NPY_MAGIC = b"\x93NUMPY"
ZIP_MAGIC = b"PK"
# numpy's own limit, and that of the safetensors library
MAX_NPY_HEADER, MAX_TENSOR_HEADER = 10_000, 100_000_000

Rows = Callable[[int], Any]
Shape = tuple[int, ...]


class FeatureFile:
    """Features (B,D) or (B,N,D) in a .npy or .safetensors file, which is not loaded into memory.

    The format is recognized by the file's content, whatever its name.

    Args:
        path: The file.
        key: Name of the tensor in a .safetensors file, or "" for its only one.
        kinds: numpy's kinds of the types that a .npy file may have.

    Raises:
        PrefixcapError: If the file cannot be read, or is not of the shape or type of features.
    """

    def __init__(self, path: Path, key: str = "", kinds: str = "fiu") -> None:
        with open_file(path) as file:
            try:
                size = path.stat().st_size
                begin = file.read(16)
                file.seek(0)
                if begin.startswith(NPY_MAGIC):
                    self._read, self.shape = _open_npy(path, file, size, kinds)
                else:
                    _check_format(path, begin)
                    self._read, self.shape = _open_tensor(path, file, size, key)
            except OSError as error:
                raise PrefixcapError(f"{path}: cannot be read: {error.strerror}") from error
        if len(self.shape) not in (2, 3) or 0 in self.shape:
            expected = "features must be of shape (B,D) or (B,N,D)"
            raise PrefixcapError(f"{path}: {expected}, not {shown(self.shape)}")
        self.path = path

    def __len__(self) -> int:
        """B, the number of rows."""
        return self.shape[0]

    def row(self, index: int) -> np.ndarray:
        """Return the feature (D) or (N,D) of a row, float32.

        Raises:
            PrefixcapError: If it can no longer be read.
        """
        import numpy as np

        try:
            with np.errstate(over="ignore"):  # the infinity that it becomes is noticed
                return np.array(self._read(index), dtype=np.float32)
        except Exception as error:  # the file was changed, or torch cannot convert its type
            raise PrefixcapError(f"{self.path}: row {index} cannot be read: {error}") from error

    def digest(self, index: int) -> str:
        """Return a hash of a row."""
        return sha256(self.row(index).tobytes()).hexdigest()


def _check_format(path: Path, begin: bytes) -> None:
    if not begin:
        raise PrefixcapError(f"{path}: the file is empty")
    if begin.startswith(ZIP_MAGIC):
        raise PrefixcapError(
            f"{path}: features must be a .npy or .safetensors file, and this is an archive, such "
            "as .npz: write its array with numpy.save(FILE, numpy.load(ARCHIVE)[NAME])"
        )
    if begin[8:9] != b"{":  # after the length of the header
        raise PrefixcapError(
            f"{path}: features must be a .npy or .safetensors file, and this is neither: it "
            f"begins with {begin!r}"
        )


def _open_npy(path: Path, file: IO[bytes], size: int, kinds: str) -> tuple[Rows, Shape]:
    import numpy as np

    try:
        with warnings.catch_warnings():  # of headers by Python 2
            warnings.simplefilter("ignore", UserWarning)
            shape, is_fortran, dtype = _npy_header(file)
    except Exception as error:  # numpy evaluates the header as Python, which fails in many ways
        raise _not_features(path, f"its header is broken ({shortened(str(error), 200)})") from error
    if dtype.hasobject:
        raise _not_features(path, "it holds Python objects, which could run code")
    if dtype.kind not in kinds:
        allowed = "floating-point numbers" if kinds == "f" else "numbers"
        raise PrefixcapError(f"{path}: features must be {allowed}, not {shown(dtype.name)}")
    offset = file.tell()
    expected = offset + math.prod(shape) * dtype.itemsize
    if size != expected:
        hint = ": was it copied completely?" if size < expected else ""
        array = f"an array of {shown(shape)} of {dtype.name}"
        raise _not_features(path, f"it has {size} bytes, but {array} needs {shown(expected)}{hint}")
    if 0 in shape:  # which cannot be mapped
        return lambda index: None, shape
    order = "F" if is_fortran else "C"
    mapped = np.memmap(path, dtype, "r", offset, shape, order)  # type: ignore[call-overload]
    return mapped.__getitem__, shape


def _npy_header(file: IO[bytes]) -> tuple[Shape, bool, np.dtype[Any]]:
    from numpy.lib import format as npy

    version = npy.read_magic(file)
    readers = {(1, 0): (2, npy.read_array_header_1_0), (2, 0): (4, npy.read_array_header_2_0)}
    if version not in readers:  # a later one is for names of columns
        raise ValueError(f"version {version} of the format is not that of an array of numbers")
    width, read = readers[version]
    length = int.from_bytes(file.read(width), "little")
    if length > MAX_NPY_HEADER:
        raise ValueError(f"it has {length} bytes")
    file.seek(-width, 1)
    shape, is_fortran, dtype = read(file)
    if any(isinstance(size, bool) or size < 0 for size in shape):
        raise ValueError(f"it gives the shape {shown(shape)}")
    return shape, is_fortran, dtype


def _open_tensor(path: Path, file: IO[bytes], size: int, key: str) -> tuple[Rows, Shape]:
    from safetensors import safe_open

    length = int.from_bytes(file.read(8), "little")
    if length > min(size - 8, MAX_TENSOR_HEADER):
        raise _not_features(path, f"it has {size} bytes, but its header would have {length}")
    try:
        parse_json(decode(file.read(length)))  # the library takes the last of two equal keys
        opened: Any = safe_open(path, framework="pt")  # numpy has no bfloat16
    except Exception as error:
        raise _not_features(path, error) from error
    names = sorted(opened.keys())
    if not key and len(names) != 1:
        known = f" ({listed(names)})" if names else ""
        raise PrefixcapError(
            f"{path} has {len(names)} tensors{known}, not one; the encoder 'precomputed' takes "
            "one of several by its setting 'key'"
        )
    if key and key not in names:
        raise PrefixcapError(f"{path}: no tensor {shown(key)}{nearest(key, names)}")
    tensor = opened.get_slice(key or names[0])
    kind = tensor.get_dtype()
    if not kind.startswith(("F", "BF", "I", "U")):
        raise PrefixcapError(f"{path}: features must be numbers, not {kind}")
    return lambda index: tensor[index].float().numpy(), tuple(tensor.get_shape())


def _not_features(path: Path, reason: object) -> PrefixcapError:
    return PrefixcapError(f"{path}: cannot be read as features: {reason}")
