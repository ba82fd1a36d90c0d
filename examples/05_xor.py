"""XOR: a linear model cannot learn it, two hidden units can.

The cost is J = 1/4 Σ (f* - f)² over the four points.  The best linear model says 1/2
everywhere.  f(x) = wᵀ max{0, Wᵀx + c} + b is exact with the weights of the book: two
of the points become one in the space of h, and there a line tells the classes apart.
Where descent ends depends on where it starts, for J is not convex.

Source: Goodfellow, Bengio & Courville, *Deep Learning*, section 6.1: the cost is
equation 6.1, the linear model 6.2, the network 6.3, its weights 6.4 to 6.6, the
matrices printed 6.7 to 6.11, and the picture is figure 6.1.
"""

import numpy as np
from zoo import Bar, Options, Result, figure, start

import graphgpu as gg

X = np.array([[0, 0], [0, 1], [1, 0], [1, 1]], np.float32)
Y = np.array([0, 1, 1, 0], np.float32)
RATE, STEPS = 0.2, 600

x = gg.placeholder("x", (4, 2))
y = gg.placeholder("y", (4,))


def cost_of(f):
    """J = 1/4 Σ (f* - f)²."""
    return gg.mean(gg.square(y - f))


def network(W, c, w, b):
    """f(x) = wᵀ max{0, Wᵀx + c} + b; also the nodes on the way, by name."""
    with gg.root_scope(seed=0):
        W, c, w, b = parameters = [
            gg.parameter("W", W, "float32"),
            gg.parameter("c", c, "float32"),
            gg.parameter("w", w, "float32"),
            gg.parameter("b", b, "float32"),
        ]
        nodes = {"XW": x @ W}
        nodes["XW + c"] = nodes["XW"] + c
        nodes["relu(XW + c)"] = gg.relu(nodes["XW + c"])
        nodes["times w, plus b"] = nodes["relu(XW + c)"] @ w + b
        return parameters, nodes


def descend(parameters, cost, options):
    """Take steps of gradient descent; return the cost before each."""
    slopes = gg.gradients(cost, parameters)
    updates = {p: p - RATE * g for p, g in zip(parameters, slopes, strict=True)}
    step = gg.compile([x, y], cost, updates, device=options.device)
    costs = [step(X, Y) for _ in range(options.steps(STEPS))]
    return np.array([float(J) for J in costs])


def draw(linear, hidden, learned):
    """Show the classes in the spaces of x and of h, and the costs of the descents."""
    picture, axes = figure(1, 3, (9, 3.2))
    spaces = [("x₁", "x₂", X), ("h₁", "h₂", hidden)]
    for a, (first, second, points) in zip(axes[0], spaces, strict=False):
        for label, marker in ((0, "o"), (1, "s")):
            of_class = points[label == Y]
            a.scatter(*of_class.T, s=90, marker=marker, label=f"XOR = {label}")
        a.set(xlabel=first, ylabel=second, xlim=(-0.4, 2.4), ylim=(-0.4, 1.4))
    axes[0, 0].set_title("input space: no line separates", fontsize=9)
    axes[0, 1].set_title("hidden space: h₁ - 2h₂ = 1/2 does", fontsize=9)
    axes[0, 1].plot([-0.3, 2.4], [-0.4, 0.95], "k--", linewidth=1)
    axes[0, 1].legend(fontsize=8)
    costs = axes[0, 2]
    for seed, curve in enumerate(learned):
        name = "network, 8 seeds" if seed == 0 else None
        costs.semilogy(np.maximum(curve, 1e-16), "C2", linewidth=0.8, label=name)
    costs.semilogy(linear, "k", label="linear model")
    costs.set(xlabel="step of gradient descent", ylabel="J")
    costs.legend(fontsize=8, loc="lower left")
    return picture


def main(options: Options) -> Result:
    print("The linear model xw + b, learned:")
    w = gg.parameter("w", np.array([0.7, -0.4], np.float32))
    b = gg.parameter("b", np.float32(0.1))
    linear = descend([w, b], cost_of(x @ w + b), options)
    w, b, J = gg.asnumpy(w.value), float(b.value), linear[-1]
    print(f"  w = {np.round(w, 4) + 0.0}, b = {b:.4f}, J = {J:.4f}")

    print("\nThe network, with the weights of the book:")
    parameters, nodes = network([[1, 1], [1, 1]], [0, -1], [1, -2], 0)
    cost = cost_of(nodes["times w, plus b"])
    outputs = [*nodes.values(), cost]
    *values, exact = gg.compile([x, y], outputs, device=options.device)(X, Y)
    values = [gg.asnumpy(value) for value in values]
    for name, value in zip(nodes, values, strict=True):
        rows = "  ".join(str(row) for row in value)
        print(f"  {name:15s}  {rows}")
    print(f"  J = {float(exact):g}")

    print(f"\nThe network, learned: {STEPS} steps of rate {RATE}")
    print("  seed        J  outputs")
    learned = []
    for seed in range(8):
        random = np.random.default_rng(seed)
        begin = [random.standard_normal(shape) for shape in ((2, 2), 2, 2, ())]
        parts, found = network(*begin)
        f = found["times w, plus b"]
        learned.append(descend(parts, cost_of(f), options))
        says = gg.asnumpy(gg.compile(x, f, device=options.device)(X))
        print(f"  {seed:4d}  {learned[-1][-1]:7.4f}  {np.round(says, 3) + 0.0}")
    print("Where descent ends depends on where it starts: J is not convex.")

    away = float(np.abs(X @ w + b - 0.5).max())
    least = min(curve[-1] for curve in learned)
    bars = [
        Bar("linear model: how far from 1/2 it is at most", away, at_most=1e-6),
        Bar("linear model: J", J, at_least=0.25 - 1e-7, at_most=0.25 + 1e-7),
        Bar("network of the book: J", float(exact), at_most=0),
        Bar("network learned, the best of 8 seeds: J", least, at_most=1e-10),
    ]
    picture = draw(linear, values[2], learned)
    return Result(bars, picture, cost, parameters)


if __name__ == "__main__":
    start(main)
