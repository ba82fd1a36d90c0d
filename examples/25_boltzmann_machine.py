"""A restricted Boltzmann machine learns what handwritten digits look like.

p(v) = Σₕ exp(bᵀv + cᵀh + vᵀWh) / Z of units v, h ∈ {0, 1}: pixels and features.  The
features sum out, p(v) = exp(-F(v)) / Z, with F(v) = -bᵀv - Σⱼ log(1 + exp(c + Wᵀv)ⱼ),
the free energy, so that, v⁻ being drawn from p itself,

    -∂ log p(v) = ∂F(v) - E ∂F(v⁻).

What can be drawn is h given v, and v given h: k times so, from the digits (contrastive
divergence, CD-k), or from where the step before ended (persistent CD).  The loss is
F(v) - F(v⁻), with no gradient through the chain, which is a scan.  With 12 features Z
is a sum over all 2¹² of them, and log p is exact; it begins as that of pixels that know
nothing of each other.  Noise, to compare F with, has each pixel from some other digit.

Source: Goodfellow, Bengio & Courville, *Deep Learning*, sections 20.2 and 18.2,
Algorithms 18.2 and 18.3; Hinton, "A practical guide to training restricted Boltzmann
machines", 2010.  The data are scikit-learn's 1,797 digits of 8×8 pixels, with ink where
a pixel is above 1/2; --data takes a folder with MNIST's files instead.
"""

import numpy as np
from zoo import Bar, Options, Result, figure, show_image, start

import graphgpu as gg
from graphgpu.data import batches, digits, mnist
from graphgpu.optim.schedules import polynomial

BATCH = 64
FEW, MANY = 12, 64
METHODS = ("CD-1", 1, False), ("CD-5", 5, False), ("persistent CD-1", 1, True)


class Machine:
    """The parameters of p(v), to begin with of pixels on their own, and functions."""

    def __init__(self, images, hidden):
        p = images.mean(axis=0) * 0.98 + 0.01
        weights = np.random.default_rng(0).normal(0, 0.01, (len(p), hidden))
        self.W = gg.parameter("W", weights, "float32")
        self.b = gg.parameter("b", np.log(p / (1 - p)), "float32")
        self.c = gg.parameter("c", np.zeros(hidden), "float32")
        self.parameters = [self.W, self.b, self.c]

    def free_energy(self, v):
        """Return F of each row of v."""
        return -(v @ self.b) - gg.sum(gg.softplus(self.c + v @ self.W), axis=-1)

    def chain(self, v, k):
        """Return v after k steps of Gibbs sampling."""

        def step(v):
            h = gg.random_bernoulli(gg.sigmoid(self.c + v @ self.W), dtype="float32")
            p = gg.sigmoid(self.b + h @ self.W.T)
            return gg.random_bernoulli(p, dtype="float32"), None

        return gg.scan(step, v, length=k)[0]

    def log_z(self):
        """Return log Z, of all features on and off: exact, and for a few only."""
        hidden = self.c.shape[0]
        h = np.arange(2**hidden)[:, None] >> np.arange(hidden) & 1
        h = h.astype("float32")
        return gg.logsumexp(gg.softplus(self.b + h @ self.W.T).sum(-1) + h @ self.c)

    def loss(self, v, fantasy):
        """Return F(v) - F(v⁻), means over batches."""
        with gg.scope("data"):
            down = self.free_energy(v).mean()
        with gg.scope("model"):
            up = self.free_energy(gg.stop_gradient(fantasy)).mean()
        return (down - up).named("loss")


def train(machine, images, k, persistent, options, watched, sets):
    """Train a machine; return its loss, its chains, and by epoch means over sets."""
    epochs = options.steps(80, full=400)
    steps = epochs * (len(images) // BATCH)
    start = np.random.default_rng(0).random((BATCH, images.shape[1])) < 0.5
    with gg.root_scope(seed=0):
        v = gg.placeholder("v", (BATCH, images.shape[1]))
        chains = gg.state("chains", start.astype("float32"))
        with gg.scope("chain"):
            fantasy = machine.chain(chains if persistent else v, k)
        loss = machine.loss(v, fantasy)
        sgd = gg.optim.SGD(lr=lambda step: polynomial(step, 0.5, steps))
        updates = sgd.updates(loss, machine.parameters) | {chains: fantasy}
    step = gg.compile(v, None, updates, device=options.device)

    def watch():
        return [float(gg.asnumpy(watched(each)).mean()) for each in sets]

    seen = [watch()]
    for epoch in range(epochs):
        for x, _ in batches(images, images, BATCH, seed=0, epoch=epoch, drop_last=True):
            step(x)
        seen.append(watch())
    return loss, chains.value, np.array(seen)


def main(options: Options) -> Result:
    data = mnist(options.data) if options.data else digits()
    ink, test = (
        (images.reshape(len(images), -1) > 0.5).astype("float32")
        for images in (data.train_images, data.test_images)
    )
    noise = np.random.default_rng(0).permuted(test, axis=0)
    v = gg.placeholder("v", ("images", ink.shape[1]))
    curves, bars = {}, []
    print("log p of held-out digits, exact: nats before and after")
    for name, k, persistent in METHODS:
        few = Machine(ink, FEW)
        log_p = gg.compile(v, -few.free_energy(v) - few.log_z(), device=options.device)
        _, _, curves[name] = train(few, ink, k, persistent, options, log_p, [test])
        (before,), (after,) = curves[name][[0, -1]].tolist()
        print(f"{name:16s} {before:.2f} -> {after:.2f}")
        bars.append(Bar(f"nats of log p gained by {name}", after - before, at_least=4))
    many = Machine(ink, MANY)
    free = gg.compile(v, many.free_energy(v), device=options.device)
    loss, chains, seen = train(many, ink, 5, True, options, free, [ink, test, noise])
    known, unknown, shuffled = seen[-1].tolist()
    gap, lost = shuffled - unknown, unknown - known
    bars.append(Bar("free energy of noise above held-out digits", gap, at_least=5))
    bars.append(Bar("of that: unseen above training digits", lost / gap, at_most=0.2))
    picture = plot(curves, many.W.value.T, chains, data.image_shape[1:])
    return Result(bars, picture, loss, many.parameters)


def plot(curves, filters, fantasies, shape):
    """Draw log p by epoch, features' weights, and where the chains are."""
    picture, axes = figure(5, 22, (10, 2.6))
    for axis in axes[:, :8].ravel():
        axis.remove()
    lines = picture.add_subplot(axes[0, 0].get_gridspec()[:, :8])
    for name, curve in curves.items():
        lines.plot(curve, label=name)
    lines.set(xlabel="epoch", title=f"log p of held-out digits, {FEW} features")
    lines.legend()
    for axis, image in zip(axes[:, 8:15].ravel(), filters, strict=False):
        show_image(axis, image.reshape(shape), cmap="RdBu_r")
    for axis, image in zip(axes[:, 15:].ravel(), fantasies, strict=False):
        show_image(axis, image.reshape(shape))
    axes[0, 11].set_title(f"W: features, of {MANY}", fontsize=9)
    axes[0, 18].set_title("v⁻: where its chains are", fontsize=9)
    return picture


if __name__ == "__main__":
    start(main)
