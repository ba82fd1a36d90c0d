"""Cases of loops over sequences."""

import numpy as np
from case import Case

import graphgpu as gg

X = np.array([[0.3, -1.7, 0.6], [1.1, -0.4, 0.9], [-0.2, 0.8, -1.3], [0.5, 0.1, -0.7]])
W = np.array([[0.4, -0.3, 0.2], [0.1, 0.5, -0.6], [-0.2, 0.3, 0.7]])
START = np.array([0.2, -0.5, 0.1])
SEQUENCES = "a loop has the extremes of its body"


def recurrent(**options):
    """Return a recurrent net by gg.scan."""

    def function(x, w, start):
        def step(state, element):
            state = gg.tanh(w @ state + element)
            return state, state * element

        last, outputs = gg.scan(step, start, x, **options)
        return gg.concat([outputs, gg.expand_dims(last, 0)])

    return function


def by_hand(reverse):
    """Return the same as a loop."""

    def reference(x, w, start):
        outputs = np.zeros_like(x)
        for i in reversed(range(len(x))) if reverse else range(len(x)):
            start = np.tanh(w @ start + x[i])
            outputs[i] = start * x[i]
        return np.concatenate([outputs, start[None]])

    return reference


def counted(x):
    """Return Σ i x_i, with a carry that counts."""

    def step(carry, element):
        count, total = carry
        return (count + 1, total + element * gg.cast(count, element.dtype)), None

    start = gg.zeros((), "int64"), gg.zeros((3,), x.dtype)
    (_, total), _ = gg.scan(step, start, x)
    return total


CASES = [
    Case(
        name="map",
        function=lambda x, w: gg.map(lambda row: gg.tanh(w @ row) * row, x),
        inputs=[X, W],
        reference=lambda x, w: np.tanh(x @ w.T) * x,
        extremes=SEQUENCES,
    ),
    Case(
        name="scan",
        function=recurrent(),
        inputs=[X, W, START],
        reference=by_hand(reverse=False),
        extremes=SEQUENCES,
    ),
    Case(
        name="scan, reverse",
        function=recurrent(reverse=True),
        inputs=[X, W, START],
        reference=by_hand(reverse=True),
        extremes=SEQUENCES,
    ),
    Case(
        name="scan, checkpoint_every",
        function=recurrent(checkpoint_every=3),
        inputs=[X, W, START],
        reference=by_hand(reverse=False),
        extremes=SEQUENCES,
    ),
    Case(
        name="scan, several carries",
        function=counted,
        inputs=[X],
        reference=lambda x: np.arange(len(x)) @ x,
        extremes=SEQUENCES,
    ),
]
