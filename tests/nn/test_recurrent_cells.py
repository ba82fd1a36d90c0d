"""Recurrent cells: one step, first values, loops of one's own, transformed weights."""

import numpy as np
import pytest
from recurrent_loops import sigmoid, step

import graphgpu as gg
from graphgpu import nn

RNG = np.random.default_rng(62)
F64 = {"dtype": "float64"}
CELLS = {"RNN": nn.RNNCell, "LSTM": nn.LSTMCell, "GRU": nn.GRUCell}
LAYERS = {"RNN": nn.RNN, "LSTM": nn.LSTM, "GRU": nn.GRU}


def normal(*shape):
    return RNG.standard_normal(shape)


def listed(states):
    return list(states) if isinstance(states, tuple) else [states]


def gates(value, size):
    return [value[:, k : k + size] for k in range(0, value.shape[1], size)]


# --- one step


@pytest.mark.parametrize("kind", CELLS)
def test_a_step_is_that_of_the_formula_from_any_state(kind):
    cell = CELLS[kind](3, 4, **F64)
    x, states = normal(5, 3), [normal(5, 4) for _ in cell.carries]
    for given in (states, []):
        found = gg.evaluate(listed(cell(x, *given)))
        before = given or [np.zeros((5, 4)) for _ in cell.carries]
        for n in range(5):
            wanted = step(cell, x[n], tuple(s[n] for s in before))
            np.testing.assert_allclose([f[n] for f in found], wanted, rtol=1e-13)


@pytest.mark.parametrize("kind", CELLS)
def test_an_input_may_have_any_batch_axes(kind):
    cell = CELLS[kind](3, 4, **F64)
    x, states = normal(2, 5, 3), [normal(2, 5, 4) for _ in cell.carries]
    flat = [a.reshape(10, -1) for a in (x, *states)]
    found = gg.evaluate(listed(cell(x, *states)) + listed(cell(x[0, 0])))
    wanted = gg.evaluate(listed(cell(*flat)) + listed(cell(x[:1, 0])))
    for left, right in zip(found, wanted, strict=True):
        np.testing.assert_allclose(left.ravel(), right.ravel(), rtol=1e-13)


def test_a_cell_may_have_no_batch_and_no_bias():
    cell = nn.LSTMCell(3, 4, bias=False, peepholes=True, **F64)
    for p in cell.parameters():
        p.value = normal(*p.shape)
    assert [p.name for p in cell.parameters()][2:] == [
        "peephole_i",
        "peephole_f",
        "peephole_o",
    ]
    x, h, c = normal(3), normal(4), normal(4)
    found = gg.evaluate(list(cell(x, h, c)))
    np.testing.assert_allclose(found, step(cell, x, (h, c)), rtol=1e-13)


def test_the_sequence_layers_are_their_cells_step_by_step():
    for kind, make in LAYERS.items():
        layer = make(3, 4, **F64)
        x = normal(2, 5, 3)
        states = []
        for t in range(5):
            states = listed(layer.cells[0](x[:, t], *states))
        _, last = layer.unroll(x)
        for found, wanted in zip(listed(last), states, strict=True):
            left, right = gg.evaluate([found[0], wanted])
            np.testing.assert_allclose(left, right, rtol=1e-12, err_msg=kind)


# --- first values


@pytest.mark.parametrize("kind", CELLS)
def test_recurrent_weights_are_orthogonal_gate_by_gate(kind):
    cell = CELLS[kind](3, 5, **F64)
    parts = gates(cell.weight_hh.value, 5)
    assert len(parts) == cell.gates
    for u in parts:
        np.testing.assert_allclose(u @ u.T, np.eye(5), atol=1e-12)
    assert len({u.tobytes() for u in parts}) == cell.gates


