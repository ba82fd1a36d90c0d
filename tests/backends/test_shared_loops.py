"""Loops of which each lane runs its own, over its rows: when, and to the same bits."""

import _thread
import threading

import numpy as np
import pytest

import graphgpu as gg
from graphgpu.backends.numpy import loops, rows, sharing, translate

RANDOM = np.random.default_rng(0)


@pytest.fixture(autouse=True)
def _small_loops_too(monkeypatch):
    for module, name in [
        (rows, "_LEAST"),
        (rows, "_CALL"),
        (translate, "_SMALL"),
        (translate, "_LONG"),
        (loops, "_MANY"),
    ]:
        monkeypatch.setattr(module, name, 0)


def array(*shape):
    return RANDOM.uniform(-1, 1, shape).astype("f")


def executables(program):
    return [s.executable for s in program._specialized.values()]


def shared_loops(program):
    """Return how many loops the lanes share."""
    (executable,) = executables(program)
    bodies = executable.code.bodies()
    return sum(n.startswith("loop") for b in bodies for n in b.bindings)


def whole_loops(program):
    (executable,) = executables(program)
    bodies = executable.code.bodies()
    return sum(n.startswith("loop") for b in bodies for n in b.objects)


def step(layer, masked, batch, threads, **options):
    """Return a training step, its inputs and its parameters."""
    x = gg.placeholder("x", (batch, 5, 3))
    mask = gg.placeholder("mask", (batch, 5), "bool")
    outputs, _ = layer.unroll(x, mask=mask if masked else None)
    parameters = list(layer.parameters())
    loss = gg.sum(gg.square(outputs)) + gg.sum(gg.sin(outputs))
    slopes = gg.gradients(loss, [*parameters, x])
    return gg.compile(
        [x, mask] if masked else [x],
        [loss, outputs, *slopes],
        device="cpu",
        threads=threads,
        **options,
    )


SHARED = {"lstm": 2, "peepholes": 1, "gru": 1, "rnn": 2, "both": 8}
"""The loops that are: sums over the batch in a loop of gradients keep it whole."""
LAYERS = {
    "lstm": lambda: gg.nn.LSTM(3, 4),
    "peepholes": lambda: gg.nn.LSTM(3, 4, peepholes=True),
    "gru": lambda: gg.nn.GRU(3, 4),
    "rnn": lambda: gg.nn.RNN(3, 4),
    "both": lambda: gg.nn.LSTM(3, 4, num_layers=2, bidirectional=True),
}


@pytest.mark.parametrize("batch", [2, pytest.param(4, marks=pytest.mark.slow), 7])
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("kind", LAYERS)
def test_recurrent_layers_are_shared_to_the_same_bits(kind, masked, batch):
    with gg.root_scope(0):
        layer = LAYERS[kind]()
        arrays = [array(batch, 5, 3)]
        if masked:
            arrays.append(RANDOM.uniform(size=(batch, 5)) < 0.7)
        wanted = step(layer, masked, batch, 1, check_finite=True, passes=())(*arrays)
        found = []
        for threads in (1, 2, 3):
            program = step(layer, masked, batch, threads, debug=True)
            for _ in range(2):
                found.append(program(*arrays))
            assert shared_loops(program) == (SHARED[kind])
    for results in found:
        for left, first, right in zip(results, found[0], wanted, strict=True):
            assert np.asarray(left).tobytes() == np.asarray(first).tobytes()
            np.testing.assert_allclose(left, right, rtol=1e-4, atol=1e-5)


def test_a_batch_of_one_is_not_cut():
    with gg.root_scope(0):
        program = step(gg.nn.LSTM(3, 4), False, 1, 2)
        program(array(1, 5, 3))
    assert (shared_loops(program), whole_loops(program)) == (0, 2)


MIXING = {
    "a sum": lambda c, e: c + gg.sum(c, axis=0) + e,
    "a product from the left": lambda c, e: gg.sin(e @ c),
    "another order": lambda c, e: c[::-1] + e,
    "a part": lambda c, e: gg.concat([c[1:], c[:1]]) + e,
    "turned round": lambda c, e: gg.sin(gg.transpose(c)) + e,
    "rows along columns": lambda c, e: gg.sin(c) + c[:, 0] + e,
    "two rows in one": lambda c, e: (
        gg.reshape(gg.softmax(gg.reshape(c, (2, 8)), axis=1), (4, 4)) * e
    ),
    "a running sum": lambda c, e: gg.cumsum(c, axis=0) * e,
    "a scalar carry": lambda c, e: c,
}


