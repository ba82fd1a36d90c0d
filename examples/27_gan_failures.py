"""Three ways in which adversarial nets fail: they circle, they stall, they collapse.

Oscillation: on V = xy gradient steps turn about the solution (0, 0).  Taken at once,
each multiplies x² + y² by 1 + η²; in turn, they stay on the ellipse x² + y² - ηxy.
So does a small GAN, G(z) = θ + z/20 against D(x) = σ(wx) with real samples about 0; the
penalty γ/2 E|∂s/∂x|² on the slope of D's logit s at real samples damps it.

Vanishing gradient: real and forged samples lie on intervals that do not meet, so D
can be perfect.  The better it gets, the less G learns in the minimax game, whose slope
in a logit is -σ(s) → 0; the non-saturating one has σ(s) - 1 → -1.

Mode collapse: for a fixed D the best G puts all samples where D is largest.  A G with
10 steps for each of D comes close to it: it sits on one of eight Gaussians on a ring,
and moves as D follows.  With steps in turn, and the penalty, it finds all eight.

Source: I. Goodfellow et al., "Generative adversarial nets" (2014), section 3 and the
"Helvetica scenario"; *Deep Learning*, 20.10.4; the penalty is R₁ of L. Mescheder et
al., "Which training methods for GANs do actually converge?" (2018).  Data are drawn.
"""

import numpy as np
from zoo import Bar, Options, Result, figure, start

import graphgpu as gg

RATE, BATCH, SIGMA = 0.1, 256, 0.1
RING = 2 * np.array([(np.cos(a), np.sin(a)) for a in np.arange(8) * np.pi / 4])


def bilinear(options, in_turn):
    """Return the points (x, y) of min over x, max over y of V = xy."""
    x, y = gg.parameter("x", 1.0), gg.parameter("y", 0.0)
    dx, dy = gg.gradients(x * y, [x, y])
    down, up = {x: x - RATE * dx}, {y: y + RATE * dy}
    rounds = [down, up] if in_turn else [down | up]
    steps = [gg.compile([], gg.stack([x, y]), u, device=options.device) for u in rounds]
    points = [[step() for step in steps][0] for _ in range(options.steps(300))]
    return np.array([gg.asnumpy(p) for p in points])


def value(s_real, s_fake):
    """V = E log σ(s) of real samples + E log(1 - σ(s)) of forged ones."""
    return -gg.mean(gg.softplus(-s_real)) - gg.mean(gg.softplus(s_fake))


def penalty(s_real, x):
    """E|∂s/∂x|²: a gradient, as graph, that is differentiated again."""
    (slope,) = gg.gradients(gg.sum(s_real), [x])
    return gg.mean(gg.sum(gg.square(slope), axis=1))


def small_game(options, gamma):
    """Play G(z) = θ + z/20 against σ(wx); return θ on the way, V, and θ and w."""
    x, z = gg.placeholder("x", ("batch", 1)), gg.random_normal(("batch", 1))
    theta, w = gg.parameter("theta", 1.0), gg.parameter("w", 0.0)
    s_real, s_fake = w * x, w * (theta + z / 20)
    V = value(s_real, s_fake) - gamma / 2 * penalty(s_real, x)
    dtheta, dw = gg.gradients(V, [theta, w])
    updates = {theta: theta - RATE * dtheta, w: w + RATE * dw}
    step = gg.compile(x, theta, updates, device=options.device)
    random, path = np.random.default_rng(0), []
    for _ in range(options.steps(3000)):
        path.append(step((random.standard_normal((BATCH, 1)) / 20).astype("f4")))
    return np.array([float(p) for p in path]), V, [theta, w]


def net(name, inputs, outputs, activation):
    sizes = [(inputs, 64, activation), (64, 64, activation), (64, outputs, None)]
    with gg.scope(name):
        layers = [gg.nn.Dense(i, o, activation=a) for i, o, a in sizes]
        return gg.nn.Sequential(*layers)


def perfect(options):
    """Train D alone; return the slopes in θ of both losses of G at each step."""
    x, z = gg.placeholder("x", ("batch", 1)), gg.random_uniform(("batch", 1))
    D, theta = net("discriminator", 1, 1, gg.leaky_relu), gg.parameter("theta", -2.0)
    s_real, s_fake = D(x), D(theta + z)
    losses = -gg.mean(gg.softplus(s_fake)), gg.mean(gg.softplus(-s_fake))
    slopes = gg.stack([gg.gradients(loss, [theta])[0] for loss in losses])
    updates = gg.optim.Adam(1e-3).updates(-value(s_real, s_fake), D.parameters())
    step = gg.compile(x, slopes, updates, device=options.device)
    random, found = np.random.default_rng(0), []
    for _ in range(options.steps(1500)):
        found.append(step(random.uniform(1, 2, (64, 1)).astype("f4")))
    return np.abs([gg.asnumpy(f) for f in found])