@pytest.mark.parametrize("kind", CELLS)
def test_input_weights_are_of_the_width_of_one_gate(kind):
    cell = CELLS[kind](30, 50, **F64)
    bound = np.sqrt(6 / (30 + 50))  # and not 30 + gates * 50
    for w in gates(cell.weight_ih.value, 50):
        assert 0.95 * bound < np.abs(w).max() <= bound
        np.testing.assert_allclose(w.std(), bound / np.sqrt(3), rtol=0.1)


def test_biases_are_0_at_first_but_1_for_the_forget_gate():
    assert not nn.RNNCell(3, 2).bias.value.any()
    gru = nn.GRUCell(3, 2)
    assert not gru.bias.value.any()
    assert not gru.bias_hn.value.any()
    assert nn.LSTMCell(3, 2).bias.value.tolist() == [0, 0, 1, 1, 0, 0, 0, 0]
    given = nn.LSTMCell(3, 2, bias_init=nn.init.constant(0.5))
    assert (given.bias.value == 0.5).all()


# --- gates at their ends


def test_a_gru_whose_update_gate_is_1_keeps_its_state_to_the_bit():
    cell = nn.GRUCell(3, 4)
    cell.bias.value = np.float32([0] * 4 + [1e4] * 4 + [3] * 4)
    x, h = normal(6, 3).astype("f"), (1e-6 * normal(6, 4)).astype("f")
    np.testing.assert_array_equal(gg.evaluate(cell(x, h)), h)
    cell.bias.value = np.float32([0] * 4 + [-1e4] * 4 + [3] * 4)
    cell.weight_hh.value = np.zeros((4, 12))
    found = gg.evaluate(cell(x, np.float32(1e30) * h))
    assert (np.abs(found) <= 1).all()


def test_an_lstm_with_open_and_shut_gates_remembers_or_forgets():
    cell = nn.LSTMCell(
        1, 1, weight_init=nn.init.zeros(), recurrent_init=nn.init.zeros()
    )
    x, h, c = np.zeros((1, 1), "f"), np.ones((1, 1), "f"), np.float32([[0.3]])
    for shut, wanted in ((1e4, 0.3), (-1e4, 0.0)):
        cell.bias.value = np.float32([-1e4, shut, 2, 0])
        assert gg.evaluate(cell(x, h, c)[1]).item() == np.float32(wanted)


def test_peepholes_look_at_the_cell_before_and_the_output_gate_at_the_new_one():
    cell = nn.LSTMCell(1, 1, peepholes=True, weight_init=nn.init.zeros(), **F64)
    cell.peephole_i.value, cell.peephole_f.value = [2.0], [-1.0]
    cell.peephole_o.value, cell.bias.value = [3.0], [0.0, 0.0, 0.5, 0.0]
    c = 0.7
    h, after = gg.evaluate(list(cell(np.zeros((1, 1)), np.zeros((1, 1)), [[c]])))
    new = sigmoid(-c) * c + sigmoid(2 * c) * np.tanh(0.5)
    np.testing.assert_allclose(after.item(), new)
    np.testing.assert_allclose(h.item(), sigmoid(3 * new) * np.tanh(new))


# --- loops of one's own


