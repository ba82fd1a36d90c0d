"""Bilinear and quadratic forms."""

import numpy as np
import pytest

import graphgpu as gg

RNG = np.random.default_rng(42)


def normal(*shape):
    return RNG.standard_normal(shape)


def test_a_bilinear_form_is_linear_in_each_input():
    x, y, z, w = normal(3, 4), normal(3, 4), normal(3, 5), normal(2, 4, 5)
    joined = gg.evaluate(gg.bilinear(2 * x - y, z, w))
    apart = 2 * gg.evaluate(gg.bilinear(x, z, w)) - gg.evaluate(gg.bilinear(y, z, w))
    np.testing.assert_allclose(joined, apart, rtol=1e-10)
    joined = gg.evaluate(gg.bilinear(y, x @ normal(4, 5) * 0 + z * 3, w))
    np.testing.assert_allclose(joined, 3 * gg.evaluate(gg.bilinear(y, z, w)))


def test_one_input_makes_the_weights_for_the_other():
    """S_i = Σ_jk μ_ijk z_k x_j is W(z) x with W(z)_ij = Σ_k μ_ijk z_k."""
    x, z, mu = normal(4), normal(5), normal(3, 4, 5)
    np.testing.assert_allclose(gg.evaluate(gg.bilinear(x, z, mu)), (mu @ z) @ x)


def test_the_leading_axes_of_the_inputs_broadcast():
    x, z, w, b = normal(2, 1, 4), normal(3, 5), normal(2, 4, 5), normal(2)
    expected = np.einsum("abi,kij,bj->abk", np.broadcast_to(x, (2, 3, 4)), w, z) + b
    np.testing.assert_allclose(gg.evaluate(gg.bilinear(x, z, w, b)), expected)


def test_the_gradient_of_a_quadratic_form_is_a_plus_its_transpose_times_x():
    x, a = gg.constant(normal(2, 3)), normal(3, 3)
    (slope,) = gg.gradients(gg.sum(gg.quadratic_form(x, a)), [x])
    np.testing.assert_allclose(gg.evaluate(slope), x.value @ (a + a.T))
    form = gg.quadratic_form(gg.constant(x.value[0]), a)
    assert form.shape == ()


def test_the_hessian_of_a_quadratic_form_is_a_plus_its_transpose():
    x, a = gg.constant(normal(3)), normal(3, 3)
    hessian = gg.hessian(gg.quadratic_form(x, a), x)
    np.testing.assert_allclose(gg.evaluate(hessian), a + a.T)


def test_a_quadratic_form_is_the_bilinear_form_of_x_with_itself():
    x, a = normal(4, 3), normal(3, 3)
    np.testing.assert_allclose(
        gg.evaluate(gg.quadratic_form(x, a)),
        gg.evaluate(gg.bilinear(x, x, a[None]))[:, 0],
    )


def test_halves_are_summed_in_float32():
    x = gg.cast(gg.constant([1.0, 1 / 256, 300.0, -300.0]), "float16")
    matrix = gg.cast(gg.constant(np.diag([1.0, 256.0, 1.0, -1.0])), "float16")
    y = gg.quadratic_form(x, matrix)  # 300² is beyond float16
    assert y.dtype == x.dtype
    assert float(gg.evaluate(y)) == 1.00390625


def test_operands_that_do_not_fit_are_refused():
    with pytest.raises(gg.ShapeError, match=r"a weight \(K, I, J\)"):
        gg.bilinear(gg.zeros(2), gg.zeros(2), gg.zeros((2, 2)))
    with pytest.raises(gg.ShapeError, match="index 'i'"):
        gg.bilinear(gg.zeros(2), gg.zeros(2), gg.zeros((1, 3, 2)))
    with pytest.raises(gg.ShapeError, match=r"expected a bias of shape \[1\]"):
        gg.bilinear(gg.zeros(2), gg.zeros(2), gg.zeros((1, 2, 2)), gg.zeros(2))
    with pytest.raises(gg.ShapeError, match=r"a matrix \(..., n, n\)"):
        gg.quadratic_form(gg.zeros(2), gg.zeros(2))
    with pytest.raises(gg.DTypeError, match="expected a floating-point dtype"):
        gg.quadratic_form([1, 2], [[1, 0], [0, 1]])
