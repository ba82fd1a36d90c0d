"""Random operations: distributions, bounds, keys, steps and dropout."""

from math import erf, sqrt

import numpy as np
import pytest

import graphgpu as gg
from graphgpu.testing import check_operation

MANY = 100_000
FLOATS = ("float16", "bfloat16", "float32", "float64")
X = np.random.default_rng(0).uniform(-1, 1, (4, 5))


def draw(variable, seed=0, step=0):
    program = gg.compile([], variable, device="cpu", seed=seed)
    program.step = step
    return program()


def kolmogorov_smirnov(sample, cumulative):
    """Return √n times the largest distance from the cumulative distribution."""
    n = len(sample)
    expected = cumulative(np.sort(sample.astype(np.float64)))
    steps = np.arange(n + 1) / n
    distance = max(np.max(expected - steps[:-1]), np.max(steps[1:] - expected))
    return distance * sqrt(n)


def normal_cumulative(z):
    return np.array([(1 + erf(v / sqrt(2))) / 2 for v in z])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_uniform_numbers_are_uniform(dtype):
    u = draw(gg.random_uniform((MANY,), dtype=dtype, key="k"))
    assert u.dtype == dtype
    assert u.min() >= 0
    assert u.max() < 1
    assert kolmogorov_smirnov(u, lambda x: x) < 1.95  # exceeded once in 1000
    assert abs(u.mean() - 0.5) < 4 / sqrt(12 * MANY)
    assert abs(u.var() - 1 / 12) < 4 / sqrt(180 * MANY)
    assert abs(np.corrcoef(u[:-1], u[1:])[0, 1]) < 4 / sqrt(MANY)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_normal_numbers_are_normal(dtype):
    z = draw(gg.random_normal((MANY,), dtype=dtype, key="k")).astype(np.float64)
    assert kolmogorov_smirnov(z[:20_000], normal_cumulative) < 1.95
    assert abs(z.mean()) < 4 / sqrt(MANY)
    assert abs(z.var() - 1) < 4 * sqrt(2 / MANY)
    assert abs((z**3).mean()) < 4 * sqrt(15 / MANY)
    assert abs((z**4).mean() - 3) < 4 * sqrt(96 / MANY)
    assert abs(np.corrcoef(z[::2], z[1::2])[0, 1]) < 4 / sqrt(MANY / 2)
    assert abs(np.corrcoef(z[::2] ** 2, z[1::2] ** 2)[0, 1]) < 4 / sqrt(MANY / 2)


def test_normal_numbers_have_the_mean_and_deviation_asked_for():
    z = draw(gg.random_normal((MANY,), 3.0, 0.5, key="k"))
    assert abs(z.mean() - 3) < 2 / sqrt(MANY)
    assert abs(z.std() - 0.5) < 2 / sqrt(MANY)
    assert (draw(gg.random_normal((3,), 3.0, 0.0)) == 3).all()


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize(("low", "high"), [(0, 1), (-1, 1), (0.1, 0.3), (5, 7)])
def test_uniform_numbers_stay_below_the_upper_bound(dtype, low, high):
    u = draw(gg.random_uniform((MANY,), low, high, dtype, key="k"))
    bound = np.asarray([low, high]).astype(u.dtype)
    assert (u >= bound[0]).all()
    assert (u < bound[1]).all()
    wide = u.astype(np.float64)
    resolution = float(bound[1]) - float(np.nextafter(bound[1], bound[0]))
    assert (
        abs(wide.mean() - (low + high) / 2) < 2 * (high - low) / sqrt(MANY) + resolution
    )


def test_what_would_round_up_to_the_bound_is_the_number_below():
    high = float(np.float32(1) + np.float32(2**-23))
    assert (draw(gg.random_uniform((100,), 1.0, high)) == 1).all()
    assert (draw(gg.random_uniform((100,), 2.5, 2.5)) == 2.5).all()


@pytest.mark.parametrize("dtype", FLOATS)
def test_halves_are_the_float32_numbers_rounded(dtype):
    wide = draw(gg.random_uniform((1000,), key="k"))
    if dtype != "float64":
        u = draw(gg.random_uniform((1000,), dtype=dtype, key="k"))
        below = wide < 0.99
        np.testing.assert_array_equal(u[below], wide.astype(u.dtype)[below])
    z = draw(gg.random_normal((1000,), dtype=dtype, key="k"))
    assert z.dtype == gg.zeros((), dtype=dtype).dtype


