"""Recurrent layers against loops in NumPy: outputs, states, masks, gradients."""

import numpy as np
import pytest
from recurrent_loops import unrolled

import graphgpu as gg
from graphgpu import nn
from graphgpu.graph import substitute
from graphgpu.testing import check_gradient

RNG = np.random.default_rng(61)
F64 = {"dtype": "float64"}
KINDS = {
    "RNN": nn.RNN,
    "RNN, relu": lambda *a, **k: nn.RNN(*a, nonlinearity="relu", **k),
    "LSTM": nn.LSTM,
    "LSTM, peepholes": lambda *a, **k: nn.LSTM(*a, peepholes=True, **k),
    "GRU": nn.GRU,
    "GRU, no bias": lambda *a, **k: nn.GRU(*a, bias=False, **k),
}
STACKS = {"one": (1, False), "two both ways": (2, True)}
LEFT = np.array([[1, 1, 1, 1, 1], [1, 1, 0, 0, 0], [1, 1, 1, 0, 0]], bool)
MASKS = {
    "none": None,
    "right": LEFT,
    "left": LEFT[:, ::-1],
    "gaps": np.array([[1, 0, 1, 0, 1], [0, 0, 0, 0, 0], [0, 1, 1, 0, 0]], bool),
}


def normal(*shape):
    return RNG.standard_normal(shape)


def listed(states):
    return list(states) if isinstance(states, tuple) else [states]


def stirred(layer):
    """Return the layer with no parameter at 0."""
    for p in layer.parameters():
        p.value = p.value + 0.3 * RNG.standard_normal(p.value.shape)
    return layer


def initial_of(layer, batch):
    shape = (len(layer.cells), batch, layer.hidden_size)
    return [normal(*shape) for _ in layer.cells[0].carries]


def run(layer, x, initial=None, mask=None, **options):
    """Return the outputs, and the list of last states."""
    given = None if initial is None else tuple(map(gg.constant, initial))
    outputs, states = layer.unroll(gg.constant(x), given, mask, **options)
    found = gg.compile([], [outputs, *listed(states)], device="cpu")()
    return found[0], found[1:]


def program_of(layer, x, mask=None):
    """Return a program of x: a loss, its gradients by x and by the parameters."""
    v = gg.placeholder("x", x.shape, x.dtype)
    outputs, states = layer.unroll(v, None, mask)
    loss = sum((gg.sum(gg.square(s)) for s in listed(states)), gg.sum(outputs))
    slopes = gg.gradients(loss, [v, *layer.parameters()])
    return gg.compile([v], [loss, *slopes], device="cpu")


def sloped(layer, x, mask=None):
    """Return the loss, and its gradients by the input and the parameters."""
    return program_of(layer, x, mask)(x)


# --- values


@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("stack", STACKS)
@pytest.mark.parametrize("kind", KINDS)
def test_outputs_and_last_states_are_those_of_a_loop(kind, stack, mask):
    layers, both = STACKS[stack]
    layer = stirred(KINDS[kind](3, 4, layers, bidirectional=both, **F64))
    x, initial = normal(3, 5, 3), initial_of(layer, 3)
    for first in (None, initial) if mask == "none" else (initial,):
        outputs, states = run(layer, x, first, MASKS[mask])
        wanted, last = unrolled(layer, x, first, MASKS[mask])
        np.testing.assert_allclose(outputs, wanted, rtol=1e-12, atol=1e-14)
        for found, expected in zip(states, last, strict=True):
            np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("kind", ["RNN", "LSTM", "GRU"])
def test_a_call_gives_the_outputs_of_unroll(kind):
    layer = KINDS[kind](3, 4, 2, **F64)
    x, initial = normal(2, 5, 3), initial_of(layer, 2)
    mask = gg.constant(LEFT[:2])
    called = layer(x, *initial, mask=mask)
    np.testing.assert_array_equal(gg.evaluate(called), run(layer, x, initial, mask)[0])