@pytest.mark.parametrize("kind", MIXING)
def test_a_body_that_mixes_rows_is_not_shared(kind):
    x, h = gg.placeholder("x", (5, 4, 4)), gg.placeholder("h", (4, 4))
    mix = MIXING[kind]
    if kind == "a scalar carry":
        (last, count), _ = gg.scan(
            lambda c, e: ((gg.sin(c[0]) + e, gg.sin(c[1]) + 1), None),
            (h, gg.constant(0.0)),
            x,
        )
        last = last + gg.cast(count, "float32")
    else:
        last, _ = gg.scan(lambda c, e: (mix(c, e), None), h, x)
    arrays = [array(5, 4, 4), array(4, 4)]
    program = gg.compile([x, h], last, device="cpu", threads=2, debug=True)
    plain = gg.compile([x, h], last, device="cpu", check_finite=True, passes=())
    np.testing.assert_allclose(program(*arrays), plain(*arrays), rtol=1e-5, atol=1e-6)
    assert (shared_loops(program), whole_loops(program)) == (0, 1)


ROWWISE = {
    "square weights": lambda c, e, w: gg.tanh(c @ w + e),
    "turned weights": lambda c, e, w: gg.tanh(c @ gg.transpose(w) * e),
    "rows of weights": lambda c, e, w: c * w + e,
    "weights both ways": lambda c, e, w: gg.tanh(c @ w + w) + e,
    "other axes": lambda c, e, w: gg.softmax(c[:, ::-1] + e, axis=1),
    "constants": lambda c, e, w: c * gg.constant(np.eye(4, dtype="f")) + e,
    "ones": lambda c, e, w: gg.concat([c, gg.ones((4, 4))], axis=1)[:, 2:6] - e,
    "a matrix a time": lambda c, e, w: gg.sin(c @ e),
    "columns": lambda c, e, w: gg.cumsum(c, axis=1) * e + gg.sum(c, 1, keepdims=True),
}


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("kind", ROWWISE)
def test_sizes_that_happen_to_be_equal_do_not_matter(kind, reverse):
    x, h = gg.placeholder("x", (4, 4, 4)), gg.placeholder("h", (4, 4))
    w = gg.placeholder("w", (4, 4))
    after = ROWWISE[kind]

    def step(c, e):
        new = after(c, gg.transpose(e) if kind == "columns" else e, w)
        return new, (new, c, e)

    last, stacked = gg.scan(step, h, gg.transpose(x, (1, 0, 2)), reverse=reverse)
    outputs = [last, *stacked]
    loss = gg.sum(last * last) + gg.sum(stacked[0])
    outputs += gg.gradients(loss, [x, h])
    arrays = [array(4, 4, 4), array(4, 4), array(4, 4)]
    plain = gg.compile([x, h, w], outputs, device="cpu", check_finite=True, passes=())
    wanted = plain(*arrays)
    found = []
    for threads in (1, 2):
        f = gg.compile([x, h, w], outputs, device="cpu", threads=threads, debug=True)
        found.append(f(*arrays))
    for left, other, right in zip(*found, wanted, strict=True):
        assert left.tobytes() == other.tobytes()
        np.testing.assert_allclose(left, right, rtol=1e-4, atol=1e-5)


def test_random_numbers_are_those_of_the_whole_batch():
    x, h = gg.placeholder("x", (6, 4, 3)), gg.placeholder("h", (4, 3))

    def step(c, e):
        new = gg.sin(c + e) + gg.random_uniform((4, 3))
        return new, new

    with gg.root_scope(0):
        last, y = gg.scan(step, h, x)
        arrays = [array(6, 4, 3), array(4, 3)]
        found = []
        for options in ({"threads": 1}, {"threads": 2}, {"check_finite": True}):
            program = gg.compile([x, h], [last, y], device="cpu", seed=3, **options)
            found.append(program(*arrays)[1])
            if "threads" in options:
                assert shared_loops(program) == 1
    assert found[0].tobytes() == found[1].tobytes()
    np.testing.assert_allclose(found[0], found[2], rtol=1e-5)


