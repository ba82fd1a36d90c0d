"""Newton's method, and steps that solve Hd = -g without ever having the Hessian H.

Newton's step -H⁻¹g goes to the bottom of a quadratic at once; near a minimum where H
is positive definite, as it is of logistic regression with weight decay, the digits
that are right double with each step.  A net has too many weights for H, but conjugate
gradients need only products Hv = ∇(gᵀv), worth two gradients each.  They stop where
the curvature of H + λI is negative, and λ falls or rises with how well the quadratic
foretold what the step did (Levenberg and Marquardt).

Source: Goodfellow, Bengio & Courville, *Deep Learning*, sections 8.6.1 and 8.6.2;
Martens, "Deep learning via Hessian-free optimization" (2010).  The data, breast
cancer and 1,797 digits, come with scikit-learn.
"""

import numpy as np
from zoo import Bar, Options, Result, figure, start

import graphgpu as gg
from graphgpu.data import digits

HIDDEN = 20


def newton(cost, w):
    """Return the largest slope, and the update w - H⁻¹g."""
    (g,), H = gg.gradients(cost, [w]), gg.hessian(cost, w)
    return gg.max(gg.abs(g)), {w: w - gg.solve(H, g)}


def conjugate_gradients(product, b, tolerance, most):
    """Return d with Ad ≈ b, how many products that took, and if A looked positive."""

    def far(carry):
        _, r, _, _, positive = carry
        target = tolerance**2 * gg.vecdot(b, b)
        return gg.logical_and(gg.vecdot(r, r) > target, positive)

    def step(carry):
        d, r, p, k, _ = carry
        Ap, rr = product(p), gg.vecdot(r, r)
        curvature = gg.vecdot(p, Ap)
        a = gg.where(curvature > 0, rr / curvature, 0)
        left = r - a * Ap
        further = left + gg.vecdot(left, left) / rr * p
        return d + a * p, left, further, k + 1, curvature > 0

    begin = (gg.zeros_like(b), b, b, gg.constant(0), gg.constant(True))
    d, _, _, k, positive = gg.while_loop(far, step, begin, max_iterations=most)
    return d, k, positive


def quadratic(options):
    """Return how far ½wᵀAw - bᵀw is from its minimum after one step."""
    random = np.random.default_rng(0)
    M, b = random.standard_normal((20, 10)), random.standard_normal(10)
    A, w = M.T @ M, gg.parameter("w", b, "float64")
    cost = gg.quadratic_form(w, A) / 2 - gg.vecdot(b, w)
    away = gg.max(gg.abs(w - np.linalg.solve(A, b)))
    step = gg.compile([], away, newton(cost, w)[1], device=options.device)
    step()
    return float(step())


def logistic(options):
    """Return the largest slope before each of Newton's steps; vᵀg and w, to draw."""
    from sklearn.datasets import load_breast_cancer

    cells, benign = load_breast_cancer(return_X_y=True)
    cells = (cells - cells.mean(axis=0)) / cells.std(axis=0)
    X, Y = np.c_[cells, np.ones(len(cells))], benign.astype(float)
    w = gg.parameter("w", np.zeros(31), "float64")
    x = gg.placeholder("x", ("n", 31), "float64")
    y = gg.placeholder("y", ("n",), "float64")
    nll = gg.binary_cross_entropy_with_logits(x @ w, y)
    cost = nll + gg.l2_penalty([w], 1 / len(X))
    program = gg.compile([x, y], *newton(cost, w), device=options.device)
    slopes = [float(program(X, Y)) for _ in range(options.steps(12))]
    v = gg.placeholder("v", (31,), "float64")
    return slopes, gg.vecdot(v, gg.gradients(cost, [w])[0]), w


def net(theta, x):
    """Return the scores: tanh units on 64 pixels, 10 classes; theta has all weights."""
    V, b, W, c = gg.split(theta, [64 * HIDDEN, 65 * HIDDEN, 75 * HIDDEN])
    hidden = gg.tanh(x.reshape((-1, 64)) @ V.reshape((64, HIDDEN)) + b)
    return hidden @ W.reshape((HIDDEN, 10)) + c


def hessian_free(cost_of, theta, damping):
    """Return outputs and updates of a step d with (H + λI)d ≈ -g, kept if it helps."""
    cost = cost_of(theta)
    (g,) = gg.gradients(cost, [theta])

    def product(v):
        return gg.hessian_vector_product(cost, [theta], [v])[0] + damping * v

    d, k, positive = conjugate_gradients(product, -g, tolerance=0.1, most=40)
    foretold = gg.vecdot(g, d) + gg.vecdot(d, product(d)) / 2
    change = cost_of(theta + d) - cost
    good = gg.logical_and(change < 0.75 * foretold, positive)
    fair = gg.logical_and(change < 0.25 * foretold, positive)
    factor = gg.where(good, 0.5, gg.where(fair, 1.0, 2.0))
    after = gg.where(change < 0, theta + d, theta)
    return [cost, k], {theta: after, damping: damping * factor}


def main(options: Options) -> Result:
    data = digits()
    x = gg.placeholder("x", ("n", 1, 8, 8))
    y = gg.placeholder("y", ("n",), "int64")

    def cost_of(theta):
        return gg.cross_entropy(net(theta, x), y) + gg.l2_penalty([theta], 1e-4)

    def run(outputs, updates, steps):
        program = gg.compile([x, y], outputs, updates, device=options.device)
        rows = [program(data.train_images, data.train_labels) for _ in range(steps)]
        return np.array([[float(v) for v in row] for row in rows]).T

    with gg.root_scope(seed=0):
        slopes, drawn, w = logistic(options)
        first = 0.1 * np.random.default_rng(0).standard_normal(75 * HIDDEN + 10)
        theta, other = (gg.parameter("theta", first, "float32") for _ in range(2))
        step = hessian_free(cost_of, theta, gg.state("damping", np.float32(1)))
        costs, products = run(*step, options.steps(26, full=100))
        work = np.cumsum(2 * products + 2)  # a product is worth two gradients
        cost, rest = cost_of(other), options.steps(int(work[-1]))
        (adam,) = run([cost], gg.optim.Adam(0.01).updates(cost, [other]), rest)
    read = gg.compile(x, gg.argmax(net(theta, x), 1), device=options.device)
    right = float(np.mean(gg.asnumpy(read(data.test_images)) == data.test_labels))
    ratio = float(costs[-1] / adam[-1])
    needed = next((k for k, s in enumerate(slopes) if s <= 1e-10), len(slopes))
    picture, ((a, b),) = figure(1, 2, (9, 3.4))
    a.semilogy(np.maximum(slopes, 1e-17), "o-")
    a.set(xlabel="Newton step", title="logistic regression: largest slope")
    b.loglog(work, costs, "o-", markersize=3, label=f"Hessian-free, {len(costs)} steps")
    b.loglog(range(1, rest + 1), adam, label=f"Adam, {rest} steps")
    b.set(xlabel="gradients, or their worth", title="a net for digits: cost")
    b.legend(fontsize=8)
    bars = [
        Bar("quadratic: distance after a step", quadratic(options), at_most=1e-10),
        Bar("logistic: Newton steps to slopes of 1e-10", needed, at_most=10),
        Bar("Hessian-free: cost, over Adam's at equal work", ratio, at_most=1),
        Bar("Hessian-free: accuracy on held-out digits", right, at_least=0.95),
    ]
    return Result(bars, picture, drawn, [w])


if __name__ == "__main__":
    start(main)
