"""Arrays in a zip of ``.npy`` files, as `numpy.load` reads them, without pickle and with bounds.

`numpy.load` itself believes what a header declares before it has seen the data; here every size
is checked against the bytes that are really there.
"""

from __future__ import annotations

import lzma
import re
import struct
import zipfile
import zlib
from collections.abc import Mapping
from io import BytesIO
from math import prod
from typing import Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from splitnet.errors import BundleError

MAX_ARRAYS = 4096
MAX_BYTES = 256 * 2**20
"""Largest content after decompression: some million rows of a hundred columns fit."""

_HEADER = re.compile(
    rb"\x93NUMPY\x01\x00(..)"
    rb"\{'descr': '(<f4|<i4|<i8)', 'fortran_order': False, 'shape': \(([0-9, ]{1,40})\), \} *\n",
    re.DOTALL,
)
"""An npy header of version 1.0 as numpy writes it, little endian, in C order."""

ZIP_DAMAGE = (
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    struct.error,
    EOFError,
    LookupError,
    NotImplementedError,
    OSError,
    RuntimeError,
    ValueError,
)
"""What `zipfile` and `numpy` raise on damaged bytes, and this module itself."""


def write_npz(arrays: Mapping[str, NDArray[Any]]) -> bytes:
    """Return `arrays` as the content of a compressed ``.npz`` file; equal arrays, equal bytes."""
    buffer = BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, array in arrays.items():
            member = BytesIO()
            npy.write_array(member, np.ascontiguousarray(array), (1, 0), allow_pickle=False)
            info = zipfile.ZipInfo(f"{name}.npy")  # carries a constant date
            info.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(info, member.getvalue())
    return buffer.getvalue()


def read_npz(data: bytes, file: str) -> dict[str, NDArray[Any]]:
    """Return the arrays in the content of the ``.npz`` file named `file`.

    Raises
    ------
    BundleError
        `data` is damaged, declares more than `MAX_BYTES`, or holds another dtype than little
        endian float32, int32 and int64.
    """
    try:
        with zipfile.ZipFile(BytesIO(data)) as archive:
            members = archive.infolist()
            _check_sizes(members)
            return {m.filename.removesuffix(".npy"): _parse(archive.read(m)) for m in members}
    except ZIP_DAMAGE as error:
        raise BundleError(f"{file} is damaged ({error}); build the bundle again") from error


def _check_sizes(members: list[zipfile.ZipInfo]) -> None:
    total = sum(member.file_size for member in members)
    if len(members) > MAX_ARRAYS or total > MAX_BYTES:
        raise ValueError(
            f"it declares {len(members)} arrays with {total} bytes, "
            f"at most {MAX_ARRAYS} with {MAX_BYTES} are read"
        )
    if len({member.filename for member in members}) != len(members):
        raise ValueError("an array stands there twice")
    if any(m.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED) for m in members):
        raise ValueError("an array is compressed by another method than deflate")


def _parse(data: bytes) -> NDArray[Any]:
    header = _HEADER.match(data)
    if header is None or struct.unpack("<H", header[1])[0] != header.end() - 10:
        raise ValueError("an array is not npy 1.0 of float32, int32 or int64 in C order")
    dtype = np.dtype(header[2].decode())
    shape = tuple(int(size) for size in header[3].decode().split(",") if size.strip())
    found = len(data) - header.end()
    if prod(shape) * dtype.itemsize != found:
        raise ValueError(f"an array of {dtype} {shape} has {found} bytes")
    array = np.frombuffer(data, dtype, offset=header.end()).reshape(shape)
    return array.astype(dtype.newbyteorder("="), copy=False)
