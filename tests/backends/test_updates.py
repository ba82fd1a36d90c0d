"""Updates computed together, as one vector, equal those computed one by one."""

import numpy as np
import pytest

import graphgpu as gg
from graphgpu.backends.numpy import executable, translate

SGD, ADAM = gg.optim.SGD, gg.optim.Adam


@pytest.fixture(autouse=True)
def _blocks(monkeypatch):
    """Cut every batch, however small the work, into blocks."""
    monkeypatch.setattr(translate, "_SMALL", 0.0)


def parameter(name, *shape):
    rng = np.random.default_rng([ord(c) for c in name])
    return gg.parameter(name, rng.standard_normal(shape).astype("float32"))


def called(build, order=(0,) * 3, **options):
    """Return the outputs of programs called in order, and all state after.

    ``build`` returns inputs, pairs of outputs and updates, and arrays.
    """
    with gg.root_scope(0):
        inputs, parts, *arrays = build()
    programs = [gg.compile(inputs, o, u, **options) for o, u in parts]
    outputs = [programs[k](*arrays) for k in order]
    state = {s: s.value for _, u in parts for s in u}
    return [*(np.asarray(a) for o in outputs for a in o), *state.values()]


def assert_same(build, order=(0,) * 3, rtol=1e-5):
    """Require the plain programs' outputs and state of those in blocks."""
    expected, found = (
        called(build, order, **o) for o in ({"passes": ()}, {"debug": True})
    )
    for left, right in zip(expected, found, strict=True):
        room = 1e-6 * max(1, np.abs(left).max(initial=0))
        np.testing.assert_allclose(right, left, rtol=rtol, atol=room, strict=True)


# --- optimisers


def regression():
    """Return inputs, parameters, their loss, and values, with no gradient near 0."""
    x, y = gg.placeholder("x", ("n", 4)), gg.placeholder("y", ("n", 2))
    w = [parameter(n, *s) for n, s in (("w", (4, 8)), ("v", (8, 8)), ("u", (8, 2)))]
    b = [parameter(n, s) for n, s in (("b", 8), ("c", 8), ("d", 2))]
    h = gg.tanh(gg.tanh(x @ w[0] + b[0]) @ w[1] + b[1])
    loss = gg.mean(gg.square(h @ w[2] + b[2] - y))
    rng = np.random.default_rng(0)
    arrays = [rng.standard_normal((8, k)).astype("float32") for k in (4, 2)]
    return [x, y], [*w, *b], loss, arrays


