"""What activations have in common, and what each is a special case of."""

import numpy as np
import pytest

import graphgpu as gg
from graphgpu import nn
from graphgpu.testing import check_operation

RANDOM = np.random.default_rng(8)
X = RANDOM.normal(0, 3, (4, 6))


def value(function, *arrays):
    variables = [gg.placeholder("x", a.shape, a.dtype) for a in arrays]
    return gg.compile(variables, function(*variables), device="cpu")(*arrays)


def slope(function):
    """Return the derivative of a function of one number, as such a function."""
    return lambda x: gg.gradients(gg.sum(function(x)), [x])[0]


SAME = {
    "tanh x = 2 σ(2x) - 1": (gg.tanh, lambda x: 2 * gg.sigmoid(2 * x) - 1),
    "ζ' = σ": (slope(gg.softplus), gg.sigmoid),
    "σ' = σ (1 - σ)": (
        slope(gg.sigmoid),
        lambda x: gg.sigmoid(x) * (1 - gg.sigmoid(x)),
    ),
    "tanh' = 1 - tanh²": (slope(gg.tanh), lambda x: 1 - gg.tanh(x) ** 2),
    "ζ(x) - ζ(-x) = x": (lambda x: gg.softplus(x) - gg.softplus(-x), gg.identity),
    "log σ = -ζ(-x)": (gg.logsigmoid, lambda x: gg.log(gg.sigmoid(x))),
    "silu = x σ": (gg.silu, lambda x: x * gg.sigmoid(x)),
    "silu β": (lambda x: gg.silu(x, 3), lambda x: gg.silu(3 * x) / 3),
    "mish = x tanh ζ": (gg.mish, lambda x: x * gg.tanh(gg.softplus(x))),
    "gelu = x (1 + erf(x / √2)) / 2": (
        gg.gelu,
        lambda x: x * (1 + gg.erf(x * 0.5**0.5)) / 2,
    ),
    "gelu, tanh": (
        lambda x: gg.gelu(x, "tanh"),
        lambda x: x / 2 * (1 + gg.tanh((2 / np.pi) ** 0.5 * (x + 0.044715 * x**3))),
    ),
    "erfc = 1 - erf": (gg.erfc, lambda x: 1 - gg.erf(x)),
    "elu = celu at 1": (gg.elu, gg.celu),
    "celu = elu scaled": (lambda x: gg.celu(x, 2), lambda x: 2 * gg.elu(x / 2)),
    "selu = λ elu": (
        gg.selu,
        lambda x: 1.0507009873554805 * gg.elu(x, 1.6732632423543772),
    ),
    "relu + softshrink": (
        gg.softshrink,
        lambda x: gg.relu(x - 0.5) - gg.relu(-x - 0.5),
    ),
    "tanhshrink": (gg.tanhshrink, lambda x: x - gg.tanh(x)),
    "relu6": (gg.relu6, lambda x: gg.hardtanh(x, 0, 6)),
    "clipped": (gg.clipped_linear, lambda x: gg.maximum(0, gg.minimum(1, x))),
    "hardsigmoid": (gg.hardsigmoid, lambda x: gg.relu6(x + 3) / 6),
    "hardswish": (gg.hardswish, lambda x: x * gg.hardsigmoid(x)),
    "hardtanh from relu": (gg.hardtanh, lambda x: gg.relu(x + 1) - gg.relu(x - 1) - 1),
    "threshold": (lambda x: gg.threshold(x, 0, 0), gg.relu),
    "leaky is prelu": (gg.leaky_relu, lambda x: gg.prelu(x, 0.01)),
    "|x| = prelu at -1": (gg.abs, lambda x: gg.prelu(x, -1.0)),
    "softmin x = softmax -x": (gg.softmin, lambda x: gg.softmax(-x)),
    "log softmax": (gg.log_softmax, lambda x: gg.log(gg.softmax(x))),
    "sigmoid is a softmax of x and 0": (
        gg.sigmoid,
        lambda x: gg.softmax(gg.stack([x, 0 * x], -1))[..., 0],
    ),
    "glu": (
        lambda x: gg.glu(x, 1),
        lambda x: x[:, :3] * gg.sigmoid(x[:, 3:]),
    ),
}


@pytest.mark.parametrize("name", SAME)
def test_both_are_the_same_function_with_the_same_gradient(name):
    for left, right in (SAME[name], [slope(f) for f in SAME[name]]):
        np.testing.assert_allclose(
            value(left, X), value(right, X), rtol=1e-9, atol=1e-10
        )


