"""Random graphs compute the same with every pass, none, and any subset."""

from functools import partial

import numpy as np
from comparing import close, compare, same_bits
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import graphgpu as gg
from graphgpu.rewrite import PASSES

SHAPES = [("n", 3), (3,), (1, 3), ("n", 1), (), (2, "n", 3)]

EXACT = ("fold", "merge", "simplify", "shapes")
"""The passes that change no bit of what is computed without a rounded sum."""

NUMBERS = [0.0, -0.0, 1.0, -1.0, 2.0, 0.5, 4.0, 3.0, -0.25]


def elementwise(draw, pool, functions):
    """Return a function of one or two variables of the pool, or of a number."""
    name, arity = draw(st.sampled_from(functions))
    arguments = [draw(st.sampled_from(pool)) for _ in range(arity)]
    if arity == 2 and draw(st.integers(0, 2)) == 0:
        arguments[draw(st.integers(0, 1))] = draw(st.sampled_from(NUMBERS))
    return name(*arguments)


def moved(draw, x):
    """Return x with its axes or elements arranged in another way."""
    if x.ndim == 0:
        return x.reshape((1, 1)) if draw(st.booleans()) else x.broadcast_to(("n", 3))
    choice = draw(st.integers(0, 4))
    if choice == 0:
        return x.transpose(draw(st.permutations(range(x.ndim))))
    if choice == 1:
        return x.reshape((-1,)).reshape(x.shape)
    if choice == 2:
        return gg.expand_dims(x, draw(st.integers(0, x.ndim)))
    if choice == 3:
        return gg.flip(x, axis=draw(st.integers(0, x.ndim - 1)))
    return gg.concat([x, x], axis=draw(st.integers(0, x.ndim - 1)))


def fits(x, y):
    """Whether a binary operation takes both without a doubtful broadcast."""
    return all(
        1 in (a, b) or a == b
        for a, b in zip(x.shape[::-1], y.shape[::-1], strict=False)
    )


def guarded(function):
    """Let a binary function take operands that broadcast; else the first alone."""

    def apply(x, y):
        variables = [v for v in (x, y) if isinstance(v, gg.Variable)]
        if not variables:
            return function(gg.constant(x), y)
        if len(variables) == 2 and not fits(x, y):
            return function(x, x)
        return function(x, y)

    return apply


def choice(x, y):
    return gg.where(gg.logical_not(gg.less(x, y)), x, y)


def negative_choice(x, y):
    return gg.where(gg.equal(x, x), y, x) if x is not y else x


BITWISE = [
    (gg.negative, 1),
    (gg.abs, 1),
    (gg.square, 1),
    (gg.relu, 1),
    (gg.sqrt, 1),
    (lambda x: x.cast("float64").cast("float32"), 1),
    (lambda x: gg.stop_gradient(x) * 1, 1),
    (lambda x: gg.full(x.shape, 2.0) * x, 1),
    (guarded(gg.add), 2),
    (guarded(gg.subtract), 2),
    (guarded(gg.multiply), 2),
    (guarded(gg.divide), 2),
    (guarded(gg.minimum), 2),
    (guarded(choice), 2),
    (guarded(negative_choice), 2),
]


@st.composite
def graphs(draw, functions, reduce):
    """Return placeholders and the outputs of a random graph."""
    dtype = "float64" if reduce else "float32"
    with gg.root_scope():
        x = gg.placeholder("x", ("n", 3), dtype)
        y = gg.placeholder("y", (3,), dtype)
        pool = [x, y, draw(st.sampled_from([x, y])).sum() if reduce else x]
        for _ in range(draw(st.integers(1, 14))):
            kind = draw(st.integers(0, 9))
            if kind == 0:
                pool.append(moved(draw, draw(st.sampled_from(pool))))
            elif kind == 1 and reduce:
                pool.append(reduced(draw, draw(st.sampled_from(pool))))
            else:
                pool.append(elementwise(draw, pool, functions))
        outputs = [pool[-1], draw(st.sampled_from(pool))]
        return [x, y], outputs


