"""Perceptron, linear regression and logistic regression: one unit, three costs.

All compute wᵀx + b.  The perceptron learns from mistakes alone, w ← w + y x with a 1
in x for b, and y = ±1.  It makes (R/γ)² of them at most, R being the largest ‖x‖, if
a plane separates the classes with the margin γ (Novikoff).  Linear regression has a
closed form, the normal equations XᵀX w = Xᵀy, to which descent on the squared error
comes.  Logistic regression, P(y = 1) = σ(wᵀx + b), has none; its cost is convex, and
descent finds what scikit-learn finds.

Source: Goodfellow, Bengio & Courville, *Deep Learning*, sections 5.1.4 and 5.7.1;
Rosenblatt (1958); Novikoff (1962).  The data come with scikit-learn: Fisher's iris
(setosa or versicolor, by the sepals), diabetes, and breast cancer (Wisconsin).
"""

import numpy as np
from zoo import Bar, Options, Result, figure, start

import graphgpu as gg


def standardised(x, like=None):
    """Shift and scale the columns as gives those of ``like`` mean 0, deviation 1."""
    like = x if like is None else like
    return (x - like.mean(axis=0)) / like.std(axis=0)


def perceptron(options):
    """Learn until all flowers are on their side; one epoch is a scan."""
    from sklearn.datasets import load_iris

    iris = load_iris()
    order = np.random.default_rng(0).permutation(100)
    X = np.c_[standardised(iris.data[:100, :2]), np.ones(100)][order]
    Y = np.where(iris.target[:100] == 0, -1.0, 1.0)[order]

    def visit(w, x, y):
        """Add y x to the weights if x is on the wrong side."""
        wrong = y * gg.vecdot(w, x) <= 0
        return gg.where(wrong, w + y * x, w), gg.cast(wrong, "int64")

    w = gg.parameter("w", np.zeros(3), "float64")
    x = gg.placeholder("x", ("n", 3), "float64")
    y = gg.placeholder("y", ("n",), "float64")
    learned, wrong = gg.scan(visit, w, (x, y))
    epoch = gg.compile([x, y], wrong.sum(), {w: learned}, device=options.device)
    mistakes = [int(epoch(X, Y)) for _ in range(options.steps(20))]
    found = gg.asnumpy(w.value)
    margin = (Y * (X @ found)).min() / np.linalg.norm(found)
    bound = (np.linalg.norm(X, axis=1).max() / margin) ** 2
    print(f"perceptron: mistakes in each epoch {mistakes}; bound (R/γ)² {bound:.0f}")
    return X, Y, found, mistakes, bound


def descend(loss, unit, data, solution, optimizer, steps, device):
    """Return the largest distance of a weight from the solution before each step."""
    x, y, X, Y = data
    w, b = unit.parameters()
    away = gg.max(gg.abs(gg.concat([w.reshape(-1), b]) - solution))
    updates = optimizer.updates(loss, [w, b])
    step = gg.compile([x, y], away, updates, device=device)
    return np.array([float(step(X, Y)) for _ in range(steps)])


def linear(options):
    """Descend to the solution of the normal equations."""
    from sklearn.datasets import load_diabetes

    X, Y = load_diabetes(return_X_y=True)
    X, Y = standardised(X), standardised(Y)[:, np.newaxis]
    unit = gg.nn.LinearRegression(10, dtype="float64", name="linear")
    x = gg.placeholder("x", ("n", 10), "float64")
    y = gg.placeholder("y", ("n", 1), "float64")
    with_one = gg.pad(x, ((0, 0), (0, 1)), value=1.0)
    normal = gg.solve(with_one.T @ with_one, with_one.T @ y).reshape(-1)
    closed = gg.asnumpy(gg.compile([x, y], normal, device=options.device)(X, Y))
    optimizer = gg.optim.SGD(0.4, momentum=0.9)
    data, steps = (x, y, X, Y), options.steps(500)
    loss = unit.nll(x, y)
    return descend(loss, unit, data, closed, optimizer, steps, options.device)


