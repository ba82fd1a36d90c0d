"""A generator learns to forge a distribution by deceiving a discriminator.

G makes samples x = G(z) of noise z; D(x) is the probability that x is real.  With
V = E log D(x) + E log(1 - D(G(z))), k steps up V for D alternate with one for G:
down V (the minimax game), or up E log D(G(z)) (the non-saturating one).  For a fixed
G the best D is p_r / (p_r + p_g), and V is then -2 log 2 + 2 JSD(p_r, p_g), so the
game ends at p_g = p_r, with D = 1/2 everywhere and V = -2 log 2.

The real samples are of three Gaussians on a line, so all this can be measured: D for
a fixed G; and, when the game is over, V and the accuracy of a fresh discriminator
("best" is what any could score, from histograms), and W₁ = ∫|F_r - F_g| in
units of the real samples' standard deviation.

What makes it stable: G starts as 2z₁ + f(z), whose samples lie all over the real ones;
Adam without momentum (β₁ = 0); rates that fall along a cosine; k = 2; an average of
G's weights, which is what is measured; and noise of two dimensions: of one, G makes
folds, and so narrow peaks, which D hardly sees.  No penalty is needed.

Source: I. Goodfellow et al., "Generative adversarial nets" (2014), Algorithm 1,
Proposition 1, Theorem 1; *Deep Learning*, section 20.10.4.  The data are drawn.
"""

import numpy as np
from zoo import Bar, Options, Result, figure, start

import graphgpu as gg

MEANS, WEIGHTS, SIGMA = np.array([-2.0, 0.0, 2.0]), np.array([0.3, 0.3, 0.4]), 0.5
K, BATCH, HELD_OUT = 2, 256, 50_000


def real(random, n):
    """Draw n real samples."""
    x = random.choice(MEANS, (n, 1), p=WEIGHTS) + SIGMA * random.standard_normal((n, 1))
    return x.astype("float32")


def net(name, width, first, last=1.0, size=1):
    """Return a net of two hidden layers, whose units bend all over the line."""
    init = gg.nn.init
    with gg.scope(name):
        bent = {"weight_init": init.normal(first), "bias_init": init.uniform(-2, 2)}
        return gg.nn.Sequential(
            gg.nn.Dense(size, width, activation=gg.tanh, **bent),
            gg.nn.Dense(width, width, activation=gg.tanh),
            gg.nn.Dense(width, 1, weight_init=init.glorot_uniform(last)),
        )


def value(D, x, fake):
    """V of logits: log σ(s) = -softplus(-s), and log(1 - σ(s)) = -softplus(s)."""
    return -gg.mean(gg.softplus(-D(x))) - gg.mean(gg.softplus(D(fake)))


def adam(lr, steps):
    schedule = gg.optim.schedules.cosine
    return gg.optim.Adam(lambda t: schedule(t, lr, steps, lr / 50), betas=(0.0, 0.99))


def discriminate(name, x, fake, options):
    """Train a new discriminator for a fixed G; return x -> (D(x), V, accuracy)."""
    D, steps = net(name, 64, 1.5), options.steps(1000, full=4000)
    V = value(D, x, fake)
    updates = adam(3e-3, steps).updates(-V, D.parameters())
    train = gg.compile(x, None, updates, device=options.device)
    random = np.random.default_rng(1)
    for _ in range(steps):
        train(real(random, 2 * BATCH))
    right = [gg.mean(r.cast("float32")) for r in (D(x) > 0, D(fake) <= 0)]
    outputs = [gg.sigmoid(D(x)), V, (right[0] + right[1]) / 2]
    return gg.compile(x, outputs, device=options.device, seed=1)  # other noise


def play(saturating, options):
    """Play one of the games; return V, the parameters, x, z, G(z), and V on the way."""
    steps = options.steps(1500, full=6000)
    x, z = gg.placeholder("x", ("batch", 1)), gg.random_normal(("batch", 2))
    G, D = net("generator", 32, 0.7, size=2, last=0.2), net("discriminator", 64, 1.5)
    with gg.scope("generator"):
        fake = 2 * z[:, :1] + G(z)
    V = value(D, x, fake)
    deceived = -gg.mean(gg.softplus(-D(fake)))  # E log D(G(z))
    average = gg.optim.EMA(G.parameters(), decay=0.999)
    D_updates = adam(3e-3, steps * K).updates(-V, D.parameters())
    loss = V if saturating else -deceived
    G_updates = adam(3e-3, steps).updates(loss, G.parameters(), averages=[average])
    step_of_D = gg.compile(x, V, D_updates, device=options.device)
    step_of_G = gg.compile(x, None, G_updates, device=options.device, seed=2)
    random, values = np.random.default_rng(0), []
    for _ in range(steps):
        values += [step_of_D(real(random, BATCH)) for _ in range(K)]
        step_of_G(real(random, BATCH))
    parameters = [*G.parameters(), *D.parameters()]
    return V, parameters, x, z, average.apply(fake), [float(v) for v in values]


