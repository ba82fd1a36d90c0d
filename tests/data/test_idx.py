import gzip

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from graphgpu.data import read_idx
from graphgpu.errors import DataError

DTYPES = ["uint8", "int8", "int16", "int32", "float32", "float64"]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(3,), (2, 3, 4), (1, 1), (0, 5), ()])
@pytest.mark.parametrize("packed", [False, True])
def test_reads_what_was_written(tmp_path, write_idx, dtype, shape, packed):
    values = np.arange(np.prod(shape, dtype=int)).reshape(shape).astype(dtype)
    path = write_idx(tmp_path / "values", values)
    if packed:
        path.write_bytes(gzip.compress(path.read_bytes()))
    read = read_idx(path)
    assert read.dtype == np.dtype(dtype)
    assert read.dtype.isnative
    assert read.flags.writeable
    np.testing.assert_array_equal(read, values, strict=True)


@given(
    st.sampled_from(DTYPES).flatmap(lambda d: arrays(d, array_shapes(max_dims=4))),
)
def test_round_trip(tmp_path_factory, values):
    path = tmp_path_factory.getbasetemp() / "round-trip-idx"
    codes = dict(zip(DTYPES, (8, 9, 11, 12, 13, 14), strict=True))
    header = bytes([0, 0, codes[values.dtype.name], values.ndim])
    sizes = np.array(values.shape, ">u4").tobytes()
    path.write_bytes(
        header + sizes + values.astype(values.dtype.newbyteorder(">")).tobytes()
    )
    np.testing.assert_array_equal(read_idx(path), values, strict=True)


def test_takes_a_string_for_a_path(tmp_path, write_idx):
    path = write_idx(tmp_path / "values", np.arange(3, dtype=np.uint8))
    assert read_idx(str(path)).tolist() == [0, 1, 2]


HEADER = bytes([0, 0, 8, 2, 0, 0, 0, 2, 0, 0, 0, 3])
WRONG = (
    "{path}: wrong magic number: an idx file starts 00 00 08 nn (gzip: 1f 8b); "
    "this one starts {start}"
)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", WRONG.replace("{start}", "nowhere: it is empty")),
        (b"\0\0\x08", WRONG.replace("{start}", "00 00 08")),
        (b"\x89PNG....", WRONG.replace("{start}", "89 50 4e 47")),
        (b"\0\0\x0a\x01\0\0\0\0", WRONG.replace("{start}", "00 00 0a 01")),
        (
            HEADER[:10],
            "{path}: truncated: the header of 2 axes takes 12 bytes; there are 10; "
            "fetch the file again",
        ),
        (
            HEADER + bytes(5),
            "{path}: truncated: 18 bytes were expected for uint8[2,3]; there are 17; "
            "fetch the file again",
        ),
        (
            HEADER + bytes(7),
            "{path}: trailing bytes: 18 bytes were expected for uint8[2,3]; "
            "there are 19; fetch the file again",
        ),
        # A damaged size must not be believed: no array of 2**64 values is made.
        (
            bytes([0, 0, 8, 2]) + b"\xff" * 8 + bytes(6),
            "{path}: truncated: 18446744065119617037 bytes were expected for "
            "uint8[4294967295,4294967295]; there are 18; fetch the file again",
        ),
    ],
)
def test_refuses(tmp_path, content, message):
    path = tmp_path / "bad-idx"
    path.write_bytes(content)
    with pytest.raises(DataError) as caught:
        read_idx(path)
    assert str(caught.value) == message.replace("{path}", str(path))


def test_refuses_an_absent_file(tmp_path):
    with pytest.raises(DataError) as caught:
        read_idx(tmp_path / "absent")
    assert str(caught.value) == f"{tmp_path / 'absent'}: no such file; check the path"


def test_refuses_a_folder(tmp_path):
    with pytest.raises(DataError, match="cannot be read: Is a directory"):
        read_idx(tmp_path)


@pytest.mark.parametrize("damage", ["truncated", "checksum", "trailing"])
def test_refuses_damaged_gzip(tmp_path, damage):
    packed = bytearray(gzip.compress(HEADER + bytes(range(6))))
    if damage == "truncated":
        packed = packed[:-9]
    elif damage == "checksum":
        packed[-8] ^= 1
    else:
        packed += b"rubbish"
    path = tmp_path / "bad.gz"
    path.write_bytes(packed)
    with pytest.raises(DataError) as caught:
        read_idx(path)
    assert str(caught.value).startswith(f"{path}: damaged or truncated gzip file (")
    assert str(caught.value).endswith("); fetch it again")
