"""Slice and its adjoint, and what they refuse."""

import numpy as np
import pytest

import graphgpu as gg
from graphgpu.ops.slicing import Slice, Unslice
from graphgpu.types import Guards, TensorType

FLOAT = np.dtype("float64")


@pytest.mark.parametrize("step", [-3, -2, -1, 1, 2, 3])
def test_unslice_is_the_adjoint_of_slice(step):
    random = np.random.default_rng(0)
    x, y = random.standard_normal((5, 9)), random.standard_normal((2, 3))
    start = 1 if step > 0 else 7
    where = ((3, start), (2, 3), (-1, step))
    read = Slice(*where).numpy(x)
    put = Unslice((5, 9), *where).numpy(y)
    assert np.count_nonzero(put) == y.size
    np.testing.assert_allclose(np.vdot(y, read), np.vdot(put, x))
    np.testing.assert_array_equal(Slice(*where).numpy(put), y)


def test_a_slice_is_a_view_and_its_program_gives_a_copy():
    x = np.arange(6.0)
    assert np.shares_memory(Slice((1,), (3,), (1,)).numpy(x), x)
    v = gg.placeholder("v", (6,), "float64")
    assert not np.shares_memory(gg.compile([v], v[1:4])(x), x)


def test_a_whole_slice_is_the_same_variable():
    x = gg.placeholder("x", ("n", 3))
    assert x[:] is x
    assert x[...] is x
    assert x[0:, :3] is x


def test_second_derivatives_use_the_same_two_operations():
    x = gg.placeholder("x", ("n", 3))
    (dx,) = gg.gradients(gg.square(x[1:, ::-1]).sum(), [x])
    (ddx,) = gg.gradients(gg.square(dx).sum(), [x])
    kinds = {v.operation.kind() for v in gg.Graph([ddx]).variables if v.operation}
    assert {"slice", "unslice"} <= kinds


@pytest.mark.parametrize(
    ("operation", "shape", "message"),
    [
        (Slice((0,), (3,), (1,)), (2,), "place 2 is out of range for axis 0 of size 2"),
        (Slice((0,), (2,), (-1,)), (3,), "place -1 is out of range for axis 0"),
        (Slice((0,), (2,), (1,)), (2, 2), "expected 1 axes"),
        (Unslice((2,), (1,), (2,), (1,)), (2,), "place 2 is out of range for axis 0"),
        (Unslice((3,), (1,), (2,), (1,)), (1,), "size of axis 0: .* got 1 and 2"),
        (Unslice((3,), (1,), (2,), (1,)), (2, 1), "expected 1 axes"),
    ],
)
def test_a_slice_beyond_the_array_is_refused(operation, shape, message):
    with pytest.raises(gg.ShapeError, match=message):
        operation.infer(Guards(), TensorType(FLOAT, shape))
