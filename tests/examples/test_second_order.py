"""Conjugate gradients on Hessian-vector products, as example 41 has them."""

import runpy

import gallery
import numpy as np
import pytest

import graphgpu as gg

EXAMPLE = runpy.run_path(str(gallery.EXAMPLES / "41_second_order.py"))
conjugate_gradients = EXAMPLE["conjugate_gradients"]
hessian_free = EXAMPLE["hessian_free"]


def symmetric(eigenvalues):
    random = np.random.default_rng(0)
    q, _ = np.linalg.qr(random.standard_normal((len(eigenvalues),) * 2))
    return (q * eigenvalues) @ q.T


def solved(A, tolerance=1e-12, most=20):
    """Return what conjugate gradients find for the slope of a quadratic, and how."""
    b = np.random.default_rng(1).standard_normal(len(A))
    w = gg.parameter("w", np.zeros(len(A)), "float64")
    cost = gg.quadratic_form(w, A) / 2 - gg.vecdot(b, w)
    (g,) = gg.gradients(cost, [w])

    def product(v):
        return gg.hessian_vector_product(cost, [w], [v])[0]

    found = gg.compile([], conjugate_gradients(product, -g, tolerance, most))()
    return b, *found


def test_conjugate_gradients_take_newtons_step_in_as_many_products_as_dimensions():
    A = symmetric(np.arange(1.0, 9.0))
    b, d, products, positive = solved(A)
    np.testing.assert_allclose(d, np.linalg.solve(A, b), rtol=1e-10)
    assert products == 8
    assert positive


def test_conjugate_gradients_need_a_product_for_each_different_eigenvalue():
    A = symmetric([1.0, 1.0, 1.0, 4.0, 4.0, 9.0])
    b, d, products, _ = solved(A)
    np.testing.assert_allclose(d, np.linalg.solve(A, b), rtol=1e-10)
    assert products == 3


def test_conjugate_gradients_stop_at_negative_curvature_with_what_they_have():
    _, d, products, positive = solved(symmetric([-5.0, 1.0, 2.0, 3.0]))
    assert not positive
    assert products <= 4
    assert np.isfinite(d).all()


@pytest.mark.parametrize("start", [0.0, 0.9, 2.5])
def test_a_hessian_free_step_never_raises_the_cost_and_finds_the_minimum(start):
    """Between ±1/√3 the curvature of (w² - 1)² is negative; at 0 there is no slope."""

    def cost_of(theta):
        return gg.sum(gg.square(gg.square(theta) - 1)) + 0.1 * gg.sum(theta)

    theta = gg.parameter("theta", [start, -start], "float32")
    damping = gg.state("damping", np.float32(1))
    step = gg.compile([], *hessian_free(cost_of, theta, damping))
    costs = [float(step()[0]) for _ in range(30)]
    assert all(np.diff(costs) <= 0)
    slope = gg.compile([], gg.gradients(cost_of(theta), [theta]))()[0]
    assert np.abs(slope).max() < 1e-3
