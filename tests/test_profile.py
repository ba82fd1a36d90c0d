"""Profiles: what is attributed to what, and their tables, files and colours."""

import json
from functools import cache

import numpy as np
import pytest

import graphgpu as gg
from graphgpu.backends.report import Step, Timings
from graphgpu.nodes import Node
from graphgpu.profile import Profile

RANDOM = np.random.default_rng(0)


@cache
def trained():
    """Return a convolutional net's training program, its inputs and state."""
    with gg.root_scope(0):
        model = gg.nn.Sequential(
            gg.nn.Conv2d(3, 16, 3, padding=1, bias=False),
            gg.nn.BatchNorm(16),
            gg.nn.ReLU(),
            gg.nn.Flatten(),
            gg.nn.Dense(16 * 256, 10),
        )
        x = gg.placeholder("x", ("batch", 3, 16, 16))
        y = gg.placeholder("y", ("batch",), "int64")
        scores = model(x, training=True)
        loss = gg.cross_entropy(scores, y)
        updates = gg.optim.SGD(0.1, momentum=0.9).updates(loss, model.parameters())
        updates |= gg.state_updates(scores)
    X = RANDOM.normal(size=(16, 3, 16, 16)).astype("float32")
    return gg.compile([x, y], loss, updates), (X, RANDOM.integers(0, 10, 16))


@cache
def profiled():
    program, arrays = trained()
    return program.profile(*arrays, repeat=3)


# --- what it leaves alone


def test_no_state_is_updated_and_the_step_does_not_advance():
    program, arrays = trained()
    before = {t: (t.value, t.storage.version) for t in program.updates}
    step = program.step
    program.profile(*arrays, repeat=2)
    for target, (value, version) in before.items():
        np.testing.assert_array_equal(target.value, value)
        assert target.storage.version == version
    assert program.step == step


def test_a_program_computes_the_same_after_it_was_profiled():
    def build():
        with gg.root_scope(0):
            x = gg.placeholder("x", ("batch", 6))
            layer = gg.nn.Dense(6, 4)
            loss = gg.mean(gg.square(gg.dropout(layer(x), 0.5)))
            adam = gg.optim.Adam(lr=0.1).updates(loss, layer.parameters())
        return gg.compile([x], loss, adam), layer

    given = np.ones((8, 6), "float32")
    (plain, a), (other, b) = build(), build()
    other.profile(given, repeat=1)
    for _ in range(2):
        assert plain(given) == other(given)
        other.profile(given, repeat=1)
    np.testing.assert_array_equal(a.weight.value, b.weight.value)


def test_an_error_while_profiling_is_that_of_the_program():
    x = gg.placeholder("x", (2, 2))
    w = gg.parameter("w", np.eye(2, dtype="float32"))
    program = gg.compile([x], None, {w: gg.inv(x)})
    with pytest.raises(gg.ComputeError, match="inv"):
        program.profile(np.zeros((2, 2), "float32"))
    np.testing.assert_array_equal(w.value, np.eye(2))


@pytest.mark.parametrize("repeat", [0, -1, 1.5, True])
def test_repeat_is_a_number_of_runs(repeat):
    program, arrays = trained()
    with pytest.raises(gg.InputError, match="expected repeat to be 1 or more"):
        program.profile(*arrays, repeat=repeat)
    with pytest.raises(gg.InputError, match="missing input 'y'"):
        program.profile(arrays[0])


# --- attribution


@pytest.mark.parametrize(
    "group", ["nodes", "scopes", "phases", "operations", "functions"]
)
def test_every_grouping_and_the_overheads_add_up_to_the_whole(group):
    profile = profiled()
    costs = [*getattr(profile, group), *profile.overheads]
    assert sum(c.share for c in costs) == pytest.approx(1, abs=1e-9)
    assert sum(c.seconds for c in costs) == pytest.approx(profile.seconds)
    assert all(c.seconds > 0 for c in profile.nodes)
    assert [c.seconds for c in profile.nodes] == sorted(
        (c.seconds for c in profile.nodes), reverse=True
    )


