"""Clipping: values, exactness below the limit, and derivatives."""

import numpy as np
import pytest

import graphgpu as gg
from graphgpu.testing import check_operation

X = np.array([[0.3, -1.7, 2.5], [1.1, -0.4, 0.9]])
Y = np.array([2.0, -3.0])


def global_norm(*arrays):
    return np.sqrt(sum((a.astype(float) ** 2).sum() for a in arrays))


@pytest.mark.parametrize("limit", [0.5, 1.5, 100.0])
def test_clip_by_value_bounds_every_element(limit):
    check_operation(
        lambda x: gg.optim.clip_by_value([x], limit)[0],
        [X],
        lambda x: np.minimum(np.maximum(x, -limit), limit),
        dtypes=("float64", "float32", "float16", "bfloat16"),
    )


@pytest.mark.parametrize("norm", [0.5, 2.0, 100.0])
def test_clip_by_global_norm_shortens_all_gradients_alike(norm):
    for place in (0, 1):
        check_operation(
            lambda x, y, place=place: gg.optim.clip_by_global_norm([x, y], norm)[place],
            [X, Y],
            lambda x, y, place=place: (x, y)[place] * min(1, norm / global_norm(x, y)),
            dtypes=("float64", "float32", "float16", "bfloat16"),
            order=3,
        )


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("norm", [0.1, 1 / 3, 7.7, 1e-10, 1e10])
def test_what_is_short_enough_stays_to_the_bit(norm, dtype):
    g = (np.array([0.3, -0.4, 0.5]) * norm).astype(dtype)
    (result,) = gg.optim.clip_by_global_norm([gg.constant(g)], norm)
    np.testing.assert_array_equal(gg.evaluate(result), g)


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16", "bfloat16"])
def test_a_zero_gradient_stays_zero_and_can_be_differentiated(dtype):
    x = gg.parameter("x", np.zeros(3), dtype)
    (g,) = gg.optim.clip_by_global_norm([x], 2.0)
    (slope,) = gg.gradients(gg.sum(g), [x])
    value, slope_value = gg.compile([], [g, slope])()
    np.testing.assert_array_equal(value.astype(float), np.zeros(3))
    np.testing.assert_array_equal(slope_value.astype(float), np.ones(3))


def test_squares_of_half_precision_do_not_overflow():
    g = gg.constant([300.0, 400.0], "float16")
    (result,) = gg.optim.clip_by_global_norm([g], 5.0)
    np.testing.assert_array_equal(gg.evaluate(result), np.float16([3.0, 4.0]))


def test_gradients_of_several_dtypes_keep_theirs():
    wide, narrow = gg.constant(np.array([3.0])), gg.constant([4.0])
    results = gg.optim.clip_by_global_norm([wide, narrow], 1)
    assert [r.type for r in results] == [wide.type, narrow.type]
    values = gg.compile([], results)()
    np.testing.assert_allclose(values[0], [0.6], rtol=1e-12)
    np.testing.assert_allclose(values[1], [0.8], rtol=1e-6)


def test_no_gradients_and_empty_gradients_are_allowed():
    assert gg.optim.clip_by_global_norm([], 1.0) == []
    (result,) = gg.optim.clip_by_global_norm([gg.constant(np.zeros((0, 2)))], 1.0)
    assert gg.evaluate(result).shape == (0, 2)


def test_nan_is_not_hidden():
    g = gg.constant([np.nan, 1.0])
    for clip in (gg.optim.clip_by_value, gg.optim.clip_by_global_norm):
        (result,) = clip([g], 1.0)
        assert np.isnan(gg.evaluate(result)[0])


@pytest.mark.parametrize("bad", [0, -1.0, float("inf"), float("nan"), "1", None, True])
def test_limits_are_positive_numbers(bad):
    g = gg.constant([1.0])
    with pytest.raises(gg.GraphError, match="limit must be a number above 0; got"):
        gg.optim.clip_by_value([g], bad)
    with pytest.raises(gg.GraphError, match="max_norm must be a number above 0; got"):
        gg.optim.clip_by_global_norm([g], bad)


def test_clipping_by_norm_shortens_each_gradient_by_itself():
    g, h, zero = gg.constant([3.0, 4.0]), gg.constant([[0.5]]), gg.constant([0.0])
    clipped = gg.compile([], gg.optim.clip_by_norm([g, h, zero], 1.0))()
    np.testing.assert_allclose(clipped[0], [0.6, 0.8], rtol=1e-6)
    np.testing.assert_array_equal(clipped[1], [[0.5]])
    np.testing.assert_array_equal(clipped[2], [0.0])
    assert gg.optim.clip_by_norm([], 1.0) == []


def test_the_derivatives_of_clipping_by_norm():
    def reference(x, y):
        both = [v / max(np.sqrt((v**2).sum()), 1.0) for v in (x, y)]
        return np.concatenate([v.ravel() for v in both])

    def function(x, y):
        clipped = gg.optim.clip_by_norm([x, y], 1.0)
        return gg.concat([v.reshape(-1) for v in clipped])

    check_operation(function, [X, 0.1 * Y], reference)


@pytest.mark.parametrize("size", [1e19, 1e30, 1e37, 1e-19, 1e-30])
def test_norms_whose_squares_overflow_or_vanish_are_clipped_too(size):
    size = np.float32(size)
    g = gg.constant(np.float32([3, 4]) * (size / 2))
    for clip in (gg.optim.clip_by_global_norm, gg.optim.clip_by_norm):
        (result,) = clip([g], 2.0)
        expected = [1.2, 1.6] if size > 1 else g.value
        np.testing.assert_allclose(gg.evaluate(result), expected, rtol=1e-6)
        (slope,) = gg.gradients(gg.sum(result), [g])
        assert np.isfinite(gg.evaluate(slope)).all()
