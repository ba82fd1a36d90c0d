"""Output units: what they find, how they relate, samples, and what they refuse."""

import numpy as np
import pytest

import graphgpu as gg
from graphgpu import nn
from graphgpu.graph import substitute
from graphgpu.nn.outputs.unit import drawn

RNG = np.random.default_rng(17)
H = RNG.standard_normal((6, 3))
Y = RNG.standard_normal((6, 2))


def evaluate(output, **arrays):
    """Return the values of outputs of placeholders h and y."""
    variables = [gg.placeholder(n, a.shape, a.dtype) for n, a in arrays.items()]
    return gg.compile(variables, output(*variables), device="cpu")(*arrays.values())


def fit(unit, h, y, steps=400, rate=0.05, body=lambda h: h, also=()):
    """Lower the likelihood's cost; return its last value."""
    loss = unit.nll(body(gg.constant(h)), gg.constant(y))
    parameters = [*unit.parameters(), *also]
    program = gg.compile([], loss, gg.optim.Adam(rate).updates(loss, parameters))
    for _ in range(steps):
        value = program()
    return float(value)


UNITS = {
    "linear": lambda **o: nn.LinearRegression(3, 2, **o),
    "bernoulli": lambda **o: nn.BernoulliOutput(3, 2, **o),
    "logistic": lambda **o: nn.LogisticRegression(3, **o),
    "multinoulli": lambda **o: nn.MultinoulliOutput(3, 4, **o),
    "reduced": lambda **o: nn.MultinoulliOutput(3, 4, reduced=True, **o),
    "gaussian": lambda **o: nn.GaussianOutput(3, 2, **o),
    "exp": lambda **o: nn.GaussianOutput(3, 2, "exp", **o),
    "multivariate": lambda **o: nn.MultivariateGaussianOutput(3, 2, **o),
    "mixture": lambda **o: nn.MixtureDensityOutput(3, 2, 4, **o),
}


def target_of(unit, batch):
    """Return a placeholder for a target of the unit."""
    if isinstance(unit, nn.MultinoulliOutput):
        return gg.placeholder("y", (batch,), "int64")
    return gg.placeholder("y", (batch, unit.out_features), unit.affine.weight.dtype)


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16", "bfloat16"])
@pytest.mark.parametrize("name", UNITS)
def test_a_unit_has_one_interface_whatever_it_is(name, dtype):
    unit = UNITS[name](dtype=dtype)
    h = gg.placeholder("h", ("n", 3), dtype)
    y = target_of(unit, "n")
    parameters = unit.distribution(h)
    total = sum(int(np.prod(v.shape[1:])) for v in parameters.values())
    assert str(unit(h).type) == f"{dtype}[n,{total}]"
    assert str(unit.nll(h, y).type) == f"{dtype}[]"
    assert str(unit.nll(h, y, reduction="none").type) == f"{dtype}[n]"
    assert unit.mean(h).dtype.name == dtype
    assert unit.mode(h).type == unit.sample(h).type
    if unit.mode(h).ndim == 2:
        assert unit.mode(h).shape == unit.mean(h).shape
    outputs = [unit(h), *parameters.values(), unit.mean(h), unit.mode(h)]
    joined, *rest = gg.compile([h], outputs, device="cpu")(H.astype(h.dtype))
    flat = [np.reshape(v, (6, -1)) for v in rest[:-2]]
    np.testing.assert_array_equal(joined, np.concatenate(flat, -1))


@pytest.mark.parametrize("name", UNITS)
def test_further_axes_are_batch_axes(name):
    unit = UNITS[name](dtype="float64")
    h = H.reshape(2, 3, 3)
    if isinstance(unit, nn.MultinoulliOutput):
        y = np.arange(6) % 4
    else:
        y = Y[:, : unit.out_features]
    both = evaluate(lambda a, b: unit.nll(a, b, "none"), h=H, y=y)
    nested = evaluate(
        lambda a, b: unit.nll(a, b, "none"), h=h, y=y.reshape(2, 3, *y.shape[1:])
    )
    assert nested.shape == (2, 3)
    np.testing.assert_allclose(nested.reshape(-1), both, rtol=1e-12)


@pytest.mark.parametrize("name", UNITS)
def test_nodes_and_parameters_are_of_the_units_path(name):
    with gg.root_scope(), gg.scope("net"):
        unit = UNITS[name](name="head")
    h = gg.placeholder("h", ("n", 3))
    y = target_of(unit, "n")
    assert [p.path for p in unit.parameters()] == [
        "net/head/affine/weight",
        "net/head/affine/bias",
    ]
    for made in (unit.nll(h, y), unit.mean(h), unit.mode(h), unit.sample(h), unit(h)):
        assert made.context.path.startswith("net/head")