def ring_game(options, rounds, G_steps, gamma):
    """Return [(round, modes that G covers), ...], and its samples in the end."""
    x, z = gg.placeholder("x", ("batch", 2)), gg.random_normal(("batch", 2))
    G, D = net("generator", 2, 2, gg.relu), net("discriminator", 2, 1, gg.leaky_relu)
    fake = G(z)
    s_real, s_fake = D(x), D(fake)
    loss = gamma / 2 * penalty(s_real, x) - value(s_real, s_fake)
    for_D, for_G = (gg.optim.Adam(lr=1e-3, betas=(0.0, 0.99)) for _ in range(2))
    D_updates = for_D.updates(loss, D.parameters())
    G_updates = for_G.updates(gg.mean(gg.softplus(-s_fake)), G.parameters())
    step_of_D = gg.compile(x, None, D_updates, device=options.device)
    step_of_G = gg.compile(x, None, G_updates, device=options.device, seed=1)
    sample = gg.compile(x, fake, device=options.device, seed=2)
    random, covered = np.random.default_rng(0), []
    for i in range(1, rounds + 1):
        noise = SIGMA * random.standard_normal((BATCH, 2))
        real = (RING[random.integers(8, size=BATCH)] + noise).astype("f4")
        step_of_D(real)
        for _ in range(G_steps):
            step_of_G(real)
        if i % 25 == 0 or i == rounds:
            forged = gg.asnumpy(sample(np.zeros((2000, 2), "f4")))
            far = np.linalg.norm(forged[:, None] - RING, axis=2)
            modes = ((far < 4 * SIGMA).mean(axis=0) > 0.03).sum()
            covered.append((i, modes))
    return np.array(covered), forged


def main(options: Options) -> Result:
    picture, axes = figure(2, 3, (11, 6.5))
    points = [bilinear(options, in_turn) for in_turn in (False, True)]
    at_once, in_turn = (np.linalg.norm(p, axis=1) for p in points)
    law = (1 + RATE**2) ** (np.arange(len(at_once)) / 2)
    bars = [
        Bar("xy at once: error of the law", max(abs(at_once / law - 1)), None, 1e-4)
    ]
    bars += [Bar("xy in turn: largest distance", max(in_turn), at_most=1.06)]
    for path, label in zip(points, ("at once", "in turn"), strict=True):
        axes[0, 0].plot(*path.T, label=label)
    axes[0, 0].set(title="V = xy", xlabel="x", ylabel="y", aspect="equal")

    for gamma, bound in ((0, {"at_least": 0.5}), (1, {"at_most": 0.05})):
        path, V, parameters = small_game(options, gamma)
        late = max(abs(path[-len(path) // 3 :]))
        bars.append(Bar(f"small GAN, penalty {gamma}: late |theta|", late, **bound))
        axes[0, 1].plot(path, label=f"$\\gamma$ = {gamma}")
    axes[0, 1].set(title="a small GAN", xlabel="step", ylabel="$\\theta$")

    with gg.root_scope(seed=0):
        slopes = perfect(options)
    bars += [Bar("perfect D: slope, minimax", slopes[-1, 0], at_most=1e-3)]
    bars += [Bar("perfect D: slope, non-saturating", slopes[-1, 1], at_least=1.0)]
    axes[0, 2].semilogy(slopes, label=["minimax", "non-saturating"])
    axes[0, 2].set(title="slope of G's loss in $\\theta$", xlabel="step of D alone")

    games = (300, 10, 0.0, {"at_most": 2}), (1500, 1, 0.1, {"at_least": 8})
    for i, (rounds, G_steps, gamma, bound) in enumerate(games):
        with gg.root_scope(seed=0):
            covered, forged = ring_game(options, options.steps(rounds), G_steps, gamma)
        name = f"steps of G: {G_steps}, penalty {gamma}"
        late = covered[len(covered) // 2 :, 1]  # of the second half
        bars.append(Bar(f"modes, {name}", max(late) if i == 0 else min(late), **bound))
        axes[1, i].plot(*RING.T, "k+", *forged.T, "C0.", markersize=3)
        axes[1, i].set(title=name, aspect="equal", xlim=(-3, 3), ylim=(-3, 3))
        axes[1, 2].plot(*covered.T, label=name)
    axes[1, 2].set(title="modes covered", xlabel="step of D", ylim=(0, 8.5))
    for a in (*axes[0], axes[1, 2]):
        a.legend(fontsize=7)
    return Result(bars, picture, V, parameters)


if __name__ == "__main__":
    start(main)
