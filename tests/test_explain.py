"""explain: what became of a variable, where it is computed, and why."""

from functools import cache
from types import SimpleNamespace

import numpy as np
import pytest

import graphgpu as gg


@cache
def net():
    """Return a small convolutional net's variables and its training program."""
    with gg.root_scope(0):
        x = gg.placeholder("x", ("batch", 3, 16, 16))
        y = gg.placeholder("y", ("batch",), "int64")
        conv = gg.nn.Conv2d(3, 16, 3, padding=1, bias=False)
        norm = gg.nn.BatchNorm(16)
        dense = gg.nn.Dense(16 * 64, 10)
        filtered = conv(x)
        normed = norm(filtered, training=True)
        active = gg.relu(normed)
        pooled = gg.max_pool2d(active, 2)
        scores = dense(gg.reshape(pooled, ("batch", 16 * 64)))
        loss = gg.cross_entropy(scores, y)
        parameters = [*conv.parameters(), *norm.parameters(), *dense.parameters()]
        updates = gg.optim.SGD(0.1, momentum=0.9).updates(loss, parameters)
        updates |= gg.state_updates(scores)
        program = gg.compile([x, y], loss, updates)
    return SimpleNamespace(**locals())


def told(variable):
    return net().program.explain(variable, batch=32)


def images(kind):
    """Return the first images that operations of a kind compute."""
    found = [v for v in gg.Graph(list(net().updates.values())) if v.operation]
    return next(v for v in found if v.operation.kind() == kind and v.ndim == 4)


# --- where it is computed


def test_an_elementwise_node_is_computed_again_where_it_is_read():
    centred = images("subtract")
    found = told(centred)
    loops = [e for e in found.excerpts if not e.function.endswith("_enter")]
    assert found.now.operation == centred.operation
    assert len(loops) == 3
    source = net().program.source(batch=32)
    for excerpt in found.excerpts:
        assert f"def {excerpt.function}(" in source
        assert all(line in source for line in excerpt.lines)
    assert loops[0].what.startswith("a loop over blocks of at most ")
    assert loops[0].what.endswith(" images on 2 lanes")
    assert found.memory.endswith("computed again in each of 3 loops that read it")
    assert found.layout == "tiles [H, B, W, C], block by block"
    assert any(r.endswith("there it is computed again") for r in found.reasons)


def test_a_convolution_before_batch_norm_is_kept_and_says_what_it_waits_for():
    found = told(net().filtered)
    assert found.memory == "kept for the whole batch: 512.00 KiB"
    (reason,) = [r for r in found.reasons if "it is read by subtract" in r]
    assert "that waits for " in reason
    assert reason.endswith(", of the whole batch")


def test_a_sum_over_the_batch_has_parts_in_a_loop_and_an_end():
    (moments,) = [
        v
        for v in gg.Graph(net().normed).variables
        if v.operation and v.operation.kind() == "moments"
    ]
    found = told(moments)
    assert [e.function.split("_")[-1] for e in found.excerpts] == ["tile", "serial"]
    assert found.reasons[0] == (
        "a sum over the batch: of the blocks' parts, when all lanes have met"
    )


def test_tiles_meet_rows_at_the_dense_layer():
    reshaped = net().scores.inputs[0].inputs[0]
    found = told(reshaped)
    assert found.layout == "as written"
    assert any(
        "computed a lane's rows at once, not a few images at a time" in r
        for r in found.reasons
    )


def test_an_output_says_so():
    found = told(net().loss)
    assert found.reasons[0] == "an output: all of it must be there at the end"
    assert found.memory == "one array: 4 B"


def test_an_update_is_computed_with_others_of_its_form():
    value = net().updates[net().conv.weight]
    found = told(value)
    assert found.reasons[0] == "the new value of a state"
    assert "one of 5 of the same form" in found.reasons[1]
    assert found.excerpts[0].function.startswith("update_")
    assert "in pieces of the vectors that updates are done on" in found.memory


def test_a_view_has_no_memory_of_its_own():
    x = gg.placeholder("x", (4, 3))
    turned = gg.transpose(x)
    found = gg.compile([x], turned).explain(turned)
    assert found.memory == "none of its own: that of x_0, seen otherwise"
    assert found.excerpts == ()


def test_leaves_are_told_apart():
    leaf = told(net().x)
    assert (leaf.fate, leaf.memory) == ("a leaf", "where a call's input is copied to")
    assert told(net().conv.weight).memory == "the state's own"
    assert leaf.reasons == ()


