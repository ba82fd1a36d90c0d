"""Products of Jacobians and Hessians with vectors, against closed forms."""

import numpy as np
import pytest

import graphgpu as gg

RNG = np.random.default_rng(3)
A = RNG.standard_normal((4, 3))
X = RNG.standard_normal(3)
V = RNG.standard_normal(3)
U = RNG.standard_normal(4)


def vector(name="x", size=3):
    return gg.placeholder(name, (size,), "float64")


def sine(x):
    return gg.sin(gg.constant(A) @ x)


def sine_jacobian(x):
    return np.cos(A @ x)[:, None] * A


def test_vjp_is_the_jacobian_from_the_left():
    x, u = vector(), vector("u", 4)
    (product,) = gg.vjp([sine(x)], [x], [u])
    found = gg.compile([x, u], product)(X, U)
    np.testing.assert_allclose(found, U @ sine_jacobian(X), rtol=1e-13)


def test_jvp_is_the_jacobian_from_the_right():
    x, v = vector(), vector("v")
    (product,) = gg.jvp([sine(x)], [x], [v])
    found = gg.compile([x, v], product)(X, V)
    np.testing.assert_allclose(found, sine_jacobian(X) @ V, rtol=1e-13)


def test_products_sum_over_several_variables():
    x, y = vector("x"), vector("y")
    outputs = [x * y, gg.sin(x)]
    tangents = [V, V * 2]
    products = gg.compile([x, y], gg.jvp(outputs, [x, y], tangents))(X, X + 1)
    np.testing.assert_allclose(products[0], V * (X + 1) + X * 2 * V)
    np.testing.assert_allclose(products[1], np.cos(X) * V)
    products = gg.compile([x, y], gg.vjp(outputs, [x, y], tangents))(X, X + 1)
    np.testing.assert_allclose(products[0], V * (X + 1) + np.cos(X) * 2 * V)
    np.testing.assert_allclose(products[1], V * X)


def test_variables_and_outputs_that_repeat_add_up():
    x = vector()
    y = gg.sin(x)
    (product,) = gg.vjp([y, y], [x], [V, 2 * V])
    np.testing.assert_allclose(gg.evaluate(product, {x: X}), 3 * V * np.cos(X))
    (product,) = gg.jvp([y], [x, x], [V, 2 * V])
    np.testing.assert_allclose(gg.evaluate(product, {x: X}), 3 * V * np.cos(X))
    first, second = gg.jvp([y, y], [x], [V])
    np.testing.assert_allclose(gg.evaluate(first, {x: X}), V * np.cos(X))
    np.testing.assert_allclose(gg.evaluate(second, {x: X}), V * np.cos(X))


def test_the_identity_passes_vectors_on():
    x = vector()
    np.testing.assert_array_equal(gg.evaluate(gg.jvp([x], [x], [V])[0]), V)
    np.testing.assert_array_equal(gg.evaluate(gg.vjp([x], [x], [V])[0]), V)


def test_what_does_not_depend_has_products_of_zero():
    x, y = vector("x"), vector("y", 2)
    (product,) = gg.jvp([gg.sin(x)], [y], [np.ones(2)])
    np.testing.assert_array_equal(gg.evaluate(product), np.zeros(3))
    (product,) = gg.vjp([gg.sin(x)], [y], [V])
    np.testing.assert_array_equal(gg.evaluate(product), np.zeros(2))
    (product,) = gg.hessian_vector_product(gg.sum(x), [x], [V])
    np.testing.assert_array_equal(gg.evaluate(product), np.zeros(3))


def test_the_product_with_the_hessian_has_its_closed_form():
    H = A.T @ A
    x, v = vector(), vector("v")
    cost = 0.5 * gg.sum(x * (gg.constant(H) @ x)) + gg.sum(x * x * x * x)
    (product,) = gg.hessian_vector_product(cost, [x], [v])
    found = gg.compile([x, v], product)(X, V)
    np.testing.assert_allclose(found, H @ V + 12 * X**2 * V, rtol=1e-12)


def test_the_hessian_of_several_variables_has_its_mixed_blocks():
    x, y = vector("x"), vector("y")
    hx, hy = gg.hessian_vector_product(gg.sum(x * x * y), [x, y], [V, 2 * V])
    found = gg.compile([x, y], [hx, hy])(X, X + 1)
    np.testing.assert_allclose(found[0], 2 * (X + 1) * V + 2 * X * 2 * V)
    np.testing.assert_allclose(found[1], 2 * X * V)


def test_products_can_be_differentiated():
    x = vector()
    (product,) = gg.jvp([gg.exp(x) * x], [x], [V])
    (slope,) = gg.gradients(gg.sum(product), [x])
    expected = V * np.exp(X) * (2 + X)
    np.testing.assert_allclose(gg.evaluate(slope, {x: X}), expected, rtol=1e-13)


def test_forward_mode_twice_is_a_second_derivative():
    x = vector()
    (first,) = gg.jvp([gg.exp(x)], [x], [V])
    (second,) = gg.jvp([first], [x], [V])
    np.testing.assert_allclose(gg.evaluate(second, {x: X}), V * V * np.exp(X))


def test_sizes_may_be_names():
    x, v = gg.placeholder("x", ("n",)), gg.placeholder("v", ("n",))
    (product,) = gg.jvp([x * x], [x], [v])
    np.testing.assert_array_equal(gg.compile([x, v], product)([1, 2], [3, 4]), [6, 16])


@pytest.mark.parametrize("function", [gg.vjp, gg.jvp])
def test_vectors_must_be_of_the_types(function):
    x = vector()
    y = x * x
    with pytest.raises(gg.GradientError, match=r"one (co)?tangent for each of 1 vari"):
        function([y], [x], [])
    with pytest.raises(gg.GradientError, match=r"float64\[3\]; got float64\[2\]"):
        function([y], [x], [np.ones(2)])
    with pytest.raises(gg.GradientError, match=r"float64\[3\]; got float32\[3\]"):
        function([y], [x], [gg.constant([1.0, 2.0, 3.0])])
    with pytest.raises(gg.GradientError, match=r"with a (co)?tangent for each; got"):
        function([y], [x], gg.constant(V))


def test_hessian_products_check_their_vectors():
    x = vector()
    with pytest.raises(gg.GradientError, match="expected one vector for each of 1"):
        gg.hessian_vector_product(gg.sum(x), [x], [V, V])
    with pytest.raises(gg.GradientError, match="is no scalar"):
        gg.hessian_vector_product(x * x, [x], [V])
