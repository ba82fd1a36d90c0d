"""Adaptive pooling: windows from the sizes, by plain loops; ties and NaN."""

import numpy as np
import pytest

import graphgpu as gg
from graphgpu.testing import check_operation
from graphgpu.types import Window

ALL_FLOATS = ("float64", "float32", "float16", "bfloat16")
MAX = {
    1: gg.adaptive_max_pool1d,
    2: gg.adaptive_max_pool2d,
    3: gg.adaptive_max_pool3d,
}
AVERAGE = {
    1: gg.adaptive_avg_pool1d,
    2: gg.adaptive_avg_pool2d,
    3: gg.adaptive_avg_pool3d,
}
CASES = {
    "even": ((2, 3, 4, 6), (2, 3)),
    "overlapping": ((1, 2, 5, 7), (3, 4)),
    "one": ((2, 2, 3, 4), 1),
    "the same": ((1, 2, 3, 3), 3),
    "larger than the image": ((1, 1, 2, 3), (5, 4)),
    "one axis kept": ((1, 2, 5, 3), (2, None)),
    "1d": ((2, 2, 7), 3),
    "3d": ((1, 2, 3, 4, 5), (2, 3, 2)),
    "single": ((1, 1, 1, 1), 1),
    "nothing": ((0, 2, 3, 3), 2),
}


def distinct(*shape):
    """Numbers that are surely far apart, so that no maximum is near a kink."""
    order = np.random.default_rng(0).permutation(int(np.prod(shape)))
    return order.reshape(shape) / 4.0 - 3.0


def pooled(function, x, output_size):
    """Apply a function to every element i with i P < (p + 1) H and (i + 1) P > p H.

    That is: to the elements that overlap the part [p H / P, (p + 1) H / P].
    """
    sizes = x.shape[2:]
    counts = (
        output_size if isinstance(output_size, tuple) else (output_size,) * len(sizes)
    )
    counts = [s if c is None else c for c, s in zip(counts, sizes, strict=True)]
    y = np.zeros((*x.shape[:2], *counts))
    for n, c, *p in np.ndindex(*y.shape):
        y[(n, c, *p)] = function(
            [
                x[(n, c, *i)]
                for i in np.ndindex(*sizes)
                if all(
                    a * k < (b + 1) * h and (a + 1) * k > b * h
                    for a, b, k, h in zip(i, p, counts, sizes, strict=True)
                )
            ]
        )
    return y


@pytest.mark.parametrize("name", CASES)
def test_adaptive_max_pooling_takes_the_largest_of_each_window(name):
    shape, size = CASES[name]
    check_operation(
        lambda x: MAX[len(x.shape) - 2](x, size),
        [distinct(*shape)],
        lambda x: pooled(max, x, size),
    )


@pytest.mark.parametrize("name", CASES)
def test_adaptive_average_pooling_takes_the_mean_of_each_window(name):
    shape, size = CASES[name]
    check_operation(
        lambda x: AVERAGE[len(x.shape) - 2](x, size),
        [distinct(*shape)],
        lambda x: pooled(np.mean, x, size),
    )


def test_adaptive_pooling_works_in_every_float_dtype():
    for pool, function in ((MAX[2], max), (AVERAGE[2], np.mean)):
        check_operation(
            lambda x, pool=pool: pool(x, (2, 3)),
            [distinct(1, 2, 5, 5)],
            lambda x, function=function: pooled(function, x, (2, 3)),
            dtypes=ALL_FLOATS,
            order=3,
        )


def test_the_gradient_goes_to_the_first_maximum_or_nan():
    x = gg.placeholder("x", (1, 1, 5))
    y = gg.adaptive_max_pool1d(x, 2)
    (dx,) = gg.gradients(gg.sum(y), [x])
    program = gg.compile([x], [y, dx])
    value, grad = program(np.array([[[1, 1, 0, 2, 2]]], "float32"))
    assert value.tolist() == [[[1, 2]]]
    assert grad.tolist() == [[[1, 0, 0, 1, 0]]]
    value, grad = program(np.array([[[np.inf, 1, np.nan, 2, 3]]], "float32"))
    np.testing.assert_array_equal(value, [[[np.nan, np.nan]]])
    assert grad.tolist() == [[[0, 0, 2, 0, 0]]]


def test_an_infinity_stays_in_its_windows():
    x = gg.constant([[[np.inf, 1.0, 2.0, 3.0]]])
    y = gg.evaluate(gg.adaptive_avg_pool1d(x, 2))
    assert y.tolist() == [[[np.inf, 2.5]]]


def test_integers_have_a_maximum_and_a_float_average():
    x = gg.constant(np.array([[[3, 1, 2, -4]]]))
    assert gg.evaluate(gg.adaptive_max_pool1d(x, 2)).tolist() == [[[3, 2]]]
    assert gg.adaptive_max_pool1d(x, 2).dtype == "int64"
    mean = gg.evaluate(gg.adaptive_avg_pool1d(x, 2))
    assert mean.dtype == "float32"
    assert mean.tolist() == [[[2, -1]]]


def test_named_sizes_are_pooled_and_kept_by_the_gradients():
    x = gg.placeholder("x", ("n", "c", "h", "w"))
    for pool in (gg.adaptive_avg_pool2d, gg.adaptive_max_pool2d):
        y = pool(x, (3, None))
        assert repr(y.type) == "float32[n,c,3,w]"
        (dx,) = gg.gradients(gg.sum(gg.square(y)), [x])
        (ddx,) = gg.gradients(gg.sum(gg.square(dx)), [x])
        assert dx.type == ddx.type == x.type
        program = gg.compile([x], [y, ddx])
        for shape in ((2, 1, 7, 4), (1, 3, 2, 1)):
            value, slope = program(distinct(*shape).astype("float32"))
            assert value.shape == (*shape[:2], 3, shape[3])
            assert slope.shape == shape
        with pytest.raises(gg.InputError, match="axis H of input"):
            program(np.ones((1, 1, 0, 2), "float32"))


def test_the_window_is_told_where_it_slides_evenly():
    x = gg.placeholder("x", (1, 2, 8, 6))
    even = gg.adaptive_avg_pool2d(x, (4, 1)).operation.window([x.tensor])
    assert even == Window((2, 6), (2, 6), (1, 1), ((0, 0), (0, 0)))
    assert gg.adaptive_max_pool2d(x, 3).operation.window([x.tensor]) is None


@pytest.mark.parametrize("size", [0, -1, 1.5, (1,), (1, 2, 3), "7", True])
def test_other_output_sizes_are_refused(size):
    x = gg.placeholder("x", (1, 1, 4, 4))
    with pytest.raises(gg.ShapeError) as caught:
        gg.adaptive_avg_pool2d(x, size)
    sizes = size if isinstance(size, tuple) else (size, size)
    assert str(caught.value).startswith(
        f"adaptive_avg_pool2d(output_size={size!r}): expected output_size to be an int "
        f"or 2 ints >= 1, not {sizes}; got float32[1,1,4,4]; created at {__file__}:"
    )


def test_ranks_and_empty_images_are_refused():
    match = (
        r"^adaptive_max_pool1d\(output_size=2\): expected an input with axes N, C, W"
    )
    with pytest.raises(gg.ShapeError, match=match):
        gg.adaptive_max_pool1d(gg.placeholder("x", (1, 1, 4, 4)), 2)
    match = r"^adaptive_max_pool2d\(output_size=2\): axis W of input is 0, expected at"
    with pytest.raises(gg.ShapeError, match=match):
        gg.adaptive_max_pool2d(gg.placeholder("x", (1, 1, 4, 0)), 2)
