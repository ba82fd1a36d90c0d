"""Activations far out, near 0 and at kinks: value, slope and curvature in float32."""

import math

import numpy as np
import pytest

import graphgpu as gg

LARGEST = float(np.finfo("float32").max)
SIZES = [1e-40, 1e-30, 1e-8, 1e-3, 0.2, 0.7, 0.999, 1.001, 2.5, 7, 10, 13, 17.5, 25]
SIZES += [80, 95, 120, 800, 1e4, 1e6, 1e30, LARGEST]
X = np.array([*SIZES, *(-s for s in SIZES), 0, np.inf, -np.inf, np.nan], np.float32)
END = 5000
"""e^(-5000) is 0 in float64, and not in long double."""


def exact(formula):
    """Return a function of float32 arrays, computed in long double."""

    def function(x):
        with np.errstate(all="ignore"):
            return np.asarray(formula(x.astype(np.longdouble)), np.float64)

    return function


def sigma(x):
    power = np.exp(-np.abs(x))
    return np.where(x >= 0, 1, power) / (1 + power)


def slope_of_sigma(x):
    return sigma(x) * sigma(-x)


def softplus(x):
    return np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x)))


def squared_sech(x):
    return 4 * slope_of_sigma(2 * x)


def near(x):
    return np.clip(x, -END, END)


def times(x, gate):
    """Return x times what is 0 far below and 1 far above."""
    return np.where(x < -END, 0, x * gate(x))


def normal_density(x):
    return np.exp(-(near(x) ** 2) / 2) / np.sqrt(2 * np.pi, dtype=np.longdouble)


def normal_cdf(x):
    return np.vectorize(lambda v: math.erfc(-float(v) / math.sqrt(2)) / 2)(x)


def mish_gate(x):
    return np.tanh(softplus(x))


def slope_of_mish_gate(x):
    r = sigma(-x)
    return 4 * sigma(x) * r**2 / (1 + r**2) ** 2


def curvature_of_mish_gate(x):
    r, s = sigma(-x), sigma(x)
    return slope_of_mish_gate(x) * (r - 2 * s + 4 * r**2 * s / (1 + r**2))


def tanhshrink(x):
    """Return the sum of Taylor's series near 0, the difference elsewhere."""
    near_zero, power, k = np.zeros_like(x), x**3, 1
    for k in range(1, 30):
        near_zero += 2 * k * power / math.factorial(2 * k + 1)
        power = power * x * x
    return np.where(np.abs(x) < 1, near_zero / np.cosh(near(x)), x - np.tanh(x))


A, SCALE = np.longdouble("1.6732632423543772"), np.longdouble("1.0507009873554805")
CUBIC = np.longdouble("0.044715")
V = 2 * np.sqrt(2 / np.pi, dtype=np.longdouble)


def cubic(x):
    return V * x * (1 + CUBIC * x * x)


def gelu_tanh_slope(x):
    x = np.clip(x, -40, 40)
    v = cubic(x)
    return sigma(v) + x * slope_of_sigma(v) * V * (1 + 3 * CUBIC * x * x)


def below_zero(scale, rate):
    return lambda x: np.where(x > 0, 0, scale * np.exp(np.minimum(x, 0) / rate))


