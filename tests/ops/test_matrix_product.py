"""Matrix products: every pairing of vectors, matrices and stacks."""

import numpy as np
import pytest

import graphgpu as gg
from graphgpu.testing import check_operation

ALL_FLOATS = ("float64", "float32", "float16", "bfloat16")
RANDOM = np.random.default_rng(0)


def entries(x, y):
    """Return the products as sums over the shared index, entry by entry."""
    left = x[None] if x.ndim == 1 else x
    right = y[:, None] if y.ndim == 1 else y
    stack = np.broadcast_shapes(left.shape[:-2], right.shape[:-2])
    left = np.broadcast_to(left, stack + left.shape[-2:])
    right = np.broadcast_to(right, stack + right.shape[-2:])
    result = (left[..., :, :, None] * right[..., None, :, :]).sum(-2)
    if y.ndim == 1:
        result = result[..., 0]
    if x.ndim == 1:
        result = result[..., 0] if y.ndim == 1 else result[..., 0, :]
    return result


SHAPES = [
    ((2, 3), (3, 4)),
    ((3,), (3,)),
    ((3,), (3, 4)),
    ((2, 3), (3,)),
    ((5, 2, 3), (3, 4)),
    ((2, 3), (5, 3, 4)),
    ((5, 2, 3), (5, 3, 4)),
    ((5, 1, 2, 3), (4, 3, 2)),
    ((3,), (5, 3, 2)),
    ((5, 2, 3), (3,)),
    ((1, 1), (1, 1)),
    ((1, 3), (3, 1)),
    ((0, 3), (3, 4)),
    ((2, 0), (0, 4)),
    ((0,), (0,)),
    ((0, 2, 3), (3, 4)),
]


@pytest.mark.parametrize(("left", "right"), SHAPES)
def test_matmul_sums_the_products_over_the_inner_axis(left, right):
    x, y = RANDOM.uniform(-1, 1, left), RANDOM.uniform(-1, 1, right)
    check_operation(gg.matmul, [x, y], entries, dtypes=ALL_FLOATS, tolerance=5)


@pytest.mark.parametrize(
    ("left", "right"), [((3,), (3,)), ((2, 3), (3,)), ((4, 1, 3), (2, 3)), ((0,), (0,))]
)
def test_vecdot_sums_the_products_over_the_last_axis(left, right):
    x, y = RANDOM.uniform(-1, 1, left), RANDOM.uniform(-1, 1, right)
    check_operation(
        gg.vecdot, [x, y], lambda x, y: (x * y).sum(-1), dtypes=ALL_FLOATS, tolerance=5
    )


def test_halves_are_summed_in_float32():
    ones = gg.ones((1, 4096), dtype="float16")
    assert gg.evaluate(ones @ ones.T) == 4096
    tiny = gg.full((1, 4096), 2.0**-12, dtype="float16")
    assert gg.evaluate(tiny @ ones.T) == 1


@pytest.mark.parametrize("dtype", ["int32", "uint8", "bool"])
def test_integers_and_bools_multiply_as_in_numpy(dtype):
    x = RANDOM.integers(0, 2 if dtype == "bool" else 200, (3, 3)).astype(dtype)
    result = gg.evaluate(gg.constant(x) @ gg.constant(x))
    assert result.dtype == x.dtype
    np.testing.assert_array_equal(result, x @ x)


def test_nan_and_infinity_go_through():
    x = gg.constant([[np.inf, 1.0], [np.nan, 1.0], [0.0, 1.0]])
    result = gg.evaluate(x @ gg.constant([1.0, 1.0]))
    np.testing.assert_array_equal(result, np.array([np.inf, np.nan, 1], np.float32))


def test_operands_are_promoted_and_arrays_mix_in_weakly():
    x = gg.placeholder("x", (2, 3))
    assert (x @ gg.ones((3, 4), dtype="float64")).dtype == np.float64
    assert (x @ np.ones((3, 4))).type == gg.TensorType(x.dtype, (2, 4))
    assert (np.ones((4, 2)) @ x).shape == (4, 3)


def test_flops_count_multiplications_and_additions():
    x, y = gg.placeholder("x", (5, 2, 3)), gg.placeholder("y", (3, 4))
    node = x @ y
    assert node.operation.flops([x.type, y.type], node.type) == 2 * 5 * 2 * 3 * 4


def test_operands_that_do_not_fit_are_refused():
    x, y = gg.placeholder("x", (2, 3)), gg.placeholder("y", (2, 3))
    with pytest.raises(gg.ShapeError, match="columns of the left, rows of the right"):
        gg.matmul(x, y)
    with pytest.raises(gg.ShapeError, match=r"use \* for scalars"):
        gg.matmul(x, 2.0)
    with pytest.raises(gg.ShapeError, match="broadcast along axis -1"):
        gg.matmul(gg.zeros((2, 1, 1)), gg.zeros((3, 1, 1)))


def test_named_sizes_must_agree_when_they_are_known():
    x, y = gg.placeholder("x", ("n", "k")), gg.placeholder("y", ("l", "m"))
    program = gg.compile([x, y], x @ y, device="cpu")
    assert program(np.ones((2, 3), "f"), np.ones((3, 4), "f")).shape == (2, 4)
    with pytest.raises(gg.InputError, match="columns of the left, rows of the right"):
        program(np.ones((2, 3), "f"), np.ones((4, 4), "f"))


def test_products_of_named_sizes_keep_the_names_in_their_gradients():
    x, y = gg.placeholder("x", ("n", "k")), gg.placeholder("y", ("l", "m"))
    slopes = gg.gradients(gg.sum(x @ y), [x, y])
    assert [s.type for s in slopes] == [x.type, y.type]
