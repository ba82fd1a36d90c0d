"""Shared memory: bytes that other processes map, freed with the last array."""

import gc
import mmap
import os
import sys
import warnings

import numpy as np
import pytest

if sys.platform != "linux":
    pytest.skip("needs memfd_create", allow_module_level=True)

from graphgpu.backends.numpy.shared_memory import Directory, allocate


def test_a_block_is_zeros_that_others_see_through_its_handle():
    block = allocate(1000)
    assert block.array.shape == (1000,)
    assert not block.array.any()
    block.array[7] = 5
    with mmap.mmap(block.handle, 0) as other:
        assert other[7] == 5
        other[8] = 6
    assert block.array[8] == 6


def test_a_block_of_nothing_is_empty():
    assert allocate(0).array.shape == (0,)


def test_a_block_lives_as_long_as_a_view_of_it():
    block = allocate(8 * 4096)
    handle = block.handle
    view = block.array.view(np.float64).reshape(8, -1)[3:, ::2]
    del block
    gc.collect()
    os.fstat(handle)
    assert view.sum() == 0
    del view
    gc.collect()
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(handle)


def test_a_block_has_no_name():
    before = os.listdir("/dev/shm")
    block = allocate(4096)
    assert os.listdir("/dev/shm") == before
    assert "memfd" in os.readlink(f"/proc/self/fd/{block.handle}")


def test_a_directory_knows_where_arrays_lie():
    one, two = allocate(4096), allocate(5000)
    found = Directory()
    floats = one.array.view(np.float32).reshape(4, -1)
    assert found.find(floats[1:, 2:]) == (one.handle, 4 * 256 + 8)
    assert found.find(floats[:, ::-1]) == (one.handle, 4 * 255)
    assert found.find(two.array[4999:]) == (two.handle, 4999)
    assert found.find(np.zeros(3)) is None


@pytest.mark.parametrize("size", [100, 2**24 + 5])
def test_a_forked_child_gets_a_copy(size):
    block = allocate(size)
    block.array[-1] = 3
    read, write = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # threads of the tests
        child = os.fork()
    if not child:
        try:
            seen = bytes(block.array[-1:])
            block.array[:] = 9
            os.write(write, seen + bytes([Directory().find(block.array) is None]))
        finally:
            os._exit(0)
    block.array[-1] = 4
    os.waitpid(child, 0)
    assert os.read(read, 9) == b"\3\1"
    assert block.array[-1] == 4
    assert not block.array[:-1].any()
    os.close(read)
    os.close(write)
