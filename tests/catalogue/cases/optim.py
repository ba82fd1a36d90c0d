"""The first step of every optimiser, as a function of a parameter and its gradient."""

import sys
from pathlib import Path

import numpy as np
from case import Case

import graphgpu as gg
from graphgpu.graph import substitute

sys.path.append(str(Path(__file__).parents[2] / "optim"))

import optimizer_references as references

RNG = np.random.default_rng(43)
X = RNG.uniform(0.5, 2, (2, 3)).round(2) * np.array([[1, -1, 1], [-1, 1, -1]])
G = RNG.uniform(0.5, 2, (2, 3)).round(2) * np.array([[1, 1, -1], [-1, 1, 1]])
FAR = np.array([[1e4, -1e4, 3.0], [-1e10, 0.5, 2e6]])
STEEP = np.array([[1e4, 1e6, -1e9], [-1e4, 2.0, 1e10]])


def stepped(optimizer, averages=None):
    """Return the new value of a parameter, or an average of it."""

    def function(x, g):
        sizes = [size if isinstance(size, int) else 1 for size in x.shape]
        w = gg.parameter("w", np.zeros(sizes), x.dtype)
        made = [] if averages is None else [averages([w])]
        updates = optimizer().updates(None, [w], [g], averages=made)
        wanted = updates[made[0].averages[w] if made else w]
        start = {s: gg.constant(s.value) for s in updates if s is not w}
        return substitute([wanted], {w: x, **start})[0]

    return function


def case(name, reference, *, extremes=None, **options):
    """Return the case of a first step, with the options given."""
    optimizer = getattr(gg.optim, name.split(",")[0])
    return Case(
        name=name,
        function=stepped(lambda: optimizer(**options)),
        inputs=[X, G],
        reference=lambda x, g: reference(x, g, {}, 1, **options),
        extremes=[[FAR, STEEP], [X, STEEP]] if extremes is None else extremes,
        symbolic=False,
    )


def amsgrad(x, g, s, t, amsgrad, **options):
    return references.amsgrad(x, g, s, t, **options)


CASES = [
    case("SGD", references.sgd, lr=0.1, weight_decay=0.1),
    case("SGD, momentum", references.sgd, lr=0.1, momentum=0.9),
    case("SGD, Nesterov", references.sgd, lr=0.1, momentum=0.9, nesterov=True),
    case("Adam", references.adam, lr=0.1, weight_decay=0.1, eps=0.1),
    case("Adam, AMSGrad", amsgrad, lr=0.1, amsgrad=True, eps=0.1),
    case("AdamW", references.adamw, lr=0.1, eps=0.1),
    case("RMSProp", references.rmsprop, lr=0.1, weight_decay=0.1),
    case("RMSProp, centered", references.rmsprop, lr=0.1, centered=True, momentum=0.9),
    case("Adagrad", references.adagrad, lr=0.1, initial_accumulator_value=0.5),
    case("NAdam", references.nadam, lr=0.1, eps=0.1),
    case("RAdam", references.radam, lr=0.1, betas=(0.9, 0.99)),
    case("Adamax", references.adamax, lr=0.1, weight_decay=0.1, eps=0.1),
    case("Adadelta", references.adadelta, weight_decay=0.1),
    case("Lion", references.lion, lr=0.1, weight_decay=0.1),
    case("LAMB", references.lamb, lr=0.1, eps=0.1),
    case("Muon", references.muon, lr=0.1, extremes="the iteration amplifies rounding"),
    Case(
        name="EMA",
        function=stepped(
            lambda: gg.optim.SGD(0.1), lambda p: gg.optim.EMA(p, 0.9, "values")
        ),
        inputs=[X, G],
        reference=lambda x, g: 0.1 * (x - 0.1 * g),
        extremes=[[FAR, STEEP]],
        symbolic=False,
    ),
    Case(
        name="SWA",
        function=stepped(lambda: gg.optim.SGD(0.1), lambda p: gg.optim.SWA(p, 1)),
        inputs=[X, G],
        reference=lambda x, g: x - 0.1 * g,
        extremes=[[FAR, STEEP]],
        symbolic=False,
    ),
]
