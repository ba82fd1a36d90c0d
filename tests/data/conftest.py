"""Files in the formats of the data sets, written byte by byte, not by the readers."""

import io
import tarfile
from pathlib import Path

import numpy as np
import pytest

REAL_DATA = Path(__file__).parents[3] / "shared" / "data"


@pytest.fixture
def real_file():
    def find(name):
        path = REAL_DATA / name
        if not path.exists():
            pytest.skip(f"../shared/data/{name} is not on this machine")
        return path

    return find


@pytest.fixture
def write_idx():
    """Write an array of big-endian values as idx; gzip is the caller's business."""
    codes = {"u1": 0x08, "i1": 0x09, "i2": 0x0B, "i4": 0x0C, "f4": 0x0D, "f8": 0x0E}

    def write(path, array):
        header = bytes([0, 0, codes[array.dtype.str[1:]], array.ndim])
        sizes = b"".join(size.to_bytes(4, "big") for size in array.shape)
        big_endian = array.astype(array.dtype.newbyteorder(">"))
        path.write_bytes(header + sizes + big_endian.tobytes())
        return path

    return write


@pytest.fixture
def encode_image():
    image_module = pytest.importorskip("PIL.Image", exc_type=ImportError)

    def encode(pixels, kind="PNG", mode=None, **options):
        image = image_module.fromarray(np.asarray(pixels, np.uint8))
        stream = io.BytesIO()
        (image.convert(mode) if mode else image).save(stream, kind, **options)
        return stream.getvalue()

    return encode


@pytest.fixture
def write_tar():
    def write(path, contents, mode="w", folders=()):
        with tarfile.open(path, mode) as archive:
            for name in folders:
                folder = tarfile.TarInfo(name)
                folder.type = tarfile.DIRTYPE
                archive.addfile(folder)
            for name, content in contents.items():
                member = tarfile.TarInfo(name)
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
        return path

    return write


@pytest.fixture
def write_folder():
    def write(folder, contents):
        for name, content in contents.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        return folder

    return write
