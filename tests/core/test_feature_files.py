"""Files of features as people bring them: read row by row, or refused in a sentence."""

from __future__ import annotations

import io
import json
import os
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from prefixcap.errors import PrefixcapError
from prefixcap.util.feature_files import FeatureFile

ROWS = np.arange(12.0).reshape(3, 4)
GOOD = "{'descr': '<f4', 'fortran_order': False, 'shape': %s}\n"
KEY = "cannot be read as features: "
HEADER = f"{KEY}its header is broken ("
NEITHER = "features must be a .npy or .safetensors file, and this is neither: it begins with "


def npy(array: Any, **options: bool) -> bytes:
    file = io.BytesIO()
    np.save(file, array, **options)
    return file.getvalue()


def npz(**arrays: Any) -> bytes:
    file = io.BytesIO()
    np.savez_compressed(file, **arrays)
    return file.getvalue()


def raw(header: str, data: int = 0, version: int = 1, length: int | None = None) -> bytes:
    """A .npy file with a header as given, and a number of bytes after it."""
    text = header.encode("latin-1")
    size = struct.pack("<H" if version == 1 else "<I", len(text) if length is None else length)
    return b"\x93NUMPY" + bytes((version, 0)) + size + text + b"0" * data


def tensor(
    dtype: str = "F32", shape: tuple[int, ...] = (2, 2), begin: int = 0, end: int = 16
) -> Any:
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


def tensors(header: object, data: int = 16, length: int | None = None) -> bytes:
    """A .safetensors file with a header as given, and a number of bytes after it."""
    text = (header if isinstance(header, str) else json.dumps(header)).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + b"0" * data


READ = {
    "float16": npy(ROWS.astype(np.float16)),
    "float32": npy(ROWS.astype(np.float32)),
    "float64": npy(ROWS),
    "long double": npy(ROWS.astype(np.longdouble)),
    "integers": npy(ROWS.astype(np.int64)),
    "big-endian": npy(ROWS.astype(">f4")),
    "big-endian integers": npy(ROWS.astype(">u2")),
    "Fortran order": npy(np.asfortranarray(ROWS)),
    "second version": raw(GOOD.replace("<f4", "|i1") % "(3, 4)", 0, 2)
    + ROWS.astype(np.int8).tobytes(),
    "Python 2": raw(GOOD.replace("<f4", "|i1") % "(3L, 4L)") + ROWS.astype(np.int8).tobytes(),
    "tensor": tensors({"a": tensor(shape=(3, 4), end=48)}, 0) + ROWS.astype("<f4").tobytes(),
    "whole tensor": tensors({"a": tensor("I16", (3, 4), 0, 24)}, 0) + ROWS.astype("<i2").tobytes(),
    "with metadata": tensors({"__metadata__": {"a": "b"}, "a": tensor("U8", (3, 4), 0, 12)}, 0)
    + ROWS.astype("u1").tobytes(),
}


