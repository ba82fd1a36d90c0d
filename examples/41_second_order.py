"""Newton's method, and steps that solve Hd = -g without ever having the Hessian H.

Newton's step -H⁻¹g goes to the bottom of a quadratic at once.  Near a minimum of any
smooth cost the digits that are right double with each step: logistic regression is
solved in a few.  A net has too many weights for H, but conjugate gradients need only
products Hv = ∇(vᵀg), which cost a few gradients each.  Far from a minimum H is not
positive: conjugate gradients stop at negative curvature, of H + λ1, and λ falls or
rises with how well the quadratic foretold the cost (Levenberg and Marquardt).

Source: Goodfellow, Bengio & Courville, *Deep Learning*, sections 4.3.1, 8.6.1 and
8.6.2; Pearlmutter (1994); Martens, "Deep learning via Hessian-free optimization"
(2010).  The data, breast cancer and digits, come with scikit-learn.
"""

import numpy as np
from zoo import Bar, Options, Result, figure, start

import graphgpu as gg
from graphgpu.data import digits

HIDDEN = 20


def newton(cost, w):
    """Return the largest slope, and w - H⁻¹g for a step."""
    (g,), H = gg.gradients(cost, [w]), gg.hessian(cost, w)
    return gg.max(gg.abs(g)), {w: w - gg.solve(H, g)}


def conjugate_gradients(product, b, tolerance, most):
    """Return d with Ad ≈ b, how many products it took, and whether A looked positive.

    The directions p are conjugate, pᵀAq = 0, and r = b - Ad is what is left.
    """

    def step(carry):
        d, r, p, k, _ = carry
        Ap, rr = product(p), gg.vecdot(r, r)
        curvature = gg.vecdot(p, Ap)
        a = gg.where(curvature > 0, rr / curvature, 0)
        left = r - a * Ap
        further = left + gg.vecdot(left, left) / rr * p
        return d + a * p, left, further, k + 1, curvature > 0

    def going(carry):
        _, r, _, _, positive = carry
        far = gg.vecdot(r, r) > tolerance**2 * gg.vecdot(b, b)
        return gg.logical_and(far, positive)

    zero, start = gg.zeros_like(b), (gg.constant(0), gg.constant(True))
    d, _, _, k, positive = gg.while_loop(
        going, step, (zero, b, b, *start), max_iterations=most
    )
    return d, k, positive


def quadratic(options):
    """Return how far ½wᵀAw - bᵀw is from its minimum after no, one step; and for CG."""
    random = np.random.default_rng(0)
    M, b = random.standard_normal((20, 10)), random.standard_normal(10)
    A = M.T @ M
    with gg.scope("quadratic"):
        w = gg.parameter("w", random.standard_normal(10), "float64")
        cost = gg.quadratic_form(w, A) / 2 - gg.vecdot(b, w)
        slope, updates = newton(cost, w)

        def product(v):
            return gg.hessian_vector_product(cost, [w], [v])[0]

        d, _, _ = conjugate_gradients(product, -gg.gradients(cost, [w])[0], 1e-12, 20)
    minimum = np.linalg.solve(A, b)
    away = [gg.max(gg.abs(w - minimum)), gg.max(gg.abs(w + d - minimum))]
    step = gg.compile([], away, updates, device=options.device)
    (before, conjugate), (after, _) = step(), step()
    return float(before), float(after), float(conjugate)


def logistic(options):
    """Return the largest slope before each of Newton's steps; the cost and w."""
    from sklearn.datasets import load_breast_cancer

    cells, benign = load_breast_cancer(return_X_y=True)
    cells = (cells - cells.mean(axis=0)) / cells.std(axis=0)
    X, Y = np.c_[cells, np.ones(len(cells))], benign.astype(float)
    with gg.scope("logistic"):
        w = gg.parameter("w", np.zeros(31), "float64")
        x = gg.placeholder("x", ("n", 31), "float64")
        y = gg.placeholder("y", ("n",), "float64")
        cost = gg.binary_cross_entropy_with_logits(x @ w, y)
        cost += gg.l2_penalty([w], 1 / len(X))
        program = gg.compile([x, y], *newton(cost, w), device=options.device)
    slopes = [float(program(X, Y)) for _ in range(options.steps(12))]
    return slopes, cost, w


def net(theta, x):
    """Return the scores of 64 pixels, tanh units, 10 classes; theta holds it all."""
    V, b, W, c = gg.split(theta, [64 * HIDDEN, 65 * HIDDEN, 75 * HIDDEN])
    h = gg.tanh(x @ V.reshape((64, HIDDEN)) + b)
    return h @ W.reshape((HIDDEN, 10)) + c


def hessian_free(cost_of, theta, damping):
    """Return outputs and updates: a step d with (H + λ1)d ≈ -g, if it helps."""
    cost = cost_of(theta)
    (g,) = gg.gradients(cost, [theta])

    def product(v):
        return gg.hessian_vector_product(cost, [theta], [v])[0] + damping * v

    d, k, positive = conjugate_gradients(product, -g, 0.1, 40)
    foretold = gg.vecdot(g, d) + gg.vecdot(d, product(d)) / 2
    change = cost_of(theta + d) - cost
    worse, well = change > foretold / 4, change < 0.75 * foretold
    factor = gg.where(gg.logical_or(worse, gg.logical_not(positive)), 2.0, 1.0)
    factor = gg.where(gg.logical_and(well, positive), 0.5, factor)
    updates = {
        theta: gg.where(change < 0, theta + d, theta),
        damping: damping * gg.cast(factor, "float32"),
    }
    return {"cost": cost, "products": k, "damping": damping}, updates


def main(options: Options) -> Result:
    data = digits()
    X, Y = data.train_images.reshape(-1, 64), data.train_labels
    n = 64 * HIDDEN + HIDDEN + HIDDEN * 10 + 10
    before, after, conjugate = quadratic(options)
    print("quadratic", before, after, conjugate)
    slopes, drawn, w = logistic(options)
    print(slopes)
    x, y = gg.placeholder("x", ("n", 64)), gg.placeholder("y", ("n",), "int64")

    def cost_of(theta):
        return gg.cross_entropy(net(theta, x), y) + gg.l2_penalty([theta], 1e-3)

    first = np.random.default_rng(0).standard_normal(n) * 0.1
    theta = gg.parameter("theta", first, "float32")
    damping = gg.state("damping", np.float32(1))
    outputs, updates = hessian_free(cost_of, theta, damping)
    step = gg.compile([x, y], outputs, updates, device=options.device)
    for _ in range(options.steps(40)):
        o = step(X, Y)
        print({k: float(v) for k, v in o.items()})
    read = gg.compile(x, gg.argmax(net(theta, x), 1), device=options.device)
    print((gg.asnumpy(read(data.test_images.reshape(-1, 64)))==data.test_labels).mean())
    for opt in (gg.optim.Adam(0.01), gg.optim.SGD(0.5,momentum=.9)):
        theta = gg.parameter("theta", first, "float32")
        c=cost_of(theta)
        st=gg.compile([x,y],c,opt.updates(c,[theta]))
        l=[float(st(X,Y)) for _ in range(2000)]
        print(l[::100], l[-1])


if __name__ == "__main__":
    main(Options(device="cpu"))
