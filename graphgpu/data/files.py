"""Whole files in memory: plain, compressed, or the members of a tar archive."""

import bz2
import gzip
import io
import lzma
import os
import tarfile
import zlib
from collections.abc import Callable
from pathlib import Path

from graphgpu.errors import DataError

__all__ = ["StrPath", "read_file", "read_tar"]

StrPath = str | os.PathLike[str]

# Files are known by their first bytes, not their names: browsers and mirrors
# unpack files without renaming them.
_COMPRESSED: tuple[tuple[bytes, str, Callable[[bytes], bytes]], ...] = (
    (b"\x1f\x8b", "gzip", gzip.decompress),
    (b"\xfd7zXZ\x00", "xz", lzma.decompress),
    (b"BZh", "bzip2", bz2.decompress),
)


def read_file(path: Path) -> bytes:
    """Read a file, unpacked if it is gzip, xz or bzip2.

    The whole stream is unpacked at once, so that its checksum is always checked.

    Raises
    ------
    DataError
        If the file is absent, unreadable, or damaged.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such file; check the path") from error
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from error
    for magic, kind, decompress in _COMPRESSED:
        if content.startswith(magic):
            try:
                return decompress(content)
            except (OSError, EOFError, ValueError, zlib.error, lzma.LZMAError) as error:
                raise DataError(
                    f"{path}: damaged or truncated {kind} file ({error}); "
                    "fetch it again"
                ) from error
    return content


def read_tar(path: Path) -> dict[str, bytes]:
    """Read every regular file of a tar archive, compressed or not, by name.

    Nothing is written to disk; folders, links and devices are passed over.

    Raises
    ------
    DataError
        If the file is absent, not a tar archive, damaged, or cut short.
    """
    content = read_file(path)
    members: dict[str, bytes] = {}
    try:
        with tarfile.open(fileobj=io.BytesIO(content), mode="r:") as archive:
            for member in archive:
                stream = archive.extractfile(member) if member.isfile() else None
                if stream is not None:
                    members[member.name] = stream.read()
            end = archive.offset
    except (tarfile.TarError, OSError, EOFError, ValueError) as error:
        raise DataError(
            f"{path}: not a tar archive, or a damaged one ({error}); "
            "expected a folder or a .tar, .tar.gz or .tar.xz file"
        ) from error
    # tarfile takes a damaged header, or the end of the file, for the end of the
    # archive; a whole archive ends with blocks of 512 zeros (POSIX pax).
    if content[end : end + tarfile.BLOCKSIZE] != bytes(tarfile.BLOCKSIZE):
        raise DataError(
            f"{path}: the tar archive is damaged or cut short after "
            f"{len(members)} files; fetch it again"
        )
    return members
