"""A Hopfield net remembers patterns that it is shown in part.

Units s ∈ {-1, 1} sum what comes through symmetric weights, hᵢ = Σⱼ Jᵢⱼ sⱼ, and one
after the other take the sign of it.  The energy E = -½ Σ sᵢ Jᵢⱼ sⱼ, Jᵢᵢ = 0, then never
rises, as a turn of unit i changes it by -2 |hᵢ|: the net ends in a minimum.  Hebb's
rule puts the minima at the patterns ξ: J = Σ ξξᵀ, which is -2 ∂E/∂J at the patterns, a
step of descent.  Up to some 0.138 N random patterns are recalled, not one more.  Digits
are too much alike for that rule; J = ξᵀ (ξξᵀ)⁻¹ ξ, the projection onto the patterns
(the pseudo-inverse rule), keeps them apart.

The weights of Hebb's rule are kept without the usual 1/N: all sums are then of whole
numbers, which float32 holds exactly, and so is the verdict on the energy.

Source: Hopfield, "Neural networks and physical systems with emergent collective
computational abilities", 1982; Amit, Gutfreund & Sompolinsky, 1985 (0.138); Personnaz,
Guyon & Dreyfus, 1985 (the projection); energies are section 16.2.4 of Goodfellow, Bengio
& Courville, *Deep Learning*.  The digits are scikit-learn's; --data: MNIST's folder.
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
    field = s @ J[i]
    new = gg.where(gg.equal(field, 0), s[:, i], gg.sign(field))
    return gg.where(gg.equal(gg.arange(s.shape[1]), i), new[:, None], s)


def settle(s, J):
    """Return s when no unit wants to turn any more: sweeps, each in a new order."""

    def sweep(carry):
        before, _ = carry
        order = gg.argsort(gg.random_uniform((s.shape[1],)))
        after, _ = gg.scan(lambda s, i: (turn(s, J, i), None), before, order)
        return after, gg.any(gg.not_equal(after, before))

    return gg.while_loop(lambda carry: carry[1], sweep, (s, gg.constant(True)))[0]


class Net:
    """A net's programs: two rules to learn by, recall, and the energy on the way."""

    def __init__(self, units, device):
        with gg.root_scope(seed=0):
            self.J = gg.parameter("J", np.zeros((units, units), "float32"))
            s = gg.placeholder("s", ("patterns", units))
            order = gg.placeholder("order", ("steps",), "int64")
            others = 1 - gg.eye(units)
            (slope,) = gg.gradients(energy(s, self.J).sum(), [self.J])
            project = s.T @ gg.solve(s @ s.T, s)
            settled = settle(s, self.J)

            def step(s, i):
                after = turn(s, self.J, i)
                return after, energy(after, self.J)

            last, energies = gg.scan(step, s, order)
            self.loss = energy(gg.stop_gradient(last), self.J).mean().named("E")
        none = gg.zeros(())
        self.hebb = gg.compile(s, none, {self.J: -2 * slope * others}, device=device)
        self.project = gg.compile(s, none, {self.J: project * others}, device=device)
        self.settle = gg.compile(s, settled, device=device)
        self.trace = gg.compile([s, order], energies, device=device)


def flipped(patterns, share, random):
    """Return the patterns with a share of the units of each flipped."""
    flips = np.zeros(patterns.shape, bool)
    flips[:, : round(share * patterns.shape[1])] = True
    return np.where(random.permuted(flips, axis=1), -patterns, patterns)
