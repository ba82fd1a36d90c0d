"""scan: values, derivatives to third order, lengths, memory, errors."""

import numpy as np
import pytest

import graphgpu as gg
from graphgpu.control import Scan
from graphgpu.rewrite import PASSES, rewrite
from graphgpu.testing import check_gradient, check_operation

RANDOM = np.random.default_rng(0)
ALL_FLOATS = ("float64", "float32", "float16", "bfloat16")
X = RANDOM.uniform(-1, 1, (5, 3))
W = RANDOM.uniform(-1, 1, (3, 3))
H = RANDOM.uniform(-1, 1, 3)


def run(variable, values=None, passes=None, seed=0):
    given = dict(values or {})
    program = gg.compile(list(given), variable, device="cpu", seed=seed, passes=passes)
    return program(*given.values())


def rnn(x, w, h, **options):
    """A recurrent net whose state and outputs are both read."""

    def step(state, element):
        state = gg.tanh(w @ state + element)
        return state, state * element

    state, outputs = gg.scan(step, h, x, **options)
    return gg.sum(outputs) * state + gg.sum(state)


def rnn_by_hand(x, w, h, reverse=False):
    total = 0.0
    for row in x[::-1] if reverse else x:
        h = np.tanh(w @ h + row)
        total += (h * row).sum()
    return total * h + h.sum()


# --- values and derivatives


@pytest.mark.parametrize("length", [5, 1, 0])
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("every", [None, 1, 2, 5])
def test_a_recurrent_net_is_the_loop_by_hand(length, reverse, every):
    check_operation(
        lambda x, w, h: rnn(x, w, h, reverse=reverse, checkpoint_every=every),
        [X[:length], W, H],
        lambda x, w, h: rnn_by_hand(x, w, h, reverse),
        order=2,
    )


def test_every_float_and_the_third_derivative():
    check_operation(rnn, [X, W, H], rnn_by_hand, dtypes=ALL_FLOATS, order=1)
    check_gradient(rnn, [X[:3], W, H], order=3)


def test_sums_and_products_have_closed_forms():
    check_operation(
        lambda x: gg.scan(lambda c, e: (c + e, c + e), 0.0 * gg.sum(x), x)[1],
        [X[:, 0]],
        np.cumsum,
        order=2,
    )
    check_operation(
        lambda x: gg.scan(lambda c, e: (c * e, None), gg.exp(x[0] * 0), x)[0],
        [X[:, 0]],
        np.prod,
        order=2,
    )


def test_the_power_iteration_has_no_sequence():
    def function(w, h):
        return gg.scan(lambda v: (gg.tanh(w @ v), None), h, length=4)[0]

    def reference(w, h):
        for _ in range(4):
            h = np.tanh(w @ h)
        return h

    check_operation(function, [W, H], reference, order=2)


def test_several_carries_and_sequences_and_outputs():
    def function(x, y, a, b):
        def step(carry, p, q):
            first, second = carry
            return (first * p + second, gg.sin(second + q)), (first * q, second)

        (last, other), (left, right) = gg.scan(step, (a, b), (x, y))
        return gg.sum(left * 2 + right) + gg.sum(last * other)

    def reference(x, y, a, b):
        total = 0
        for p, q in zip(x, y, strict=True):
            total += (2 * a * q + b).sum()
            a, b = a * p + b, np.sin(b + q)
        return total + (a * b).sum()

    check_operation(function, [X, X[::-1] + 1, H, H + 2], reference, order=2)


def test_an_integer_carry_counts_and_has_no_gradient():
    def step(carry, e):
        count, total = carry
        return (count + 1, total + e * gg.cast(count, e.dtype)), count

    def both(x):
        return gg.scan(step, (gg.constant(2), 0.0 * gg.sum(x)), x)

    (count, _), counts = both(gg.constant(X[:, 0]))
    assert run(count) == 7
    assert run(counts).tolist() == [2, 3, 4, 5, 6]
    check_operation(
        lambda x: both(x)[0][1], [X[:, 0]], lambda x: x @ np.arange(2, 7), order=2
    )