# --- how they relate


def test_the_likelihood_of_linear_regression_is_the_squared_error_and_a_constant():
    unit = nn.LinearRegression(3, 2, dtype="float64")
    found = evaluate(lambda h, y: [unit.nll(h, y), gg.mse(unit(h), y)], h=H, y=Y)
    np.testing.assert_allclose(found[0], found[1] + np.log(2 * np.pi), rtol=1e-12)


def with_parameters(unit, function, *values):
    """Return a function of h and y with other values for the unit's parameters."""

    def replaced(h, y):
        table = dict(zip(unit.parameters(), map(gg.constant, values), strict=True))
        return substitute([function(h, y)], table)[0]

    return replaced


@pytest.mark.parametrize("reduced", [False, True])
def test_two_classes_are_a_logistic_unit(reduced):
    logistic = nn.LogisticRegression(3, dtype="float64")
    w, b = (p.value for p in logistic.parameters())
    bits = np.arange(6) % 2
    expected = evaluate(
        lambda h, y: logistic.nll(h, y, "none"), h=H, y=bits[:, None].astype(float)
    )
    two = nn.MultinoulliOutput(3, 2, reduced=reduced, dtype="float64")
    # Class 0 has the scores of y = 1; the other one, 0.
    if not reduced:
        w, b = np.concatenate([w, 0 * w], 1), np.concatenate([b, 0 * b])
    function = with_parameters(two, lambda h, y: two.nll(h, y, "none"), w, b)
    np.testing.assert_allclose(
        evaluate(function, h=H, y=1 - bits), expected, rtol=1e-12
    )


def test_one_parameter_less_gives_the_same_likelihoods():
    full = nn.MultinoulliOutput(3, 4, dtype="float64")
    less = nn.MultinoulliOutput(3, 4, reduced=True, dtype="float64")
    w, b = (p.value for p in full.parameters())
    y = np.arange(6) % 4
    expected = evaluate(lambda h, y: full.nll(h, y, "none"), h=H, y=y)
    function = with_parameters(
        less, lambda h, y: less.nll(h, y, "none"), (w - w[:, 3:])[:, :3], (b - b[3])[:3]
    )
    np.testing.assert_allclose(evaluate(function, h=H, y=y), expected, rtol=1e-12)


def test_a_full_covariance_that_is_diagonal_is_a_variance_for_each_output():
    plain = nn.GaussianOutput(3, 2, min_variance=1e-12, dtype="float64")
    full = nn.MultivariateGaussianOutput(3, 2, "exp", 1e-12, dtype="float64")
    w, b = np.zeros((3, 5)), np.array([0.3, -0.2, np.log(0.5), np.log(2.0), 0.0])
    found = evaluate(
        with_parameters(full, lambda h, y: full.nll(h, y, "none"), w, b), h=H, y=Y
    )
    r = np.log(np.expm1([0.25, 4.0]))
    same = np.concatenate([b[:2], r])
    expected = evaluate(
        with_parameters(plain, lambda h, y: plain.nll(h, y, "none"), w[:, :4], same),
        h=H,
        y=Y,
    )
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_a_mixture_of_one_is_a_gaussian():
    one = nn.MixtureDensityOutput(3, 2, 1, dtype="float64")
    w, b = RNG.standard_normal((3, 5)), RNG.standard_normal(5)
    found = evaluate(
        with_parameters(one, lambda h, y: one.nll(h, y, "none"), w, b), h=H, y=Y
    )
    plain = nn.GaussianOutput(3, 2, dtype="float64")
    function = with_parameters(
        plain, lambda h, y: plain.nll(h, y, "none"), w[:, 1:], b[1:]
    )
    np.testing.assert_allclose(found, evaluate(function, h=H, y=Y), rtol=1e-12)


# --- what they find


def test_gaussian_units_find_the_mean_and_the_scatter():
    factor = np.array([[1.5, 0.0], [-0.8, 0.4]])
    y = np.array([2.0, -1.0]) + RNG.standard_normal((400, 2)) @ factor.T
    h = np.ones((400, 1))
    mean, covariance = y.mean(0), np.cov(y.T, bias=True)
    unit = nn.GaussianOutput(1, 2, dtype="float64")
    fit(unit, h, y)
    found = evaluate(lambda h: [*unit.distribution(h).values()], h=h[:1])
    np.testing.assert_allclose(found[0][0], mean, atol=1e-3)
    np.testing.assert_allclose(found[1][0], np.diag(covariance), rtol=1e-2)
    full = nn.MultivariateGaussianOutput(1, 2, dtype="float64")
    fit(full, h, y)
    values = evaluate(lambda h: [full.mean(h), full.covariance(h)], h=h[:1])
    np.testing.assert_allclose(values[0][0], mean, atol=1e-3)
    np.testing.assert_allclose(values[1][0], covariance, rtol=1e-2)


