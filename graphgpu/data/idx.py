"""The idx format of the MNIST files."""

import math
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from graphgpu.data.files import StrPath, read_file
from graphgpu.errors import DataError

__all__ = ["read_idx"]

# The third byte of the magic number; values are stored big-endian.
_DTYPES: dict[int, np.dtype[Any]] = {
    0x08: np.dtype(">u1"),
    0x09: np.dtype(">i1"),
    0x0B: np.dtype(">i2"),
    0x0C: np.dtype(">i4"),
    0x0D: np.dtype(">f4"),
    0x0E: np.dtype(">f8"),
}


def read_idx(path: StrPath) -> NDArray[Any]:
    """Read one array from an idx file, plain or compressed.

    The format (Y. LeCun, C. Cortes and C. Burges, "The MNIST database") is a magic
    number, two zero bytes, one for the dtype and one for the number of axes; then
    the size of each axis as a big-endian uint32; then the values in C order.

    Returns
    -------
    ndarray
        Writable, in the machine's byte order.

    Raises
    ------
    DataError
        If the file is absent or damaged, its magic number is wrong, or it has
        fewer or more bytes than its header says.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     file = pathlib.Path(folder) / "labels-idx1-ubyte"
    ...     _ = file.write_bytes(bytes([0, 0, 8, 1, 0, 0, 0, 3, 7, 2, 1]))
    ...     read_idx(file)
    array([7, 2, 1], dtype=uint8)
    """
    path = Path(path).expanduser()
    content = read_file(path)
    dtype, shape, start = _read_header(path, content)
    expected = start + dtype.itemsize * math.prod(shape)
    if len(content) != expected:
        what = "truncated" if len(content) < expected else "trailing bytes"
        raise DataError(
            f"{path}: {what}: {expected} bytes were expected for "
            f"{dtype.newbyteorder('=')}[{','.join(map(str, shape))}]; "
            f"there are {len(content)}; fetch the file again"
        )
    values = np.frombuffer(content, dtype, offset=start).reshape(shape)
    return values.astype(dtype.newbyteorder("="))


def _read_header(
    path: Path, content: bytes
) -> tuple[np.dtype[Any], tuple[int, ...], int]:
    """Read the dtype, the shape, and the offset of the first value."""
    magic = content[:4]
    if len(magic) < 4 or magic[:2] != b"\0\0" or magic[2] not in _DTYPES:
        raise DataError(
            f"{path}: wrong magic number: an idx file starts 00 00 08 nn (gzip: 1f 8b);"
            f" this one starts {magic.hex(' ') or 'nowhere: it is empty'}"
        )
    axes = magic[3]
    start = 4 + 4 * axes
    if len(content) < start:
        raise DataError(
            f"{path}: truncated: the header of {axes} axes takes {start} bytes; "
            f"there are {len(content)}; fetch the file again"
        )
    sizes = np.frombuffer(content, ">u4", count=axes, offset=4)
    return _DTYPES[magic[2]], tuple(int(size) for size in sizes), start