def test_carries_that_are_handed_round_stay_or_are_constants():
    def step(carry, e):
        a, b, c = carry
        return (b, a, gg.ones_like(c)), (a * e, c)

    def function(x, a, b):
        (p, q, r), (y, z) = gg.scan(step, (a, b, a * b), x)
        return gg.sum(y) + gg.sum(p * p * q) + gg.sum(r) + gg.sum(z * a)

    def reference(x, a, b):
        total, p, q, r = 0, a, b, a * b
        for e in x:
            total += (p * e).sum() + (r * a).sum()
            p, q, r = q, p, np.ones(3)
        return total + (p * p * q).sum() + r.sum()

    check_operation(function, [X, H, H + 1], reference, order=2)


def test_elements_need_not_be_read_and_outputs_may_be_anything():
    w = gg.parameter("w", W)
    x = gg.placeholder("x", ("n", 3), "float64")
    last, outputs = gg.scan(lambda c, e: (c, [w, e, c]), gg.constant(H), x)
    values = run([last, *outputs], {x: X})
    np.testing.assert_array_equal(values[0], H)
    np.testing.assert_array_equal(values[1], np.stack([W] * 5))
    np.testing.assert_array_equal(values[2], X)
    np.testing.assert_array_equal(values[3], np.stack([H] * 5))


def test_a_scan_without_carries_is_a_map():
    carry, y = gg.scan(lambda _, e: ((), gg.exp(e)), (), gg.constant(X))
    assert carry == ()
    np.testing.assert_array_equal(run(y), np.exp(X))


def test_sums_of_gradients_of_halves_are_formed_in_float32():
    w = gg.parameter("w", np.ones((), np.float16))
    x = gg.ones((4096,), dtype="float16")
    _, y = gg.scan(lambda c, e: (c, w * e + c), gg.zeros((), "float16"), x)
    (dw,) = gg.gradients(gg.sum(y), [w])
    assert dw.dtype == np.float16
    assert run(dw) == 4096


def test_no_gradient_flows_where_the_function_stops_it():
    x, h = gg.placeholder("x", (4, 3)), gg.parameter("h", H)
    last, _ = gg.scan(lambda c, e: (gg.stop_gradient(c) + e, None), gg.zeros(3), x)
    (dx,) = gg.gradients(gg.sum(last), [x])
    np.testing.assert_array_equal(
        run(dx, {x: np.ones((4, 3), "f")}), [[0] * 3] * 3 + [[1] * 3]
    )
    start = gg.cast(h, "float32")
    last, _ = gg.scan(lambda c, e: (gg.stop_gradient(c) + e, None), start, x)
    with pytest.raises(gg.GradientError, match=r"scan\(.* blocks the path"):
        gg.gradients(gg.sum(last), [h])


# --- nested


def test_a_scan_within_a_scan():
    def function(x, w, h):
        def outer(carry, row):
            def inner(c, e):
                return gg.tanh(w @ c + e), c * e

            last, y = gg.scan(inner, carry, row)
            return last, gg.sum(y)

        last, y = gg.scan(outer, h, gg.reshape(x, (2, 2, 3)))
        return gg.sum(y) + gg.sum(last)

    def reference(x, w, h):
        total = 0
        for row in x:
            total += (h * row).sum()
            h = np.tanh(w @ h + row)
        return total + h.sum()

    check_operation(function, [X[:4], W, H], reference, order=2)


def test_a_scan_within_a_map_and_a_map_within_a_scan():
    def sums(x):
        return gg.map(lambda row: gg.scan(lambda c, e: (c * e, c), row[0], row)[1], x)

    def reference(x):
        return np.cumprod(np.concatenate([x[:, :1], x], 1), 1)[:, :-1]

    check_operation(sums, [X], reference, order=2)

    def maps(x, h):
        return gg.scan(lambda c, e: (gg.map(lambda a: gg.sin(a) * e, c), c), h, x)[1]

    def by_hand(x, h):
        result = []
        for e in x:
            result.append(h)
            h = np.sin(h) * e
        return np.stack(result)

    check_operation(maps, [X[:, 0], H], by_hand, order=2)


