import numpy as np
import pytest
from comparing import close, compare, kinds, run

import graphgpu as gg
from graphgpu.rewrite import rewrite

PASSES = ("fold", "merge", "simplify", "stabilise")
ORDINARY = np.array([-3.0, -1.5, -0.25, 0.25, 1.0, 2.5], "float64")

FORMS = {
    "log softmax": (lambda x: gg.log(gg.softmax(x)), ["log_softmax"]),
    "log σ": (
        lambda x: gg.log(gg.sigmoid(x)),
        ["negative", "negative", "softplus"],
    ),
    "-log σ": (lambda x: -gg.log(gg.sigmoid(x)), ["negative", "softplus"]),
    "log(1 - σ)": (lambda x: gg.log(1 - gg.sigmoid(x)), ["negative", "softplus"]),
    "log1p(-σ)": (lambda x: gg.log1p(-gg.sigmoid(x)), ["negative", "softplus"]),
    "log(1 + eˣ)": (lambda x: gg.log(1 + gg.exp(x)), ["softplus"]),
    "log1p(eˣ)": (lambda x: gg.log1p(gg.exp(x)), ["softplus"]),
    "log(x² + 1)": (lambda x: gg.log(x * x + 1), ["log1p", "square"]),
    "log(1 - σ²)": (
        lambda x: gg.log(1 - gg.square(gg.sigmoid(x))),
        ["log1p", "negative", "sigmoid", "square"],
    ),
    "eˣ - 1": (lambda x: gg.exp(x) - 1, ["expm1"]),
    "-1 + eˣ": (lambda x: -1 + gg.exp(x), ["expm1"]),
    "1 - eˣ": (lambda x: 1 - gg.exp(x), ["expm1", "negative"]),
    "log Σ eˣ": (lambda x: gg.log(gg.sum(gg.exp(x))), ["logsumexp"]),
    "√x²": (lambda x: gg.sqrt(x * x), ["abs"]),
    "1 / (1 + e^-x)": (lambda x: 1 / (1 + gg.exp(-x)), ["sigmoid"]),
    "1 / (1 + eˣ)": (lambda x: 1 / (1 + gg.exp(x)), ["negative", "sigmoid"]),
    "eˣ / Σ eˣ": (
        lambda x: gg.exp(x) / gg.exp(x).sum(keepdims=True),
        ["softmax"],
    ),
    "shifted": (
        lambda x: (
            gg.exp(x - gg.max(x, keepdims=True))
            / gg.exp(x - gg.max(x, keepdims=True)).sum(0, keepdims=True)
        ),
        ["softmax"],
    ),
}


@pytest.mark.parametrize("name", FORMS)
def test_a_form_is_stabilised_and_agrees_where_it_was_right(name):
    build, expected = FORMS[name]
    x = gg.placeholder("x", ("n",), "float64")
    result = compare([x], [build(x)], [ORDINARY], PASSES, close)
    assert sorted(kinds(result)) == sorted(expected)


EXTREME = {
    "log softmax": ([0.0, -2000.0], [0.0, -2000.0]),
    "log σ": ([-2000.0, 2000.0, -np.inf], [-2000.0, 0.0, -np.inf]),
    "log(1 - σ)": ([2000.0, -2000.0], [-2000.0, 0.0]),
    "log(1 + eˣ)": ([2000.0, -40.0], [2000.0, np.exp(-40.0)]),
    "log(x² + 1)": ([1e-12, 1e-9], [1e-24, 1e-18]),
    "eˣ - 1": ([1e-20, -1e-18, 0.0], [1e-20, -1e-18, 0.0]),
    "1 - eˣ": ([1e-20], [-1e-20]),
    "log Σ eˣ": ([2000.0, 0.0], 2000.0),
    "√x²": ([1e200, -1e-200], [1e200, 1e-200]),
    "1 / (1 + e^-x)": ([-2000.0, 2000.0, -700.0], [0.0, 1.0, np.exp(-700.0)]),
    "eˣ / Σ eˣ": ([2000.0, 2000.0], [0.5, 0.5]),
}


@pytest.mark.parametrize("name", EXTREME)
def test_a_stabilised_form_is_right_where_it_was_not(name):
    given, expected = EXTREME[name]
    x = gg.placeholder("x", ("n",), "float64")
    (y,) = rewrite([FORMS[name][0](x)], PASSES, debug=True).outputs
    (value,) = run([x], [y], [np.array(given)])
    np.testing.assert_allclose(value, expected, rtol=1e-12)


@pytest.mark.parametrize("name", FORMS)
def test_what_is_not_a_number_or_infinite_stays_so(name):
    x = gg.placeholder("x", ("n",), "float64")
    build = FORMS[name][0]
    new = rewrite([build(x)], PASSES).outputs
    for value in (np.nan, np.inf, -np.inf):
        array = np.array([value, 1.0])
        (before,), (after,) = run([x], [build(x)], [array]), run([x], new, [array])
        if np.isnan(value) or not np.isnan(before).any():
            np.testing.assert_allclose(after, before, rtol=1e-15)


LOSSES = {
    "log softmax": (lambda x: -gg.log(gg.softmax(x))[0], [1.0, -1.0]),
    "log Σ eˣ": (lambda x: gg.log(gg.sum(gg.exp(x))) - x[0], [0.0, 0.0]),
    "log Σ eˣ, kept": (
        lambda x: (gg.log(gg.sum(gg.exp(x), 0, keepdims=True)) - x)[0],
        [0.0, 0.0],
    ),
    "log σ": (lambda x: -gg.log(gg.sigmoid(x)).sum(), [-1.0, 0.0]),
    "log(1 - σ)": (lambda x: -gg.log(1 - gg.sigmoid(x)).sum(), [0.0, 1.0]),
}


@pytest.mark.parametrize("name", LOSSES)
def test_the_gradient_of_a_stabilised_loss_is_finite_and_right(name):
    build, expected = LOSSES[name]
    x = gg.placeholder("x", (2,), "float64")
    (dx,) = gg.gradients(build(x), [x])
    compare([x], [dx], [np.array([0.5, -0.25])], PASSES, close)
    far = {"log softmax": [-2000.0, 0.0], "log Σ eˣ": [2000.0, 0.0]}
    given = far.get(name.removesuffix(", kept"), [-2000.0, 2000.0])
    sign = -1.0 if name == "log softmax" else 1.0
    (value,) = run([x], rewrite([dx]).outputs, [np.array(given)])
    np.testing.assert_allclose(value, np.multiply(expected, sign), atol=1e-300)


def test_an_exponential_that_a_gradient_needs_is_not_computed_twice():
    x = gg.placeholder("x", ("n",), "float64")
    y = 1 / (1 + gg.exp(-x))
    e = gg.exp(x)
    z = e / e.sum(0, keepdims=True)
    outputs = [y, z, *gg.gradients((y + z * z).sum(), [x])]
    result = compare([x], outputs, [ORDINARY], PASSES, close)
    assert kinds(result).count("exp") == 2
    assert "sigmoid" not in kinds(result)
    assert "softmax" not in kinds(result)


def test_a_softmax_of_what_is_shifted_by_another_maximum_stays():
    x = gg.placeholder("x", (2, 3), "float64")
    y = gg.softmax(x - gg.max(x, axis=0, keepdims=True), axis=1)
    assert rewrite([y], ("stabilise",)).outputs == (y,)


def test_halves_are_stabilised_in_float32():
    x = gg.placeholder("x", (3,), "float16")
    y = gg.log(gg.sum(gg.exp(x)))
    array = np.array([1.0, 2.0, 3.0], "float16")
    compare([x], [y], [array], PASSES, close)
