"""A byte budget: what is computed again, what it saves, and that no bit changes."""

import numpy as np
import pytest

import graphgpu as gg
from graphgpu.errors import CompileError
from graphgpu.graph import Parameter, ancestors
from graphgpu.ops.random import Random
from graphgpu.rewrite.checkpoints import candidates
from graphgpu.rewrite.recompute import _build, estimate, recompute
from graphgpu.rewrite.replay import Program

OPTIMIZER = gg.optim.SGD(0.1, momentum=0.9)


def step(loss):
    """Return the targets of a training step and their new values."""
    parameters = [v for v in gg.Graph(loss).variables if isinstance(v, Parameter)]
    return {**OPTIMIZER.updates(loss, parameters), **gg.state_updates([loss])}


def operations(output):
    return [v.operation for v in ancestors([output]) if v.operation]


def perceptron(depth, width, dropout=0.0):
    """Return a placeholder, a loss and the updates of a deep net."""
    with gg.root_scope(7):
        x = gg.placeholder("x", ("batch", width))
        h = x
        for place in range(depth):
            h = gg.relu(gg.nn.Dense(width, width, name=f"dense{place}")(h))
            if dropout:
                h = gg.nn.Dropout(dropout, name=f"drop{place}")(h, training=True)
        loss = gg.mean(h * h)
        return x, loss, step(loss)


def residual(depth=8, image=8):
    with gg.root_scope(3):
        x = gg.placeholder("x", ("batch", 3, image, image))
        net = gg.nn.models.cifar_resnet(depth, classes=4)
        loss = gg.mean(gg.softmax(net(x, training=True)) ** 2)
        return x, loss, step(loss)


def bits(x, loss, updates, given, steps=2):
    """Return the losses and the state after some steps; the state is put back."""
    before = {v: v.value for v in updates}
    program = gg.compile([x], loss, updates, device="cpu", seed=5)
    losses = [program(given) for _ in range(steps)]
    after = [v.value for v in updates]
    for variable, value in before.items():
        variable.value = value
    return [*losses, *after]


