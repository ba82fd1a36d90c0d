"""A mixture density network answers a question that has several right answers.

Of x = f(y) + noise, f(y) = y - 1.2 sin(πy/2), the inverse problem asks for y given x;
about x = 0 there are three.  The squared error finds their mean, which may be none of
them.  A net whose last layer is read as a mixture of Gaussians, trained by

    -log p(y | x) = -log Σₖ πₖ(x) N(y; μₖ(x), vₖ(x)),

finds all three.  It is one of a family: what kind of thing a target is says which
distribution the output unit is to stand for, and the cost is minus its log-likelihood.
No unit gets below the entropy of what its data are drawn from, which is known here.

Source: C. Bishop, "Mixture density networks" (1994), whose curve this is, enlarged;
Goodfellow, Bengio & Courville, *Deep Learning*, section 6.2.2.  The data are drawn.
"""

import numpy as np
from zoo import Bar, Options, Result, figure, start

import graphgpu as gg
from graphgpu.data import batches

WIDTH, COUNT, BATCH, NOISE = 32, 4000, 100, 0.2
UNITS = {
    "number": (gg.nn.GaussianOutput, 1),
    "yes or no": (gg.nn.BernoulliOutput, 1),
    "class": (gg.nn.MultinoulliOutput, 3),
    "one of several": (gg.nn.MixtureDensityOutput, 1, 5),
}
GRID = (np.arange(301) - 150) * 4 / 301  # midpoints of [-2, 2]
COLUMN = GRID[:, None].astype("float32")


def f(y):
    return y - 1.2 * np.sin(np.pi * y / 2)


def normal(y, mean, variance):
    return np.exp(-((y - mean) ** 2) / (2 * variance)) / np.sqrt(2 * np.pi * variance)


def posterior(y, x):
    """p(y | x) = p(x | y) / ∫ p(x | t) dt, for y uniform on [-2, 2]."""
    evidence = 4 * normal(x[..., None], f(GRID), NOISE**2).mean(axis=-1)
    return normal(x, f(y), NOISE**2) / evidence


def chances(x):
    """The probabilities of three classes, and that of yes."""
    e = np.exp([3 * np.sin(2 * x), 3 * np.cos(2 * x), 0 * x])
    return e / e.sum(axis=0), e[0] / (1 + e[0])


def draw(kind, random):
    """Draw inputs and targets of a kind, and how likely each target was."""
    x, z = random.uniform(-2, 2, COUNT), random.standard_normal(COUNT)
    classes, yes = chances(x)
    if kind == "number":
        mean, variance = np.sin(2 * x), (0.1 * x + 0.25) ** 2
        y = mean + np.sqrt(variance) * z
        p = normal(y, mean, variance)
    elif kind == "yes or no":
        y = random.uniform(size=COUNT) < yes
        p = np.where(y, yes, 1 - yes)
    elif kind == "class":
        y = (random.uniform(size=COUNT) > classes.cumsum(axis=0)).sum(axis=0)
        return x[:, None].astype("float32"), y, classes[y, np.arange(COUNT)]
    else:
        y, x = x, f(x) + NOISE * z
        p = posterior(y, x)
    return x[:, None].astype("float32"), y[:, None].astype("float32"), p


class Net:
    """Two hidden layers and an output unit, trained by the unit's likelihood."""

    def __init__(self, options, x, y, unit, *sizes):
        with gg.root_scope(seed=0):
            inputs = gg.placeholder("x", ("batch", 1))
            target = gg.placeholder("target", ("batch", *y.shape[1:]), y.dtype)
            layers = [gg.nn.Dense(n, WIDTH, activation=gg.tanh) for n in (1, WIDTH)]
            hidden = gg.nn.Sequential(*layers, name="hidden")
            unit = unit(WIDTH, *sizes, name="unit")
            h = hidden(inputs)
            self.loss = unit.nll(h, target)
            self.parameters = hidden.parameters() + unit.parameters()
        epochs = options.steps(60, full=300)
        total, device = epochs * COUNT // BATCH, options.device
        adam = gg.optim.Adam(lr=lambda t: gg.optim.schedules.cosine(t, 1e-2, total))
        updates = adam.updates(self.loss, self.parameters)
        step = gg.compile([inputs, target], self.loss, updates, device=device)
        for epoch in range(epochs):
            for chunk in batches(x, y, BATCH, seed=0, epoch=epoch):
                step(*chunk)
        self.nll = gg.compile([inputs, target], self.loss, device=device)
        self.distribution = gg.compile(inputs, unit.distribution(h), device=device)

    def at(self, x):
        """Return the parameters of the distribution for some inputs, by name."""
        return {n: gg.asnumpy(value) for n, value in self.distribution(x).items()}