def test_an_operation_without_a_rule_says_that_its_numpy_is_called():
    x = gg.placeholder("x", ("batch", 64))
    places = gg.argsort(x)
    program = gg.compile([x], gg.exp(x) @ np.ones((64, 64), "float32") + places)
    found = program.explain(places, batch=4096)
    assert "no rule writes argsort here: its numpy is called" in found.reasons
    assert "it cannot be computed image by image: computed once" in found.reasons


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"passes": ()}, "compiled without 'fuse': "),
        ({"check_finite": True}, "check_finite: every operation"),
        ({}, "no batch is cut into blocks: "),
    ],
)
def test_a_program_that_is_not_cut_says_why(options, reason):
    x = gg.placeholder("x", (3,))
    y = gg.exp(x)
    (found,) = gg.compile([x], gg.sum(y), **options).explain(y).reasons
    assert found.startswith(reason)


def test_what_a_budget_computes_again_is_told_of_its_first_computation():
    x = gg.placeholder("x", ("batch", 64))
    h, layers = x, []
    with gg.root_scope(0):
        for _ in range(8):
            layers.append(gg.nn.Dense(64, 64))
            h = gg.sin(layers[-1](h))
        parameters = [p for layer in layers for p in layer.parameters()]
        loss = gg.mean(gg.square(h))
        updates = gg.optim.SGD(0.1).updates(loss, parameters)
    free = gg.compile([x], loss, updates)
    budget = int(free.plan(batch=2048).peak_bytes * 0.85)
    program = gg.compile([x], loss, updates, memory_budget=budget)
    variables = [v for v in gg.Graph(h).variables if v.operation]
    found = [program.explain(v, batch=2048) for v in variables]
    again = "computed again for the memory budget, as late as can be"
    assert any(again in f.reasons for f in found)
    assert all(f.now is not None for f in found)


def test_the_places_of_maxima_are_kept_as_a_byte_for_each_window():
    found = told(images("max_pool_indices"))
    (excerpt,) = found.excerpts
    assert "tiled_max_pool_taps" in excerpt.lines[0]
    assert found.memory == "kept for the whole batch: 32.00 KiB"


# --- rewriting


def test_a_folded_constant_says_so():
    x = gg.placeholder("x", (2,))
    two = gg.constant([1.0, 2.0]) * gg.constant([2.0, 1.0])
    found = gg.compile([x], x + two).explain(two)
    assert found.fate == "a constant: its value was computed when compiling"
    assert found.rules == ("fold: operations on constants",)
    assert found.memory == "a constant of the program"


def test_merged_nodes_name_each_other():
    x = gg.placeholder("x", (2,))
    first = gg.exp(x).named("first")
    second = gg.exp(x).named("second")
    program = gg.compile([x], first * second)
    for mine, other in ((first, second), (second, first)):
        found = program.explain(mine)
        assert f"and so is the value of exp() '{other.name}'" in found.fate
        assert "merge: equal variables" in found.rules
    assert program.explain(first).now is program.explain(second).now


def test_a_node_that_was_rewritten_away_is_not_computed():
    x = gg.placeholder("x", (2,))
    inner = gg.negative(x)
    found = gg.compile([x], gg.negative(inner) + 1).explain(inner)
    assert found.now is None
    assert found.fate == "not computed: nothing that is computed reads it"
    assert str(found).splitlines()[-1] == found.fate


def test_a_variable_of_the_rewritten_graph_can_be_asked_for():
    program = net().program
    now = told(net().active).now
    assert program.explain(now, batch=32).now is now


def test_markers_are_looked_through():
    x = gg.placeholder("x", (2,))
    y = gg.exp(x)
    found = gg.compile([x], gg.stop_gradient(y) * 2).explain(gg.stop_gradient(y))
    assert found.now.operation == y.operation


def test_a_stranger_is_refused():
    stranger = gg.exp(gg.placeholder("z", ()))
    with pytest.raises(gg.GraphError, match=r"exp\(\) .* is not part of this program"):
        told(stranger)
    with pytest.raises(gg.InputError, match="expected the sizes"):
        net().program.explain(net().loss, height=3)


# --- as text


def test_it_reads_as_text():
    x = gg.placeholder("x", (2,))
    y = gg.exp(x)
    program = gg.compile([x], y)
    lines = str(program.explain(y)).splitlines()
    assert lines == [
        f"exp() float32[2], created at {y.trace}",
        "computed as written",
        "in phase_0_serial, done once:",
        "    exp(x_0_flat, out=exp_1_flat)",
        "memory: one array: 8 B",
        "layout: as written",
        "- an output: all of it must be there at the end",
        "- no batch is cut into blocks: there is none, or it would not pay",
    ]
    program([1.0, 2.0])
    assert str(program.explain(y)).splitlines() == lines


def test_every_variable_of_a_training_step_is_explained():
    whole = gg.Graph([net().loss, *net().updates.values()])
    found = [told(v) for v in whole.variables]
    for explanation in found:
        computed = explanation.now is not None and explanation.now.operation
        seen = explanation.memory.startswith("none")
        assert bool(explanation.excerpts) == bool(computed and not seen), explanation
        assert "\n\n" not in str(explanation)