def test_the_numbers_of_a_key_never_change():
    u = draw(gg.random_uniform((4,), key="k"), seed=1, step=2)
    z = draw(gg.random_normal((4,), key="k"), seed=1, step=2)
    n = draw(gg.random_integers((4,), 0, 1000, key="k"), seed=1, step=2)
    assert (u * 2**24).astype(int).tolist() == PINNED_UNIFORM
    np.testing.assert_allclose(z, PINNED_NORMAL, rtol=1e-6)
    assert n.tolist() == PINNED_INTEGERS


# Computed once by a loop of Python integers, apart from the code here.
PINNED_UNIFORM = [11449012, 683757, 2658256, 9714652]
PINNED_NORMAL = [0.845700386227, 0.221421277454, -1.687678057192, -0.914573933745]
PINNED_INTEGERS = [40, 579, 996, 274]

KINDS = {
    "uniform": lambda shape, key=None: gg.random_uniform(shape, key=key),
    "uniform64": lambda shape, key=None: gg.random_uniform(
        shape, dtype="float64", key=key
    ),
    "normal": lambda shape, key=None: gg.random_normal(shape, key=key),
    "normal64": lambda shape, key=None: gg.random_normal(
        shape, dtype="float64", key=key
    ),
    "bits": lambda shape, key=None: gg.random_bits(shape, key=key),
    "bits64": lambda shape, key=None: gg.random_bits(shape, "uint64", key=key),
    "integers": lambda shape, key=None: gg.random_integers(shape, 0, 2**30, key=key),
    "bernoulli": lambda shape, key=None: gg.random_bernoulli(0.5, shape, key=key),
}
every_kind = pytest.mark.parametrize("function", KINDS.values(), ids=KINDS)


@every_kind
def test_the_first_numbers_do_not_depend_on_the_shape(function):
    long = draw(function((30, 7), key="k"))
    for shape in [(), (0,), (1,), (2, 3), (5, 1, 7)]:
        short = draw(function(shape, key="k"))
        assert short.shape == shape
        assert short.dtype == long.dtype
        np.testing.assert_array_equal(short.ravel(), long.ravel()[: short.size])


@every_kind
def test_seed_step_and_key_all_change_the_numbers(function):
    given = function((64,), key="k")
    streams = [draw(given), draw(given, seed=1), draw(given, step=1)]
    streams += [draw(given, seed=2**64 - 1), draw(given, step=2**32)]
    streams += [draw(function((64,), key="other"))]
    assert len({s.tobytes() for s in streams}) == len(streams)
    assert draw(given).tobytes() == streams[0].tobytes()


@every_kind
def test_named_sizes_give_the_same_numbers(function):
    x = gg.placeholder("x", ("batch", 3))
    y = function(("batch", 3), key="k")
    assert y.shape == x.shape
    program = gg.compile([x], [x, y], device="cpu")
    for batch in (0, 1, 5):
        program.step = 0
        _, value = program(np.zeros((batch, 3), np.float32))
        np.testing.assert_array_equal(value, draw(function((batch, 3), key="k")))


def test_the_step_of_a_program_advances_the_numbers_and_resetting_repeats_them():
    program = gg.compile([], gg.random_uniform((8,)), device="cpu")
    first, second = program(), program()
    assert program.step == 2
    assert (first != second).any()
    program.step = 0
    np.testing.assert_array_equal(program(), first)
    np.testing.assert_array_equal(program(), second)


def test_a_node_in_two_programs_gives_the_same_numbers():
    u = gg.random_uniform((8,))
    one = gg.compile([], u, device="cpu", seed=3)
    two = gg.compile([], [u * 2, gg.random_normal((3,))], device="cpu", seed=3)
    np.testing.assert_array_equal(one() * 2, two()[0])


def test_nodes_are_numbered_within_their_scope():
    def build():
        keys = []
        for name in ("a", "b"):
            with gg.scope(name):
                keys += [gg.random_uniform(()).operation.key for _ in range(2)]
        return keys

    with gg.root_scope():
        first = build()
    with gg.root_scope():
        second = build()
    assert first == second
    assert first[:3] == [
        "a/random_uniform#0",
        "a/random_uniform#1",
        "b/random_uniform#0",
    ]
    values = [draw(gg.random_uniform((4,), key=k)).tolist() for k in first]
    assert len({tuple(v) for v in values}) == 4


