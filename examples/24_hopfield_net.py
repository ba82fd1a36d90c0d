"""A Hopfield net remembers patterns that it is shown in part.

Units s ∈ {-1, 1} sum what comes through symmetric weights, hᵢ = Σⱼ Jᵢⱼ sⱼ, and one
after the other take the sign of it.  The energy E = -½ Σ sᵢ Jᵢⱼ sⱼ, Jᵢᵢ = 0, never
rises: turning unit i changes it by -2 |hᵢ|.  So the net ends in a minimum.  Hebb's rule
makes minima of patterns ξ: J = Σ ξξᵀ is -2 Σ ∂E/∂J, a step of descent.  Beyond some
0.138 N random patterns it breaks down; digits are too much alike for it.  Projecting
onto patterns, the rows of Ξ, J = Ξᵀ (ΞΞᵀ)⁻¹ Ξ (pseudo-inverse rule), keeps them apart.
Hebb's J has no 1/N: its sums are of whole numbers, and E, which must not rise, exact.

Source: Hopfield, "Neural networks and physical systems with emergent collective
computational abilities", 1982; Amit, Gutfreund & Sompolinsky, 1985 (0.138); Personnaz,
Guyon & Dreyfus, 1985 (the projection).  Models of an energy: Goodfellow, Bengio &
Courville, *Deep Learning*, 16.2.4.  One digit of each class is of scikit-learn's 8×8
pixels; --data takes a folder with MNIST's files instead.
"""

import numpy as np
from zoo import Bar, Options, Result, figure, show_image, start

import graphgpu as gg
from graphgpu.data import digits, mnist

N = 500
LOADS = (0.05, 0.1, 0.15, 0.2)
LOAD = 0.1
FLIPPED = 0.2


def energy(s, J):
    """Return E of each row of s."""
    return -0.5 * gg.sum((s @ J) * s, axis=-1)


def turn(s, J, i):
    """Return s after unit i has taken the sign of its field; at 0 it stays."""
    field = (s @ J[i]).named("field")
    new = gg.where(gg.equal(field, 0), s[:, i], gg.sign(field))
    return gg.where(gg.equal(gg.arange(s.shape[1]), i), new[:, None], s)


def settle(s, J):
    """Return s when no unit wants to turn any more: sweeps, each in a new order."""

    def sweep(carry):
        before, _ = carry
        order = gg.argsort(gg.random_uniform((s.shape[1],)))
        after, _ = gg.scan(lambda s, i: (turn(s, J, i), None), before, order)
        return after, gg.any(gg.not_equal(after, before))

    start = s, gg.constant(True)
    last, _ = gg.while_loop(lambda c: c[1], sweep, start, max_iterations=100)
    return last


class Net:
    """A net's programs: two rules to learn by, recall, and the energy on the way."""

    def __init__(self, units, device):
        with gg.root_scope(seed=0):
            self.J = J = gg.parameter("J", np.zeros((units, units), "float32"))
            s = gg.placeholder("s", ("patterns", units))
            order = gg.placeholder("order", ("turns",), "int64")
            others = 1 - gg.eye(units)
            hebb = -2 * gg.gradients(energy(s, J).sum(), [J])[0]
            projection = s.T @ gg.solve(s @ s.T, s)
            settled = settle(s, J)

            def step(s, i):
                s = turn(s, J, i)
                return s, energy(s, J)

            last, energies = gg.scan(step, s, order)
            self.energy = energy(gg.stop_gradient(last), J).mean().named("E")
        self.hebb = gg.compile(s, [], {J: hebb * others}, device=device)
        self.project = gg.compile(s, [], {J: projection * others}, device=device)
        self.settle = gg.compile(s, settled, device=device)
        self.trace = gg.compile([s, order], energies, device=device)


def flipped(patterns, share, random):
    """Return the patterns with a share of the units of each flipped."""
    flips = np.arange(patterns.shape[1]) < round(share * patterns.shape[1])
    flips = random.permuted(np.tile(flips, (len(patterns), 1)), axis=1)
    return np.where(flips, -patterns, patterns)


def overlap(s, patterns):
    """Return the share of equal units less that of others, by pattern."""
    return np.mean(gg.asnumpy(s) * patterns, axis=1)


def main(options: Options) -> Result:
    data = mnist(options.data) if options.data else digits()
    random = np.random.default_rng(0)
    net, found = Net(N, options.device), {}
    print(f"{N} units, {FLIPPED:.0%} of them flipped\n P/N  overlap recalled")
    for load in LOADS[: options.steps(len(LOADS))]:
        patterns = random.choice(np.float32([-1, 1]), (round(load * N), N))
        start = flipped(patterns, FLIPPED, random)
        net.hebb(patterns)
        found[load] = overlap(net.settle(start), patterns)
        print(f"{load:4.2f}  {found[load].mean():.3f}")
        if load == LOAD:
            order = np.concatenate([random.permutation(N) for _ in range(2)])
            energies = gg.asnumpy(net.trace(start, order))

    _, first = np.unique(data.train_labels, return_index=True)
    patterns = np.sign(data.train_images[first].reshape(len(first), -1) - 0.51)
    start = flipped(patterns, 0.1, random)
    small = Net(patterns.shape[1], options.device)
    rows = {"stored": patterns, "10% flipped": start}
    for name, learn in ("Hebb's", small.hebb), ("pseudo-inverse", small.project):
        learn(patterns)
        rows[f"{name} rule"] = gg.asnumpy(small.settle(start))
    for name, s in rows.items():
        print(f"{name:20s} {overlap(s, patterns).mean():.3f}")
    mean, rise = found[LOAD].mean(), np.diff(energies, axis=0).max()
    kept = overlap(rows["pseudo-inverse rule"], patterns).mean()
    bars = [
        Bar(f"mean overlap, {LOAD} N random patterns", float(mean), at_least=0.97),
        Bar("largest rise of the energy in a turn", float(rise), at_most=0),
        Bar("mean overlap, digits by the projection", float(kept), at_least=0.97),
    ]
    return Result(bars, plot(energies, found, rows, data), small.energy, [small.J])


def plot(energies, found, rows, data):
    """Draw energies turn by turn, overlaps by load, and the digits."""
    picture, axes = figure(4, 22, (10, 3))
    grid = axes[0, 0].get_gridspec()
    for axis in axes[:, :12].ravel():
        axis.remove()
    falls, loads = (picture.add_subplot(grid[:, k : k + 6]) for k in (0, 6))
    falls.plot(energies[:, :8] / N**2)
    falls.set(xlabel="turn of a unit", title="energies E / N² of 8 states")
    for load, each in found.items():
        loads.plot(np.full(len(each), load), each, "C0.", alpha=0.2)
    loads.plot(list(found), [each.mean() for each in found.values()], "C1o-")
    loads.axvline(0.138, color="gray", linestyle=":")
    loads.set(xlabel="patterns / N", ylim=(0, 1.05), title="overlap recalled, and mean")
    for row, (title, kind) in zip(axes[:, 12:], rows.items(), strict=True):
        for axis, image in zip(row, kind, strict=True):
            show_image(axis, image.reshape(data.image_shape[1:]))
        row[5].set_title(title, fontsize=9)
    return picture


if __name__ == "__main__":
    start(main)