@pytest.mark.parametrize("kind", ["RNN", "LSTM", "GRU"])
def test_the_last_state_of_one_half_starts_the_other(kind):
    layer = KINDS[kind](3, 4, 2, **F64)
    x = normal(2, 7, 3)
    whole, last = run(layer, x)
    first, middle = run(layer, x[:, :3])
    second, end = run(layer, x[:, 3:], middle)
    joined = np.concatenate([first, second], axis=1)
    np.testing.assert_allclose(joined, whole, rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(end, last, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_padded_sequence_has_the_values_that_it_has_alone(kind, side):
    layer = KINDS[kind](3, 4, 2, bidirectional=True, **F64)
    x = normal(3, 5, 3)
    outputs, states = run(layer, x, mask=MASKS[side])
    for n, on in enumerate(MASKS[side]):
        alone, last = run(layer, x[n : n + 1, on])
        np.testing.assert_allclose(outputs[n, on], alone[0], rtol=1e-13, atol=1e-15)
        assert not outputs[n, ~on].any()
        for found, expected in zip(states, last, strict=True):
            np.testing.assert_allclose(found[:, n], expected[:, 0], 1e-13, 1e-15)


@pytest.mark.parametrize("kind", ["RNN", "LSTM", "GRU"])
def test_the_reverse_direction_is_the_forward_one_of_the_reversed_sequence(kind):
    both = KINDS[kind](3, 4, bidirectional=True, **F64)
    forward = KINDS[kind](3, 4, **F64)
    values = [p.value for p in both.cells[1].parameters()]
    for p, value in zip(forward.parameters(), values, strict=True):
        p.value = value
    x = normal(2, 6, 3)
    found, (last, *_) = run(both, x)
    turned, (end, *_) = run(forward, x[:, ::-1])
    np.testing.assert_allclose(found[:, :, 4:], turned[:, ::-1], rtol=1e-12)
    np.testing.assert_allclose(last[1], end[0], rtol=1e-12)


@pytest.mark.parametrize("kind", ["RNN", "LSTM", "GRU"])
@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
def test_states_and_outputs_are_of_the_parameters_dtype(kind, dtype):
    layer = KINDS[kind](3, 4, 2, bidirectional=True, dtype=dtype)
    x = normal(2, 5, 3).astype(layer.cells[0].dtype)
    outputs, states = run(layer, x, mask=LEFT[:2])
    assert {outputs.dtype, *(s.dtype for s in states)} == {x.dtype}
    wanted, _ = unrolled(layer, x.astype("float64"), mask=LEFT[:2])
    bound = {"float16": 4e-3, "bfloat16": 3e-2, "float32": 1e-6, "float64": 1e-14}
    error = np.abs(outputs.astype("float64") - wanted).max()
    assert error < bound[dtype]


def test_inputs_of_another_dtype_are_promoted_as_in_a_dense_layer():
    layer = nn.GRU(3, 4)
    for dtype, result in (("float64", "float64"), ("int64", "float32")):
        outputs, last = layer.unroll(gg.placeholder("x", ("n", "t", 3), dtype))
        assert outputs.dtype == last.dtype == result


@pytest.mark.parametrize("kind", ["RNN", "LSTM", "GRU"])
def test_batch_and_time_may_be_named_and_of_any_size(kind):
    layer = KINDS[kind](3, 4, bidirectional=True, **F64)
    x = gg.placeholder("x", ("batch", "time", 3), "float64")
    mask = gg.placeholder("mask", ("batch", "time"), "bool")
    outputs, states = layer.unroll(x, mask=mask)
    (slope,) = gg.gradients(gg.sum(gg.square(outputs)), [layer.cells[0].weight_hh])
    targets = [outputs, *listed(states), slope]
    program = gg.compile([x, mask], targets, device="cpu")
    for batch, time in ((2, 5), (1, 1), (1, 4), (3, 1), (2, 0), (0, 3)):
        value = normal(batch, time, 3)
        on = RNG.random((batch, time)) < 0.7
        wanted, last = unrolled(layer, value, mask=on)
        found = program(value, on)
        assert found[0].shape == (batch, time, 8)
        np.testing.assert_allclose(found[0], wanted, rtol=1e-12, atol=1e-14)
        np.testing.assert_allclose(found[1:-1], last, rtol=1e-12, atol=1e-14)
        if time < 2:  # the state before is 0
            assert not found[-1].any()


def test_a_sequence_of_no_time_leaves_the_states_as_they_are():
    layer = nn.LSTM(3, 4, 2, **F64)
    initial = initial_of(layer, 2)
    outputs, states = run(layer, np.zeros((2, 0, 3)), initial)
    assert outputs.shape == (2, 0, 4)
    np.testing.assert_array_equal(states, initial)


# --- gradients


@pytest.mark.parametrize("kind", ["RNN", "LSTM, peepholes", "GRU"])
def test_states_and_initial_states_have_gradients_to_second_order(kind):
    layer = stirred(KINDS[kind](2, 2, 2, **F64))
    parameters = layer.parameters()

    def function(x, *rest):
        count = len(layer.cells[0].carries)
        with gg.root_scope():
            _, states = layer.unroll(x, rest[:count], LEFT[:2, :3])
        joined = gg.concat(listed(states), axis=-1)
        replaced = dict(zip(parameters, rest[count:], strict=True))
        return substitute([joined], replaced)[0]

    arrays = [normal(2, 3, 2), *initial_of(layer, 2), *(p.value for p in parameters)]
    check_gradient(function, arrays, order=2)


@pytest.mark.parametrize("kind", KINDS)
def test_nan_in_padded_places_is_not_looked_at(kind):
    layer = KINDS[kind](3, 4, 2, bidirectional=True, **F64)
    mask = MASKS["gaps"]
    clean = np.where(mask[..., None], normal(3, 5, 3), 0)
    program = program_of(layer, clean, mask)
    wanted = program(clean)
    assert all(np.isfinite(w).all() for w in wanted)
    for rubbish in (np.nan, np.inf, 1e300):
        found = program(np.where(mask[..., None], clean, rubbish))
        for left, right in zip(found, wanted, strict=True):
            np.testing.assert_array_equal(left, right)


def test_a_padded_input_has_no_gradient():
    layer = nn.GRU(3, 4, bidirectional=True, **F64)
    _, slope, *_ = sloped(layer, normal(3, 5, 3), LEFT)
    assert not slope[~LEFT].any()
    assert slope[LEFT].all()


@pytest.mark.parametrize("kind", ["RNN", "LSTM", "GRU"])
def test_checkpoints_change_no_bits_of_values_and_of_gradients_by_inputs(kind):
    def found(**options):
        with gg.root_scope(3):
            layer = KINDS[kind](3, 4, 2, bidirectional=True, **options)
        return sloped(layer, x, LEFT)

    x = normal(3, 5, 3).astype("float32")
    (loss, by_input, *by_parameters) = found()
    for every in (2, 9):
        same, slope, *sums = found(checkpoint_every=every)
        assert same == loss
        np.testing.assert_array_equal(slope, by_input)
        for left, right in zip(sums, by_parameters, strict=True):  # block by block
            np.testing.assert_allclose(left, right, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kind", ["RNN", "LSTM", "GRU"])
def test_truncation_cuts_the_gradient_between_blocks_and_no_value(kind):
    layers = []
    for truncate in (None, 2):
        with gg.root_scope(3):
            layers.append(KINDS[kind](3, 4, truncate=truncate, **F64))
    x = normal(1, 5, 3)
    slopes = []
    for layer in layers:
        v = gg.constant(x)
        outputs, states = layer.unroll(v)
        (slope,) = gg.gradients(gg.sum(listed(states)[0]), [v])
        slopes.append(gg.evaluate([outputs, slope]))
    (values, whole), (same, cut) = slopes
    np.testing.assert_array_equal(same, values)
    assert whole.all()
    assert not cut[:, :4].any()  # blocks are 0 1, 2 3 and 4
    np.testing.assert_allclose(cut[:, 4], whole[:, 4], rtol=1e-13)


# --- dropout


def test_dropout_is_between_layers_in_training_alone_and_anew_each_step():
    with gg.root_scope(3):
        plain = nn.GRU(3, 8, 2, **F64)
    with gg.root_scope(3):
        layer = nn.GRU(3, 8, 2, dropout=0.5, **F64)
    x = normal(2, 4, 3)
    np.testing.assert_array_equal(run(layer, x)[0], run(plain, x)[0])
    outputs, states = layer.unroll(gg.constant(x), training=True)
    program = gg.compile([], [outputs, states], device="cpu")
    (one, first), (two, second) = program(), program()
    assert (one != two).any()
    np.testing.assert_array_equal(first[0], second[0])  # before the dropout
    assert (first[1] != second[1]).any()


def test_dropout_of_one_layer_does_nothing_and_of_all_leaves_the_biases():
    x = normal(2, 4, 3)
    layer = nn.LSTM(3, 4, dropout=0.5, **F64)
    np.testing.assert_array_equal(run(layer, x)[0], run(layer, x, training=True)[0])
    layer = nn.LSTM(3, 4, 2, dropout=1.0, **F64)
    outputs, _ = run(layer, x, training=True)
    top = nn.LSTM(4, 4, **F64)
    top.cells = layer.cells[1:]
    np.testing.assert_array_equal(outputs, run(top, np.zeros((2, 4, 4)))[0])


# --- parameters


def test_parameters_lie_under_the_paths_of_their_cells():
    layer = nn.LSTM(3, 4, 2, bidirectional=True, peepholes=True, name="reader")
    own = ["weight_ih", "weight_hh", "bias", "peephole_i", "peephole_f", "peephole_o"]
    paths = [p.path for p in layer.parameters()]
    assert paths == [f"reader/cells/{k}/{name}" for k in range(4) for name in own]
    y = layer(gg.placeholder("x", ("batch", "time", 3)))
    made = {v.path for v in gg.Graph(y).variables if v.operation}
    assert all(path.startswith("reader/") for path in made)
    assert {f"reader/cells/{k}/matmul" for k in range(4)} <= made


def test_the_numbers_of_parameters_are_those_of_the_formulas():
    def size(layer):
        return sum(p.value.size for p in layer.parameters())

    i, h = 3, 4
    assert size(nn.RNN(i, h)) == h * (i + h) + h
    assert size(nn.LSTM(i, h)) == 4 * (h * (i + h) + h)
    assert size(nn.LSTM(i, h, peepholes=True)) == 4 * (h * (i + h) + h) + 3 * h
    assert size(nn.GRU(i, h)) == 3 * (h * (i + h) + h) + h
    assert size(nn.GRU(i, h, bias=False)) == 3 * h * (i + h)
    stack = nn.RNN(i, h, 3, bidirectional=True)
    assert size(stack) == 2 * (h * (i + h) + h) + 4 * (h * (2 * h + h) + h)


def test_parameters_are_saved_and_loaded_by_path(tmp_path):
    make = lambda: nn.Sequential(nn.Embedding(5, 3), nn.GRU(3, 4, 2))  # noqa: E731
    first, second = make(), make()
    gg.save(tmp_path / "model.safetensors", first)
    gg.load(tmp_path / "model.safetensors", second)
    tokens = gg.constant(RNG.integers(0, 5, (2, 6)))
    np.testing.assert_array_equal(
        gg.evaluate(first(tokens)), gg.evaluate(second(tokens))
    )


def test_initialisers_are_those_of_every_cell():
    layer = nn.GRU(
        3,
        4,
        2,
        weight_init=nn.init.constant(0.5),
        recurrent_init=nn.init.zeros(),
        bias_init=nn.init.ones(),
    )
    for cell in layer.cells:
        assert (cell.weight_ih.value == 0.5).all()
        assert not cell.weight_hh.value.any()
        assert (cell.bias.value == 1).all()
        assert (cell.bias_hn.value == 1).all()


def test_cells_and_layers_of_one_root_scope_have_different_weights():
    with gg.root_scope(3):
        layer = nn.LSTM(4, 4, 2, bidirectional=True)
    with gg.root_scope(3):
        again = nn.LSTM(4, 4, 2, bidirectional=True)
    values = [c.weight_hh.value for c in layer.cells]
    assert len({v.tobytes() for v in values}) == 4
    for left, right in zip(layer.parameters(), again.parameters(), strict=True):
        np.testing.assert_array_equal(left.value, right.value)


def test_layers_that_share_a_cell_add_its_gradients():
    stack = nn.GRU(4, 4, 2, **F64)
    free = nn.GRU(4, 4, 2, **F64)
    stack.cells[1] = stack.cells[0]
    count = len(stack.parameters())
    assert count == 4
    for k, p in enumerate(free.parameters()):
        p.value = stack.parameters()[k % count].value
    x = normal(2, 5, 4)
    np.testing.assert_array_equal(run(stack, x)[0], run(free, x)[0])
    _, _, *shared = sloped(stack, x)
    _, _, *apart = sloped(free, x)
    for k in range(count):
        np.testing.assert_allclose(shared[k], apart[k] + apart[count + k], rtol=1e-12)


# --- errors


def test_errors_say_what_was_expected_and_what_came():
    x = gg.placeholder("x", (2, 5, 3))
    gru, lstm = nn.GRU(3, 4, bidirectional=True), nn.LSTM(3, 4)

    def zeros(*shape, dtype="float32"):
        return np.zeros(shape, dtype)

    cases = [
        (lambda: gru(zeros(2, 3)), gg.ShapeError, r"a sequence \(batch, time, feat"),
        (lambda: gru(zeros(2, 5, 4)), gg.ShapeError, r"expected 3 features .* got 4"),
        (
            lambda: gru.unroll(zeros(2, 5, 4)),
            gg.ShapeError,
            r"layer 'gru', .*expected 3 features along axis -1, got 4",
        ),
        (
            lambda: gru(x, zeros(1, 2, 4)),
            gg.ShapeError,
            r"hidden_size\), float32\[2,2,4\]; got float32\[1,2,4\]",
        ),
        (lambda: gru(x, zeros(2, 1, 4)), gg.ShapeError, r"got float32\[2,1,4\]"),
        (lambda: gru(x, zeros(2, 2, 5)), gg.ShapeError, r"got float32\[2,2,5\]"),
        (lambda: gru(x, zeros(2, 4)), gg.ShapeError, r"got float32\[2,4\]"),
        (
            lambda: gru(x, zeros(2, 2, 4, dtype="d")),
            gg.DTypeError,
            r"states of float32, .*got float64; use gg.cast\(state, 'float32'\)",
        ),
        (
            lambda: lstm.unroll(x, zeros(1, 2, 4)),
            gg.GraphError,
            r"expected 2 initial states, h, c, or none; got 1",
        ),
        (
            lambda: gru(x, mask=zeros(2, 5)),
            gg.DTypeError,
            r"a mask of bools, .*not float32\[2,5\]; compare, or use gg.cast",
        ),
        (
            lambda: gru(x, mask=zeros(5, 2, dtype=bool)),
            gg.ShapeError,
            r"a mask \(batch, time\), bool\[2,5\], not bool\[5,2\]",
        ),
        (
            lambda: nn.LSTM(0, 4),
            gg.GraphError,
            r"layer 'lstm', .*expected input_size to be an int > 0, got 0",
        ),
        (lambda: nn.GRU(3, 2.0), gg.GraphError, r"hidden_size to be an int .*got 2\.0"),
        (lambda: nn.GRU(3, 4, 0), gg.GraphError, r"num_layers to be .*got 0"),
        (lambda: nn.GRU(3, 4, dropout=1.5), gg.GraphError, r"from 0 to 1, got 1\.5"),
        (lambda: nn.GRU(3, 4, truncate=0), gg.GraphError, r"truncate to be .*got 0"),
        (
            lambda: nn.GRU(3, 4, checkpoint_every=-1),
            gg.GraphError,
            r"checkpoint_every to be an int > 0, got -1",
        ),
        (
            lambda: nn.RNN(3, 4, nonlinearity="sine"),
            gg.GraphError,
            r"expected nonlinearity to be 'tanh' or 'relu', got 'sine'",
        ),
    ]
    for call, kind, message in cases:
        with pytest.raises(kind, match=message):
            call()


def test_a_named_batch_that_differs_is_an_error_in_the_program():
    layer = nn.GRU(3, 4)
    x = gg.placeholder("x", ("batch", "time", 3))
    h = gg.placeholder("h", (1, "other", 4))
    program = gg.compile([x, h], layer(x, h), device="cpu")
    program(np.zeros((2, 5, 3), "f"), np.zeros((1, 2, 4), "f"))
    with pytest.raises(gg.InputError, match=r"carry 0, .*batch = other, which does"):
        program(np.zeros((2, 5, 3), "f"), np.zeros((1, 3, 4), "f"))
