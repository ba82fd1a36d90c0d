"""The gathering operations and their adjoints: <y, A x> = <Aᵀ y, x>."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import graphgpu as gg
from graphgpu.ops.gather import (
    AddAlongAxis,
    Gather,
    ScatterAdd,
    TakeAlongAxis,
    add_at,
    gathered_shape,
    in_range,
)
from graphgpu.types import Guards, TensorType


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_scatter_add_is_the_adjoint_of_gather(data):
    shape = tuple(data.draw(st.lists(st.integers(1, 4), min_size=1, max_size=4)))
    axes = tuple(sorted(data.draw(st.sets(st.integers(0, len(shape) - 1), min_size=1))))
    common = tuple(data.draw(st.lists(st.integers(0, 3), max_size=2)))
    random = np.random.default_rng(data.draw(st.integers(0, 9)))
    indices = [random.integers(-shape[a], shape[a], common) for a in axes]
    x = random.standard_normal(shape)
    gathered = Gather(axes).numpy(x, *indices)
    assert gathered.shape == gathered_shape(shape, common, axes)
    y = random.standard_normal(gathered.shape)
    scattered = ScatterAdd(shape, axes).numpy(y, *indices)
    assert scattered.shape == shape
    np.testing.assert_allclose(np.vdot(y, gathered), np.vdot(scattered, x), atol=1e-12)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_add_along_axis_is_the_adjoint_of_take_along_axis(data):
    shape = tuple(data.draw(st.lists(st.integers(1, 4), min_size=1, max_size=3)))
    axis = data.draw(st.integers(0, len(shape) - 1))
    size = data.draw(st.integers(0, 5))
    random = np.random.default_rng(data.draw(st.integers(0, 9)))
    count = (*shape[:axis], size, *shape[axis + 1 :])
    index = random.integers(-shape[axis], shape[axis], count)
    x, y = random.standard_normal(shape), random.standard_normal(count)
    taken = TakeAlongAxis(axis).numpy(x, index)
    added = AddAlongAxis(axis, shape[axis]).numpy(y, index)
    assert (taken.shape, added.shape) == (count, shape)
    np.testing.assert_allclose(np.vdot(y, taken), np.vdot(added, x), atol=1e-12)


@pytest.mark.parametrize("dtype", ["int32", "float16", "bfloat16", "float64"])
def test_sums_keep_the_dtype_and_the_order_of_the_updates(dtype):
    places = np.array([1, 1, 0, 1])
    updates = np.array([1, 2, 3, 4]).astype(gg.bfloat16 if "b" in dtype else dtype)
    total = add_at(3, places, updates)
    assert total.dtype == updates.dtype
    np.testing.assert_array_equal(total.astype(float), [3, 7, 0])
    large = np.array([1e16, 1.0, -1e16])
    assert add_at(1, np.zeros(3, int), large)[0] == 0.0  # 1e16 + 1 is 1e16


def test_second_derivatives_use_the_same_two_operations():
    x = gg.placeholder("x", (4, 3))
    y = gg.square(gg.take(x, [1, 1, 2], axis=0)).sum()
    (dx,) = gg.gradients(y, [x])
    (ddx,) = gg.gradients(gg.square(dx).sum(), [x])
    kinds = {v.operation.kind() for v in gg.Graph([ddx]).variables if v.operation}
    assert {"gather", "scatter_add"} <= kinds


def test_indices_are_counted_from_the_front():
    np.testing.assert_array_equal(in_range(np.array([-3, 2, -1]), 3, 0), [0, 2, 2])
    assert in_range(np.zeros(0, np.int32), 0, 0).dtype == np.intp
    with pytest.raises(IndexError, match="index 0 is out of range for axis 1 of size"):
        in_range(np.zeros(1, int), 0, 1)


@pytest.mark.parametrize(
    ("operation", "types", "message"),
    [
        (Gather((0, 1)), ["f4 4 3", "i8 2"], "one index array for each of axes"),
        (Gather((2,)), ["f4 4 3", "i8 2"], "one index array for each of axes"),
        (Gather((0,)), ["f4 4 3", "f4 2"], "expected integer indices, got float32"),
        (ScatterAdd((4, 3), (0,)), ["? 2 3", "i8 2"], "expected numbers"),
        (ScatterAdd((4, 3), (0,)), ["f4 2", "i8 2"], "expected updates of 2 axes"),
        (ScatterAdd((4, 3), (0,)), ["f4 2 4", "i8 2"], "size of axis 1 of the upd"),
        (ScatterAdd((4, 3), (0,)), ["f4 2 3"], "one index array for each of axes"),
        (TakeAlongAxis(0), ["f4 4 3", "i8 2"], "expected indices of 2 axes, got 1"),
        (TakeAlongAxis(0), ["f4 4 3", "i8 2 2"], "axis 1 of the array, axis 1 of"),
        (AddAlongAxis(0, 4), ["f4 2 3", "i8 1 3"], "axis 0 of the values, axis 0"),
        (AddAlongAxis(0, 4), ["? 2 3", "i8 2 3"], "expected numbers"),
    ],
)
def test_types_that_do_not_fit_are_refused(operation, types, message):
    parsed = [t.split() for t in types]
    inputs = [TensorType(np.dtype(d), tuple(map(int, s))) for d, *s in parsed]
    with pytest.raises(gg.GraphError, match=message):
        operation.infer(Guards(), *inputs)