def logistic(options):
    """Descend to what scikit-learn finds: the cross-entropy and ½‖w‖² / n."""
    from sklearn.datasets import load_breast_cancer
    from sklearn.linear_model import LogisticRegression

    cells, benign = load_breast_cancer(return_X_y=True)
    held_out = np.arange(len(cells)) % 5 == 0
    X = standardised(cells, like=cells[~held_out])
    theirs = LogisticRegression(C=1.0, tol=1e-9, max_iter=10_000)
    theirs.fit(X[~held_out], benign[~held_out])
    solution = np.r_[theirs.coef_[0], theirs.intercept_]

    unit = gg.nn.LogisticRegression(30, dtype="float64", name="logistic")
    x = gg.placeholder("x", ("n", 30), "float64")
    y = gg.placeholder("y", ("n", 1), "float64")
    w, b = unit.parameters()
    loss = unit.nll(x, y) + gg.l2_penalty([w], 1 / np.sum(~held_out))
    optimizer = gg.optim.SGD(0.5, momentum=0.95)
    Y, steps = benign[:, np.newaxis].astype(float), options.steps(1500)
    data = (x, y, X[~held_out], Y[~held_out])
    away = descend(loss, unit, data, solution, optimizer, steps, options.device)
    says = gg.asnumpy(gg.compile(x, unit(x), device=options.device)(X[held_out]))
    ours = np.mean((says > 0.5) == Y[held_out])
    accuracy = ours, theirs.score(X[held_out], benign[held_out])
    return away, accuracy, says[:, 0], Y[held_out, 0], (loss, [w, b])


def main(options: Options) -> Result:
    with gg.root_scope(seed=0):
        X, Y, plane, mistakes, bound = perceptron(options)
        linear_away = linear(options)
        logistic_away, accuracy, says, truth, (loss, wb) = logistic(options)
    for what, away in (("linear", linear_away), ("logistic", logistic_away)):
        steps = [k for k in (10, 100, 400, 1400) if k < len(away)]
        far = ", ".join(f"{away[k]:.1e} after {k}" for k in steps)
        print(f"{what} regression: weights are off by {far} steps")
    print(f"accuracy on held-out tumours: {accuracy[0]:.4f}; theirs {accuracy[1]:.4f}")

    picture, ((a, b, c),) = figure(1, 3, (11, 3.4))
    for side, name in ((-1, "setosa"), (1, "versicolor")):
        a.scatter(*X[side == Y, :2].T, s=12, label=name)
    across = X[:, 0].min(), X[:, 0].max()
    line = [-(plane[2] + plane[0] * v) / (plane[1] or 1) for v in across]
    a.plot(across, line, "k")
    a.set(xlabel="sepal length", ylabel="sepal width", title="perceptron", ylim=(-3, 3))
    a.legend(fontsize=8)
    b.semilogy(linear_away, label="linear: closed form")
    b.semilogy(logistic_away, label="logistic: scikit-learn")
    b.set(xlabel="step of descent", title="distance from the solution")
    b.legend(fontsize=8)
    c.hist([says[truth == k] for k in (0, 1)], 10, stacked=True)
    c.legend(["malignant", "benign"], fontsize=8)
    c.set(xlabel="P(benign), logistic regression", title="held-out tumours")
    behind = accuracy[1] - accuracy[0]
    bars = [
        Bar("perceptron: mistakes in the last epoch", mistakes[-1], at_most=0),
        Bar("perceptron: mistakes, over Novikoff's", sum(mistakes) / bound, at_most=1),
        Bar("linear: off the closed form by", linear_away[-1], at_most=1e-4),
        Bar("logistic: off scikit-learn's by", logistic_away[-1], at_most=1e-4),
        Bar("logistic: points behind scikit-learn", 100 * behind, at_most=1),
    ]
    return Result(bars, picture, loss, wb)


if __name__ == "__main__":
    start(main)
