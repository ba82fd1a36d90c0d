"""Products in halves: where the casts are, what stays, and what it computes."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_properties import SMOOTH, elementwise, moved

import graphgpu as gg
from graphgpu import nn
from graphgpu.control import Scan
from graphgpu.errors import CompileError
from graphgpu.graph import Graph
from graphgpu.rewrite import rewrite

HALVES = ["bfloat16", "float16"]
PRODUCTS = {
    "matmul",
    "convolution",
    "convolution_input_gradient",
    "convolution_weight_gradient",
}


def computed(outputs):
    """Return the variables of a graph that operations compute."""
    return [v for v in Graph(outputs).variables if v.operation]


def dtypes_of(outputs):
    """Return, for each kind of operation, how often it has which dtype."""
    counts = {}
    for v in computed(outputs):
        name = getattr(getattr(v.type, "dtype", None), "name", "tuple")
        counts.setdefault(v.operation.kind(), Counter())[name] += 1
    return counts


def casts(outputs):
    return [v for v in computed(outputs) if v.operation.kind() == "cast"]


def is_half(v):
    return v.dtype.name in HALVES


def small_net():
    return nn.Sequential(
        ("conv1", nn.Conv2d(1, 6, 3, padding=1, bias=False)),
        ("norm1", nn.BatchNorm(6)),
        ("relu1", nn.Function(gg.relu)),
        ("pool1", nn.MaxPool2d(2)),
        ("conv2", nn.Conv2d(6, 8, 3, padding=1)),
        ("relu2", nn.Function(gg.relu)),
        ("mean", nn.GlobalAvgPool()),
        ("flatten", nn.Flatten()),
        ("classes", nn.Dense(8, 10)),
    )


def training(optimiser):
    """Return inputs, outputs, updates and the net of a training step."""
    with gg.root_scope(3):
        net = small_net()
        x = gg.placeholder("x", ("n", 1, 8, 8))
        y = gg.placeholder("y", ("n",), "int64")
        scores = net(x, training=True)
        loss = gg.cross_entropy(scores, y)
        updates = optimiser.updates(
            loss,
            net.parameters(),
            loss_scale="dynamic",
            also=gg.state_updates(scores),
        )
    return [x, y], [loss, scores], updates, net


@pytest.mark.parametrize("half", HALVES)
def test_every_product_takes_and_yields_halves(half):
    _, outputs, updates, _ = training(gg.optim.SGD(0.1))
    result = rewrite([*outputs, *updates.values()], precision=half, debug=True)
    counts = dtypes_of(result.outputs)
    assert {k: c for k, c in counts.items() if k in PRODUCTS} == {
        "convolution": {half: 2},
        "convolution_input_gradient": {half: 1},
        "convolution_weight_gradient": {half: 2},
        "matmul": {half: 3},
    }
    for v in computed(result.outputs):
        if v.operation.kind() in PRODUCTS:
            assert {i.dtype.name for i in v.inputs} == {half}


@pytest.mark.parametrize("half", HALVES)
def test_pooling_and_activations_between_products_stay_in_halves(half):
    _, outputs, updates, _ = training(gg.optim.SGD(0.1))
    result = rewrite([*outputs, *updates.values()], precision=half)
    counts = dtypes_of(result.outputs)
    assert counts["relu"] == {half: 2}
    assert counts["max_pool"] == {half: 1}
    assert counts["window_scatter"] == {half: 1}
    (picks,) = [
        v for v in computed(result.outputs) if v.operation.kind() == "max_pool_indices"
    ]
    assert picks.inputs[0].dtype.name == half
    masks = [v for v in computed(result.outputs) if v.operation.kind() == "less_equal"]
    assert {i.dtype.name for m in masks for i in m.inputs} == {half}


@pytest.mark.parametrize("half", HALVES)
def test_sums_statistics_and_losses_stay_in_float32(half):
    _, outputs, updates, _ = training(gg.optim.Adam())
    result = rewrite([*outputs, *updates.values()], precision=half)
    counts = dtypes_of(result.outputs)
    for kind in ("sum", "mean", "rsqrt", "log_softmax", "exp", "divide", "sqrt"):
        assert half not in counts[kind], kind
    (moments,) = [
        v for v in computed(result.outputs) if v.operation.kind() == "moments"
    ]
    assert moments.inputs[0].dtype.name == "float32"
    updated = [v for v in computed(result.outputs) if v.phase == "update"]
    assert updated
    assert not any(is_half(v) for v in updated)


@pytest.mark.parametrize("half", HALVES)
def test_every_value_is_cast_once_and_no_half_is_cast_to_float32_and_back(half):
    _, outputs, updates, _ = training(gg.optim.SGD(0.1))
    result = rewrite([*outputs, *updates.values()], precision=half)
    rounded = [v.inputs[0] for v in casts(result.outputs) if v.dtype.name == half]
    assert len(set(rounded)) == len(rounded)
    assert all(v.dtype == "float32" for v in rounded)
    for source in rounded:
        exact = source.operation and source.operation.kind() == "cast"
        assert not (exact and is_half(source.inputs[0]))
    (line,) = [line for line in result.log if line.startswith("precision")]
    assert f"8 products in {half}" in line
    assert f"{len(rounded)} casts to {half}" in line


def test_a_weight_that_is_transposed_is_cast_before_it_for_both():
    x, w = gg.placeholder("x", ("n", 4)), gg.parameter("w", np.eye(4, dtype="float32"))
    y = (x @ w) @ w.T
    (z,) = rewrite([y], precision="bfloat16", debug=True).outputs
    assert dtypes_of([z])["transpose"] == {"bfloat16": 1}
    assert sum(v.inputs[0] is w for v in casts([z])) == 1


@pytest.mark.parametrize("half", HALVES)
def test_outputs_updates_and_state_keep_their_dtypes(half):
    inputs, outputs, updates, net = training(gg.optim.Adam())
    written = [*outputs, *updates.values()]
    result = rewrite(written, precision=half, debug=True)
    assert [v.type for v in result.outputs] == [v.type for v in written]
    program = gg.compile(inputs, outputs, updates, precision=half, device="cpu")
    before = {s: s.value.dtype for s in updates}
    x = np.random.default_rng(0).normal(size=(4, 1, 8, 8)).astype("float32")
    results = program(x, np.arange(4))
    assert [r.dtype.name for r in results] == ["float32", "float32"]
    assert {s: s.value.dtype for s in updates} == before
    assert all(p.value.dtype == "float32" for p in net.parameters())


def test_what_comes_after_the_last_product_is_computed_in_float32():
    x, w = gg.placeholder("x", ("n", 4)), gg.parameter("w", np.eye(4, dtype="float32"))
    (y,) = rewrite([gg.relu(x @ w) + 1], precision="bfloat16", debug=True).outputs
    kinds = [(v.operation.kind(), v.dtype.name) for v in computed([y])]
    assert kinds == [
        ("cast", "bfloat16"),
        ("cast", "bfloat16"),
        ("matmul", "bfloat16"),
        ("cast", "float32"),
        ("relu", "float32"),
        ("add", "float32"),
    ]


@pytest.mark.parametrize("dtype", ["float64", "bfloat16", "float16"])
def test_float64_and_halves_as_written_are_left_alone(dtype):
    x = gg.placeholder("x", ("n", 4), dtype)
    y = gg.relu(x @ gg.constant(np.eye(4), dtype)) @ gg.constant(np.eye(4), dtype)
    assert rewrite([y], (), precision="bfloat16", debug=True).outputs == (y,)


def test_a_product_within_an_update_stays_in_float32():
    w = gg.parameter("w", np.eye(3, dtype="float32"))

    class Whitening(gg.optim.Optimizer):
        """A rule that multiplies matrices."""

        def rule(self, memory, x, g, *scalars):
            return x - scalars[0] * (g @ g.T) @ x

    x = gg.placeholder("x", ("n", 3))
    updates = Whitening(0.1).updates(gg.sum(gg.square(x @ w)), [w])
    result = rewrite(list(updates.values()), precision="bfloat16", debug=True)
    assert dtypes_of(result.outputs)["matmul"] == {"bfloat16": 2, "float32": 2}


def test_a_half_cast_to_float32_and_back_by_the_user_is_read_through():
    x = gg.placeholder("x", ("n", 4))
    y = (x @ gg.constant(np.eye(4), "float32")).cast("bfloat16")
    (z,) = rewrite([y], precision="bfloat16", debug=True).outputs
    assert z.operation.kind() == "matmul"


def test_without_products_nothing_changes():
    x = gg.placeholder("x", ("n", 4))
    y = gg.softmax(gg.relu(x) * 2)
    result = rewrite([y], (), precision="float16", debug=True)
    assert result.outputs == (y,)
    assert result.log == ()


@pytest.mark.parametrize("passes", [(), None])
def test_names_lines_and_scopes_are_kept(passes):
    x, w = gg.placeholder("x", ("n", 4)), gg.parameter("w", np.eye(4, dtype="float32"))
    with gg.scope("layer"):
        y = (x @ w).named("scores")
    (z,) = rewrite([y @ w], passes, precision="float16", debug=True).outputs
    product = next(v for v in computed([z]) if v.operation.kind() == "matmul")
    assert (product.path, product.trace) == ("layer/scores", y.trace)


def test_explain_says_which_precision_computes_a_variable():
    x, w = gg.placeholder("x", ("n", 4)), gg.parameter("w", np.eye(4, dtype="float32"))
    y = x @ w
    h = gg.relu(y)
    program = gg.compile([x], h @ w, precision="bfloat16", device="cpu")
    program(np.ones((2, 4), "float32"))
    told = program.explain(y)
    assert told.rules == ("precision: products in bfloat16",)
    assert told.now.dtype.name == "bfloat16"
    assert "operations between them in bfloat16" in str(program.explain(h))


# --- what is computed


def rounded(array, half):
    return array.astype(gg.dtypes.dtype(half)).astype("float64")


@pytest.mark.parametrize("half", HALVES)
def test_sums_of_products_are_formed_in_float32(half):
    # One after the other in bfloat16, ones would add up to 256.
    ones = np.ones((1, 3000), "float32")
    x, w = gg.placeholder("x", (1, "k")), gg.placeholder("w", ("k", 1))
    program = gg.compile([x, w], x @ w, precision=half, device="cpu")
    wanted = rounded(np.float64(3000), half)
    assert program(ones, ones.T).item() == wanted
    image, kernel = gg.placeholder("image", (1, 3, 10, 50)), np.ones((1, 3, 10, 50))
    scores = gg.conv2d(image, gg.constant(kernel, "float32"))
    program = gg.compile([image], scores, precision=half, device="cpu")
    assert program(np.ones((1, 3, 10, 50), "float32")).item() == rounded(
        np.float64(1500), half
    )


@pytest.mark.parametrize("half", HALVES)
def test_a_convolution_and_its_gradients_are_those_of_rounded_factors(half):
    rng = np.random.default_rng(1)
    arrays = [
        rng.normal(size=s).astype("float32")
        for s in ((2, 3, 6, 6), (4, 3, 3, 3), (2, 4, 6, 6))
    ]

    def outputs(dtype):
        x = gg.placeholder("x", (2, 3, 6, 6), dtype)
        w = gg.placeholder("w", (4, 3, 3, 3), dtype)
        g = gg.placeholder("g", (2, 4, 6, 6), dtype)
        y = gg.conv2d(x, w, padding=1)
        return [x, w, g], [y, *gg.gradients(None, [x, w], known={y: g})]

    exact = gg.compile(*outputs("float64"), device="cpu")(
        *[rounded(a, half) for a in arrays]
    )
    found = gg.compile(*outputs("float32"), device="cpu", precision=half)(*arrays)
    unit = {"bfloat16": 2.0**-8, "float16": 2.0**-11}[half]
    for left, right in zip(exact, found, strict=True):
        assert right.dtype == "float32"
        np.testing.assert_allclose(right, left, rtol=1.01 * unit, atol=1e-5)
        np.testing.assert_array_equal(right, rounded(right, half))


def test_float16_squares_and_adds_small_numbers_in_float32():
    x, w = gg.placeholder("x", (1, 2)), gg.parameter("w", np.eye(2, dtype="float32"))
    y = x @ w
    squares = gg.square(y)
    outputs = [gg.sum(squares), gg.sum(y * y), gg.sum(1e-3 / (y * 0 + 1e-7))]
    cost = outputs[0] + outputs[1] + gg.sum((squares * 1e-4) @ w)
    program = gg.compile(
        [x], [*outputs, *gg.gradients(cost, [w])], precision="float16", device="cpu"
    )
    square, product, quotient, _ = program(np.float32([[300, 0]]))
    assert (square, product) == (90000, 90000)
    np.testing.assert_allclose(quotient, 2e4, rtol=1e-3)
    result = rewrite([*outputs, *gg.gradients(cost, [w])], precision="float16")
    assert dtypes_of(result.outputs)["square"] == {"float32": 1}


@pytest.mark.parametrize("power", [gg.square, lambda y: y * y])
def test_what_reads_a_square_reads_it_unrounded_in_float16(power):
    x, w = gg.placeholder("x", (1, 2)), gg.parameter("w", np.eye(2, dtype="float32"))
    total = gg.sum(gg.relu(power(x @ w)), -1, keepdims=True)
    y = (total * gg.constant(np.full((1, 2), 2.0**-10, "float32"))) @ w
    program = gg.compile([x], y, precision="float16", device="cpu")
    np.testing.assert_allclose(program(np.float32([[300, 0]])), 90000 / 1024, rtol=1e-3)


def test_a_mask_that_float16_cannot_hold_is_applied_in_float32():
    x, w = gg.placeholder("x", (2, 2)), gg.parameter("w", np.eye(2, dtype="float32"))
    scores = gg.where(gg.constant([[True, False]] * 2), x @ w, -1e9)
    y = gg.softmax(scores - gg.max(scores, -1, keepdims=True)) @ w
    program = gg.compile([x], y, precision="float16", device="cpu")
    np.testing.assert_array_equal(program(np.eye(2, dtype="float32")), [[1, 0]] * 2)
    (z,) = rewrite([y], precision="float16").outputs
    assert dtypes_of([z])["where"] == {"float32": 1}


@pytest.mark.parametrize("half", HALVES)
def test_a_small_net_trains_as_in_float32(half):
    digits = gg.data.digits()
    images, labels = digits.train_images[:256], digits.train_labels[:256]

    def losses(precision):
        inputs, outputs, updates, _ = training(gg.optim.Adam(0.03))
        program = gg.compile(
            inputs, outputs[0], updates, precision=precision, device="cpu"
        )
        parts = [slice(i, i + 64) for i in range(0, 256, 64)] * 10
        return [float(program(images[p], labels[p])) for p in parts]

    wide, narrow = losses("float32"), losses(half)
    assert narrow[0] != wide[0]
    assert np.mean(wide[-4:]) < 0.8 * wide[0]
    np.testing.assert_allclose(narrow[:12], wide[:12], rtol=0.03)
    assert abs(np.mean(narrow[-4:]) - np.mean(wide[-4:])) < 0.15 * wide[0]


def test_products_within_a_map_are_computed_in_halves():
    x, w = (
        gg.placeholder("x", ("n", 2, 3)),
        gg.parameter("w", np.ones((3, 3), "float32")),
    )
    # The first and the last are taken out of the loop.
    y = gg.map(lambda rows: gg.relu(gg.relu(rows @ w) @ w) @ w, x)
    outputs = [y, *gg.gradients(gg.sum(y * y), [w])]
    result = rewrite(outputs, precision="bfloat16", debug=True)
    assert [v.type for v in result.outputs] == [v.type for v in outputs]
    bodies = [
        v.operation.body
        for v in computed(result.outputs)
        if isinstance(v.operation, Scan)
    ]
    inner = [v for b in bodies for v in b.variables if v.operation]
    products = [v for v in inner if v.operation.kind() == "matmul"]
    assert products
    assert {v.dtype.name for v in products} == {"bfloat16"}
    array = np.random.default_rng(0).normal(size=(4, 2, 3)).astype("float32")
    wide = gg.compile([x], outputs, device="cpu")(array)
    narrow = gg.compile([x], outputs, device="cpu", precision="bfloat16")(array)
    for left, right in zip(wide, narrow, strict=True):
        np.testing.assert_allclose(right, left, rtol=0.05, atol=0.02 * abs(left).max())


def test_a_budget_computes_again_in_halves_with_the_same_bits():
    inputs, outputs, updates, _ = training(gg.optim.SGD(0.1))
    slopes = [*outputs, *updates.values()]
    plain = gg.compile(inputs, slopes, precision="bfloat16", device="cpu")
    peak = plain.plan(n=32).peak_bytes
    tight = gg.compile(
        inputs,
        slopes,
        precision="bfloat16",
        device="cpu",
        memory_budget=peak * 98 // 100,
    )
    x = np.random.default_rng(0).normal(size=(32, 1, 8, 8)).astype("float32")
    for left, right in zip(
        plain(x, np.arange(32) % 10), tight(x, np.arange(32) % 10), strict=True
    ):
        np.testing.assert_array_equal(left, right)
    assert tight.plan(n=32).peak_bytes <= peak * 98 // 100


# --- TF32, and what is no precision


def test_tf32_changes_no_graph_and_tells_the_device():
    x, w = gg.placeholder("x", ("n", 4)), gg.parameter("w", np.ones((4, 4), "float32"))
    y = gg.relu(x @ w)
    program = gg.compile([x], y, precision="tf32", device="cpu", debug=True)
    assert program.rewritten.outputs == (y,)
    array = np.random.default_rng(0).normal(size=(3, 4)).astype("float32")
    wide = gg.compile([x], y, device="cpu")
    np.testing.assert_array_equal(program(array), wide(array))
    (special,) = program._specialized.values()
    assert all(node.tf32 for node in special.nodes.values())
    (special,) = wide._specialized.values()
    assert not any(node.tf32 for node in special.nodes.values())


def test_tf32_is_told_in_the_log_and_of_every_product():
    x, w = gg.placeholder("x", ("n", 4)), gg.parameter("w", np.ones((4, 4), "float32"))
    y = x @ w
    program = gg.compile([x], gg.relu(y), precision="tf32", device="cpu")
    rule = "factors may be rounded to TF32, where the device has it"
    assert program.rewritten.log == (f"precision: 1 {rule}",)
    program(np.ones((1, 4), "float32"))
    assert program.explain(y).rules == (f"precision: {rule}",)


@pytest.mark.parametrize("value", ["float64", "half", "", None, 16, ["float16"]])
def test_an_unknown_precision_is_refused_with_those_there_are(value):
    x = gg.placeholder("x", ())
    with pytest.raises(CompileError) as error:
        gg.compile([x], x, precision=value)
    assert str(error.value) == (
        f"unknown precision {value!r}; the precisions are float32, tf32, bfloat16, "
        "float16"
    )


# --- any graph


@st.composite
def graphs_with_products(draw):
    """Return placeholders and the outputs of a random graph of float32."""
    with gg.root_scope():
        x, y = gg.placeholder("x", ("n", 3)), gg.placeholder("y", (3,))
        w = gg.parameter("w", np.linspace(-1, 1, 9, dtype="float32").reshape(3, 3))
        pool = [x, y, w]
        for _ in range(draw(st.integers(1, 12))):
            kind = draw(st.integers(0, 6))
            z = draw(st.sampled_from(pool))
            if kind == 0:
                pool.append(moved(draw, z))
            elif kind in (1, 2) and z.ndim and z.shape[-1] == 3:
                pool.append(z @ w)
            elif kind == 3 and z.ndim:
                pool.append(gg.relu(z.sum(-1, keepdims=True)))
            else:
                pool.append(elementwise(draw, pool, SMOOTH))
        outputs = [pool[-1], draw(st.sampled_from(pool))]
        if pool[-1].ndim and pool[-1].shape[-1] == 3:
            outputs.append(gg.tanh(pool[-1]) @ w.T)
        return [x, y], outputs


@settings(
    deadline=None,
    max_examples=50,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(graphs_with_products(), st.sampled_from(HALVES), st.booleans())
def test_no_type_of_an_output_ever_changes(graph, half, with_passes):
    inputs, outputs = graph
    cost = sum(gg.sin(v).sum() for v in outputs)
    outputs = [*outputs, *gg.gradients(cost, inputs, disconnected="zero")]
    passes = None if with_passes else ()
    result = rewrite(outputs, passes, precision=half, debug=True)
    assert [v.type for v in result.outputs] == [v.type for v in outputs]
    for v in computed(result.outputs):
        if v.operation.kind() == "matmul":
            assert v.dtype.name == half
    program = gg.compile(
        inputs, outputs, precision=half, passes=passes, device="cpu", debug=True
    )
    arrays = np.random.default_rng(0).normal(size=9).astype("float32")
    results = program(arrays[:6].reshape(2, 3), arrays[6:])
    for value, v in zip(results, outputs, strict=True):
        assert value.dtype == v.dtype
        assert value.shape == v.type.at({"n": 2}).shape