def main(options: Options) -> Result:
    held_out = real(np.random.default_rng(2), HELD_OUT)
    picture, axes = figure(1, 4, (13, 3.2))
    grid = np.linspace(-5, 5, 401, dtype="float32")[:, None]
    root = np.sqrt(2 * np.pi)
    p_r = np.exp(-(((grid - MEANS) / SIGMA) ** 2) / 2) @ WEIGHTS[:, None]
    p_r, p_g = p_r / (SIGMA * root), np.exp(-((grid / 2) ** 2) / 2) / (2 * root)

    with gg.root_scope(seed=0):  # a fixed G(z) = 2z
        x = gg.placeholder("x", ("batch", 1))
        D = discriminate("fixed", x, 2 * gg.random_normal(("batch", 1)), options)
    best, reached = p_r / (p_r + p_g), gg.asnumpy(D(grid)[0])
    axes[0, 0].plot(grid, np.hstack([best, reached]), label=["best", "D"])
    axes[0, 0].set(title="D for a fixed G", xlabel="x")
    error = np.abs(reached - best)[p_r + p_g > 0.01]
    bars = [Bar("fixed G: |D - p_r / (p_r + p_g)|, mean", error.mean(), at_most=0.03)]
    bars += [Bar("the same, at most", error.max(), at_most=0.1)]

    print("game           W1/sigma  fresh V  its accuracy  best  modes' shares")
    for i, name in enumerate(("non-saturating", "minimax")):
        with gg.root_scope(seed=i):
            V, parameters, x, z, fake, values = play(name == "minimax", options)
            judge = discriminate("fresh", x, fake, options)
        sample = gg.compile(x, [z, fake], device=options.device, seed=3)
        noise, forged = map(gg.asnumpy, sample(held_out))
        fresh_V, accuracy = map(float, judge(held_out)[1:])
        moved = np.abs(np.sort(forged, axis=0) - np.sort(held_out, axis=0))
        W1 = float(moved.mean() / held_out.std())
        shares = np.bincount(np.abs(forged - MEANS).argmin(1), minlength=3) / HELD_OUT
        p_g = np.histogram(forged, grid[::4, 0], density=True)[0]
        limit = 0.5 + np.abs(p_g - p_r[2::4, 0]).sum() * 0.1 / 4  # (1 + TV) / 2
        print(f"{name:14s} {W1:10.4f} {fresh_V:8.4f}", end="")
        print(f"{accuracy:14.1%} {limit:5.1%}  {np.round(shares, 3)}")
        bars += [
            Bar(f"{name}: W1 / sigma", W1, at_most=0.1),
            Bar(f"{name}: fresh accuracy", accuracy, at_most=0.55),
            Bar(f"{name}: V / (-2 log 2)", fresh_V / -np.log(4), 0.95, 1.05),
            Bar(f"{name}: least share of a mode", min(shares / WEIGHTS), 0.8),
        ]
        axes[0, 1].stairs(p_g, grid[::4, 0], label=name)
        axes[0, 2].plot(values, linewidth=0.5, label=name)
    axes[0, 1].plot(grid, p_r, "k--", label="$p_r$")
    axes[0, 3].scatter(*noise[:1200].T, c=forged[:1200], s=3, cmap="coolwarm")
    axes[0, 1].set(title="what G makes", xlabel="x")
    axes[0, 2].axhline(-np.log(4), color="k", linestyle="--", label="-2 log 2")
    axes[0, 2].set(title="V during the game", xlabel="step of D", ylim=(-1.7, -1.1))
    axes[0, 3].set(title="noise, coloured by G(z)", xlabel="$z_1$", ylabel="$z_2$")
    for a in axes[0, :3]:
        a.legend(fontsize=7)
    return Result(bars, picture, V, parameters)


if __name__ == "__main__":
    start(main)
