"""Summaries: rows, parameters, FLOPs, receptive fields, totals; all by hand."""

import numpy as np
import pytest

import graphgpu as gg


def rows(outputs, **sizes):
    return {r.name: r for r in gg.Graph(outputs).summary(**sizes).layers}


def field(build, shape=("batch", 2, 40, 40)):
    """The receptive field of the last row of a graph."""
    y = build(gg.placeholder("x", shape))
    return gg.Graph(y).summary().layers[-1].receptive_field


def kernel(*shape):
    return gg.parameter("weight", np.ones(shape, "float32"))


# --- a small network by hand


def small_network(x):
    conv = gg.nn.Conv2d(3, 8, 5, stride=2, padding=2, name="conv")
    dense = gg.nn.Dense(8 * 4 * 4, 10, name="dense")
    with gg.scope("pool"):
        y = gg.max_pool2d(conv(x), 2)
    return dense(gg.reshape(y, (-1, 8 * 4 * 4)))


def test_a_small_network_is_what_one_computes_by_hand():
    y = small_network(gg.placeholder("x", ("batch", 3, 16, 16)))
    summary = gg.Graph(y).summary(batch=2)
    conv, pool, plain, dense = summary.layers
    assert [r.name for r in summary.layers] == ["conv", "pool", "", "dense"]
    assert [r.operation for r in summary.layers] == [
        "convolution",
        "max_pool",
        "reshape",
        "matmul",
    ]
    assert [str(r.output) for r in summary.layers] == [
        "float32[2,8,8,8]",
        "float32[2,8,4,4]",
        "float32[2,128]",
        "float32[2,10]",
    ]
    assert [r.parameters for r in summary.layers] == [8 * 75 + 8, 0, 0, 1290]
    outputs = 2 * 8 * 8 * 8
    assert conv.flops == 2 * outputs * 75 + outputs  # products and sums; the bias
    assert pool.flops == outputs
    assert plain.flops == 0
    assert dense.flops == 2 * 20 * 128 + 20
    assert [r.receptive_field for r in summary.layers] == [(5, 5), (7, 7), None, None]
    assert summary.parameters == 608 + 1290
    assert summary.flops == sum(r.flops for r in summary.layers)
    assert summary.gradient == summary.update == 0
    assert summary.variables == len(gg.Graph(y))