def test_flops_and_bytes_are_those_of_the_operations():
    profile = profiled()
    (forward,) = [c for c in profile.nodes if c.operation == "convolution"]
    assert forward.flops == 2 * 16 * 16 * 256 * 27
    assert forward.nbytes == 4 * (16 * 3 * 256 + 16 * 27 + 16 * 16 * 256)
    assert forward.gflops == pytest.approx(forward.flops / forward.seconds / 1e9)
    assert forward.gbytes == pytest.approx(forward.nbytes / forward.seconds / 1e9)
    assert forward.scope == "0"
    assert forward.created.startswith("test_profile.py:")
    phases = {c.name: c for c in profile.phases}
    assert set(phases) == {"forward", "gradient", "update"}
    assert sum(c.flops for c in profile.nodes) == sum(c.flops for c in phases.values())


def test_what_is_computed_again_counts_as_often():
    (again,) = [
        c for c in profiled().nodes if c.operation == "relu" and c.phase == "forward"
    ]
    assert again.evaluations == len(
        [f for f in again.functions if not f.endswith("_enter")]
    )
    assert again.flops == again.evaluations * 16 * 16 * 256


def test_updates_of_one_form_are_one_row_and_count_for_each_scope():
    profile = profiled()
    rows = [c for c in profile.nodes if len(c.variables) > 1 and c.phase == "update"]
    assert rows
    assert rows[0].name.endswith(f"and {len(rows[0].variables) - 1} more")
    scopes = {v.context.path for c in rows for v in c.variables}
    assert scopes == {"0", "1", "4"}
    assert scopes <= {c.name for c in profile.scopes}


def test_functions_are_those_of_the_source():
    program, _ = trained()
    source = program.source()
    for cost in profiled().functions:
        assert f"def {cost.name}(" in source


def synthetic(threads):
    """Two lanes of 2 and 4 s, then 1 s for all, copies of 0.5 s; 10 s in all."""
    leaf = gg.placeholder("x", (2,))
    variable = gg.exp(leaf)
    node = Node(
        1,
        variable,
        variable.operation,
        (Node(0, leaf, None, (), leaf.type),),
        variable.type,
    )
    steps = [
        Step(None, "inputs", "copy inputs", None, -1),
        Step(node, "loop", "a", 0, 0),
        Step(node, "loop", "b", 1, 0),
        Step(node, "serial", "c", None, 0),
    ]
    second = 0.5 if threads == 2 else 2.5
    starts = np.array([[0, 0.5, second, 8]])
    ends = np.array([[0.5, 2.5, second + 4, 9]])
    timings = Timings(steps, starts, ends, np.array([10.0]), [threads], {}, {}, 1e-7)
    return Profile(timings, {}, {variable: variable})


def test_a_second_of_one_of_two_threads_is_half_a_second():
    profile = synthetic(2)
    (node,) = profile.nodes
    assert node.seconds == (2 + 4) / 2 + 1
    lost = {c.name: c.seconds for c in profile.overheads}
    assert lost == {"copy inputs": 0.5, "lanes wait": 1, "between functions": 4.5}
    assert {c.name: c.seconds for c in profile.functions} == {"loop": 3, "serial": 1}


def test_one_thread_that_does_both_lanes_waits_for_nobody():
    profile = synthetic(1)
    assert profile.nodes[0].seconds == 2 + 4 + 1
    assert {c.name: c.seconds for c in profile.overheads}["lanes wait"] == 0


def test_the_slower_half_of_the_runs_is_left_out():
    base = synthetic(2)._timings
    slow = Timings(
        base.steps,
        np.concatenate([base.starts, base.starts * 3]),
        np.concatenate([base.ends, base.ends * 3]),
        np.array([10.0, 30.0]),
        [2, 2],
        {},
        {},
        1e-7,
    )
    assert Profile(slow, {}, {}).seconds == 10