@pytest.mark.parametrize("kind", CELLS)
def test_a_cell_in_a_scan_feeds_its_outputs_back(kind):
    cell, head = CELLS[kind](3, 4, **F64), nn.Dense(4, 3, **F64)
    first = gg.placeholder("first", ("batch", 3), "float64")

    def loop(carry):
        x, *states = carry
        after = listed(cell(x, *states))
        y = head(after[0])
        return (y, *after), y

    start = (first, *cell.start(first.shape[:-1]))
    _, outputs = gg.scan(loop, start, length=6)
    loss = gg.sum(gg.square(outputs))
    targets = [*cell.parameters(), *head.parameters()]
    program = gg.compile([first], [outputs, *gg.gradients(loss, targets)], device="cpu")
    value = normal(2, 3)
    found, *slopes = program(value)
    x, states = value.copy(), [np.zeros((2, 4)) for _ in cell.carries]
    for t in range(6):
        rows = [step(cell, x[n], tuple(s[n] for s in states)) for n in range(2)]
        states = [np.stack(parts) for parts in zip(*rows, strict=True)]
        x = states[0] @ head.weight.value + head.bias.value
        np.testing.assert_allclose(found[t], x, rtol=1e-11, atol=1e-13)
    y, own = gg.constant(value), []
    losses = []
    for _ in range(6):
        own = listed(cell(y, *own))
        y = head(own[0])
        losses.append(gg.sum(gg.square(y)))
    loss = gg.sum(gg.stack(losses))
    unrolled = gg.evaluate(gg.gradients(loss, targets))
    for left, right in zip(slopes, unrolled, strict=True):
        np.testing.assert_allclose(left, right, rtol=1e-10, atol=1e-12)


def test_teacher_forcing_takes_the_truth_where_it_is_told_to():
    cell = nn.GRUCell(2, 2, **F64)
    truth = gg.placeholder("truth", ("time", "batch", 2), "float64")
    forced = gg.placeholder("forced", ("time",), "bool")

    def loop(carry, target, force):
        y, h = carry
        h = cell(y, h)
        return (gg.where(force, target, h), h), h

    (zero,) = cell.start(truth.shape[1:2])
    _, outputs = gg.scan(loop, (zero, zero), (truth, forced))
    program = gg.compile([truth, forced], outputs, device="cpu")
    value, on = normal(5, 1, 2), np.array([1, 0, 1, 1, 0], bool)
    found = program(value, on)
    y = h = np.zeros(2)
    for t in range(5):
        (h,) = step(cell, y, (h,))
        np.testing.assert_allclose(found[t, 0], h, rtol=1e-12)
        y = value[t, 0] if on[t] else h


def test_a_cell_of_ones_own_defines_its_advance():
    class Leaky(nn.Cell):
        """h ← h / 2 + x W + b + h U."""

        def advance(self, projected, states):
            return (states[0] / 2 + projected + gg.matmul(states[0], self.weight_hh),)

    cell = Leaky(3, 4, recurrent_init=nn.init.zeros(), **F64)
    assert [p.path for p in cell.parameters()] == [
        "leaky/weight_ih",
        "leaky/weight_hh",
        "leaky/bias",
    ]
    x, h = normal(2, 3), normal(2, 4)
    expected = h / 2 + x @ cell.weight_ih.value
    np.testing.assert_allclose(gg.evaluate(cell(x, h)), expected, rtol=1e-13)


# --- weights that are functions of others


@pytest.mark.parametrize("kind", CELLS)
def test_transformed_recurrent_weights_reach_the_loop(kind):
    layer = LAYERS[kind](3, 4, bidirectional=True, **F64)
    x = gg.constant(normal(2, 5, 3))
    plain = gg.evaluate(layer(x))
    cell = layer.cells[1]
    nn.weight_norm(cell, "weight_hh", axis=1)
    np.testing.assert_allclose(gg.evaluate(layer(x)), plain, rtol=1e-12)
    cell.weight_hh.value = 5 * cell.weight_hh.value  # its length is not looked at
    np.testing.assert_allclose(gg.evaluate(layer(x)), plain, rtol=1e-11)
    cell.weight_hh_transform.g.value = np.zeros(4 * cell.gates)
    size, free = layer.hidden_size, LAYERS[kind](3, 4, bidirectional=True, **F64)
    for p, q in zip(free.cells[1].parameters(), cell.parameters(), strict=False):
        p.value = q.value
    free.cells[1].weight_hh.value = np.zeros((4, 4 * cell.gates))
    found, wanted = gg.evaluate(layer(x)), gg.evaluate(free(x))
    np.testing.assert_allclose(found[..., size:], wanted[..., size:], rtol=1e-12)
    paths = [p.path for p in layer.parameters()]
    assert f"{kind.lower()}/cells/1/weight_hh_transform/g" in paths