def main(options: Options) -> Result:
    random, nets, excess = np.random.default_rng(0), {}, []
    print("target          unit                  held-out nll  entropy")
    for kind, unit in UNITS.items():
        (x, y, _), (u, v, p) = draw(kind, random), draw(kind, random)
        nets[kind] = net = Net(options, x, y, *unit)
        nll, entropy = float(net.nll(u, v)), -np.log(p).mean()
        excess.append(float(nll - entropy))
        print(f"{kind:15s} {unit[0].__name__:21s} {nll:12.3f} {entropy:8.3f}")

    # The inverse problem once more (it came last), for a single bell.
    one = Net(options, x, y, gg.nn.GaussianOutput, 1)
    mse = Net(options, x, y, gg.nn.LinearRegression, 1)
    variance = np.mean((y - mse.at(x)["mean"]) ** 2)  # the most likely one
    nll_of_mse = -float(np.log(normal(v, mse.at(u)["mean"], variance)).mean())
    print(f"{'':15s} {'GaussianOutput':21s} {float(one.nll(u, v)):12.3f}")
    print(f"{'':15s} {'squared error':21s} {nll_of_mse:12.3f}")
    bars = [Bar("nats that it gains on the MSE net", nll_of_mse - nll, at_least=0.8)]
    bars += [Bar("nats above the entropy, worst unit", max(excess), at_most=0.08)]
    return Result(bars, show(nets, mse, u, v), net.loss, net.parameters)


def show(nets, mse, x, y):
    """Draw what the units say, and what is true, dashed."""
    number, yes, classes, several = (net.at(COLUMN) for net in nets.values())
    mean, width = number["mean"][:, 0], 2 * np.sqrt(number["variance"][:, 0])
    weights, means, variances = (several[n][:, None] for n in several)
    bells = weights * normal(GRID[:, None], means[..., 0], variances[..., 0])
    density = bells.sum(axis=-1)  # p(y | x) of all x (axis 0) and y (axis 1)
    picture, ((a, b, c), (d, e, g)) = figure(2, 3, (9, 5))
    a.plot(GRID, mean, GRID, np.sin(2 * GRID), "k--")
    a.fill_between(GRID, mean - width, mean + width, alpha=0.3)
    b.plot(GRID, yes["p"], GRID, chances(GRID)[1], "k--")
    c.plot(GRID, classes["p"], GRID, chances(GRID)[0].T, "k--")
    d.plot(x[:500], y[:500], ".", alpha=0.3, markersize=3)
    d.plot(f(GRID), GRID, "k--", GRID, mse.at(COLUMN)["mean"], "r")
    e.contourf(GRID, GRID, density.T, np.linspace(0, 2, 9), extend="max")
    g.plot(GRID, density[150], GRID, posterior(GRID, 0 * GRID), "k--")
    titles = {a: "a number: μ(x) ± 2 √v(x)", b: "yes or no: P(y = 1 | x)"}
    titles |= {c: "three classes: P(y = i | x)", d: "inverse; MSE net in red"}
    titles |= {e: "p(y | x) of the mixture", g: "p(y | x = 0)"}
    for axes, title in titles.items():
        axes.set(title=title, xlabel="y" if axes is g else "x")
    return picture


if __name__ == "__main__":
    start(main)