@pytest.mark.parametrize("suffix", [".npy", ".safetensors", ".npz", ""])
@pytest.mark.parametrize("name", READ)
def test_a_file_is_read_whatever_its_name(name: str, suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"x{suffix}"
    path.write_bytes(READ[name])
    file = FeatureFile(path)
    assert (len(file), file.shape) == (3, (3, 4))
    rows = [file.row(index) for index in range(3)]
    assert all(row.dtype == np.float32 and row.flags.writeable for row in rows)
    assert np.array_equal(rows, ROWS)


def test_tokens_and_values_too_large_for_float32(tmp_path: Path) -> None:
    (tmp_path / "x.npy").write_bytes(npy(ROWS.reshape(3, 2, 2)))
    assert FeatureFile(tmp_path / "x.npy").row(2).tolist() == [[8, 9], [10, 11]]
    (tmp_path / "y.npy").write_bytes(npy(np.full((1, 2), 1e300)))
    assert FeatureFile(tmp_path / "y.npy").row(0).tolist() == [np.inf, np.inf]


REFUSED = {
    "empty": (b"", "the file is empty"),
    "one byte": (b"\x93", NEITHER),
    "text": (b"1 2 3\n", NEITHER),
    "web page": (b"<!DOCTYPE html>", NEITHER),
    "pointer of git-lfs": (b"version https://git-lfs.github.com/spec/v1\n", NEITHER),
    "pickle": (b"\x80\x04\x95abcdefgh", NEITHER),
    "HDF5": (b"\x89HDF\r\n\x1a\n\0\0\0\0", NEITHER),
    "archive": (npz(a=ROWS), "this is an archive, such as .npz: write its array with numpy.save("),
    "archive bomb": (npz(a=np.zeros((1000, 4000))), "this is an archive, such as .npz"),
    "archive cut off": (npz(a=ROWS)[:30], "this is an archive, such as .npz"),
    # .npy
    "only the mark": (b"\x93NUMPY", HEADER),
    "no header": (b"\x93NUMPY\x01\x00", HEADER),
    "empty header": (raw(""), HEADER),
    "header cut off": (npy(ROWS)[:60], HEADER),
    "another version": (raw("", version=9), f"{HEADER}version (9, 0)"),
    "header of zeros": (raw("\0" * 100), HEADER),
    "header not ASCII": (raw("\xff" * 100), HEADER),
    "brackets": (raw("(" * 9000), HEADER),
    "nested dictionaries": (raw("{'a':" * 1500), HEADER),
    "header is code": (raw("__import__('os').abort()"), HEADER),
    "header is a list": (raw("[1, 2]\n"), HEADER),
    "long header": (raw(" " * 20_000, 0, 2), f"{HEADER}it has 20000 bytes"),
    "header of 4 GB": (raw(" ", 0, 2, 2**32 - 1), f"{HEADER}it has 4294967295 bytes"),
    "negative size": (raw(GOOD % "(-1, 512)", 2048), f"{HEADER}it gives the shape (-1, 512)"),
    "two negative sizes": (raw(GOOD % "(-2, -2)", 16), f"{HEADER}it gives the shape (-2, -2)"),
    "shape overflows": (raw(GOOD % f"({2**62}, 512)", 64), "needs 944473296573929042"),
    "shape overflows to 0": (raw(GOOD % f"({2**62}, 4)", 0), "was it copied completely?"),
    "shape of 4,000 digits": (raw(GOOD % f"(1{'0' * 4000}, 2)"), "was it copied completely?"),
    "shape of 5,000 digits": (raw(GOOD % f"({'9' * 5000}, 2)"), HEADER),
    "fractional shape": (raw(GOOD % "(1.0, 2)", 8), HEADER),
    "shape is true": (raw(GOOD % "(True, 2)", 8), f"{HEADER}it gives the shape (True, 2)"),
    "shape is text": (raw(GOOD % "'ab'", 8), HEADER),
    "unknown type": (raw(GOOD.replace("<f4", "zzz") % "(1, 1)"), HEADER),
    "objects": (npy(np.array([[{}]]), allow_pickle=True), f"{KEY}it holds Python objects"),
    "objects, no pickle": (raw(GOOD.replace("<f4", "|O") % "(1, 1)", 8), "Python objects"),
    "records": (npy(np.zeros((2, 2), "f4,i4")), "must be numbers, not "),
    "complex": (npy(ROWS * 1j), "must be numbers, not 'complex128'"),
    "texts": (npy(np.array([["a"]])), "must be numbers, not 'str32'"),
    "bytes": (npy(np.array([[b"a"]])), "must be numbers, not 'bytes8'"),
    "truth values": (npy(ROWS > 0), "must be numbers, not 'bool'"),
    "dates": (npy(np.zeros((2, 2), "M8[s]")), "must be numbers, not 'datetime64[s]'"),
    "a number": (npy(np.float32(1)), "must be of shape (B,D) or (B,N,D), not ()"),
    "a vector": (npy(ROWS[0]), "must be of shape (B,D) or (B,N,D), not (4,)"),
    "four dimensions": (npy(ROWS.reshape(1, 3, 2, 2)), "not (1, 3, 2, 2)"),
    "no rows": (npy(np.zeros((0, 512))), "not (0, 512)"),
    "no columns": (npy(np.zeros((5, 0))), "not (5, 0)"),
    "no tokens": (npy(np.zeros((5, 0, 8))), "not (5, 0, 8)"),
    "no rows, huge": (raw(GOOD % f"(0, {2**62}, {2**62})"), "not (0, 4611686018427387904, 46116"),
    "cut off": (npy(ROWS)[:-1], "it has 223 bytes, but an array of (3, 4) of float64 needs 224"),
    "without data": (npy(ROWS)[:128], "was it copied completely?"),
    "a byte more": (npy(ROWS) + b"0", "it has 225 bytes, but an array of (3, 4)"),
    "two arrays": (npy(ROWS) * 2, "it has 448 bytes, but an array of (3, 4)"),
    # .safetensors
    "length only": (struct.pack("<Q", 2), NEITHER),
    "three bytes": (b"\1\0\0", NEITHER),
    "length of the header too large": (tensors("{}", 0, 2**40), "its header would have 109951"),
    "largest length": (tensors("{}", 0, 2**64 - 1), "its header would have 1844674407370955161"),
    "length too small": (tensors({"a": tensor()}, length=10), KEY),
    "length of a header of 200 MB": (tensors("{" + " " * 90, 0, 200_000_000), "would have 2000000"),
    "not JSON": (tensors("{abc"), f"{KEY}Expecting property name"),
    "a list": (tensors("[]"), NEITHER),
    "no tensor": (tensors("{}", 0), " has 0 tensors, not one"),
    "overlapping": (tensors({"a": tensor(), "b": tensor(begin=8, end=24)}, 24), "invalid offset"),
    "a hole": (tensors({"a": tensor(begin=8, end=24)}, 24), "invalid offset"),
    "past the end": (tensors({"a": tensor()}, 8), "not fully covered"),
    "bytes left over": (tensors({"a": tensor()}, 32), "not fully covered"),
    "negative shape": (tensors({"a": tensor(shape=(-2, -2))}), "invalid value: integer `-2`"),
    "shape too large": (tensors({"a": tensor(shape=(2**62, 2**62))}), "overflow"),
    "shape of others": (tensors({"a": tensor(shape=(3, 2))}), "invalid shape"),
    "type unknown": (tensors({"a": tensor("F31")}), "unknown variant `F31`"),
    "tensor of truth values": (tensors({"a": tensor("BOOL", (4, 4))}), "numbers, not BOOL"),
    "complex tensor": (tensors({"a": tensor("C64", (1, 2))}), "numbers, not C64"),
    "one name twice": (
        tensors(f'{{"a": {json.dumps(tensor())}, "a": {json.dumps(tensor())}}}'),
        "the key 'a' appears twice",
    ),
    "nested header": (tensors('{"a":' + "[" * 100_000 + "]" * 100_000 + "}"), "nested more than"),
    "digits": (tensors('{"a":' + "9" * 5000 + "}"), "a number has more than 4300 digits"),
    "tensor is a vector": (tensors({"a": tensor(shape=(4,))}), "not (4,)"),
    "tensor is a number": (tensors({"a": tensor(shape=(), end=4)}, 4), "not ()"),
    "tensor without rows": (tensors({"a": tensor(shape=(0, 4), end=0)}, 0), "not (0, 4)"),
    "many tensors": (
        tensors({f"t{n:04}": tensor(begin=16 * n, end=16 * n + 16) for n in range(2000)}, 32_000),
        "t0009 and 1990 more), not one",
    ),
}


@pytest.mark.parametrize("suffix", [".npy", ".safetensors"])
@pytest.mark.parametrize("name", REFUSED)
def test_a_file_is_refused_in_a_sentence(name: str, suffix: str, tmp_path: Path) -> None:
    content, reason = REFUSED[name]
    path = tmp_path / f"x{suffix}"
    path.write_bytes(content)
    with pytest.raises(PrefixcapError) as caught:
        FeatureFile(path)
    assert str(caught.value).startswith(str(path))
    assert reason in str(caught.value)
    assert len(str(caught.value)) < 600


def test_what_is_no_file(tmp_path: Path) -> None:
    (tmp_path / "features.npy").touch()
    os.mkfifo(tmp_path / "pipe.npy")
    for name, reason in {
        "feature.npy": "does not exist; did you mean 'features.npy'",
        ".": "is a folder, not a file",
        "pipe.npy": "is no regular file but a pipe",
    }.items():
        with pytest.raises(PrefixcapError, match=reason):
            FeatureFile(tmp_path / name)


def test_a_row_that_can_no_longer_be_read(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    path.write_bytes(tensors({"a": tensor("F4", (4, 8))}))  # which torch cannot convert
    with pytest.raises(PrefixcapError, match=r"x\.safetensors: row 0 cannot be read: "):
        FeatureFile(path).row(0)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_a_file_without_permission(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(npy(ROWS))
    path.chmod(0o600)
    for folder in list(path.parents)[:-1]:  # pytest's folders are for their owner only
        folder.chmod(folder.stat().st_mode | 0o011)
    os.seteuid(65534)
    try:
        with pytest.raises(PrefixcapError, match="x cannot be read: Permission denied"):
            FeatureFile(path)
    finally:
        os.seteuid(0)
