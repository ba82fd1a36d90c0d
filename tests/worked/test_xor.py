"""Learning XOR: *Deep Learning*, section 6.1.

The cost is J = 1/4 Σ (f*(x) - f(x; θ))² over the four points (equation 6.1).  A
linear model can do no better than w = 0, b = 1/2 (equation 6.2 and after); the
two-layer network of equation 6.3 is exact with the weights of equations 6.4 to
6.6, and its intermediate matrices are those of equations 6.7 to 6.11.
"""

import numpy as np

import graphgpu as gg

X = np.array([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
Y = np.array([0.0, 1.0, 1.0, 0.0])
W = np.ones((2, 2))
C = np.array([0.0, -1.0])
w = np.array([1.0, -2.0])


def cost_of(y, f):
    """J = 1/4 Σ (f* - f)²."""
    return gg.sum(gg.square(y - f)) / 4


def network(initial):
    """f(x; W, c, w, b) = wᵀ max{0, Wᵀx + c} + b, for the rows of X."""
    x = gg.placeholder("x", (4, 2), "float64")
    y = gg.placeholder("y", (4,), "float64")
    parameters = [
        gg.parameter(name, value, "float64")
        for name, value in zip("Wcwb", initial, strict=True)
    ]
    W, c, w, b = parameters
    XW = x @ W
    affine = XW + c
    hidden = gg.relu(affine)
    f = hidden @ w + b
    return x, y, parameters, [XW, affine, hidden, hidden @ w, f], cost_of(y, f)


def learn(inputs, parameters, cost, rate, steps):
    slopes = gg.gradients(cost, parameters)
    updates = {p: p - rate * g for p, g in zip(parameters, slopes, strict=True)}
    step = gg.compile(inputs, cost, updates)
    for _ in range(steps):
        step(X, Y)
    return float(step(X, Y))


# --- the linear model


def linear(initial):
    x = gg.placeholder("x", (4, 2), "float64")
    y = gg.placeholder("y", (4,), "float64")
    w = gg.parameter("w", initial[0], "float64")
    b = gg.parameter("b", initial[1], "float64")
    f = x @ w + b
    return x, y, [w, b], f, cost_of(y, f)


def test_normal_equations_of_the_linear_model_give_w_0_and_b_one_half():
    design = np.column_stack([X, np.ones(4)])
    solution = np.linalg.solve(design.T @ design, design.T @ Y)
    np.testing.assert_allclose(solution, [0.0, 0.0, 0.5], atol=1e-15)


def test_linear_model_is_stationary_at_w_0_and_b_one_half():
    x, y, parameters, f, cost = linear(([0.0, 0.0], 0.5))
    slopes = gg.gradients(cost, parameters)
    outputs, J, *slopes = gg.compile([x, y], [f, cost, *slopes])(X, Y)
    np.testing.assert_array_equal(outputs, 0.5)
    assert float(J) == 0.25
    for slope in slopes:
        np.testing.assert_array_equal(slope, 0.0)


def test_linear_model_learns_w_0_and_b_one_half():
    x, y, (w, b), f, cost = linear(([0.7, -0.4], 0.1))
    J = learn([x, y], [w, b], cost, rate=0.5, steps=300)
    np.testing.assert_allclose(w.value, [0.0, 0.0], atol=1e-9)
    np.testing.assert_allclose(b.value, 0.5, atol=1e-9)
    assert abs(J - 0.25) < 1e-12
    computed = gg.compile([x], f)(X)
    np.testing.assert_allclose(computed, 0.5, atol=1e-9)


def test_linear_model_has_no_lower_cost_anywhere():
    """J is a convex quadratic: its Hessian is positive definite."""
    x, y, (w, b), _, cost = linear(([0.0, 0.0], 0.5))
    rows = []
    for direction in np.eye(3):
        vectors = [
            gg.constant(direction[:2]),
            gg.constant(direction[2]),
        ]
        products = gg.hessian_vector_product(cost, [w, b], vectors)
        dw, db = gg.compile([x, y], products)(X, Y)
        rows.append([*dw, float(db)])
    design = np.column_stack([X, np.ones(4)])
    np.testing.assert_allclose(rows, design.T @ design / 2, rtol=1e-15)
    assert np.linalg.eigvalsh(np.array(rows)).min() > 0


# --- the network


def test_network_of_the_book_solves_xor_with_the_matrices_of_the_book():
    x, y, _, nodes, cost = network((W, C, w, 0.0))
    XW, affine, hidden, times_w, f, J = gg.compile([x, y], [*nodes, cost])(X, Y)
    np.testing.assert_array_equal(XW, [[0, 0], [1, 1], [1, 1], [2, 2]])
    np.testing.assert_array_equal(affine, [[0, -1], [1, 0], [1, 0], [2, 1]])
    np.testing.assert_array_equal(hidden, [[0, 0], [1, 0], [1, 0], [2, 1]])
    np.testing.assert_array_equal(times_w, [0, 1, 1, 0])
    np.testing.assert_array_equal(f, [0, 1, 1, 0])
    assert float(J) == 0.0


def test_hidden_space_of_the_book_maps_two_points_to_one():
    """Figure 6.1: in the space of h a linear model separates the classes."""
    x, y, _, (_, _, hidden, *_), _ = network((W, C, w, 0.0))
    h = gg.compile([x, y], hidden)(X, Y)
    np.testing.assert_array_equal(h[1], h[2])
    assert np.linalg.matrix_rank(np.column_stack([h, np.ones(4)])) == 3


def test_cost_is_stationary_at_the_solution_of_the_book():
    x, y, parameters, _, cost = network((W, C, w, 0.0))
    for slope in gg.compile([x, y], gg.gradients(cost, parameters))(X, Y):
        np.testing.assert_array_equal(slope, 0.0)


def test_gradient_of_the_network_away_from_the_solution():
    random = np.random.default_rng(3)
    W1, c1, w1, b1 = (random.standard_normal(s) for s in ((2, 2), 2, 2, ()))
    x, y, parameters, _, cost = network((W1, c1, w1, b1))
    dW, dc, dw, db = gg.compile([x, y], gg.gradients(cost, parameters))(X, Y)
    affine = X @ W1 + c1
    residual = (np.maximum(affine, 0) @ w1 + b1 - Y) / 2
    delta = residual[:, None] * w1 * (affine > 0)
    np.testing.assert_allclose(dW, X.T @ delta, rtol=1e-13)
    np.testing.assert_allclose(dc, delta.sum(0), rtol=1e-13)
    np.testing.assert_allclose(dw, np.maximum(affine, 0).T @ residual, rtol=1e-13)
    np.testing.assert_allclose(db, residual.sum(), rtol=1e-13)


def test_network_learns_xor_from_random_weights():
    random = np.random.default_rng(0)
    initial = [random.standard_normal(s) for s in ((2, 2), 2, 2, ())]
    x, y, parameters, (*_, f), cost = network(initial)
    J = learn([x, y], parameters, cost, rate=0.2, steps=600)
    assert J < 1e-10
    np.testing.assert_allclose(gg.compile([x], f)(X), Y, atol=1e-4)


def test_point_that_descent_converges_to_depends_on_where_it_starts():
    """A unit that is off for all four points has no gradient and stays off.

    What remains is a network of one hidden unit, no better than the linear model.
    """
    initial = ([[-1.0, 1.0], [-1.0, 1.0]], [-1.0, 0.0], [1.0, 0.5], 0.0)
    x, y, parameters, _, cost = network(initial)
    J = learn([x, y], parameters, cost, rate=0.1, steps=1000)
    dW = gg.compile([x, y], gg.gradients(cost, parameters)[0])(X, Y)
    np.testing.assert_array_equal(dW[:, 0], 0.0)
    np.testing.assert_array_equal(parameters[0].value[:, 0], [-1.0, -1.0])
    assert abs(J - 0.25) < 1e-4