def test_rectifiers_are_equivariant_to_positive_scale():
    for function in (gg.relu, gg.leaky_relu, gg.abs, gg.rrelu):
        for scale in (0.25, 8.0, 2.0**60):
            np.testing.assert_array_equal(
                value(function, scale * X), scale * value(function, X)
            )


def test_softmax_is_invariant_to_translation():
    for function in (gg.softmax, gg.softmin, gg.log_softmax):
        for shift in (-3.5, 1e4):
            np.testing.assert_allclose(
                value(function, X + shift), value(function, X), atol=1e-11
            )


def test_a_sharp_softplus_is_relu():
    for beta in (10.0, 1e3, 1e6, 1e30):
        found = value(lambda x, b=beta: gg.softplus(x, b), X)
        difference = np.abs(found - np.maximum(X, 0))
        assert difference.max() <= np.log(2) / beta
    slopes = value(slope(lambda x: gg.softplus(x, 1e6)), X)
    np.testing.assert_allclose(slopes, X > 0, atol=1e-12)


def test_a_sharp_swish_is_relu_and_a_flat_one_is_half_of_x():
    found = value(lambda x: gg.silu(x, 1e6), X)
    np.testing.assert_allclose(found, np.maximum(X, 0), atol=1e-12)
    found = value(lambda x: gg.silu(x, 1e-9), X)
    np.testing.assert_allclose(found, X / 2, rtol=1e-7)


def test_the_threshold_of_softplus_leaves_x_above_it():
    function = lambda x: gg.softplus(x, 2.0, threshold=4.0)  # noqa: E731
    x = np.array([1.9, 2.0, 2.1, 30.0])
    expected = np.where(x > 2, x, np.log1p(np.exp(2 * x)) / 2)
    np.testing.assert_allclose(value(function, x), expected, rtol=1e-15)
    np.testing.assert_array_equal(value(slope(function), x)[2:], 1)


def test_gelu_and_its_tanh_form_are_close():
    x = np.linspace(-8, 8, 4001)
    exact, near = value(gg.gelu, x), value(lambda v: gg.gelu(v, "tanh"), x)
    assert 1e-4 < np.abs(exact - near).max() < 5e-4


# --- maxout