SCHEDULES = gg.optim.schedules
OPTIMIZERS = {
    "sgd": lambda: SGD(0.1),
    "momentum": lambda: SGD(0.1, momentum=0.9),
    "nesterov": lambda: SGD(0.1, momentum=0.9, nesterov=True, weight_decay=0.01),
    "adam": lambda: ADAM(0.01, weight_decay=0.1),
    "adamw": lambda: gg.optim.AdamW(0.01),
    "rmsprop": lambda: gg.optim.RMSProp(0.01),
    "rmsprop with momentum": lambda: gg.optim.RMSProp(0.01, momentum=0.9),
    "adagrad": lambda: gg.optim.Adagrad(0.1),
    "schedule": lambda: SGD(lr=lambda step: SCHEDULES.cosine(step, 0.1, 10)),
    "warmup": lambda: ADAM(lr=lambda step: SCHEDULES.warmup(step, 2, 0.01)),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_optimizers_update_parameters_and_state_alike(name):
    def build():
        inputs, parameters, loss, arrays = regression()
        updates = OPTIMIZERS[name]().updates(loss, parameters)
        return inputs, [([loss], updates)], *arrays

    assert_same(build, order=(0,) * 4)


@pytest.mark.parametrize("limit", [0.01, 100.0])
def test_clipped_gradients_update_alike(limit):
    def build():
        inputs, parameters, loss, arrays = regression()
        gradients = gg.gradients(loss, parameters)
        clipped = gg.optim.clip_by_global_norm(gradients, limit)
        updates = SGD(0.1, momentum=0.9).updates(loss, parameters, clipped)
        return inputs, [([loss], updates)], *arrays

    assert_same(build)


def test_an_optimizer_is_one_run_over_all_parameters():
    inputs, parameters, loss, arrays = regression()
    hidden = parameters[:-1]  # the gradient of the last is multiplied by 2 / n there
    updates = SGD(0.1, momentum=0.9).updates(loss, hidden)
    program = gg.compile(inputs, loss, updates)
    program(*arrays)
    vectors = {id(s.storage.home[0]) for s in updates}
    assert len(vectors) == 2  # of the parameters, and of the velocities
    assert program.source().count("def update_") == 1


# --- programs that share parameters


SHARES = [
    ((0, 1, 2, 3, 4, 5), (0, 2)),
    ((0, 1), (1, 2)),
    ((0, 1, 2), (3, 4, 5)),
    ((5, 4, 3, 2, 1, 0), (0, 1, 2, 3, 4, 5)),
]
KINDS = [
    (lambda: SGD(0.1, momentum=0.9), lambda: ADAM(0.01)),
    (lambda: SGD(0.1), lambda: SGD(0.05)),
]


@pytest.mark.parametrize("shares", SHARES)
@pytest.mark.parametrize("kinds", KINDS)
@pytest.mark.parametrize("order", [(0, 1, 0, 1), (1, 0, 0, 1)])
def test_two_optimizers_share_parameters_in_any_order(shares, kinds, order):
    def build():
        inputs, parameters, loss, arrays = regression()
        parts = [
            ([loss], kind().updates(loss, [parameters[k] for k in own]))
            for kind, own in zip(kinds, shares, strict=True)
        ]
        return inputs, parts, *arrays

    assert_same(build, order)


@pytest.mark.parametrize("planned", [False, True])
@pytest.mark.parametrize("shares", [*SHARES, ((0, 2), (0, 1, 2))])
def test_programs_that_share_parameters_settle_where_these_lie(
    shares, planned, monkeypatch
):
    links = []
    link = executable.link

    def counted(*args, **kwargs):
        links.append(args)
        return link(*args, **kwargs)

    monkeypatch.setattr(executable, "link", counted)
    weights = [parameter(n, 5 + ord(n) % 90) for n in "abcdef"]
    rate = gg.constant(np.float32(0.5))
    programs = [
        gg.compile([], [], {weights[k]: weights[k] - rate * weights[k] for k in own})
        for own in shares
    ]
    for program in programs:
        if planned:
            program.plan()
    expected = [w.value for w in weights]
    counts = []
    for _ in range(4):
        for program, own in zip(programs, shares, strict=True):
            program()
            for k in own:
                expected[k] = expected[k] * np.float32(0.5)
        counts.append(len(links))
    assert counts[1:] == counts[1:2] * 3
    for weight, value in zip(weights, expected, strict=True):
        np.testing.assert_array_equal(weight.value, value)


# --- new values that read others


def test_values_are_exchanged():
    a, b, c = (parameter(n, 6) for n in "abc")
    m, n = parameter("m", 3, 4), parameter("n", 4, 3)
    updates = [
        {a: b, b: a},
        {a: b * 1 + 0.5, b: a * 2},
        {a: b, b: c, c: a + b},
        {m: gg.transpose(n), n: gg.transpose(m)},
        {a: a[::-1]},
        {a: a[::-1] * 2 + a, b: gg.reshape(gg.reshape(a, (3, 2)) * 0.5, (6,))},
        {a: gg.sum(b) * c, b: a, c: c * gg.sum(a)},
    ]
    for update in updates:
        before = [v.value for v in (a, b, c, m, n)]
        expected = gg.compile([], list(update.values()), passes=())()
        gg.compile([], [], update, debug=True)()
        for leaf, value in zip(update, expected, strict=True):
            np.testing.assert_allclose(leaf.value, value, rtol=1e-6)
        for leaf, value in zip((a, b, c, m, n), before, strict=True):
            assert leaf in update or (leaf.value == value).all()
            leaf.value = value


def test_an_output_that_is_an_update_too_is_the_new_value():
    def build():
        a = parameter("a", 70)
        new = a - 0.1 * gg.sin(a)
        return [], [([new, a, gg.sum(new)], {a: new})]

    assert_same(build)


def test_averages_follow_the_new_values_of_parameters():
    def build():
        weights = [parameter("w", 6), parameter("v", 2, 3)]
        means = [gg.state(f"mean_of_{w.name}", w.value * 0) for w in weights]
        new = {w: w - 0.1 * gg.sin(w) for w in weights}
        pairs = zip(means, weights, strict=True)
        averages = {m: 0.9 * m + 0.1 * new[w] for m, w in pairs}
        return [], [([*weights, *means], new | averages)]

    assert_same(build)


def test_a_counter_that_is_updated_is_read_as_it_was():
    def build():
        weights = [parameter("w", 6), parameter("v", 2, 3), parameter("u")]
        count, rate = gg.state("count", 0), gg.parameter("rate", 0.5)
        shown = rate / (1 + gg.cast(count, "float32"))
        updates = {w: w - shown * gg.sin(w) for w in weights}
        updates |= {count: count + 1, rate: rate * 0.5}
        return [], [([shown], updates)]

    assert_same(build)


def test_parameters_of_one_element_read_each_other():
    def build():
        shapes = [(1,), (1, 1), (), (1,)]
        w = [parameter(n, *s) for n, s in zip("wvus", shapes, strict=True)]
        t, r = gg.parameter("t", [1.0]), gg.parameter("r", 1.0)
        updates = {w[0]: w[0] - t * 0.1 * gg.sin(w[0]), w[1]: w[1] * r}
        updates |= {w[2]: w[2] * r, w[3]: w[3] - r * w[3]}
        updates |= {t: t * 0.5, r: r + gg.sum(w[1])}
        return [], [([t, r], updates)]

    assert_same(build)


def test_a_state_is_updated_from_the_batch_and_from_itself():
    def build():
        x = gg.placeholder("x", ("n", 3))
        seen = gg.state("seen", np.zeros(3, "float32"))
        largest = gg.state("largest", np.float32(0))
        updates = {seen: seen + gg.sum(x, 0)}
        updates[largest] = gg.maximum(largest, gg.max(x))
        array = np.arange(15, dtype="float32").reshape(5, 3)
        return [x], [([seen * largest], updates)], array

    assert_same(build)


@pytest.mark.parametrize("dtypes", [("float32", "float64"), ("float64", "float32")])
def test_parameters_of_two_dtypes_are_updated(dtypes):
    def build():
        a, b = (
            gg.parameter(n, np.linspace(1, 2, 70).astype(t))
            for n, t in zip("ab", dtypes, strict=True)
        )
        mean = gg.cast(a, "float64") + gg.cast(b, "float64")
        updates = {v: v - 0.1 * gg.cast(gg.sin(mean), v.dtype) for v in (a, b)}
        return [], [([mean], updates)]

    assert_same(build)


def test_an_error_leaves_every_parameter_as_it_was():
    x, y = gg.placeholder("x", ("n", 4)), gg.placeholder("y", ("n",), "int64")
    w = [parameter("w", 4, 8), parameter("v", 8, 3)]
    loss = gg.cross_entropy(gg.tanh(x @ w[0]) @ w[1], y)
    program = gg.compile([x, y], loss, SGD(0.1, momentum=0.9).updates(loss, w))
    before = [s.value for s in program.updates]
    with pytest.raises(gg.ComputeError, match="no state was changed"):
        program(np.ones((5, 4), "float32"), [0, 1, 7, 0, 1])
    for leaf, value in zip(program.updates, before, strict=True):
        np.testing.assert_array_equal(leaf.value, value)
    assert program.step == 0