def test_nodes_with_one_key_have_the_same_numbers():
    u, v = gg.random_uniform((4,), key="shared"), gg.random_uniform((4,), key="shared")
    assert draw(gg.max(gg.abs(u - v))) == 0


def test_bernoulli_has_the_probability_asked_for():
    for p in (0.1, 0.5, 0.9):
        b = draw(gg.random_bernoulli(p, (MANY,), key="k"))
        assert b.dtype == bool
        assert abs(b.mean() - p) < 4 * sqrt(p * (1 - p) / MANY)
    assert not draw(gg.random_bernoulli(0, (MANY,))).any()
    assert draw(gg.random_bernoulli(1, (MANY,))).all()
    assert draw(gg.random_bernoulli(1.0, (3,), "bfloat16")).tolist() == [1, 1, 1]


@pytest.mark.parametrize("dtype", FLOATS)
def test_bernoulli_takes_a_variable_of_probabilities(dtype):
    p = gg.placeholder("p", ("n", 3), dtype)
    b = gg.random_bernoulli(p, dtype=dtype, key="k")
    assert b.type == p.type
    value = np.tile([0.0, 0.5, 1.0], (2000, 1)).astype(b.dtype)
    mean = gg.evaluate(b, {p: value}).astype(np.float64).mean(axis=0)
    assert mean[0] == 0
    assert abs(mean[1] - 0.5) < 0.05
    assert mean[2] == 1
    wide = gg.random_bernoulli(p[0], (100, 3))
    assert gg.evaluate(wide, {p: value[:1]}).shape == (100, 3)


def test_integers_are_uniform_and_within_their_bounds():
    n = draw(gg.random_integers((MANY,), -3, 7, key="k"))
    assert n.dtype == np.int64
    counts = np.bincount(n + 3, minlength=10)
    chi_square = ((counts - MANY / 10) ** 2 / (MANY / 10)).sum()
    assert len(counts) == 10
    assert chi_square < 27.9  # of 9 degrees of freedom, exceeded once in 1000


def test_integers_reach_the_ends_of_their_dtypes():
    n = draw(gg.random_integers((MANY,), -128, 128, "int8"))
    assert set(n.tolist()) == set(range(-128, 128))
    n = draw(gg.random_integers((MANY,), -(2**63), -(2**63) + 2**32))
    assert n.min() >= -(2**63)
    assert n.max() < -(2**63) + 2**32
    assert n.max().astype(float) - n.min().astype(float) > 0.99 * 2**32
    n = draw(gg.random_integers((MANY,), 2**64 - 2, 2**64, "uint64"))
    assert set(n.tolist()) == {2**64 - 2, 2**64 - 1}


def test_bits_are_even():
    for dtype in ("uint32", "uint64"):
        words = draw(gg.random_bits((10_000,), dtype))
        assert words.dtype == dtype
        bits = np.unpackbits(words.view(np.uint8).reshape(10_000, -1), axis=1)
        assert np.abs(bits.mean(axis=0) - 0.5).max() < 4.5 * 0.5 / sqrt(10_000)


# --- dropout


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("p", [0.1, 0.5, 0.75])
def test_dropout_zeroes_with_probability_p_and_scales_the_rest(dtype, p):
    x = gg.placeholder("x", (MANY,), dtype)
    ones = np.ones(MANY, x.dtype)
    y = gg.evaluate(gg.dropout(x, p, key="k"), {x: ones})
    assert y.dtype == x.dtype
    assert set(y.astype(float).tolist()) == {0.0, float(x.dtype.type(1 / (1 - p)))}
    assert abs((y == 0).mean() - p) < 4 * sqrt(p * (1 - p) / MANY)


def test_dropout_multiplies_by_its_mask_and_so_do_its_derivatives():
    kept = draw(gg.random_uniform(X.shape, key="k")) >= 0.3
    assert kept.any()
    assert not kept.all()
    check_operation(
        lambda x: gg.dropout(x, 0.3, key="k"), [X], lambda x: x * kept / 0.7, order=3
    )
    check_operation(
        lambda x: gg.square(gg.dropout(x, 0.3, key="k")) * x,
        [X],
        lambda x: (x * kept / 0.7) ** 2 * x,
        order=3,
    )
    check_operation(lambda x: gg.dropout(x, 0.3, key="k"), [X[:0]], lambda x: x)


