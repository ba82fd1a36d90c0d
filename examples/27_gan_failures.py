"""Three ways in which adversarial nets fail: they circle, they stall, they collapse.

Oscillation: on V = xy gradient steps turn about the solution (0, 0).  Taken at once,
each multiplies x² + y² by 1 + η²; in turn, they stay on the ellipse x² + y² - ηxy.
A small GAN turns too, ever wider: G(z) = θ + z/20 against D(x) = σ(wx), real samples
about 0.  The penalty γ/2 E|∂s/∂x|² on D's logit s at real samples damps it.

Vanishing gradient: where real and forged samples do not meet, D can be perfect.  Then
the minimax loss has the slope -σ(s) → 0 in a logit, the non-saturating σ(s) - 1 → -1.

Mode collapse: for a fixed D the best G puts all samples where D is largest.  A G with
10 steps for each of D comes close to it: it sits about one of eight Gaussians on a
ring, and moves on as D follows.  With a step of each in turn it finds all eight.

Source: I. Goodfellow et al., "Generative adversarial nets" (2014), section 3 and the
"Helvetica scenario"; the penalty is R₁ of L. Mescheder et al., "Which training methods
for GANs do actually converge?" (2018).  The data are drawn.
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
    turns, point = [down, up] if in_turn else [down | up], gg.stack([x, y])
    steps = [gg.compile([], point, turn, device=options.device) for turn in turns]
    points = [[step() for step in steps] for _ in range(options.steps(300))]
    return np.array([gg.asnumpy(first) for first, *_ in points])


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
    random, n = np.random.default_rng(0), options.steps(3000)
    real = (random.standard_normal((n, BATCH, 1)) / 20).astype("float32")
    return np.array([float(step(r)) for r in real]), V, [theta, w]


def net(name, inputs, outputs, activation):
    sizes = [(inputs, 64, activation), (64, 64, activation), (64, outputs, None)]
    with gg.scope(name):
        return gg.nn.Sequential(*[gg.nn.Dense(i, o, activation=a) for i, o, a in sizes])


def perfect(options):
    """Train D alone; return the slopes in θ of both losses of G at each step."""
    x, z = gg.placeholder("x", ("batch", 1)), gg.random_uniform(("batch", 1))
    D, theta = net("discriminator", 1, 1, gg.leaky_relu), gg.parameter("theta", -2.0)
    s_real, s_fake = D(x), D(theta + z)
    losses = -gg.mean(gg.softplus(s_fake)), gg.mean(gg.softplus(-s_fake))
    slopes = gg.stack([gg.gradients(loss, [theta])[0] for loss in losses])
    updates = gg.optim.Adam(1e-3).updates(-value(s_real, s_fake), D.parameters())
    step = gg.compile(x, slopes, updates, device=options.device)
    random, n = np.random.default_rng(0), options.steps(1500)
    real = random.uniform(1, 2, (n, 64, 1)).astype("float32")
    return np.abs([gg.asnumpy(step(r)) for r in real])


def ring_game(options, rounds, G_steps):
    """Return [(round, modes that G covers), ...], and what it made then."""
    x, z = gg.placeholder("x", ("batch", 2)), gg.random_normal(("batch", 2))
    G, D = net("generator", 2, 2, gg.relu), net("discriminator", 2, 1, gg.leaky_relu)
    fake = G(z)
    s_real, s_fake = D(x), D(fake)
    loss = 0.05 * penalty(s_real, x) - value(s_real, s_fake)
    for_D, for_G = (gg.optim.Adam(lr=1e-3, betas=(0.0, 0.99)) for _ in range(2))
    D_updates = for_D.updates(loss, D.parameters())
    G_updates = for_G.updates(gg.mean(gg.softplus(-s_fake)), G.parameters())
    step_of_D = gg.compile(x, None, D_updates, device=options.device)
    step_of_G = gg.compile(x, None, G_updates, device=options.device, seed=1)
    sample = gg.compile(x, fake, device=options.device, seed=2)
    random, covered, seen = np.random.default_rng(0), [], []
    for i in range(1, rounds + 1):
        real = RING[random.integers(8, size=BATCH)]
        real = (real + SIGMA * random.standard_normal((BATCH, 2))).astype("f4")
        step_of_D(real)
        for _ in range(G_steps):
            step_of_G(real)
        if i % 25 == 0 or i == rounds:
            seen.append(gg.asnumpy(sample(np.zeros((2000, 2), "f4"))))
            far = np.linalg.norm(seen[-1][:, None] - RING, axis=2)
            covered.append((i, ((far < 4 * SIGMA).mean(axis=0) > 0.03).sum()))
    return np.array(covered), seen


def main(options: Options) -> Result:
    picture, axes = figure(2, 3, (10, 6))
    points = [bilinear(options, in_turn) for in_turn in (False, True)]
    at_once, in_turn = (np.linalg.norm(p, axis=1) for p in points)
    law = (1 + RATE**2) ** (np.arange(len(at_once)) / 2)
    bars = [Bar("xy at once: off the law", max(abs(at_once / law - 1)), at_most=1e-4)]
    bars += [Bar("xy in turn: largest distance", max(in_turn), at_most=1.06)]
    axes[0, 0].plot(*np.array(points).T, label=["at once", "in turn"])
    axes[0, 0].set(title="V = xy", xlabel="x", ylabel="y", aspect="equal")
    for gamma, bound in ((0, {"at_least": 0.5}), (1, {"at_most": 0.05})):
        path, V, parameters = small_game(options, gamma)
        bars += [Bar(f"GAN, penalty {gamma}: |theta|", max(abs(path[-999:])), **bound)]
        axes[0, 1].plot(path, label=f"$\\gamma$ = {gamma}")
    axes[0, 1].set(title="a small GAN", xlabel="step", ylabel="$\\theta$")
    with gg.root_scope(seed=0):
        slopes = perfect(options)
    bars += [Bar("perfect D: slope, minimax", slopes[-1, 0], at_most=1e-3)]
    bars += [Bar("perfect D: slope, non-saturating", slopes[-1, 1], at_least=1.0)]
    axes[0, 2].semilogy(slopes, label=["minimax", "non-saturating"])
    axes[0, 2].set(title="slope of G's loss in $\\theta$", xlabel="step of D alone")
    games = (600, 10, max, {"at_most": 2}), (1500, 1, min, {"at_least": 8})
    for a, (rounds, G_steps, worst, bound) in zip(axes[1], games, strict=False):
        with gg.root_scope(seed=0):
            covered, seen = ring_game(options, options.steps(rounds), G_steps)
        name, late = f"{G_steps} of G for 1 of D", covered[-len(covered) // 3 :, 1]
        bars += [Bar(f"modes of 8, {name}", worst(late), **bound)]
        moments = seen[-6 if G_steps > 1 else -1 :]
        a.plot(*np.transpose(moments)[:, :800], ".", markersize=2)
        a.plot(*RING.T, "k+", markersize=9)
        a.set(title=name, aspect="equal", xlim=(-3, 3), ylim=(-3, 3))
        axes[1, 2].plot(*covered.T, label=name)
    axes[1, 2].set(title="modes covered", xlabel="step of D", ylim=(0, 8.5))
    for a in (*axes[0], axes[1, 2]):
        a.legend(fontsize=7)
    return Result(bars, picture, V, parameters)


if __name__ == "__main__":
    start(main)
