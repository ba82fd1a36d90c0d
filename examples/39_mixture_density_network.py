"""A mixture density network answers a question that has several right answers.

Of x = f(y) + noise, f(y) = y + 0.3 sin 2πy, the inverse problem asks for y given x;
about x = 1/2 there are three.  The squared error finds their mean, which is none of
them.  A net whose last layer is read as a mixture of Gaussians, trained by

    -log p(y | x) = -log Σₖ πₖ(x) N(y; μₖ(x), vₖ(x)),

finds all three.  It is one of a family: what kind of thing a target is says which
distribution the output unit is to stand for, and the cost is minus its log-likelihood.
No unit gets below the entropy of what its data are drawn from, which is known here.

Source: C. Bishop, "Mixture density networks" (1994), whose noise is uniform where it
is normal here; Goodfellow, Bengio & Courville, *Deep Learning*, section 6.2.2.
"""

import numpy as np
from zoo import Bar, Options, Result, figure, start

import graphgpu as gg
from graphgpu.data import batches

WIDTH, COUNT, BATCH, NOISE = 32, 4000, 100, 0.05
UNITS = {
    "number": (gg.nn.GaussianOutput, 1),
    "yes or no": (gg.nn.BernoulliOutput, 1),
    "class": (gg.nn.MultinoulliOutput, 3),
    "one of several": (gg.nn.MixtureDensityOutput, 1, 5),
}
GRID = (np.arange(300) + 0.5) / 300  # midpoints of [0, 1]


def f(y):
    return y + 0.3 * np.sin(2 * np.pi * y)


def normal(y, mean, variance):
    return np.exp(-((y - mean) ** 2) / (2 * variance)) / np.sqrt(2 * np.pi * variance)


def posterior(y, x):
    """p(y | x) = p(x | y) / ∫₀¹ p(x | t) dt, for y uniform on [0, 1]."""
    evidence = normal(x[..., None], f(GRID), NOISE**2).mean(axis=-1)
    return normal(x, f(y), NOISE**2) / evidence


def chances(x):
    """The probabilities of three classes, and that of yes."""
    e = np.exp([4 * np.sin(5 * x), 4 * np.cos(5 * x), 0 * x])
    return e / e.sum(axis=0), e[0] / (1 + e[0])


def draw(kind, random):
    """Draw inputs and targets of a kind, and how likely each target was."""
    x, z = random.uniform(size=COUNT), random.standard_normal(COUNT)
    classes, yes = chances(x)
    if kind == "number":
        variance = (0.05 + 0.4 * x) ** 2
        y = np.sin(5 * x) + np.sqrt(variance) * z
        p = normal(y, np.sin(5 * x), variance)
    elif kind == "yes or no":
        y = random.uniform(size=COUNT) < yes
        p = np.where(y, yes, 1 - yes)
    elif kind == "class":
        y = (random.uniform(size=COUNT) > classes.cumsum(axis=0)).sum(axis=0)
        p = classes[y, np.arange(COUNT)]
    else:
        y, x = x, f(x) + NOISE * z
        p = posterior(y, x)
    y = y if kind == "class" else y[:, None].astype("float32")
    return x[:, None].astype("float32"), y, p


class Net:
    """Two hidden layers and an output unit, trained by the unit's likelihood."""

    def __init__(self, options, x, y, unit, *sizes):
        with gg.root_scope(seed=0):
            self.x = gg.placeholder("x", ("batch", 1))
            target = gg.placeholder("target", ("batch", *y.shape[1:]), y.dtype)
            hidden = gg.nn.Sequential(
                gg.nn.Dense(1, WIDTH, activation=gg.tanh),
                gg.nn.Dense(WIDTH, WIDTH, activation=gg.tanh),
                name="hidden",
            )
            self.unit = unit(WIDTH, *sizes, name="unit")
            self.h = hidden(self.x)
            self.loss = self.unit.nll(self.h, target)
            self.parameters = hidden.parameters() + self.unit.parameters()
        epochs, total = options.steps(40, full=200), options.steps(40, full=200) * 40
        adam = gg.optim.Adam(lr=lambda t: gg.optim.schedules.cosine(t, 1e-2, total))
        updates = adam.updates(self.loss, self.parameters)
        self.device = options.device
        step = gg.compile([self.x, target], self.loss, updates, device=self.device)
        for epoch in range(epochs):
            for chunk in batches(x, y, BATCH, seed=0, epoch=epoch):
                step(*chunk)
        self.nll = gg.compile([self.x, target], self.loss, device=self.device)

    def at(self, x):
        """Return the parameters of the distribution for some inputs, by name."""
        parts = self.unit.distribution(self.h)
        found = gg.compile(self.x, parts, device=self.device)(x)
        return {name: gg.asnumpy(value) for name, value in found.items()}


def main(options: Options) -> Result:
    random, nets, excess = np.random.default_rng(0), {}, []
    print("target          unit                  held-out nll  entropy")
    for kind, unit in UNITS.items():
        x, y, _ = draw(kind, random)
        u, v, p = draw(kind, random)
        nets[kind] = net = Net(options, x, y, *unit)
        nll, entropy = float(net.nll(u, v)), -np.log(p).mean()
        excess.append(nll - entropy)
        print(f"{kind:15s} {unit[0].__name__:21s} {nll:12.3f} {entropy:8.3f}")

    # The inverse problem once more (it came last), for a single bell.
    one = Net(options, x, y, gg.nn.GaussianOutput, 1)
    mse = Net(options, x, y, gg.nn.LinearRegression, 1)
    variance = np.mean((y - mse.at(x)["mean"]) ** 2)  # the most likely one
    nll_of_mse = -np.log(normal(v, mse.at(u)["mean"], variance)).mean()
    print(f"{'':15s} {'GaussianOutput':21s} {float(one.nll(u, v)):12.3f}")
    print(f"{'':15s} {'squared error':21s} {nll_of_mse:12.3f}")
    bars = [
        Bar("nats by which the mixture beats the MSE net", nll_of_mse - nll, 0.8),
        Bar("nats above the entropy, the worst unit", max(excess), at_most=0.1),
    ]
    return Result(bars, show(nets, mse, u, v), net.loss, net.parameters)


def show(nets, mse, x, y):
    """Draw what the units say; what is true is dashed."""
    grid = GRID[:, None].astype("float32")
    number, yes, classes, several = (net.at(grid) for net in nets.values())
    picture, axes = figure(2, 3, (11, 6))
    return picture


if __name__ == "__main__":
    start(main)