def test_the_memory_of_both_lanes_is_in_the_plan():
    x = gg.placeholder("x", (100, 4, 1000))

    def step(c, e):
        a = gg.exp(c) * gg.sin(e)
        return gg.softmax(a, axis=1) - a, None

    last, _ = gg.scan(step, gg.zeros((4, 1000)), x)
    program = gg.compile([x], last, device="cpu", threads=2, debug=True)
    plan = program.plan()
    assert 4 * 16000 <= plan.arena_bytes <= 12 * 16000
    program(array(100, 4, 1000))
    assert shared_loops(program) == 1


def classes_loop(threads):
    h = gg.placeholder("h", (4, 3))
    x = gg.placeholder("x", (6, 4, 1), "int64")
    last, _ = gg.scan(lambda c, e: (c + gg.one_hot(gg.squeeze(e, 1), 3), None), h, x)
    return gg.compile([h, x], last, device="cpu", threads=threads)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("row", [0, 3])
def test_an_error_names_the_node_and_the_iteration(threads, row):
    program = classes_loop(threads)
    classes = np.zeros((6, 4, 1), "int64")
    assert program(array(4, 3), classes).shape == (4, 3)
    assert shared_loops(program) == 1
    classes[2, row] = 7
    with pytest.raises(gg.ComputeError) as caught:
        program(array(4, 3), classes)
    text = str(caught.value)
    assert "one_hot" in text
    assert "created at" in text
    assert text.endswith("in iteration 2 of a scan of 6")
    classes[2, row] = 0
    program(array(4, 3), classes)


def test_an_interrupt_leaves_states_as_they_were_or_as_they_will_be():
    w = gg.parameter("w", np.zeros((4, 300), "f"))
    x = gg.placeholder("x", (1000, 4, 300))
    last, _ = gg.scan(lambda c, e: (gg.sin(gg.exp(gg.sin(c)) + e), None), w, x)
    program = gg.compile([x], gg.sum(last), {w: w + last}, device="cpu", threads=2)
    sums = gg.compile([x], w + last, device="cpu", threads=1)
    value = array(1000, 4, 300)
    program(value)
    assert shared_loops(program) == 1
    for delay in (0.002, 0.005, 0.01):
        before = after = w.value.copy()
        timer = threading.Timer(delay, _thread.interrupt_main)
        timer.start()
        try:
            while timer.is_alive():
                before = w.value.copy()
                program(value)
            timer.join()
        except KeyboardInterrupt:
            timer.join()
        after = w.value.copy()
        w.value = before
        assert after.tobytes() in (before.tobytes(), sums(value).tobytes())


def test_a_process_runs_the_loop_of_a_lane(monkeypatch):
    monkeypatch.setattr(sharing, "_LEAST", 0.0)
    with gg.root_scope(0):
        layer = gg.nn.LSTM(3, 4)
        x = array(7, 5, 3)
        wanted = step(layer, False, 7, 1)(x)
        program = step(layer, False, 7, 2)
        program(x)
        program(x)
        (executable,) = executables(program)
        if executable._processes is None:
            pytest.skip("no processes here")
        assert executable._processes.wait(60)
        found = program(x)
        assert executable._processes._is_ready()
    for left, right in zip(found, wanted, strict=True):
        assert np.asarray(left).tobytes() == np.asarray(right).tobytes()


def test_an_error_of_a_process_names_the_iteration(monkeypatch):
    monkeypatch.setattr(sharing, "_LEAST", 0.0)
    program = classes_loop(2)
    classes = np.zeros((6, 4, 1), "int64")
    h = array(4, 3)
    program(h, classes)
    program(h, classes)
    (executable,) = executables(program)
    if executable._processes is None:
        pytest.skip("no processes here")
    assert executable._processes.wait(60)
    classes[4, 3] = 7
    with pytest.raises(gg.ComputeError) as caught:
        program(h, classes)
    assert str(caught.value).endswith("in iteration 4 of a scan of 6")
