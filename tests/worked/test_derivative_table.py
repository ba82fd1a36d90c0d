"""The lectures' table of derivatives, in numerator layout.

The derivative of y in R^m by x in R^n is the m by n Jacobian: rows are outputs.
So the derivative of a scalar by a vector is a row, and the gradient, a column, is
its transpose.  (The book, section 4.3.1, has the same J_ij = ∂f_i/∂x_j.)
"""

import numpy as np
import pytest

import graphgpu as gg

random = np.random.default_rng(11)
A = random.standard_normal((3, 4))
B = random.standard_normal((4, 4))
S = B + B.T
X = random.standard_normal(4)
V = random.standard_normal(4)

# what it is: y as a function of x, and ∂y/∂x
TABLE = {
    "x is I": (lambda x: x, np.eye(4)),
    "constant is 0": (lambda x: gg.constant(V) + 0 * x, np.zeros((4, 4))),
    "wᵀx by w is xᵀ": (lambda w: gg.vecdot(w, V), V),
    "xᵀw by w is xᵀ": (lambda w: V @ w, V),
    "Ax by x is A": (lambda x: A @ x, A),
    "xᵀA by x is Aᵀ": (lambda x: x @ B, B.T),
    "xᵀx by x is 2xᵀ": (lambda x: x @ x, 2 * X),
    "wᵀAw by w is wᵀ(A + Aᵀ)": (lambda w: w @ (B @ w), X @ (B + B.T)),
    "wᵀSw by w is 2wᵀS for symmetric S": (lambda w: w @ (S @ w), 2 * X @ S),
    "aᵀx x by x is x aᵀ + aᵀx I": (
        lambda x: gg.vecdot(x, V) * x,
        np.outer(X, V) + (X @ V) * np.eye(4),
    ),
    "norm of x by x is xᵀ over it": (
        lambda x: gg.sqrt(gg.sum(x * x)),
        X / np.sqrt(X @ X),
    ),
    "f element by element is diag f'": (gg.exp, np.diag(np.exp(X))),
    "product of elements is diag": (lambda x: x * V, np.diag(V)),
    "‖Ax - b‖² by x is 2(Ax - b)ᵀA": (
        lambda x: gg.sum(gg.square(A @ x - V[:3])),
        2 * (A @ X - V[:3]) @ A,
    ),
}


@pytest.mark.parametrize("name", TABLE)
def test_derivative(name):
    function, expected = TABLE[name]
    x = gg.placeholder("x", (4,), "float64")
    J = gg.evaluate(gg.jacobian(function(x), x), {x: X})
    assert J.shape == expected.shape
    np.testing.assert_allclose(J, expected, rtol=1e-13, atol=1e-14)


def test_jacobian_of_a_map_to_fewer_dimensions_has_fewer_rows_than_columns():
    x = gg.placeholder("x", (4,), "float64")
    assert gg.jacobian(A @ x, x).shape == (3, 4)


def test_gradient_is_the_transpose_of_the_derivative():
    x = gg.placeholder("x", (4, 1), "float64")
    cost = (x.T @ (B @ x)).reshape(())
    (gradient,) = gg.gradients(cost, [x])
    assert gradient.shape == (4, 1)
    value = gg.evaluate(gradient, {x: X[:, None]})
    np.testing.assert_allclose(value, ((B + B.T) @ X)[:, None], rtol=1e-13)


def test_chain_rule_multiplies_jacobians_outer_first():
    """J_{f∘g}(x) = J_f(g(x)) J_g(x): R⁴ -> R³ -> R²."""
    C = random.standard_normal((2, 3))

    def g(x):
        return gg.sin(A @ x)

    def f(y):
        return C @ gg.square(y)

    x = gg.placeholder("x", (4,), "float64")
    y = gg.placeholder("y", (3,), "float64")
    of_both = gg.evaluate(gg.jacobian(f(g(x)), x), {x: X})
    of_g = gg.evaluate(gg.jacobian(g(x), x), {x: X})
    of_f = gg.evaluate(gg.jacobian(f(y), y), {y: np.sin(A @ X)})
    assert of_both.shape == (2, 4)
    np.testing.assert_allclose(of_both, of_f @ of_g, rtol=1e-13)


def test_chain_rule_holds_within_one_graph():
    """The Jacobian by an inner node: ∂z/∂x = ∂z/∂y ∂y/∂x."""
    x = gg.placeholder("x", (4,), "float64")
    y = gg.tanh(A @ x)
    z = gg.exp(y) * y
    whole, outer, inner = gg.compile(
        x, [gg.jacobian(z, x), gg.jacobian(z, y), gg.jacobian(y, x)]
    )(X)
    np.testing.assert_allclose(whole, outer @ inner, rtol=1e-13)


def test_vector_jacobian_product_is_from_the_left_and_jvp_from_the_right():
    x = gg.placeholder("x", (4,), "float64")
    y = gg.sin(A @ x)
    u, v = random.standard_normal(3), random.standard_normal(4)
    J, left, right = gg.compile(
        x,
        [
            gg.jacobian(y, x),
            *gg.vjp([y], [x], [gg.constant(u)]),
            *gg.jvp([y], [x], [gg.constant(v)]),
        ],
    )(X)
    np.testing.assert_allclose(left, u @ J, rtol=1e-13)
    np.testing.assert_allclose(right, J @ v, rtol=1e-13)


def test_derivative_of_a_bilinear_form_by_its_matrix_is_the_outer_product():
    W = gg.placeholder("W", (3, 4), "float64")
    u = random.standard_normal(3)
    J = gg.evaluate(gg.jacobian(u @ (W @ V), W), {W: A})
    np.testing.assert_allclose(J, np.outer(u, V), rtol=1e-14)