def stacked(x):
    """Return a product of matrices: of a stack, if the size of x is known."""
    if isinstance(x.shape[1], int):
        return x @ gg.constant(np.ones((2, x.shape[1], 2), x.dtype))
    return x.T @ x


def reduced(draw, x):
    """Return x reduced, multiplied as a matrix, or with noise."""
    axes = draw(st.sets(st.integers(0, x.ndim - 1))) if x.ndim else set()
    axes, keepdims = tuple(sorted(axes)), draw(st.booleans())
    functions = [
        lambda: x.sum(axes, keepdims),
        lambda: x.mean(axes, keepdims),
        lambda: gg.dropout(x, 0.5),
        lambda: x + 0.1 * gg.random_normal(x.shape, dtype=x.dtype),
    ]
    if x.ndim:
        functions.append(lambda: gg.logsumexp(x, -1, keepdims))
        functions.append(lambda: gg.softmax(x))
    if x.ndim == 2:
        functions.append(lambda: stacked(x))
    return draw(st.sampled_from(functions))()


SMOOTH = [
    (gg.negative, 1),
    (gg.tanh, 1),
    (gg.sigmoid, 1),
    (lambda x: gg.exp(gg.sin(x)), 1),
    (lambda x: gg.log(1 + gg.exp(x)), 1),
    (lambda x: gg.log(gg.sigmoid(x)), 1),
    (lambda x: gg.sin(x) ** 3, 1),
    (lambda x: x / 4, 1),
    (lambda x: gg.softmax(x.reshape((-1,))).reshape(x.shape), 1),
    (guarded(gg.add), 2),
    (guarded(gg.subtract), 2),
    (guarded(lambda x, y: gg.sin(x) * y), 2),
    (guarded(lambda x, y: x / (2 + gg.cos(y))), 2),
]

common = settings(
    deadline=None,
    max_examples=60,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
special = st.sampled_from(
    [0.0, -0.0, 1.0, -1.0, 2.5, np.inf, -np.inf, np.nan, 1e-45, 1e-30, -3e38, 3e38]
)


@common
@given(graphs(BITWISE, reduce=False), st.data())
def test_the_exact_passes_change_no_bit_of_special_values(graph, data):
    inputs, outputs = graph
    passes = data.draw(st.sets(st.sampled_from(EXACT)))
    values = data.draw(st.lists(special, min_size=9, max_size=9))
    arrays = np.array(values, "float32")
    compare(inputs, outputs, [arrays[:6].reshape(2, 3), arrays[6:]], passes, same_bits)


@common
@given(graphs(BITWISE, reduce=False), st.data())
def test_gradients_keep_their_special_values(graph, data):
    inputs, outputs = graph
    cost = sum(v.sum() for v in outputs)
    gradients = gg.gradients(cost, inputs, disconnected="zero")
    passes = data.draw(st.sets(st.sampled_from(("fold", "merge", "simplify"))))
    values = data.draw(st.lists(special, min_size=9, max_size=9))
    arrays = np.array(values, "float32")
    compare(
        inputs,
        [*outputs, *gradients],
        [arrays[:6].reshape(2, 3), arrays[6:]],
        passes,
        same_bits,
    )


@common
@given(graphs(SMOOTH, reduce=True), st.data())
def test_values_gradients_and_random_numbers_are_the_same_in_any_subset(graph, data):
    inputs, outputs = graph
    cost = sum(gg.sin(v).sum() for v in outputs)
    gradients = gg.gradients(cost, inputs, disconnected="zero")
    chosen = st.just(PASSES) | st.sets(st.sampled_from(PASSES))
    passes = data.draw(chosen)
    arrays = np.random.default_rng(0).normal(size=9)
    # Gradients that are 0 are sums of numbers that cancel.
    compare(
        inputs,
        [*outputs, *gradients],
        [arrays[:6].reshape(2, 3), arrays[6:]],
        passes,
        partial(close, rtol=1e-9, atol=1e-9),
    )