def test_a_program_that_computes_nothing_has_overheads_alone():
    x = gg.placeholder("x", (2,))
    profile = gg.compile([x], x).profile([1.0, 2.0], repeat=1)
    assert profile.nodes == ()
    assert sum(c.share for c in profile.overheads) == pytest.approx(1)
    assert (profile.lanes, profile.threads) == (1, 1)
    assert "between functions" in str(profile)


def test_threads_are_those_of_the_program():
    program, arrays = trained()
    alone = gg.compile(program.inputs, program.outputs, program.updates, threads=1)
    profile = alone.profile(*arrays, repeat=1)
    assert (profile.lanes, profile.threads) == (2, 1)


# --- views


def test_it_prints_as_tables():
    text = str(profiled())
    assert text.startswith("profile for batch=16: ")
    assert "mean of the faster 2 of 3 runs" in text
    for word in ("phase", "scope", "function", "node", "GFLOP/s", "GB/s", "lanes wait"):
        assert word in text
    assert all(len(line) <= 120 for line in text.splitlines())


def test_json_has_all_of_it():
    profile = profiled()
    found = json.loads(profile.to_json())
    assert found["sizes"] == {"batch": 16}
    assert found["seconds"] == profile.seconds
    assert len(found["nodes"]) == len(profile.nodes)
    first = found["nodes"][0]
    assert first["name"] == profile.nodes[0].name
    assert first["gflops"] == profile.nodes[0].gflops
    shares = [c["share"] for c in (*found["functions"], *found["overheads"])]
    assert sum(shares) == pytest.approx(1)


def test_a_trace_has_lanes_as_threads_and_statements_within_functions(tmp_path):
    path = profiled().to_chrome_trace(tmp_path / "trace.json")
    events = json.loads(path.read_text())["traceEvents"]
    threads = {e["args"]["name"] for e in events if e["ph"] == "M"}
    spans = [e for e in events if e["ph"] == "X"]
    assert "once for all lanes" in threads
    assert {e["tid"] for e in spans} == set(range(len(threads)))
    assert all(e["dur"] >= 0 and e["ts"] >= 0 for e in spans)
    inner = [e for e in spans if "args" in e]
    outer = [e for e in spans if "args" not in e]
    assert {"node", "operation", "created"} == set(inner[0]["args"])
    for event in inner[:50]:
        start, end = event["ts"], event["ts"] + event["dur"]
        assert any(
            o["tid"] == event["tid"]
            and o["ts"] <= start + 1e-3
            and end <= o["ts"] + o["dur"] + 1e-2
            for o in outer
        )


def test_a_trace_that_cannot_be_written_is_a_save_error(tmp_path):
    with pytest.raises(gg.SaveError, match="cannot be written"):
        profiled().to_chrome_trace(tmp_path / "none" / "trace.json")


# --- heat


def test_heat_is_told_by_variables_as_written_and_adds_up():
    program, _ = trained()
    heat = profiled().heat
    whole = gg.Graph([program.outputs, *program.updates.values()])
    assert set(heat) <= set(whole.variables)
    total = sum(c.share for c in profiled().nodes)
    assert sum(heat.values()) == pytest.approx(total)


@pytest.mark.parametrize("style", ["compact", "book"])
def test_a_drawing_is_coloured_by_a_profile(style):
    program, _ = trained()
    text = gg.draw.to_dot(program, style=style, heat=profiled())
    assert "fill and per cent: share of the time" in text
    assert " %</FONT>" in text
    assert 'fillcolor="#FFB370"' in text  # the hottest


def test_a_drawing_is_coloured_by_numbers_and_boxes_by_their_sum():
    with gg.scope("a"):
        x = gg.placeholder("x", ())
        y = gg.exp(x)
        z = gg.exp(y)
    text = gg.draw.to_dot(z, heat={y: 0.25, z: 0.5}, style="compact")
    assert "25.0 %" in text
    assert "50.0 %" in text
    assert "75.0 %" in gg.draw.to_dot(z, heat={y: 0.25, z: 0.5}, depth=0)
    assert "%" not in gg.draw.to_dot(z)