# --- truncation and checkpoints


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("length", [0, 1, 7])
def test_truncated_gradients_do_not_pass_from_block_to_block(length, reverse):
    x, w = gg.placeholder("x", ("n",), "float64"), gg.parameter("w", np.array(0.9))
    start = gg.parameter("start", np.array(0.5))

    def step(c, e):
        c = w * c + e
        return c, c

    options = {"reverse": reverse, "truncate": 3}
    last, y = gg.scan(step, start, x, **options)
    full = gg.scan(step, start, x, reverse=reverse)
    values = np.arange(1.0, length + 1)
    slopes = gg.gradients(last, [x, start])
    first, second, dx, dstart = run([last, full[0], *slopes], {x: values})
    assert first == second
    steps = np.arange(length)[::-1] if reverse else np.arange(length)
    block = np.maximum((length - 1) // 3, 0)
    expected = np.where(steps // 3 == block, 0.9 ** (length - 1 - steps), 0)
    np.testing.assert_allclose(dx, expected)
    np.testing.assert_allclose(dstart, 0.9**length if length <= 3 else 0)
    (dw,) = gg.gradients(gg.sum(y), [w])
    by_hand, c, d = 0.0, 0.5, 0.0
    for t, e in enumerate(values[::-1] if reverse else values):
        d = 0.0 if t % 3 == 0 else d
        d, c = 0.9 * d + c, 0.9 * c + e
        by_hand += d
    np.testing.assert_allclose(run(dw, {x: values}), by_hand)


def test_blocks_of_truncation_are_counted_from_the_first_iteration():
    x = gg.placeholder("x", (7,))
    last, _ = gg.scan(lambda c, e: (c + e, None), 0.0, x, truncate=3)
    slope = run(gg.gradients(last, [x]), {x: np.ones(7, "f")})[0]
    np.testing.assert_array_equal(slope, [0, 0, 0, 0, 0, 0, 1])


def training(length, **options):
    """A training step of a wide recurrent net, by a scan."""
    x = gg.placeholder("x", (length, 64))
    weights = np.random.default_rng(3).uniform(-0.1, 0.1, (64, 64))
    w = gg.parameter("w", weights, "float32")

    def step(c, e):
        a = gg.tanh(c @ w + e)
        b = gg.sigmoid(gg.dropout(a, key="k") @ w)
        return gg.exp(-a * b), None

    last, _ = gg.scan(step, gg.zeros((16, 64)), x, **options)
    loss = gg.sum(last)
    return x, [loss, *gg.gradients(loss, [w, x])]


IN_ORDER = tuple(name for name in PASSES if name != "loop_products")
"""Passes that leave sums over the iterations in their order."""


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("every", [8, 9])
def test_checkpoints_take_less_memory_and_give_the_same_bits(every, reverse):
    value = RANDOM.uniform(-1, 1, (64, 64)).astype("f")
    peaks, results = [], []
    for options in ({}, {"checkpoint_every": every}):
        x, outputs = training(64, reverse=reverse, **options)
        program = gg.compile([x], outputs, device="cpu", passes=IN_ORDER)
        results.append(program(value))
        peaks.append(program.plan().peak_bytes)
    for plain, other in zip(*results, strict=True):
        np.testing.assert_array_equal(plain, other)
    assert peaks[1] < peaks[0] / 2
    x, outputs = training(64, reverse=reverse, checkpoint_every=every)
    program = gg.compile([x], outputs, device="cpu")
    for plain, other in zip(results[0], program(value), strict=True):
        np.testing.assert_allclose(plain, other, rtol=1e-4, atol=1e-5)
    assert program.plan().peak_bytes < peaks[0] / 2


@pytest.mark.parametrize("every", [2, 3])
def test_checkpoints_change_the_last_digits_of_weights_gradients_at_most(every):
    x, w = gg.placeholder("x", (6, 5, 3)), gg.placeholder("w", (3, 4))
    h = gg.placeholder("h", (5, 4))
    numbers = np.random.default_rng(0)
    values = {v: numbers.normal(size=v.shape).astype("f") for v in (x, w, h)}

    def step(c, e):
        c = 0.5 * c + gg.tanh(e @ w)
        return c, gg.mean(c)

    results = []
    for options in ({}, {"checkpoint_every": every}):
        last, means = gg.scan(step, h, x, **options)
        slopes = gg.gradients(gg.sum(last) + gg.sum(means), [h, x, w])
        results.append(run([last, means, *slopes], values, ()))
    (*plain, dw), (*other, dw_in_blocks) = results
    for left, right in zip(plain, other, strict=True):
        np.testing.assert_array_equal(left, right)
    np.testing.assert_allclose(dw, dw_in_blocks, rtol=1e-5, atol=1e-6)


def test_products_with_elements_leave_a_block_at_most():
    peaks = []
    for options in ({}, {"checkpoint_every": 8}):
        x = gg.placeholder("x", (64, 8, 4))
        w = gg.parameter("w", np.ones((4, 256)), "float32")

        def step(c, e, w=w):
            return gg.tanh(gg.sum(c) + e @ w), None

        last, _ = gg.scan(step, gg.zeros((8, 256)), x, **options)
        outputs = [last, *gg.gradients(gg.sum(last), [w])]
        peaks.append(gg.compile([x], outputs, device="cpu").plan().peak_bytes)
    assert peaks[1] < peaks[0] / 2


# --- random numbers


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("every", [None, 2, 3])
def test_random_numbers_are_those_of_a_map(every, reverse):
    def numbers(carry, e):
        return carry, gg.random_uniform((4,), key="k")

    length = gg.zeros((7,))
    _, scanned = gg.scan(
        numbers, gg.zeros(()), length, reverse=reverse, checkpoint_every=every
    )
    mapped = gg.map(lambda e: gg.random_uniform((4,), key="k"), length)
    np.testing.assert_array_equal(*run([scanned, mapped], seed=5))


@pytest.mark.parametrize("every", [None, 2])
def test_dropout_has_the_same_mask_forward_and_backward(every):
    x = gg.placeholder("x", (5, 50))
    h = gg.parameter("h", np.ones(50))

    def step(c, e):
        return c + gg.dropout(e * gg.cast(h, "float32"), 0.5), None

    last, _ = gg.scan(step, gg.zeros(50), x, checkpoint_every=every)
    (dx,) = gg.gradients(gg.sum(last), [x])
    value, slope = run([last, dx], {x: np.ones((5, 50), "f")})
    np.testing.assert_array_equal(value, slope.sum(0))
    assert len({row.tobytes() for row in slope}) == 5


def test_dropout_in_nested_blocks_differentiates_twice():
    def function(x, h):
        def step(c, e):
            return gg.dropout(gg.sin(c * e), 0.5, key="k"), c

        def outer(c, row):
            return gg.scan(step, c, row, checkpoint_every=2)

        return gg.scan(outer, h, gg.stack([x, x * 2]))[1]

    check_gradient(function, [X[:, 0], H], order=2)


# --- what is computed where


def scans(outputs):
    found = []
    stack = [(list(outputs), frozenset())]
    while stack:
        listed, stop = stack.pop()
        for variable in gg.graph.ancestors(listed, stop):
            if isinstance(variable.operation, Scan) and variable not in stop:
                found.append(variable.operation)
                body = variable.operation.body
                stack.append((list(body.outputs), frozenset(body.inputs)))
    return found


def kinds(operation):
    return [v.operation.kind() for v in operation.body.variables if v.operation]


def test_a_training_step_computes_the_forward_pass_once():
    _, outputs = training(6)
    result = rewrite(outputs, debug=True)
    forward, backward = sorted(scans(result.outputs), key=lambda s: s.reverse)
    assert kinds(forward).count("tanh") == kinds(forward).count("exp") == 1
    assert "tanh" not in kinds(backward)
    assert "sigmoid" not in kinds(backward)
    assert any("loops made one" in line for line in result.log)


def test_cheap_values_are_computed_again_and_invariants_once():
    x, w = gg.placeholder("x", (6, 3)), gg.parameter("w", W, "float32")

    def step(c, e):
        z = gg.relu(c @ gg.exp(w) + e)
        return z, None

    last, _ = gg.scan(step, gg.zeros((2, 3)), x)
    outputs = [last, *gg.gradients(gg.sum(last), [w])]
    for operation in scans(rewrite(outputs).outputs):
        assert "exp" not in kinds(operation)
        assert "transpose" not in kinds(operation) or operation.reverse


def test_what_nobody_reads_is_left_out():
    x = gg.placeholder("x", (6, 3))

    def step(carry, e):
        a, b = carry
        return (gg.sin(a), gg.exp(b) + e), (a, b)

    (_, last), (_, _) = gg.scan(step, (gg.zeros(3), gg.zeros(3)), x)
    (operation,) = scans(rewrite([last], debug=True).outputs)
    assert operation.carries == 1
    assert len(operation.body.outputs) == 1
    assert "sin" not in kinds(operation)


def test_without_passes_the_result_is_the_same():
    x, w = gg.placeholder("x", (5, 3)), gg.parameter("w", W, "float32")
    y = rnn(x, w, gg.zeros(3), truncate=2, checkpoint_every=3)
    slopes = gg.gradients(gg.sum(y), [x, w])
    value = {x: X.astype("f")}
    for left, right in zip(run(slopes, value), run(slopes, value, ()), strict=True):
        np.testing.assert_allclose(left, right, rtol=1e-5, atol=1e-6)


def test_flops_are_those_of_the_body_for_each_iteration():
    x, w = gg.placeholder("x", ("n", 3)), gg.parameter("w", W, "float32")
    last, _ = gg.scan(lambda c, e: (w @ c, None), gg.zeros(3), x)
    assert last.operation.flops([], last.type) == gg.dim("n") * (2 * 3 * 3)


# --- sizes


def test_named_lengths_and_sizes():
    x = gg.placeholder("x", ("n", "k"))
    w = gg.placeholder("w", ("k",))
    for options in ({}, {"truncate": 2}, {"checkpoint_every": 2}, {"reverse": True}):
        last, y = gg.scan(lambda c, e: (c * w + e, c), gg.zeros_like(w), x, **options)
        assert y.type == x.type
        slopes = gg.gradients(gg.sum(y) + gg.sum(last), [x, w])
        program = gg.compile([x, w], [last, y, *slopes], device="cpu")
        for n, k in [(5, 3), (4, 3), (1, 2), (0, 3), (2, 0), (5, 3)]:
            a, b = np.ones((n, k), "f") * 3, np.ones(k, "f") * 2
            value, outputs, slope_x, _ = program(a, b)
            np.testing.assert_allclose(value, 3 * (2.0**n - 1))
            assert outputs.shape == slope_x.shape == (n, k)


def test_the_length_may_be_given_and_named():
    power, _ = gg.scan(lambda c: (c * 2, None), 1.0, length=10)
    assert run(power) == 1024
    x = gg.placeholder("x", ("n",))
    count, _ = gg.scan(lambda c: (c + 1, None), gg.constant(0), length="n")
    program = gg.compile([x], [count, gg.sum(x)], device="cpu")
    assert program(np.zeros(4, "f"))[0] == 4
    _, y = gg.scan(lambda c, e: (c, e), 0.0, gg.zeros(4), length=4)
    assert y.shape == (4,)
    with pytest.raises(gg.ShapeError, match="length of the sequences, length"):
        gg.scan(lambda c, e: (c, e), 0.0, gg.zeros(4), length=5)


# --- errors


def test_a_carry_that_changes_its_type_is_named():
    with pytest.raises(gg.DTypeError) as caught:
        gg.scan(
            lambda c, e: ((c[0], gg.cast(c[1], "float64")), None),
            (0.0, gg.zeros(3)),
            gg.zeros(4),
        )
    text = str(caught.value)
    assert text.startswith(
        "scan: expected carry 1 to stay float32[3], the type of its initial value; the "
        "function returned float64[3]; cast or broadcast the one or the other; "
        "created at "
    )
    assert "test_scan.py:" in text
    with pytest.raises(gg.ShapeError, match=r"carry 0 to stay float32\[\], .*\[3\]"):
        gg.scan(lambda c, e: (c + gg.ones(3), None), 0.0, gg.zeros(4))


@pytest.mark.parametrize(
    ("function", "text"),
    [
        (lambda c, e: c, "two things, the next carry and the outputs or None; got"),
        (lambda c, e: (c, e, e), "two things"),
        (lambda c, e: ((c, c), e), "a tuple of 1 carries|a variable or a tuple"),
        (lambda c, e: (None, e), "the function's carry to return a variable"),
        (lambda c, e: (c, 1.0), "a variable or a tuple of variables; got 1.0"),
    ],
)
def test_a_function_that_returns_something_else_is_refused(function, text):
    with pytest.raises(gg.GraphError, match=text) as caught:
        gg.scan(function, 0.0, gg.zeros(3))
    assert "test_scan.py:" in str(caught.value)


@pytest.mark.parametrize(
    ("function", "init", "sequences", "text"),
    [
        (
            lambda h: (h, h),
            0.0,
            gg.zeros(3),
            "function to take 2 arguments, the carry and an element of each sequence; "
            "got one that takes (h)",
        ),
        (
            lambda h, e: (h, e),
            0.0,
            (),
            "function to take 1 argument, the carry; got one that takes (h, e)",
        ),
        (
            1.0,
            0.0,
            (),
            "function to be a function; got 1.0; write lambda and the names of its "
            "arguments in front of what it computes",
        ),
        (
            lambda h: (h, None),
            {"a": gg.zeros(())},
            (),
            "init to be a variable, numbers, or one tuple of these; got a dict; write "
            "(a, b, ...), a tuple without names",
        ),
        (
            lambda h: (h, None),
            ((gg.zeros(()), 1.0), 0.0),
            (),
            "init to be a variable, numbers, or one tuple of these; got a tuple in a "
            "tuple; write (a, b, ...), a tuple without names",
        ),
        (
            lambda h, e: (h, None),
            0.0,
            {"a": gg.zeros(3)},
            "sequences to be a variable, numbers, or one tuple of these; got a dict; "
            "write (a, b, ...), a tuple without names",
        ),
        (lambda h: (h, None), None, (), "numbers; got None"),
    ],
)
def test_arguments_that_do_not_fit_are_refused(function, init, sequences, text):
    with pytest.raises(gg.GraphError) as caught:
        gg.scan(function, init, sequences, length=3)
    message, place = str(caught.value).rsplit("; created at ", 1)
    assert message == f"scan: expected {text}"
    assert "test_scan.py:" in place


def test_carries_that_are_missing_are_counted():
    with pytest.raises(gg.GraphError, match="a tuple of 2 carries, as there are init"):
        gg.scan(lambda c, e: (c[0], e), (0.0, 1.0), gg.zeros(3))


def test_a_loop_needs_a_length_and_something_to_compute():
    with pytest.raises(gg.GraphError, match="expected a sequence, or the length"):
        gg.scan(lambda c: (c, None), 0.0)
    with pytest.raises(gg.GraphError, match="to return a carry or an output"):
        gg.scan(lambda c, e: ((), None), (), gg.zeros(3))
    with pytest.raises(gg.ShapeError, match="a first axis in sequence 0"):
        gg.scan(lambda c, e: (c, None), 0.0, 1.0)
    for name in ("truncate", "checkpoint_every"):
        text = f"expected {name} to be a whole number of at least 1; got 0"
        with pytest.raises(gg.ShapeError, match=text):
            gg.scan(lambda c, e: (c, None), 0.0, gg.zeros(3), **{name: 0})


def test_a_state_cannot_be_updated_inside():
    count = gg.state("count", 0.0)

    def step(c, e):
        return c, gg.with_state_update(e, count, count + e)

    text = "updates a state, which scan cannot do; return the new value"
    with pytest.raises(gg.GraphError, match=text):
        gg.scan(step, 0.0, gg.zeros(3))


def test_an_error_inside_names_the_node_and_the_iteration():
    a = gg.placeholder("a", ("n", 2, 2))
    last, _ = gg.scan(lambda c, m: (c + gg.inv(m), None), gg.zeros((2, 2)), a)
    good = np.tile(np.eye(2, dtype=np.float32), (3, 1, 1))
    good[1] = 0
    for passes in (None, ()):
        with pytest.raises(gg.ComputeError, match="Singular matrix") as caught:
            run(last, {a: good}, passes)
        text = str(caught.value)
        assert text.startswith("inv() failed: Singular matrix; got float32[2, 2]; ")
        assert "test_scan.py:" in text
        assert text.endswith("in iteration 1 of a scan of 3")


def test_an_error_while_building_the_function_names_its_own_line():
    x = gg.placeholder("x", (4, 3))
    with pytest.raises(gg.ShapeError, match="matmul") as caught:
        gg.scan(lambda c, e: (c @ gg.ones((2, 2)), None), gg.zeros(3), x)
    assert "test_scan.py:" in str(caught.value)


def test_a_scan_prints_what_it_is():
    last, _ = gg.scan(lambda c, e: (c + e, None), 0.0, gg.zeros(3), reverse=True)
    assert str(last.operation) == (
        "scan(body=<float32[], float32[] -> float32[], 3 variables>, length=3, reverse)"
    )