def test_a_variance_that_depends_on_the_input_is_found():
    h = RNG.uniform(-1, 1, (600, 1))
    y = 2 * h + np.exp(h) * RNG.standard_normal((600, 1))
    unit = nn.GaussianOutput(1, 1, "exp", dtype="float64")
    fit(unit, h, y)
    ends = np.array([[-1.0], [1.0]])
    variance = evaluate(lambda h: unit.distribution(h)["variance"], h=ends)
    np.testing.assert_allclose(np.log(variance[:, 0]), [-2, 2], atol=0.3)


def inverse_problem(count=200):
    """Return x and y with x = y²: two answers ±√x to every question."""
    x = RNG.uniform(0.5, 2, (count, 1))
    signs = np.where(np.arange(count) % 2, 1.0, -1.0)[:, None]
    return x, signs * np.sqrt(x) + 0.02 * RNG.standard_normal((count, 1))


def test_a_mixture_finds_both_answers_where_the_squared_error_finds_their_mean():
    x, y = inverse_problem()
    with gg.root_scope(1):
        linear = nn.LinearRegression(1, dtype="float64")
        unit = nn.MixtureDensityOutput(1, 1, 2, dtype="float64")
    error = fit(linear, x, y)
    likelihood = fit(unit, x, y)
    at = np.array([[0.6], [1.0], [1.8]])
    middle = evaluate(linear.mean, h=at)
    assert abs(middle).max() < 0.4
    found = evaluate(lambda h: unit.distribution(h)["means"], h=at)[..., 0]
    roots = np.sqrt(at) * [-1, 1]
    np.testing.assert_allclose(np.sort(found, -1), roots, atol=0.1)
    mode, mean = evaluate(lambda h: [unit.mode(h), unit.mean(h)], h=at)
    np.testing.assert_allclose(abs(mode), np.sqrt(at), atol=0.1)
    np.testing.assert_allclose(mean, middle, atol=0.25)
    assert likelihood < error - 1


# --- the gradient where a unit is wrong


def test_a_unit_that_is_confidently_wrong_still_learns():
    h = gg.constant(np.array([[1e4, -1e4, 0.0]], "float32"))
    logistic = nn.LogisticRegression(3, weight_init=nn.init.ones())
    bernoulli = nn.BernoulliOutput(3, weight_init=lambda *_: [[1.0], [-1.0], [0.0]])
    for unit, expected in ((logistic, -0.5), (bernoulli, 1.0)):
        target = np.float32([[1.0 if expected < 0 else 0.0]])
        loss = unit.nll(h, gg.constant(target))
        (slope,) = gg.gradients(loss, [unit.affine.bias])
        assert gg.evaluate(slope) == [expected]
    (vanished,) = gg.gradients(
        gg.mse(bernoulli(h), gg.constant(np.float32([[0.0]]))), [bernoulli.affine.bias]
    )
    assert gg.evaluate(vanished) == [0.0]


@pytest.mark.parametrize("positive", ["softplus", "exp"])
@pytest.mark.parametrize("r", [-1e4, -200.0, 1e4])
def test_variances_far_out_give_finite_likelihoods_and_gradients(positive, r):
    for make in (nn.GaussianOutput, nn.MultivariateGaussianOutput):
        count = 4 if make is nn.GaussianOutput else 5
        bias = np.array([0.0, 0.0, r, r, 0.0])[:count]
        unit = make(3, 2, positive, bias_init=nn.init.constant(bias))
        loss = unit.nll(gg.constant(np.zeros((1, 3), "f")), gg.constant([[0.5, 0.0]]))
        slopes = gg.gradients(loss, unit.parameters())
        values = gg.compile([], [loss, *slopes], device="cpu")()
        assert all(np.isfinite(v).all() for v in values)


# --- samples