FORMULAS = {
    "sigmoid": (
        gg.sigmoid,
        sigma,
        slope_of_sigma,
        lambda x: -slope_of_sigma(x) * np.tanh(x / 2),
    ),
    "tanh": (
        gg.tanh,
        np.tanh,
        squared_sech,
        lambda x: -2 * squared_sech(x) * np.tanh(x),
    ),
    "softplus": (gg.softplus, softplus, sigma, slope_of_sigma),
    "softplus, beta": (
        lambda x: gg.softplus(x, 4),
        lambda x: softplus(4 * x) / 4,
        lambda x: sigma(4 * x),
        lambda x: 4 * slope_of_sigma(4 * x),
    ),
    "logsigmoid": (
        gg.logsigmoid,
        lambda x: -softplus(-x),
        lambda x: sigma(-x),
        lambda x: -slope_of_sigma(x),
    ),
    "softsign": (
        gg.softsign,
        lambda x: np.where(np.isinf(x), np.sign(x), x / (1 + np.abs(x))),
        lambda x: 1 / (1 + np.abs(x)) ** 2,
        lambda x: -2 * np.sign(x) / (1 + np.abs(x)) ** 3,
    ),
    "tanhshrink": (
        gg.tanhshrink,
        tanhshrink,
        lambda x: np.tanh(x) ** 2,
        lambda x: 2 * np.tanh(x) * squared_sech(x),
    ),
    "elu": (
        lambda x: gg.elu(x, 0.5),
        lambda x: np.where(x > 0, x, np.expm1(x) / 2),
        lambda x: np.where(x > 0, 1, np.exp(x) / 2),
        below_zero(0.5, 1),
    ),
    "celu": (
        lambda x: gg.celu(x, 0.5),
        lambda x: np.where(x > 0, x, np.expm1(2 * x) / 2),
        lambda x: np.where(x > 0, 1, np.exp(2 * x)),
        below_zero(2, np.longdouble(0.5)),
    ),
    "selu": (
        gg.selu,
        lambda x: SCALE * np.where(x > 0, x, A * np.expm1(x)),
        lambda x: SCALE * np.where(x > 0, 1, A * np.exp(x)),
        below_zero(SCALE * A, 1),
    ),
    "silu": (
        gg.silu,
        lambda x: times(x, sigma),
        lambda x: sigma(x) + near(x) * slope_of_sigma(x),
        lambda x: slope_of_sigma(x) * (2 + near(x) * (sigma(-x) - sigma(x))),
    ),
    "mish": (
        gg.mish,
        lambda x: times(x, mish_gate),
        lambda x: mish_gate(x) + near(x) * slope_of_mish_gate(x),
        lambda x: 2 * slope_of_mish_gate(x) + near(x) * curvature_of_mish_gate(x),
    ),
    "gelu": (
        gg.gelu,
        lambda x: times(x, normal_cdf),
        lambda x: normal_cdf(x) + near(x) * normal_density(x),
        lambda x: normal_density(x) * (2 - near(x) ** 2),
    ),
    "gelu, tanh": (
        lambda x: gg.gelu(x, "tanh"),
        lambda x: times(x, lambda v: sigma(cubic(np.clip(v, -40, 40)))),
        gelu_tanh_slope,
        None,
    ),
}


def derivatives(function, x, dtype="float32"):
    """Return f(x), f'(x) and f''(x)."""
    variable = gg.placeholder("x", x.shape, dtype)
    found = [function(variable)]
    for _ in range(2):
        (slope,) = gg.gradients(gg.sum(found[-1]), [variable], disconnected="zero")
        found.append(slope)
    return gg.compile([variable], found, device="cpu")(x.astype(dtype))


OF_VALUES = {
    "sigmoid": (1, 2),
    "tanh": (1, 2),
    "softplus": (2,),
    "softplus, beta": (2,),
    "logsigmoid": (2,),
    "tanhshrink": (2,),
    "silu": (2,),
}
"""Derivatives made of a value that is almost 1: off by a rounding of 1, or 0."""


@pytest.mark.parametrize("name", FORMULAS)
def test_value_slope_and_curvature_are_those_of_exact_arithmetic_rounded(name):
    function, *formulas = FORMULAS[name]
    for order, (found, formula) in enumerate(
        zip(derivatives(function, X), formulas, strict=True)
    ):
        if formula is not None:
            with np.errstate(over="ignore"):
                expected = exact(formula)(X).astype("float32")
            room = 1e-6 if order in OF_VALUES.get(name, ()) else 2e-38
            np.testing.assert_allclose(found, expected, rtol=4e-6, atol=room)


PIECES = {
    "identity": gg.identity,
    "clipped_linear": gg.clipped_linear,
    "relu": gg.relu,
    "leaky_relu": gg.leaky_relu,
    "prelu": lambda x: gg.prelu(x, 0.25),
    "rrelu": gg.rrelu,
    "relu6": gg.relu6,
    "hardtanh": lambda x: gg.hardtanh(x, -2, 0.5),
    "hardsigmoid": gg.hardsigmoid,
    "hardswish": gg.hardswish,
    "hardshrink": gg.hardshrink,
    "softshrink": gg.softshrink,
    "threshold": lambda x: gg.threshold(x, 0.5, -3),
    "abs": gg.abs,
}


@pytest.mark.parametrize("name", PIECES)
def test_of_pieces_float32_is_float64_rounded_and_only_nan_gives_nan(name):
    for found, wide in zip(
        derivatives(PIECES[name], X),
        derivatives(PIECES[name], X, "float64"),
        strict=True,
    ):
        np.testing.assert_allclose(found, wide.astype("float32"), rtol=3e-7)
        assert not np.isnan(found[:-1]).any()
    assert np.isnan(derivatives(PIECES[name], X)[0][-1])