def test_dropout_has_the_same_mask_forward_and_backward_at_every_step():
    x = gg.placeholder("x", ("n",))
    y = gg.dropout(x, 0.5)
    (dx,) = gg.gradients(gg.sum(y), [x])
    program = gg.compile([x], [y, dx], device="cpu")
    masks = []
    for _ in range(3):
        value, slope = program(np.ones(100, np.float32))
        np.testing.assert_array_equal(value, slope)
        masks.append(value.tobytes())
    assert len(set(masks)) == 3


def test_dropout_of_probability_0_and_1_is_exact():
    x = gg.placeholder("x", X.shape, "float64")
    assert gg.dropout(x, 0.0) is x
    bad = np.where(X > 0, X, np.nan)
    assert (gg.evaluate(gg.dropout(x, 1.0), {x: bad}) == 0).all()
    (dx,) = gg.gradients(gg.sum(gg.dropout(x, 1.0)), [x])
    assert (gg.evaluate(dx, {x: X}) == 0).all()


def test_dropout_is_the_identity_when_not_training():
    x = gg.placeholder("x", X.shape)
    assert gg.dropout(x, 0.5, training=False) is x


def test_the_keys_of_dropout_do_not_depend_on_p_or_on_evaluation_graphs():
    def keys(p, evaluate_first):
        x = gg.placeholder("x", (3,))
        with gg.root_scope(), gg.scope("net"):
            if evaluate_first:
                gg.dropout(x, p, training=False)
            gg.dropout(x, p)
            masked = gg.dropout(x, 0.5)
        return [
            v.operation.key
            for v in gg.Graph(masked).variables
            if hasattr(v.operation, "key")
        ]

    assert keys(0.5, False) == keys(0.0, False) == keys(0.5, True) == ["net/dropout#1"]


# --- what is refused


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda: gg.random_uniform((3,), 1, 0), gg.GraphError, "expected low <= high"),
        (lambda: gg.random_uniform((3,), 0, np.inf), gg.GraphError, "a finite number"),
        (
            lambda: gg.random_uniform((3,), -6e38, 6e38),
            gg.GraphError,
            "a finite float32 apart",
        ),
        (lambda: gg.random_uniform((3,), dtype="int32"), gg.DTypeError, "got int32"),
        (lambda: gg.random_uniform((-1,)), gg.ShapeError, "cannot be negative"),
        (
            lambda: gg.random_uniform((3,), key=""),
            gg.GraphError,
            "a key that is a text",
        ),
        (lambda: gg.random_uniform((3,), "a"), gg.DTypeError, "expected a number"),
        (lambda: gg.random_normal((3,), 0, -1), gg.GraphError, "deviation >= 0"),
        (lambda: gg.random_normal((3,), gg.ones(())), gg.DTypeError, "scale and shift"),
        (lambda: gg.random_bits((3,), "int32"), gg.DTypeError, "uint32 or uint64"),
        (lambda: gg.random_integers((3,), 2, 2), gg.GraphError, "from 1 to"),
        (lambda: gg.random_integers((3,), 0, 2**32 + 1), gg.GraphError, "from 1 to"),
        (
            lambda: gg.random_integers((3,), 0, 300, "int8"),
            gg.GraphError,
            "int8 does not",
        ),
        (
            lambda: gg.random_integers((3,), 0, 3, "bool"),
            gg.DTypeError,
            "integer dtype",
        ),
        (lambda: gg.random_integers((3,), 0.5, 3), gg.DTypeError, "expected integers"),
        (lambda: gg.random_bernoulli(1.5, (3,)), gg.GraphError, "from 0 to 1; got 1.5"),
        (
            lambda: gg.random_bernoulli(gg.ones((2,)), (3,)),
            gg.ShapeError,
            "equal sizes",
        ),
        (lambda: gg.dropout(gg.ones((3,)), 1.5), gg.GraphError, "p from 0 to 1"),
        (lambda: gg.dropout(gg.ones((3,)), True), gg.DTypeError, "expected a number"),
        (lambda: gg.dropout(gg.constant([1, 2])), gg.DTypeError, "floating-point"),
    ],
)
def test_bad_arguments_are_refused(call, error, text):
    with pytest.raises(error, match=text) as caught:
        call()
    assert "test_random.py:" in str(caught.value)
