"""Functions that are chosen, or repeated while a condition holds."""

import numpy as np
from case import Case

import graphgpu as gg

X = np.array([[0.3, -0.4, 0.8], [0.6, 0.1, -0.9]])
W = np.array([[0.5, -0.2, 0.1], [0.3, 0.9, -0.6], [-0.8, 0.4, 0.7]])


def _chosen(x, w):
    return gg.cond(gg.sum(x) > 0, lambda a: gg.tanh(a @ w), lambda a: a * a * w[0], x)


def _chosen_reference(x, w):
    return np.tanh(x @ w) if x.sum() > 0 else x * x * w[0]


def _repeated(x, w):
    return gg.while_loop(
        lambda c: gg.sum(c * c) < 20,
        lambda c: gg.tanh(c @ w) + 1.5 * c,
        x,
        max_iterations=7,
    )


def _repeated_reference(x, w):
    while (x * x).sum() < 20:
        x = np.tanh(x @ w) + 1.5 * x
    return x


def _root(a):
    """Return √a by Newton's iteration."""
    return gg.while_loop(
        lambda x: gg.any(gg.abs(x * x - a) > 1e-5 * a),
        lambda x: (x + a / x) / 2,
        (a + 1) / 2,
        max_iterations=6,
    )


_NOT_ASKED = "as large as the functions that are chosen or repeated make them"

CASES: list[Case] = [
    Case(
        name="cond, the first function",
        function=_chosen,
        inputs=[X, W],
        reference=_chosen_reference,
        extremes=_NOT_ASKED,
    ),
    Case(
        name="cond, the second function",
        function=_chosen,
        inputs=[-X, W],
        reference=_chosen_reference,
        extremes=_NOT_ASKED,
    ),
    Case(
        name="while_loop",
        function=_repeated,
        inputs=[X, W],
        reference=_repeated_reference,
        extremes=_NOT_ASKED,
    ),
    Case(
        name="while_loop, Newton's iteration",
        function=_root,
        inputs=[np.array([0.5, 2.0, 3.0])],
        reference=np.sqrt,
        extremes=_NOT_ASKED,
        tolerance=1e3,
    ),
]
