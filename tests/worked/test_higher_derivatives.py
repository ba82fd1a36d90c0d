"""Derivatives of any order, because gradients are graph.

*Deep Learning*, section 6.5.5 (symbol-to-symbol derivatives, figure 6.10), section
6.5.10 (Hv = ∇[(∇f)ᵀ v]) and section 8.6.1 (Newton's method).
"""

import math

import numpy as np
import pytest

import graphgpu as gg


def repeated(f, point, count):
    x = gg.placeholder("x", (), "float64")
    orders = [f(x)]
    for _ in range(count):
        orders += gg.gradients(orders[-1], [x])
    return [float(value) for value in gg.compile(x, orders)(point)]


def test_derivatives_of_a_gaussian_are_the_hermite_polynomials():
    computed = repeated(lambda x: gg.exp(-gg.square(x)), 0.5, 6)
    for n, value in enumerate(computed):
        polynomial = np.polynomial.hermite.hermval(0.5, [0] * n + [1])
        expected = (-1) ** n * polynomial * math.exp(-0.25)
        assert value == pytest.approx(expected, rel=1e-12)


def test_derivatives_of_a_power_fall_to_zero():
    x = 1.7
    expected = [x**4, 4 * x**3, 12 * x**2, 24 * x, 24.0]
    computed = repeated(lambda v: gg.square(gg.square(v)), x, 4)
    assert computed == pytest.approx(expected, rel=1e-14)
    v = gg.placeholder("v", (), "float64")
    derivative = gg.square(gg.square(v))
    for _ in range(5):
        (derivative,) = gg.gradients(derivative, [v], disconnected="zero")
    assert float(gg.evaluate(derivative, {v: x})) == 0.0


def test_second_derivatives_of_the_sigmoid():
    """σ' = σ(1 - σ), σ'' = σ'(1 - 2σ), σ''' = σ'(1 - 6σ + 6σ²)."""
    s = 1 / (1 + math.exp(-0.3))
    d = s * (1 - s)
    expected = [s, d, d * (1 - 2 * s), d * (1 - 6 * s + 6 * s * s)]
    assert repeated(gg.sigmoid, 0.3, 3) == pytest.approx(expected, rel=1e-14)


def test_figure_6_10_adds_the_derivative_to_the_graph_without_any_number():
    w = gg.placeholder("w", (), "float64")
    z = gg.sin(gg.sin(gg.sin(w)))
    before = gg.Graph(z).variables
    (dz,) = gg.gradients(z, [w])
    assert gg.Graph(z).variables == before
    assert set(before[:-1]) <= set(gg.Graph(dz).variables)


def rosenbrock():
    x = gg.placeholder("x", (2,), "float64")
    f = gg.square(1 - x[0]) + 100 * gg.square(x[1] - gg.square(x[0]))
    return x, f


def hessian_of_rosenbrock(x, y):
    return np.array([[2 - 400 * (y - 3 * x * x), -400 * x], [-400 * x, 200]])


def test_hessian_of_rosenbrocks_valley():
    x, f = rosenbrock()
    H = gg.evaluate(gg.hessian(f, x), {x: [-1.2, 1.0]})
    np.testing.assert_allclose(H, hessian_of_rosenbrock(-1.2, 1.0), rtol=1e-14)


def test_hessian_vector_products_are_the_columns_of_the_hessian():
    x, f = rosenbrock()
    v = gg.placeholder("v", (2,), "float64")
    product = gg.compile([x, v], gg.hessian_vector_product(f, [x], [v])[0])
    columns = [product([-1.2, 1.0], e) for e in np.eye(2)]
    np.testing.assert_allclose(columns, hessian_of_rosenbrock(-1.2, 1.0).T, rtol=1e-14)


def test_newtons_method_reaches_the_floor_of_the_valley():
    x, f = rosenbrock()
    program = gg.compile(x, [f, gg.gradients(f, [x])[0], gg.hessian(f, x)])
    point = np.array([-1.2, 1.0])
    costs = []
    for _ in range(7):
        cost, g, H = program(point)
        costs.append(float(cost))
        point = point - np.linalg.solve(H, g)
    np.testing.assert_allclose(point, [1.0, 1.0], atol=1e-12)
    assert costs[0] == pytest.approx(24.2, rel=1e-12)
    assert costs[-1] < 1e-18


def test_newtons_method_needs_one_step_for_a_quadratic():
    random = np.random.default_rng(0)
    A = random.standard_normal((4, 4))
    A = A @ A.T + np.eye(4)
    b = random.standard_normal(4)
    x = gg.placeholder("x", (4,), "float64")
    f = x @ (A @ x) / 2 - b @ x
    g, H = gg.compile(x, [gg.gradients(f, [x])[0], gg.hessian(f, x)])(np.ones(4))
    np.testing.assert_allclose(H, A, rtol=1e-13)
    found = np.ones(4) - np.linalg.solve(H, g)
    np.testing.assert_allclose(found, np.linalg.solve(A, b), rtol=1e-10)


def test_hessian_vector_product_of_many_variables_needs_no_hessian():
    size = 20_000
    x = gg.placeholder("x", (size,), "float64")
    v = gg.placeholder("v", (size,), "float64")
    f = gg.exp(gg.mean(x)) + gg.sum(gg.square(gg.square(x))) / 12
    product = gg.hessian_vector_product(f, [x], [v])[0]
    assert all(u.ndim < 2 for u in gg.Graph(product).variables)
    random = np.random.default_rng(0)
    a, b = random.standard_normal(size), random.standard_normal(size)
    expected = math.exp(a.mean()) / size * b.mean() + a * a * b
    computed = gg.compile([x, v], product)(a, b)
    np.testing.assert_allclose(computed, expected, rtol=1e-12, atol=1e-16)