def test_samples_have_the_moments_of_the_distribution():
    h = np.ones((20_000, 3))
    for name in ("linear", "gaussian", "multivariate", "mixture", "bernoulli"):
        with gg.root_scope(3):
            unit = UNITS[name](dtype="float64")
            sample, mean = evaluate(lambda h: [unit.sample(h), unit.mean(h)], h=h)  # noqa: B023
        np.testing.assert_allclose(sample.mean(0), mean[0], atol=0.05, err_msg=name)
    with gg.root_scope(3):
        full = nn.MultivariateGaussianOutput(3, 2, dtype="float64")
        sample, c = evaluate(lambda h: [full.sample(h), full.covariance(h)], h=h)
    np.testing.assert_allclose(np.cov(sample.T), c[0], atol=0.05)
    with gg.root_scope(3):
        classes = nn.MultinoulliOutput(3, 4, reduced=True, dtype="float64")
        sample, p = evaluate(lambda h: [classes.sample(h), classes.mean(h)], h=h)
    np.testing.assert_allclose(np.bincount(sample) / len(h), p[0], atol=0.02)


def test_samples_are_the_same_for_the_same_key():
    unit = nn.MixtureDensityOutput(3, 2, 4)
    h = H.astype("f")
    left, right, other = evaluate(
        lambda h: [unit.sample(h, "a"), unit.sample(h, "a"), unit.sample(h, "b")], h=h
    )
    np.testing.assert_array_equal(left, right)
    assert (left != other).any()


# --- what is refused


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: nn.LinearRegression(0),
            "expected in_features to be an int > 0, got 0",
        ),
        (lambda: nn.MultinoulliOutput(3, 1), "expected at least 2 classes, got 1"),
        (
            lambda: nn.GaussianOutput(3, 2, "square"),
            "positive='softplus' or 'exp', got",
        ),
        (
            lambda: nn.GaussianOutput(3, 2, min_variance=0),
            "expected min_variance to be a number > 0, got 0",
        ),
        (
            lambda: nn.MixtureDensityOutput(3, 2, components=0),
            "expected components to be an int > 0, got 0",
        ),
    ],
)
def test_units_check_what_they_are_made_with(make, message):
    with pytest.raises(gg.GraphError, match=message):
        make()


def test_targets_of_another_shape_are_refused_and_the_unit_named():
    unit = nn.GaussianOutput(3, 2, name="head")
    h = gg.placeholder("h", (5, 3))
    with pytest.raises(gg.ShapeError, match=r"expected a target of shape \[5,2\]") as e:
        unit.nll(h, gg.placeholder("y", (5,)))
    assert any("'head'" in note for note in e.value.__notes__)
    with pytest.raises(gg.GraphError, match="expected 3 features along axis -1, got 4"):
        unit.mean(gg.placeholder("h", (5, 4)))
    with pytest.raises(gg.GraphError, match="'mean', 'sum' or 'none'"):
        unit.nll(h, gg.placeholder("y", (5, 2)), reduction="max")


def test_a_class_without_probability_is_never_drawn():
    """Not even where the probabilities, rounded, have a sum below the number drawn."""
    p = np.zeros((20_000, 5), "f")
    p[:, 1:4] = 0.3  # a sum of 0.9 stands for one that was rounded down
    index = evaluate(lambda p: drawn(p, "a"), p=p)
    np.testing.assert_allclose(np.bincount(index, minlength=5)[[0, 4]], 0)
    np.testing.assert_allclose(
        np.bincount(index) / len(p), [0, 1 / 3, 1 / 3, 1 / 3], atol=0.02
    )


def test_samples_have_the_variance_of_the_distribution():
    h = np.ones((40_000, 3))
    with gg.root_scope(3):
        one = nn.GaussianOutput(3, 2, dtype="float64")
        sample, v = evaluate(
            lambda h: [one.sample(h), one.distribution(h)["variance"]], h=h
        )
    np.testing.assert_allclose(sample.var(0), v[0], rtol=0.05)
    with gg.root_scope(3):
        unit = nn.MixtureDensityOutput(3, 2, 4, dtype="float64")
        parts = unit.distribution
        sample, mean, p, m, v = evaluate(
            lambda h: [unit.sample(h), unit.mean(h), *parts(h).values()], h=h
        )
    second = (p[0, :, None] * (v[0] + m[0] ** 2)).sum(0)
    np.testing.assert_allclose(sample.var(0), second - mean[0] ** 2, rtol=0.05)


def test_the_mode_of_a_mixture_is_where_its_density_is_highest():
    """Of two components with the same weight, that is the narrower one's mean."""
    unit = nn.MixtureDensityOutput(1, 1, components=2, positive="exp", dtype="float64")
    unit.affine.weight.value = np.zeros((1, 6))
    scores = {"equal": [0, 0, -5, 5, 0, -2], "heavy": [9, 0, -5, 5, 0, -2]}
    for name, mode in (("equal", 5), ("heavy", -5)):
        unit.affine.bias.value = scores[name]
        assert gg.evaluate(unit.mode(gg.zeros((1, 1), "float64"))).item() == mode