LIMITS = {
    "silu": (gg.silu, 0, np.inf),
    "gelu": (gg.gelu, 0, np.inf),
    "gelu, tanh": (lambda x: gg.gelu(x, "tanh"), 0, np.inf),
    "mish": (gg.mish, 0, np.inf),
    "hardswish": (gg.hardswish, 0, np.inf),
    "softsign": (gg.softsign, -1, 1),
    "logsigmoid": (gg.logsigmoid, -np.inf, 0),
    "selu": (gg.selu, -1.7580993, np.inf),
    "softplus, sharp": (lambda x: gg.softplus(x, 1e4), 0, np.inf),
    "swish": (lambda x: gg.swish(x, 1e4), 0, np.inf),
}


@pytest.mark.parametrize("name", LIMITS)
@pytest.mark.parametrize("dtype", ["float64", "float32", "float16", "bfloat16"])
def test_infinities_go_to_the_limits_in_every_dtype(name, dtype):
    function, low, high = LIMITS[name]
    x = np.array([-np.inf, np.inf, np.nan])
    value, slope, curvature = derivatives(function, x, gg.dtypes.dtype(dtype))
    value = value.astype("float64")
    np.testing.assert_allclose(value[:2], [low, high], rtol=4e-3)
    assert np.isnan(value[2])
    assert np.isfinite(slope[:2].astype("float64")).all()
    np.testing.assert_array_equal(curvature[:2].astype("float64"), 0)


KINKS = {
    "relu": (gg.relu, 0.0, 0, 0, 1),
    "leaky_relu": (gg.leaky_relu, 0.0, 0.01, 0.01, 1),
    "rrelu": (lambda x: gg.rrelu(x, 0.25, 0.75), 0.0, 0.5, 0.5, 1),
    "prelu": (lambda x: gg.prelu(x, 0.25), 0.0, 0.25, 0.25, 1),
    "elu, alpha": (lambda x: gg.elu(x, 0.5), 0.0, 0.5, 0.5, 1),
    "celu, alpha": (lambda x: gg.celu(x, 0.5), 0.0, 1, 1, 1),
    "selu": (gg.selu, 0.0, 1.7580993, 1.7580993, 1.050701),
    "relu6, low": (gg.relu6, 0.0, 0, 0, 1),
    "relu6, high": (gg.relu6, 6.0, 1, 0, 0),
    "clipped_linear, low": (gg.clipped_linear, 0.0, 0, 0, 1),
    "clipped_linear, high": (gg.clipped_linear, 1.0, 1, 0, 0),
    "hardtanh, low": (gg.hardtanh, -1.0, 0, 0, 1),
    "hardtanh, high": (gg.hardtanh, 1.0, 1, 0, 0),
    "hardsigmoid, low": (gg.hardsigmoid, -3.0, 0, 0, 1 / 6),
    "hardsigmoid, high": (gg.hardsigmoid, 3.0, 1 / 6, 0, 0),
    "hardswish, low": (gg.hardswish, -3.0, 0, 0, -0.5),
    "hardswish, high": (gg.hardswish, 3.0, 1.5, 1, 1),
    "hardshrink, low": (gg.hardshrink, -0.5, 1, 0, 0),
    "hardshrink, high": (gg.hardshrink, 0.5, 0, 0, 1),
    "softshrink, low": (gg.softshrink, -0.5, 1, 0, 0),
    "softshrink, high": (gg.softshrink, 0.5, 0, 0, 1),
    "threshold": (lambda x: gg.threshold(x, 2.0, 7.0), 2.0, 0, 0, 1),
    "abs": (gg.abs, 0.0, -1, 0, 1),
}


@pytest.mark.parametrize("name", KINKS)
def test_slopes_before_at_and_after_kinks(name):
    function, kink, *slopes = KINKS[name]
    step = 1e-5
    x = np.array([kink - step, kink, kink + step])
    _, slope, _ = derivatives(function, x, "float64")
    np.testing.assert_allclose(slope, slopes, rtol=1e-4, atol=1e-12)


def test_slopes_at_kinks_are_chosen_so_that_infinite_gradients_give_no_nan():
    x = np.array([-2.0, 2.0, 20.0])
    variable = gg.placeholder("x", (3,), "float64")
    for function in (gg.relu, gg.relu6, gg.hardtanh, gg.hardshrink, gg.softshrink):
        y = function(variable)
        known = {y: gg.constant(np.full(3, np.inf))}
        (slope,) = gg.gradients(None, [variable], known=known)
        result = gg.compile([variable], slope, device="cpu")(x)
        assert set(result) <= {0.0, np.inf}, function


def test_tanhshrink_keeps_its_digits_where_its_two_formulas_meet():
    x = np.concatenate([np.linspace(0.5, 1, 41), np.nextafter(1, [0, 2])])
    found = gg.evaluate(gg.tanhshrink(gg.constant(x)))
    np.testing.assert_allclose(found, x - np.tanh(x), rtol=4e-15)