def test_a_transform_is_built_once_outside_of_the_loop():
    layer = nn.LSTM(3, 4)
    nn.weight_norm(layer.cells[0], "weight_hh", axis=1)
    graph = gg.Graph(layer(gg.placeholder("x", ("batch", "time", 3))))
    paths = [v.path for v in graph.variables if v.operation]
    assert any(p.startswith("lstm/cells/0/weight_hh_transform/") for p in paths)
    slopes = gg.gradients(gg.sum(graph.outputs[0]), layer.parameters())
    assert [s.shape for s in slopes] == [p.shape for p in layer.parameters()]


def test_a_transform_with_state_is_updated_once_for_a_sequence():
    layer = nn.LSTM(3, 4)
    nn.spectral_norm(layer.cells[0], "weight_hh", axis=1)
    y = layer(gg.placeholder("x", ("batch", "time", 3)), training=True)
    (u,) = gg.state_updates(y)
    assert u.path == "lstm/cells/0/weight_hh_transform/u"


def test_recurrent_weights_are_dropped_for_a_whole_sequence():
    ones = nn.init.ones()
    inits = {"weight_init": ones, "recurrent_init": ones}
    layer = nn.RNN(1, 1, nonlinearity="relu", bias=False, **inits, **F64)
    layer.cells[0].transform("weight_hh", nn.DropConnect(0.5))
    y = layer(np.ones((1, 6, 1)), training=True)
    program = gg.compile([], y, device="cpu")
    found = {tuple(program().ravel()) for _ in range(20)}
    assert found == {(1, 1, 1, 1, 1, 1), (1, 3, 7, 15, 31, 63)}  # u is 0 or 2


def test_replaced_weights_reach_the_loop_and_the_start_of_ones_own():
    class Half(nn.Layer):
        def forward(self, *, training):
            return gg.full((4, 4), 0.5, "float64")

    cell = nn.RNNCell(3, 4, **F64).replace("weight_hh", Half())
    assert [p.name for p in cell.parameters()] == ["weight_ih", "bias"]
    (start,) = cell.start((2,))
    assert start.type == gg.TensorType(np.dtype("float64"), (2, 4))
    x = normal(2, 3, 3)
    layer = nn.RNN(3, 4, **F64)
    layer.cells = [cell]
    h = np.zeros((2, 4))
    for t in range(3):
        h = np.tanh(x[:, t] @ cell.weight_ih.value + h @ np.full((4, 4), 0.5))
    _, last = layer.unroll(x)
    np.testing.assert_allclose(gg.evaluate(last)[0], h, rtol=1e-12)


# --- errors


def test_errors_name_the_cell_and_what_was_expected():
    cell = nn.LSTMCell(3, 4)
    x, h = np.zeros((2, 3), "f"), np.zeros((2, 4), "f")
    cases = [
        (
            lambda: cell(x, h),
            gg.GraphError,
            r"layer 'lstm_cell', .*expected 2 states, h, c, or none; got 1; got "
            r"float32\[2,3\] and float32\[2,4\]; created at",
        ),
        (
            lambda: cell(x, h, x),
            gg.ShapeError,
            r"expected 4 features of a state along axis -1, got 3",
        ),
        (lambda: cell(h), gg.ShapeError, r"expected 3 features along axis -1, got 4"),
        (
            lambda: nn.GRUCell(3, 0),
            gg.GraphError,
            r"expected hidden_size to be an int > 0, got 0",
        ),
        (
            lambda: nn.RNNCell(3, 4, nonlinearity="sine"),
            gg.GraphError,
            r"layer 'rnn_cell', .*'tanh' or 'relu', got 'sine'",
        ),
    ]
    for call, kind, message in cases:
        with pytest.raises(kind, match=message):
            call()