def test_maxout_takes_the_largest_of_each_group():
    x = RANDOM.normal(size=(2, 6, 3))
    for k in (1, 2, 3, 6):
        expected = x.reshape(2, 6 // k, k, 3).max(2)
        check_operation(lambda v, k=k: gg.maxout(v, k), [x], lambda v, e=expected: e)
    expected = x.reshape(2, 6, 1, 3).max(3)
    check_operation(lambda v: gg.maxout(v, 3, axis=-1), [x], lambda v: expected)


def test_relu_and_absolute_value_are_maxout_units_of_two_pieces():
    x = RANDOM.normal(size=(5, 1))
    variable = gg.placeholder("x", x.shape, "float64")
    for weight, expected in (
        ([[1.0, 0.0]], np.maximum(x, 0)),
        ([[1.0, -1.0]], np.abs(x)),
        ([[1.0, 0.25]], np.where(x > 0, x, x / 4)),
    ):
        y = gg.maxout(variable @ np.array(weight))
        np.testing.assert_array_equal(gg.evaluate(y, {variable: x}), expected)


def test_pieces_that_are_equal_share_the_gradient():
    x = np.array([[2.0, 2.0, 1.0, 5.0, 5.0, 5.0]])
    slopes = value(slope(lambda v: gg.maxout(v, 3)), x)
    np.testing.assert_allclose(slopes, [[0.5, 0.5, 0, 1 / 3, 1 / 3, 1 / 3]])


def test_maxout_and_glu_of_a_named_size_check_it_when_they_run():
    x = gg.placeholder("x", ("batch", "units"))
    y = gg.maxout(x, 3)
    assert str(y.shape[1]) == "units//3"
    program = gg.compile([x], y, device="cpu")
    assert program(np.zeros((2, 6), "f")).shape == (2, 2)
    with pytest.raises(gg.GraphGPUError):
        program(np.zeros((2, 7), "f"))
    program = gg.compile([x], gg.glu(x), device="cpu")
    assert program(np.zeros((2, 6), "f")).shape == (2, 3)
    with pytest.raises(gg.GraphGPUError):
        program(np.zeros((2, 7), "f"))


# --- slopes that are learned, and random ones


def test_prelu_has_a_slope_for_each_channel_and_gradients_by_it():
    x = RANDOM.normal(size=(3, 2, 4))
    weight = np.array([0.3, -0.7])

    def reference(x, w):
        return np.where(x > 0, x, np.reshape(w, (-1, 1)) * x)

    check_operation(gg.prelu, [x, weight], reference, order=3)
    check_operation(gg.prelu, [x, weight[:1]], reference, order=3)
    for left, slopes in ((x[:, :, 0], weight), (x[0, 0], weight[0])):
        check_operation(
            gg.prelu, [left, slopes], lambda x, w: np.where(x > 0, x, w * x)
        )
    variable, slopes = gg.placeholder("x", x.shape, "float64"), gg.constant(weight)
    (by_slope,) = gg.gradients(gg.sum(gg.prelu(variable, slopes)), [slopes])
    expected = np.minimum(x, 0).sum((0, 2))
    np.testing.assert_allclose(gg.evaluate(by_slope, {variable: x}), expected)
    (mixed,) = gg.gradients(gg.sum(by_slope), [variable])
    np.testing.assert_array_equal(gg.evaluate(mixed, {variable: x}), x <= 0)


def test_the_gradient_by_a_slope_has_no_nan_where_x_is_infinite_above():
    x = gg.constant([[np.inf, -2.0, 3.0]])
    weight = gg.constant([0.5])
    (by_slope,) = gg.gradients(gg.sum(gg.prelu(x, weight)), [weight])
    np.testing.assert_array_equal(gg.evaluate(by_slope), [-2.0])


def drawn(x, lower, upper, step=0, seed=3, **options):
    with gg.root_scope(seed):
        variable = gg.placeholder("x", x.shape, x.dtype)
        y = gg.rrelu(variable, lower, upper, training=True, **options)
        (dx,) = gg.gradients(gg.sum(y), [variable])
        program = gg.compile([variable], [y, dx], device="cpu", seed=seed)
    for _ in range(step):
        program(x)
    return program(x)


def test_random_slopes_are_uniform_between_their_bounds():
    x = -np.ones(40_000, "float32")
    slopes = -drawn(x, 0.1, 0.5)[0].astype("float64")
    assert 0.1 <= slopes.min() < 0.1002
    assert 0.4998 < slopes.max() <= 0.5
    assert slopes.mean() == pytest.approx(0.3, abs=4 * 0.4 / 12**0.5 / 200)
    assert slopes.std() == pytest.approx(0.4 / 12**0.5, rel=0.02)


def test_random_slopes_come_again_with_the_seed_and_change_with_the_step():
    x = RANDOM.normal(size=500).astype("float32")
    first, again = drawn(x, 0.1, 0.5)[0], drawn(x, 0.1, 0.5)[0]
    np.testing.assert_array_equal(first, again)
    np.testing.assert_array_equal(first[x > 0], x[x > 0])
    for other in (drawn(x, 0.1, 0.5, step=1)[0], drawn(x, 0.1, 0.5, seed=4)[0]):
        assert (other[x < 0] != first[x < 0]).mean() > 0.99


def test_the_gradient_sees_the_slopes_that_the_value_was_computed_with():
    x = -np.ones(100, "float32")
    y, dx = drawn(x, 0.1, 0.5, step=2)
    np.testing.assert_array_equal(dx, -y)


def test_in_inference_the_slope_is_the_expected_one():
    x = RANDOM.normal(size=50)
    expected = np.where(x > 0, x, 0.3 * x)
    np.testing.assert_allclose(value(lambda v: gg.rrelu(v, 0.1, 0.5), x), expected)


def test_random_slopes_of_halves_are_applied_in_float32():
    x = -np.full(2000, 3, "float16")
    y = drawn(x, 0.1, 0.5)[0]
    assert y.dtype == np.float16
    assert len(set(y.tolist())) > 500


# --- nets


def test_a_net_of_selu_keeps_mean_and_variance_over_fifty_layers():
    with gg.root_scope(1):
        x = gg.placeholder("x", (500, 200))
        h, layers = x, []
        for _ in range(50):
            dense = nn.Dense(200, 200, weight_init=nn.init.lecun_normal())
            h = gg.selu(dense(h))
            layers.append(h)
        program = gg.compile([x], layers, device="cpu")
    values = program(RANDOM.normal(0.3, 1.4, (500, 200)).astype("float32"))
    for found in values[8:]:
        assert abs(found.mean()) < 0.1
        assert 0.8 < found.var() < 1.2


def test_a_net_of_relu_does_not_keep_them():
    with gg.root_scope(1):
        h = x = gg.placeholder("x", (500, 200))
        for _ in range(50):
            dense = nn.Dense(200, 200, weight_init=nn.init.lecun_normal())
            h = gg.relu(dense(h))
        program = gg.compile([x], h, device="cpu")
    found = program(RANDOM.normal(0, 1, (500, 200)).astype("float32"))
    assert found.var() < 1e-9