def graphs(outputs, sizes, count=4):
    """Yield graphs that compute the outputs, with more and more clones."""
    program = Program(outputs, sizes)
    tried = list(candidates(program))
    for dropped in tried[:: max(1, len(tried) // count)] + tried[-1:]:
        built, clones, _ = _build(program, outputs, dropped)
        yield built, clones


def check_bits(x, loss, updates, shape):
    """Compare two steps of training; return the kinds of what is computed again."""
    given = np.random.default_rng(0).normal(size=shape).astype("float32")
    plain = bits(x, loss, updates, given)
    kinds = set()
    for built, clones in graphs([loss, *updates.values()], {"batch": shape[0]}):
        again = dict(zip(updates, built[1:], strict=True))
        changed = bits(x, built[0], again, given)
        for a, b in zip(plain, changed, strict=True):
            assert a.tobytes() == b.tobytes()
        kinds.update(v.operation.kind() for v in clones)
    return kinds


# --- the results


def test_the_bits_of_a_net_with_dropout_are_the_same():
    x, loss, updates = perceptron(12, 16, dropout=0.5)
    kinds = check_bits(x, loss, updates, (64, 16))
    assert {"matmul", "relu"} <= kinds
    assert any(issubclass(kind, Random) for kind in map(type, operations(loss)))


def test_the_bits_of_random_numbers_drawn_again_are_the_same():
    x = gg.placeholder("x", ("batch",))
    h = x
    for _ in range(6):
        h = gg.sin(h * gg.random_normal(x.shape))
    outputs = [gg.sum(h), *gg.gradients(gg.sum(h), [x])]
    given = np.linspace(-1, 1, 100, dtype="float32")
    plain = gg.compile([x], outputs, device="cpu", seed=3)(given)
    found = set()
    for built, clones in graphs(outputs, {"batch": 100}):
        changed = gg.compile([x], list(built), device="cpu", seed=3)(given)
        assert [a.tobytes() for a in plain] == [b.tobytes() for b in changed]
        found.update(type(v.operation) for v in clones)
    assert any(issubclass(kind, Random) for kind in found)


def test_the_bits_of_a_residual_net_and_its_statistics_are_the_same():
    x, loss, updates = residual()
    assert len(gg.state_updates([loss])) > 0
    assert "convolution" in check_bits(x, loss, updates, (4, 3, 8, 8))


def test_the_bits_of_a_second_derivative_are_the_same():
    x = gg.placeholder("x", ("batch",))
    h = x
    for _ in range(6):
        h = gg.tanh(h * 1.5)
    (first,) = gg.gradients(gg.sum(h), [x])
    penalty = gg.sum(gg.exp(-first * first)) + gg.mean(h)
    outputs = [penalty, *gg.gradients(penalty, [x])]
    given = np.linspace(-1, 1, 100, dtype="float32")
    plain = gg.compile([x], outputs, device="cpu")(given)
    for built, _ in graphs(outputs, {"batch": 100}):
        changed = gg.compile([x], list(built), device="cpu")(given)
        assert [a.tobytes() for a in plain] == [b.tobytes() for b in changed]


def test_views_and_tuples_are_computed_again_with_what_they_are_of():
    x = gg.placeholder("x", (6, 8))
    h = x
    for _ in range(4):
        left, right = gg.split(gg.tanh(gg.reshape(h, (8, 6)).T), 2, axis=1)
        h = gg.concat([gg.exp(-left * left), right * left], axis=1)
        h = h * gg.sin(gg.reshape(h, (8, 6))).T
    (gradient,) = gg.gradients(gg.sum(h), [x])
    given = np.linspace(-1, 1, 48, dtype="float32").reshape(6, 8)
    plain = gg.evaluate(gradient, {x: given})
    peaks = []
    for (changed,), _ in graphs([gradient], {}, 8):
        peaks.append(estimate([changed], {}))
        assert gg.evaluate(changed, {x: given}).tobytes() == plain.tobytes()
    assert min(peaks) < estimate([gradient], {})


# --- the peak


@pytest.mark.parametrize("share", [0.9, 0.6, 0.35])
def test_the_peak_is_within_the_budget_and_is_that_of_the_graph(share):
    _, loss, updates = perceptron(40, 16)
    outputs, sizes = [loss, *updates.values()], {"batch": 512}
    budget = int(share * estimate(outputs, sizes))
    found = recompute(outputs, sizes, budget)
    assert found.peak_bytes == estimate(found.outputs, sizes) <= budget


@pytest.mark.parametrize("build", [lambda: perceptron(10, 16, 0.3), residual])
def test_a_candidate_takes_what_it_was_weighed_to_take(build):
    _, loss, updates = build()
    outputs, sizes = [loss, *updates.values()], {"batch": 32}
    program = Program(outputs, sizes, reorder=False)
    for dropped in list(candidates(program))[::5]:
        built, clones, _ = _build(program, outputs, dropped)
        weight = program.weigh(dropped)
        assert weight.peak == estimate(built, sizes)
        computed = [v for v in ancestors(built) if v.operation]
        assert set(clones) <= set(computed)
        again = Program(built, sizes, reorder=False)
        assert again.weigh([False] * again.count).flops == weight.flops


def test_less_memory_takes_more_work():
    _, loss, updates = perceptron(40, 16)
    outputs, sizes = [loss, *updates.values()], {"batch": 512}
    plain = estimate(outputs, sizes)
    found = [recompute(outputs, sizes, int(s * plain)) for s in (1, 0.8, 0.6, 0.4)]
    extra = [f.extra_flops for f in found]
    assert extra[0] == 0
    assert extra == sorted(extra)
    assert extra[-1] <= 0.35


def test_a_hundred_layers_take_45_percent_for_a_fifth_more_work():
    _, loss, updates = perceptron(100, 32)
    outputs, sizes = [loss, *updates.values()], {"batch": 2048}
    found = recompute(outputs, sizes, int(0.45 * estimate(outputs, sizes)))
    assert found.extra_flops <= 0.2


@pytest.mark.slow
def test_resnet50_takes_45_percent_for_a_tenth_more_work():
    x = gg.placeholder("x", ("batch", 3, 224, 224))
    net = gg.nn.models.resnet50(10)
    loss = gg.mean(gg.softmax(net(x, training=True)) ** 2)
    outputs, sizes = [loss, *step(loss).values()], {"batch": 32}
    found = recompute(outputs, sizes, int(0.45 * estimate(outputs, sizes)))
    assert found.extra_flops <= 0.1


# --- the clones


def test_clones_carry_name_scope_and_line_and_come_right_before_their_readers():
    _, loss, updates = perceptron(20, 16)
    outputs, sizes = [loss, *updates.values()], {"batch": 512}
    found = recompute(outputs, sizes, int(0.5 * estimate(outputs, sizes)))
    for clone, original in found.clones.items():
        assert clone is not original
        assert clone.operation == original.operation
        assert (clone.name, clone.context) == (original.name, original.context)
        assert clone.trace is original.trace
        assert clone.phase == "forward"
    order = ancestors(found.outputs)
    place = {v: i for i, v in enumerate(order)}
    backward = [i for i, v in enumerate(order) if v.phase != "forward"]
    assert all(place[c] > backward[0] for c in found.clones)
    first_read = {c: len(order) for c in found.clones}
    for i, v in enumerate(order):
        for parent in v.inputs:
            if parent in first_read:
                first_read[parent] = min(first_read[parent], i)
    for clone, reads in first_read.items():
        between = order[place[clone] + 1 : reads]
        assert all(v in found.clones for v in between)


def test_a_value_is_computed_again_at_most_once():
    _, loss, updates = perceptron(20, 16)
    outputs, sizes = [loss, *updates.values()], {"batch": 512}
    found = recompute(outputs, sizes, int(0.4 * estimate(outputs, sizes)))
    assert len(set(found.clones.values())) == len(found.clones)


def test_the_forward_pass_is_left_as_it_is():
    _, loss, updates = perceptron(20, 16)
    outputs, sizes = [loss, *updates.values()], {"batch": 512}
    found = recompute(outputs, sizes, int(0.5 * estimate(outputs, sizes)))
    assert found.outputs[0] is loss
    assert all(v.phase != "forward" for v in found.became)
    assert set(found.became.values()) <= set(ancestors(found.outputs))


def test_what_fits_is_left_as_it_is():
    _, loss, updates = perceptron(3, 16)
    outputs, sizes = (loss, *updates.values()), {"batch": 8}
    plain = estimate(outputs, sizes)
    found = recompute(outputs, sizes, plain)
    assert found.outputs == outputs
    assert found.peak_bytes == plain
    assert not found.clones


# --- the search


def test_the_measure_given_decides_and_is_asked_seldom():
    _, loss, updates = perceptron(40, 16)
    outputs, sizes = [loss, *updates.values()], {"batch": 512}
    asked = []

    def measure(found, clones):
        asked.append(estimate(found, sizes) // 2 + 1000)
        return asked[-1]

    budget = int(0.25 * estimate(outputs, sizes))
    found = recompute(outputs, sizes, budget, measure)
    assert found.peak_bytes in asked
    assert found.peak_bytes <= budget
    assert len(asked) <= 10


def test_the_cost_given_decides_what_is_computed_again():
    x = gg.placeholder("x", ("batch",))
    h = x
    for place in range(20):
        h = gg.exp(-(h * h)) if place % 2 else gg.sin(gg.cos(h))
    outputs = [*gg.gradients(gg.sum(h), [x])]
    sizes = {"batch": 10_000}
    budget = int(0.75 * estimate(outputs, sizes))

    def costly(kinds):
        def cost(variable, flops, moved):
            return 1e6 * moved if variable.operation.kind() in kinds else moved

        found = recompute(outputs, sizes, budget, cost=cost)
        again = [v.operation.kind() for v in found.clones]
        return sum(k in kinds for k in again)

    assert costly({"sin", "cos"}) <= 2
    assert costly({"exp", "multiply", "negative"}) <= 3


def test_an_impossible_budget_names_the_least_possible_which_is_possible():
    _, loss, updates = perceptron(30, 16)
    outputs, sizes = [loss, *updates.values()], {"batch": 512}
    with pytest.raises(CompileError, match="memory_budget: expected at least") as error:
        recompute(outputs, sizes, 1000)
    message = str(error.value)
    assert "got 1,000 (1000 B)" in message
    assert "a smaller batch takes less" in message
    least = int(message.split("at least ")[1].split(maxsplit=1)[0].replace(",", ""))
    assert recompute(outputs, sizes, least).peak_bytes <= least


def test_a_graph_without_a_backward_pass_has_nothing_to_drop():
    x = gg.placeholder("x", ("batch",))
    y = gg.exp(gg.sin(x) * 2)
    with pytest.raises(CompileError, match="expected at least 8,192 bytes"):
        recompute([y], {"batch": 1024}, 100)
    with pytest.raises(CompileError, match="expected at least 0 bytes"):
        recompute([x], {"batch": 1024}, -1)


def test_it_prints_as_a_line_of_the_log():
    _, loss, updates = perceptron(20, 16)
    outputs, sizes = [loss, *updates.values()], {"batch": 512}
    text = str(recompute(outputs, sizes, int(0.5 * estimate(outputs, sizes))))
    assert text.startswith("recompute: ")
    assert "nodes computed again" in text
    assert "more FLOPs, peak " in text


@pytest.mark.parametrize("slopes", [True, False])
def test_an_impossible_budget_of_a_scan_names_its_checkpoints(slopes):
    x = gg.placeholder("x", (16, 64))
    w = gg.parameter("w", np.ones((64, 64)), "float32")
    last, _ = gg.scan(lambda c, e: (gg.tanh(c @ w + e), None), gg.zeros(64), x)
    loss = gg.sum(last)
    outputs = [loss, *(gg.gradients(loss, [w]) if slopes else [])]
    program = gg.compile([x], outputs, device="cpu", memory_budget=100)
    with pytest.raises(CompileError) as caught:
        program(np.zeros((16, 64), "f"))
    advice = (
        "; a smaller batch takes less, and so does a gg.scan or a recurrent layer with "
        "checkpoint_every, at best near the square root of its length"
    )
    assert (advice in str(caught.value)) is slopes
