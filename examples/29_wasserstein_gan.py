"""A generator follows a critic that measures the distance between distributions.

W₁(p_r, p_g) is the largest E f(x) - E f(G(z)) over all f of slope at most 1.  So the
critic f is trained to make that difference large, less λ E (‖∂f/∂x‖ - 1)² at points x
between real and forged samples: the gradient of a gradient's norm, so backpropagation
goes through a backward pass.  G then moves its samples up f.  Unlike V of a GAN the
critic's difference means something: it is an estimate of W₁, and falls as G learns.

Real samples lie on two half circles that interlock.  W₁ is measured too, by matching
1,000 forged points with as many held-out ones at the least cost; two sets of real
points are not at 0 either.

Source: I. Gulrajani et al., "Improved training of Wasserstein GANs" (2017), Algorithm
1, after M. Arjovsky et al., "Wasserstein GAN" (2017).  The data are drawn.
"""

import numpy as np
from zoo import Bar, Options, Result, figure, start

import graphgpu as gg

BATCH, CRITIC_STEPS, LAMBDA = 256, 5, 1.0


def moons(random, n):
    """Draw n points of two half circles, with noise."""
    angle, lower = np.pi * random.random(n), random.random(n) < 0.5
    x = np.where(lower, 1 - np.cos(angle), np.cos(angle)) - 0.5
    y = np.where(lower, 0.5 - np.sin(angle), np.sin(angle)) - 0.25
    points = np.stack([x, y], axis=1) + 0.05 * random.standard_normal((n, 2))
    return points.astype("float32")


def distance(a, b):
    """W₁ of as many points as points: the mean way of the best matching."""
    from scipy.optimize import linear_sum_assignment

    ways = np.linalg.norm(a[:, None] - b, axis=2)
    return float(ways[linear_sum_assignment(ways)].mean())


def net(name, outputs, activation):
    sizes = [(2, 64, activation), (64, 64, activation), (64, outputs, None)]
    with gg.scope(name):
        return gg.nn.Sequential(*[gg.nn.Dense(i, o, activation=a) for i, o, a in sizes])


def adam(lr, steps, final):
    """Return Adam without momentum, whose rate falls from lr to ``final``."""
    schedule = gg.optim.schedules.cosine
    return gg.optim.Adam(lambda t: schedule(t, lr, steps, final), betas=(0.0, 0.9))


def draw(held_out, points, levels, estimates, measured, floor, norms):
    picture, axes = figure(1, 3, (11, 3.2))
    axes[0, 0].plot(*held_out[:500].T, "k.", markersize=2, label="real")
    axes[0, 0].plot(*points[:500].T, "C0.", markersize=2, label="forged")
    axes[0, 0].set(title="samples", aspect="equal", xlim=(-2, 2), ylim=(-1.5, 1.5))
    axes[0, 1].plot(estimates, linewidth=0.5, label="the critic's difference")
    axes[0, 1].plot(*np.transpose(measured), "k.-", label="W₁, by matching")
    axes[0, 1].axhline(floor, color="k", linestyle=":", label="W₁ of real and real")
    axes[0, 1].set(title="distance", xlabel="round", ylim=(-0.1, 1.1))
    axes[0, 2].plot(norms, linewidth=0.5)
    axes[0, 2].set(title="mean $|\\partial f / \\partial x|$", xlabel="round")
    axes[0, 0].contour(*levels, 12, linewidths=0.5, cmap="coolwarm")
    for a in axes[0, :2]:
        a.legend(fontsize=7)
    return picture


def play(rounds):
    """Return x, G(z) and G's updates; f, its updates, its loss, and what is seen."""
    with gg.root_scope(seed=0):
        x, z = gg.placeholder("x", ("batch", 2)), gg.random_normal(("batch", 2))
        G, f = net("generator", 2, gg.relu), net("critic", 1, gg.leaky_relu)
        forged = G(z)
        difference = gg.mean(f(x)) - gg.mean(f(forged))
        with gg.scope("between"):
            t = gg.random_uniform(("batch", 1))
            between = t * x + (1 - t) * gg.stop_gradient(forged)
        with gg.scope("penalty"):
            (slope,) = gg.gradients(gg.sum(f(between)), [between])
            norm = gg.vector_norm(slope, axis=1)
            penalty = gg.mean(gg.square(norm - 1))
        loss = LAMBDA * penalty - difference
        f_updates = adam(2e-3, rounds * CRITIC_STEPS, 5e-4).updates(
            loss, f.parameters()
        )
        G_updates = adam(1e-3, rounds, 2e-5).updates(
            -gg.mean(f(forged)), G.parameters()
        )
    seen = [difference, gg.mean(norm)]
    return x, forged, G_updates, f, f_updates, loss, seen


def main(options: Options) -> Result:
    rounds = options.steps(800, full=5000)
    x, forged, G_updates, f, f_updates, loss, seen = play(rounds)
    step_of_f = gg.compile(x, seen, f_updates, device=options.device)
    step_of_G = gg.compile(x, None, G_updates, device=options.device, seed=1)
    sample = gg.compile(x, forged, device=options.device, seed=2)
    critic = gg.compile(x, f(x), device=options.device)

    matched = 100 if options.quick else 1000
    random = np.random.default_rng(0)
    held_out = moons(np.random.default_rng(1), matched)
    every, estimates, norms, measured = max(1, rounds // 10), [], [], []
    print("round  critic's difference    W1   mean slope")
    for i in range(rounds):
        if i % every == 0:
            measured.append((i, distance(gg.asnumpy(sample(held_out)), held_out)))
        for _ in range(CRITIC_STEPS):
            estimate, n = step_of_f(moons(random, BATCH))
        step_of_G(moons(random, BATCH))
        estimates.append(float(estimate))
        norms.append(float(n))
        if i % every == every - 1:
            e, n = np.mean(estimates[-every:]), np.mean(norms[-every:])
            print(f"{measured[-1][0]:5d} {e:20.3f} {measured[-1][1]:6.3f} {n:11.3f}")
    points = gg.asnumpy(sample(held_out))
    measured.append((rounds, distance(points, held_out)))
    floor = distance(moons(random, matched), held_out)
    print(
        f"W1 in the end {measured[-1][1]:.3f}; of two sets of real points {floor:.3f}"
    )

    late = np.array(norms[-(rounds // 5) - 1 :]).mean()
    bars = [
        Bar("W1 of forged and held-out points", measured[-1][1], at_most=0.15),
        Bar(
            "W1 in the end / at the start",
            measured[-1][1] / measured[0][1],
            at_most=0.2,
        ),
        Bar("mean slope of the critic, last fifth", late, 0.9, 1.1),
    ]
    side = np.linspace(-2, 2, 81, dtype="float32")
    plane = np.stack(np.meshgrid(side, side), axis=-1).reshape(-1, 2)
    levels = side, side, gg.asnumpy(critic(plane)).reshape(81, 81)
    picture = draw(held_out, points, levels, estimates, measured, floor, norms)
    return Result(bars, picture, loss, f.parameters())


if __name__ == "__main__":
    start(main)
