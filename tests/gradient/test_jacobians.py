"""Jacobians and Hessians in numerator layout, against closed forms."""

import numpy as np
import pytest

import graphgpu as gg

RNG = np.random.default_rng(4)
A = RNG.standard_normal((2, 3))
X = RNG.standard_normal(3)


def vector(name="x", shape=(3,), dtype="float64"):
    return gg.placeholder(name, shape, dtype)


def test_rows_are_outputs():
    x = vector()
    jacobian = gg.jacobian(gg.constant(A) @ x, x)
    assert str(jacobian.type) == "float64[2,3]"
    np.testing.assert_allclose(gg.evaluate(jacobian, {x: X}), A)


def test_the_shape_is_that_of_the_output_then_that_of_the_variable():
    x, W = vector(), vector("W", (2, 3))
    jx, jW = gg.jacobian(W @ x, [x, W])
    assert [j.shape for j in (jx, jW)] == [(2, 3), (2, 2, 3)]
    program = gg.compile([x, W], [jx, jW])
    jx_value, jW_value = program(X, A)
    np.testing.assert_allclose(jx_value, A)
    np.testing.assert_allclose(jW_value, np.einsum("ij,k->ijk", np.eye(2), X))
    outer = gg.jacobian(x.reshape((3, 1)) * x, x)
    expected = np.einsum("ik,j->ijk", np.eye(3), X) + np.einsum(
        "jk,i->ijk", np.eye(3), X
    )
    np.testing.assert_allclose(gg.evaluate(outer, {x: X}), expected)


def test_of_an_elementwise_function_it_is_diagonal():
    x = vector()
    jacobian = gg.evaluate(gg.jacobian(gg.sin(x), x), {x: X})
    np.testing.assert_allclose(jacobian, np.diag(np.cos(X)))


def test_of_a_scalar_it_is_the_gradient():
    x = vector()
    cost = gg.sum(x * x * x)
    jacobian = gg.jacobian(cost, x)
    assert jacobian.shape == (3,)
    np.testing.assert_allclose(gg.evaluate(jacobian, {x: X}), 3 * X**2)
    y = vector("y", ())
    assert float(gg.evaluate(gg.jacobian(y * y, y), {y: 3.0})) == 6


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16", "bfloat16"])
def test_it_has_the_dtype_of_the_variable(dtype):
    x = vector(dtype=dtype)
    jacobian = gg.jacobian(x * 2, x)
    assert jacobian.dtype == x.dtype
    found = gg.evaluate(jacobian, {x: [1, 2, 3]})
    np.testing.assert_array_equal(found.astype(float), 2 * np.eye(3))


def test_what_does_not_depend_and_what_is_empty_have_zeros():
    x, y = vector("x"), vector("y", (2, 2))
    jacobian = gg.evaluate(gg.jacobian(gg.sin(x), y))
    np.testing.assert_array_equal(jacobian, np.zeros((3, 2, 2)))
    empty = vector("e", (0,))
    assert gg.evaluate(gg.jacobian(empty * 2, empty), {empty: []}).shape == (0, 0)
    assert gg.evaluate(gg.jacobian(empty * gg.sum(x), x)).shape == (0, 3)


def test_softmax_has_its_closed_form():
    x = vector()
    e = gg.exp(x)
    p = np.exp(X) / np.exp(X).sum()
    found = gg.evaluate(gg.jacobian(e / gg.sum(e), x), {x: X})
    np.testing.assert_allclose(found, np.diag(p) - np.outer(p, p), rtol=1e-12)


def test_the_hessian_has_its_closed_form():
    H = A.T @ A
    x = vector()
    cost = 0.5 * gg.sum(x * (gg.constant(H) @ x)) + gg.sum(x * x * x)
    hessian = gg.hessian(cost, x)
    assert str(hessian.type) == "float64[3,3]"
    found = gg.evaluate(hessian, {x: X})
    np.testing.assert_allclose(found, H + np.diag(6 * X), rtol=1e-12)


def test_the_hessian_of_a_matrix_has_four_axes():
    W = vector("W", (2, 3))
    hessian = gg.evaluate(gg.hessian(gg.sum(W * W * W), W), {W: A})
    assert hessian.shape == (2, 3, 2, 3)
    np.testing.assert_allclose(hessian.reshape(6, 6), np.diag(6 * A.ravel()))


def test_a_linear_cost_has_the_hessian_zero():
    x = vector()
    found = gg.evaluate(gg.hessian(gg.sum(3 * x), x))
    np.testing.assert_array_equal(found, np.zeros((3, 3)))


def test_jacobians_can_be_differentiated():
    x = vector()
    (slope,) = gg.gradients(gg.sum(gg.jacobian(x * x * x, x)), [x])
    np.testing.assert_allclose(gg.evaluate(slope, {x: X}), 6 * X)


def test_sizes_that_are_not_known_are_named():
    x = gg.placeholder("x", ("batch", 3))
    message = (
        r"'x' float32\[batch,3\].* has the size batch, but a Jacobian's sizes must"
    )
    with pytest.raises(gg.GradientError, match=message):
        gg.jacobian(gg.sum(x), x)
    with pytest.raises(gg.GradientError, match=r"multiply.* has the size batch"):
        gg.jacobian(x * 2, gg.parameter("w", [1.0]))
    with pytest.raises(gg.GradientError, match="has the size batch"):
        gg.hessian(gg.sum(x * x), x)


def test_integers_and_arrays_have_no_jacobian_or_hessian():
    x, n = vector(), gg.placeholder("n", (2,), "int64")
    with pytest.raises(gg.GradientError, match=r"'n'.* is not floating-point"):
        gg.jacobian(gg.sin(x), n)
    with pytest.raises(gg.GradientError, match=r"'n'.* is not floating-point"):
        gg.jacobian(n, x)
    with pytest.raises(gg.GradientError, match="no scalar"):
        gg.hessian(x * x, x)