def test_without_sizes_it_is_in_terms_of_their_names():
    y = small_network(gg.placeholder("x", ("batch", 3, 16, 16)))
    symbolic, two = gg.Graph(y).summary(), gg.Graph(y).summary(batch=2)
    assert str(symbolic.layers[0].output) == "float32[batch,8,8,8]"
    assert symbolic.flops == gg.dim("batch") * (two.flops // 2)
    for row, known in zip(symbolic.layers, two.layers, strict=True):
        at = row.flops.evaluate({"batch": 2}) if row.flops != 0 else 0
        assert at == known.flops
        assert row.parameters == known.parameters


def test_symbolic_height_and_width_remain_until_given():
    weight = kernel(4, 2, 3, 3)
    y = gg.conv2d(gg.placeholder("x", ("n", 2, "h", "w")), weight)
    graph = gg.Graph(y)
    (row,) = graph.summary(n=1, h=8, w=10).layers
    assert row.flops == 2 * (4 * 6 * 8) * 18
    assert str(row.output) == "float32[1,4,6,8]"
    (row,) = graph.summary(n=1).layers
    assert str(row.output) == "float32[n,4,h - 2,w - 2]"
    assert row.flops.evaluate({"n": 1, "h": 8, "w": 10}) == 2 * (4 * 6 * 8) * 18


def test_a_size_that_the_graph_does_not_have_is_refused():
    graph = gg.Graph(gg.exp(gg.placeholder("x", ("batch", "w"))))
    message = r"no size named 'btach'; its named sizes are: batch, w"
    with pytest.raises(gg.GraphError, match=message):
        graph.summary(btach=3)
    with pytest.raises(gg.GraphError, match=r"no size named 'n'.*: none"):
        gg.Graph(gg.constant(1)).summary(n=3)


def test_sizes_within_tuple_variables_are_filled_in():
    with gg.scope("both"):
        x = gg.placeholder("x", (3, "batch"))
        moments = gg.moments(x, axis=0)[0].inputs[0]
    (row,) = gg.Graph(moments).summary(batch=4).layers
    assert str(row.output) == "(float32[1,4], float32[1,4])"
    assert row.flops == 4 * 12


# --- parameters


def test_a_shared_parameter_is_counted_once_in_the_layer_that_reads_it_first():
    w = kernel(3, 3)
    x = gg.placeholder("x", ("batch", 3))
    with gg.scope("first"):
        y = x @ w
    with gg.scope("second"):
        y = y @ w + gg.sum(w)
    found = rows(y)
    assert (found["first"].parameters, found["second"].parameters) == (9, 0)
    assert gg.Graph(y).summary().parameters == 9


def test_a_layer_called_twice_is_one_row_with_both_calls_work():
    layer = gg.nn.Dense(3, 3, bias=False, name="dense")
    y = layer(layer(gg.placeholder("x", (5, 3))))
    (row,) = gg.Graph(y).summary().layers
    assert (row.parameters, row.flops) == (9, 2 * (2 * 15 * 3))


def test_state_is_not_counted_as_parameters():
    layer = gg.nn.BatchNorm(4, name="norm")
    y = layer(gg.placeholder("x", ("batch", 4)))
    assert gg.Graph(y).summary().parameters == 8


# --- FLOPs


@pytest.mark.parametrize(
    ("build", "flops"),
    [
        (lambda x: gg.conv2d(x, kernel(6, 4, 3, 3)), 2 * (2 * 6 * 8 * 8) * 36),
        (lambda x: gg.conv2d(x, kernel(6, 4, 3, 3), stride=2), 2 * (2 * 6 * 16) * 36),
        (
            lambda x: gg.conv2d(x, kernel(6, 2, 3, 3), groups=2, padding=1),
            2 * (2 * 6 * 100) * 18,
        ),
        (lambda x: gg.conv2d(x, kernel(6, 4, 3, 3), dilation=2), 2 * (2 * 6 * 36) * 36),
        (lambda x: gg.avg_pool2d(x, 5), 2 * 4 * 4 * 25),
        (gg.relu, 800),
        (lambda x: gg.sum(x, (2, 3)), 800),
        (lambda x: gg.reshape(x, (2, -1)), 0),
        (lambda x: x[:, :, 1:], 0),
        (lambda x: x @ kernel(10, 7), 2 * (2 * 4 * 10 * 7) * 10),
    ],
)
def test_flops_are_exact(build, flops):
    y = build(gg.placeholder("x", (2, 4, 10, 10)))
    assert gg.Graph(y).summary().flops == flops


def test_gradients_and_updates_are_totalled_apart():
    x, w = gg.placeholder("x", (4, 3)), kernel(3, 2)
    y = x @ w
    direction = gg.placeholder("g", (4, 2))
    (dw,) = gg.gradients(None, [w], known={y: direction})
    summary = gg.Graph([y, dw]).summary()
    assert (summary.flops, summary.gradient, summary.update) == (48, 48, 0)
    updates = gg.optim.SGD(0.5).updates(gg.sum(y), [w])
    summary = gg.Graph([y, *updates.values()]).summary()
    assert summary.flops == 48  # the sum itself is not needed
    assert summary.update == 12  # times the rate, subtracted
    assert summary.parameters == 6
    assert [r.name for r in summary.layers] == [""]
    text = str(summary).splitlines()[-1]
    assert text.endswith(" in the gradient, 12 in the update")


# --- receptive fields


@pytest.mark.parametrize(
    ("build", "expected"),
    [
        (gg.relu, (1, 1)),
        (lambda x: gg.conv2d(x, kernel(2, 2, 1, 1)), (1, 1)),
        (lambda x: gg.conv2d(x, kernel(2, 2, 3, 5)), (3, 5)),
        (lambda x: gg.conv2d(x, kernel(2, 2, 3, 3), dilation=(2, 3)), (5, 7)),
        (lambda x: gg.max_pool2d(x, 3, stride=2), (3, 3)),
        (lambda x: gg.avg_pool2d(gg.max_pool2d(x, 2), 2), (4, 4)),
        # 3 + (3 - 1) * 2 = 7, then + (3 - 1) * 2 = 11 with a step of 2, not 4
        (
            lambda x: gg.conv2d(
                gg.conv2d(
                    gg.conv2d(x, kernel(2, 2, 3, 3), stride=2), kernel(2, 2, 3, 3)
                ),
                kernel(2, 2, 3, 3),
                stride=2,
            ),
            (11, 11),
        ),
        # a stride before a dilation multiplies it: 2 + (3 - 1) * 2 * 2
        (
            lambda x: gg.conv2d(gg.max_pool2d(x, 2), kernel(2, 2, 3, 3), dilation=2),
            (10, 10),
        ),
        # branches: the larger of the two, 1 and 5
        (lambda x: x + gg.conv2d(x, kernel(2, 2, 5, 5), padding=2), (5, 5)),
        (lambda x: gg.conv2d(x, kernel(2, 2, 5, 5), padding=2) + x, (5, 5)),
        (
            lambda x: gg.concat(
                [x, gg.conv2d(x, kernel(2, 2, 3, 3), padding=1)], axis=1
            ),
            (3, 3),
        ),
        # the other operand sees no pixels
        (lambda x: x * kernel(1, 2, 1, 1), (1, 1)),
        (lambda x: gg.sum(x, (2, 3)), None),
        (lambda x: gg.reshape(x, (-1, 3200)), None),
        (lambda x: gg.conv2d(gg.exp(kernel(1, 2, 9, 9)), kernel(2, 2, 3, 3)), None),
    ],
)
def test_receptive_fields_follow_the_windows(build, expected):
    assert field(build) == expected


def test_receptive_fields_of_sequences_and_volumes():
    assert field(lambda x: gg.conv1d(x, kernel(2, 2, 7)), ("n", 2, 40)) == (7,)
    shape = ("n", 2, 9, 9, 9)
    assert field(lambda x: gg.conv3d(x, kernel(2, 2, 1, 3, 5)), shape) == (1, 3, 5)


def test_the_field_is_what_the_gradient_reaches():
    x = gg.placeholder("x", (1, 1, 31, 31), "float64")
    w = gg.constant(np.ones((1, 1, 3, 3)))
    y = gg.conv2d(gg.avg_pool2d(gg.conv2d(x, w), 2), w, dilation=2)
    (dx,) = gg.gradients(y[0, 0, 2, 2], [x])
    reached = gg.evaluate(dx, {x: np.zeros((1, 1, 31, 31))})[0, 0] != 0
    extent = tuple(int(reached.any(a).sum()) for a in (1, 0))
    assert gg.Graph(y).summary().layers[-1].receptive_field == extent


# --- a known network


def test_resnet_20_has_the_papers_numbers():
    model = gg.nn.models.resnet20()
    y = model(gg.placeholder("x", ("batch", 3, 32, 32)))
    summary = gg.Graph(y).summary(batch=1)
    found = {r.name: r for r in summary.layers}
    convolutions = [r for r in summary.layers if r.operation == "convolution"]
    assert len(convolutions) == 19
    assert summary.parameters == 269_722
    assert summary.parameters == sum(p.value.size for p in model.parameters())
    # by hand: the first, six of stage 1, and in stages 2 and 3 one of half the work
    whole = 2 * 16 * 32 * 32 * 9 * 16
    work = 2 * 16 * 32 * 32 * 27 + 6 * whole + 2 * (whole // 2 + 5 * whole)
    assert sum(r.flops for r in convolutions) == work
    assert found["classes"].flops == 2 * 64 * 10 + 10
    assert found["classes"].parameters == 650
    assert found["conv"].receptive_field == (3, 3)
    # 3, then six of 3 at step 1, six at 2 (the first at 1), six at 4 (the first at 2)
    last = 3 + 6 * 2 + (2 + 5 * 4) + (4 + 5 * 8)
    assert found["stage3/2/conv2"].receptive_field == (last, last)
    assert str(found["stage3/2"].output) == "float32[1,64,8,8]"


# --- rows


def test_depth_says_how_many_levels_of_scopes_are_told_apart():
    y = gg.nn.models.resnet20()(gg.placeholder("x", ("batch", 3, 32, 32)))
    graph = gg.Graph(y)
    whole, stages = graph.summary(batch=1), graph.summary(1, batch=1)
    names = "conv norm relu stage1 stage2 stage3 mean flatten classes".split()
    assert [r.name for r in stages.layers] == names
    assert [r.name for r in graph.summary(2).layers][3:5] == ["stage1/0", "stage1/1"]
    for field in ("parameters", "flops", "gradient", "update", "variables"):
        assert getattr(whole, field) == getattr(stages, field)
    stage = stages.layers[3]
    within = [r for r in whole.layers if r.name.startswith("stage1/")]
    assert stage.parameters == sum(r.parameters for r in within)
    assert stage.flops == sum(r.flops for r in within)
    assert stage.receptive_field == (15, 15)
    assert stage.operation == "convolution"


@pytest.mark.parametrize("depth", [0, -1, "batch"])
def test_a_depth_that_is_none_is_refused(depth):
    with pytest.raises(gg.GraphError, match=r"depth must be an int >= 1 or None; got"):
        gg.Graph(gg.placeholder("x", ())).summary(depth)


def test_a_size_may_be_named_depth():
    y = gg.exp(gg.placeholder("x", ("depth",)))
    assert gg.Graph(y).summary(depth=7).flops == 7


def test_outside_of_scopes_each_weight_has_a_row_with_its_bias():
    x = gg.placeholder("x", ("batch", 4))
    h = gg.relu(x @ kernel(4, 3) + kernel(3))
    y = gg.softmax(h @ kernel(3, 2) + kernel(2))
    first, second = gg.Graph(y).summary(batch=1).layers
    assert (first.name, second.name) == ("", "")
    assert (first.operation, first.parameters) == ("matmul", 15)
    assert (second.operation, second.parameters) == ("matmul", 8)
    assert (str(first.output), str(second.output)) == ("float32[1,3]", "float32[1,2]")
    assert first.flops == 2 * 12 + 3 + 3


def test_outside_of_scopes_a_row_ends_where_a_layer_begins():
    x = gg.placeholder("x", (3,))
    y = gg.exp(x)
    for name in ("a", "b"):
        with gg.scope(name):
            y = gg.tanh(y)
    y = gg.log(gg.log(y))
    with gg.scope("a"):
        y = gg.tanh(y)
    y = gg.exp(y)
    layers = gg.Graph(y).summary().layers
    assert [(r.name, r.operation) for r in layers] == [
        ("", "exp"),
        ("a", "tanh"),
        ("b", "tanh"),
        ("", "log"),
    ]
    assert [r.flops for r in layers] == [3, 6, 3, 9]


def test_jumps_are_the_product_of_strides():
    x = gg.placeholder("x", ("batch", 2, 40, 40))
    with gg.scope("conv"):
        y = gg.conv2d(x, kernel(2, 2, 3, 3), stride=(1, 3))
    with gg.scope("pool"):
        y = gg.max_pool2d(y, 2)
    with gg.scope("flat"):
        y = gg.reshape(y, ("batch", -1))
    assert [r.jump for r in gg.Graph(y).summary().layers] == [(1, 3), (2, 6), None]


def test_branches_that_see_wide_and_tall_see_both():
    def build(x):
        wide = gg.conv2d(x, kernel(2, 2, 1, 7), padding=(0, 3))
        return wide + gg.conv2d(x, kernel(2, 2, 5, 1), padding=(2, 0))

    assert field(build) == (5, 7)


# --- edges and text


def test_a_long_table_shows_its_ends():
    y = gg.placeholder("x", ())
    for i in range(1000):
        with gg.scope(f"layer{i}"):
            y = gg.exp(y)
    summary = gg.Graph(y).summary()
    assert len(summary.layers) == 1000
    lines = str(summary).splitlines()
    assert len(lines) == 2 + 201 + 1
    assert lines[2].split()[0] == "layer0"
    assert lines[102].strip() == "... 800 more ..."
    assert lines[103].split()[0] == "layer900"
    assert lines[-2].split()[0] == "layer999"


def test_a_graph_without_scopes_has_one_row():
    x = gg.placeholder("x", (3,))
    summary = gg.Graph(gg.exp(x) * x).summary()
    (row,) = summary.layers
    assert (row.name, row.flops) == ("", 6)
    assert "(no scope)" in str(summary)


@pytest.mark.parametrize("outputs", [[], [gg.constant(1.0)], [gg.placeholder("x", ())]])
def test_a_graph_that_computes_nothing_has_no_rows(outputs):
    summary = gg.Graph(outputs).summary()
    assert summary.layers == ()
    assert (summary.parameters, summary.flops) == (0, 0)
    count = "1 variable" if outputs else "0 variables"
    assert str(summary).splitlines()[-1] == f"{count}, 0 parameters, 0 FLOPs forward"


def test_it_prints_as_a_table_with_types_as_they_are():
    y = small_network(gg.placeholder("x", ("batch", 3, 16, 16)))
    text = str(gg.Graph(y).summary())
    lines = text.splitlines()
    assert lines[0].split() == (
        "layer operation output parameters FLOPs receptive field".split()
    )
    (conv,) = [line for line in lines if line.lstrip().startswith("conv")]
    assert conv.split() == (
        "conv convolution float32[batch,8,8,8] 608 77312*batch 5 x 5".split()
    )
    assert lines[-1].startswith(f"{len(gg.Graph(y))} variables, 1,898 parameters, ")
    assert all(line == line.rstrip() for line in lines)
    assert "\x1b" not in text


@pytest.mark.parametrize("name", ["[red]", "[bold", "a [b] c", ":smile:"])
def test_names_that_look_like_markup_are_printed_as_they_are(name):
    with gg.scope(name):
        y = gg.exp(gg.placeholder("x", ("red",)))
    assert name in str(gg.Graph(y).summary())
    assert "float32[red]" in str(gg.Graph(y).summary())
