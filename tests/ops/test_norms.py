"""Norms: their gradients where they have none, long and short vectors, errors."""

import numpy as np
import pytest

import graphgpu as gg
from graphgpu.ops.norms import Balance

ORDERS = [0, 1, 2, 3, 1.5, 0.5, -1, np.inf, -np.inf]


def slope(function, x):
    variable = gg.placeholder("x", x.shape, x.dtype)
    (found,) = gg.gradients(gg.sum(function(variable)), [variable], disconnected="zero")
    return gg.compile([variable], found, device="cpu")(x)


@pytest.mark.parametrize("ord", ORDERS)
def test_norms_and_their_gradients_are_0_at_0(ord):
    x = np.zeros((2, 3), "float32")

    def norm(v):
        return gg.vector_norm(v, ord, axis=1)

    np.testing.assert_array_equal(gg.evaluate(norm(gg.constant(x))), 0)
    np.testing.assert_array_equal(slope(norm, x), 0)


@pytest.mark.parametrize("ord", [1, 2, 3, 1.5, 0.5])
def test_gradients_are_finite_where_single_elements_are_0(ord):
    x = np.array([[3.0, 0.0, 4.0]])
    found = slope(lambda v: gg.vector_norm(v, ord, axis=1), x)
    assert np.isfinite(found).all()
    assert found[0, 1] == 0


def test_axes_are_dropped_or_kept_as_in_a_reduction():
    x = gg.placeholder("x", ("batch", 3, 4))
    assert gg.vector_norm(x).shape == ()
    assert gg.vector_norm(x, keepdims=True).shape == (1, 1, 1)
    assert gg.vector_norm(x, axis=(1, 2)).type == gg.sum(x, (1, 2)).type
    assert gg.vector_norm(x, 3, -1, keepdims=True).type == gg.sum(x, 2, True).type


@pytest.mark.parametrize("ord", [1, 2, 3, np.inf])
def test_the_norm_of_nothing_is_0(ord):
    x = gg.constant(np.ones((2, 0)))
    np.testing.assert_array_equal(gg.evaluate(gg.vector_norm(x, ord, 1)), [0, 0])
    assert gg.evaluate(gg.normalize(x, 2)).shape == (2, 0)


def test_infinities_and_nans_show():
    x = gg.constant([[np.inf, 1.0], [np.nan, 1.0]])
    found = gg.evaluate(gg.vector_norm(x, axis=1))
    np.testing.assert_array_equal(found, [np.inf, np.nan])


def test_the_scale_of_a_norm_is_a_power_of_two_and_rounds_nothing():
    x = np.random.default_rng(1).standard_normal(1000).astype("float32")
    plain = gg.evaluate(gg.vector_norm(gg.constant(x)))
    for power in (-90, -1, 7, 100):
        scaled = gg.evaluate(gg.vector_norm(gg.constant(np.ldexp(x, power))))
        assert scaled == np.ldexp(plain, power)
    sizes = np.array([1.0, 1.5, 2.0, 3e38, 1e-40, 0.0, np.inf], "float32")
    found = gg.evaluate(gg.apply(Balance(2.0**-100, 2.0**100), gg.constant(sizes)))
    expected = np.exp2([0.0, 0, -1, -100, 100, 100, -100])
    np.testing.assert_array_equal(found, expected.astype("float32"))


def test_normalized_vectors_have_norm_1_or_are_divided_by_epsilon():
    x = np.array([[3e30, 4e30], [3e-30, 4e-30], [3.0, 4.0], [0.0, 0.0]], "float32")
    found = gg.evaluate(gg.normalize(gg.constant(x)))
    np.testing.assert_allclose(found[0], [0.6, 0.8], rtol=1e-6)
    np.testing.assert_allclose(found[1], [3e-18, 4e-18], rtol=1e-6)
    np.testing.assert_array_equal(found[2:], np.float32([[0.6, 0.8], [0, 0]]))
    ones = gg.vector_norm(gg.normalize(gg.constant(x[:1]), 1), 1, axis=1)
    np.testing.assert_allclose(gg.evaluate(ones), 1, rtol=1e-6)


def test_arguments_that_do_not_fit_say_what_was_expected():
    x = gg.placeholder("x", ("batch", 3))
    with pytest.raises(gg.GraphError, match=r"expected p and eps above 0"):
        gg.normalize(x, 0)
    with pytest.raises(gg.GraphError, match=r"expected p and eps above 0"):
        gg.normalize(x, eps=0)
    with pytest.raises(gg.DTypeError, match=r"expected a number; got 'fro'"):
        gg.vector_norm(x, "fro")
    with pytest.raises(gg.DTypeError, match=r"expected a floating-point dtype"):
        gg.vector_norm(gg.placeholder("i", (3,), "int64"))
    with pytest.raises(gg.ShapeError, match=r"axis 2"):
        gg.normalize(x, axis=2)
