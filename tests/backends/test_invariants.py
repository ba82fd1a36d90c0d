"""What holds of every program: its bits, its memory, its budget."""

import tracemalloc

import numpy as np
import pytest

import graphgpu as gg
from graphgpu.backends.numpy import loops, translate


@pytest.fixture(autouse=True)
def _blocks(monkeypatch):
    """Cut every batch, however small the work, into blocks."""
    monkeypatch.setattr(translate, "_SMALL", 0.0)


def training(model, shape, optimizer=None):
    """Return inputs, a loss and its updates for a classifier of ten classes."""
    x = gg.placeholder("x", ("batch", *shape))
    y = gg.placeholder("y", ("batch",), "int64")
    scores = model(x, training=True)
    loss = gg.cross_entropy(scores, y)
    optimizer = optimizer or gg.optim.SGD(0.01, momentum=0.9)
    updates = optimizer.updates(loss, model.parameters())
    return [x, y], loss, updates | gg.state_updates(scores)


def mlp(depth=2, dropout=()):
    with gg.root_scope(0):
        nn = gg.nn
        hidden = [nn.Dense(32, 32), nn.ReLU(), *(nn.Dropout(p) for p in dropout)]
        layers = [layer for _ in range(depth) for layer in hidden]
        model = nn.Sequential(nn.Dense(64, 32), *layers, nn.Dense(32, 10))
        return training(model, (64,), gg.optim.Adam(0.01)), (64,)


def convnet(depth=2, dropout=(), norm=True):
    with gg.root_scope(0):
        nn = gg.nn
        layers = []
        for level in range(depth):
            layers += [nn.Conv2d(8 if level else 3, 8, 3, padding=1)]
            layers += [nn.BatchNorm(8)] if norm else []
            layers += [nn.ReLU(), *(nn.Dropout(p) for p in dropout)]
        layers += [nn.MaxPool2d(2), nn.Flatten(), nn.Dense(8 * 64, 10)]
        return training(nn.Sequential(*layers), (3, 16, 16)), (3, 16, 16)


def batch(shape, size=32):
    rng = np.random.default_rng(0)
    return rng.standard_normal((size, *shape)).astype("float32"), np.arange(size) % 10


def trained(net, size=32, steps=3, **options):
    """Return a program, its losses, and all state after some steps."""
    (inputs, loss, updates), shape = net
    program = gg.compile(inputs, loss, updates, **options)
    losses = [program(*batch(shape, size)) for _ in range(steps)]
    return program, [np.array(losses), *(s.value for s in updates)]


def assert_equal(expected, found):
    for left, right in zip(expected, found, strict=True):
        np.testing.assert_array_equal(left, right)


NETS = [mlp, convnet]


# --- bits


@pytest.mark.parametrize("net", NETS)
def test_bits_depend_neither_on_threads_nor_on_the_run(net):
    _, expected = trained(net(dropout=[0.3]), threads=1)
    for threads in (1, 2):
        assert_equal(expected, trained(net(dropout=[0.3]), threads=threads)[1])


def test_a_step_that_is_repeated_gives_the_same_bits():
    (inputs, loss, _), shape = convnet(dropout=[0.3])
    program = gg.compile(inputs, loss)
    first = program(*batch(shape))
    program(*batch(shape, 7))
    program.step = 0
    assert program(*batch(shape)) == first


# --- memory


def executable_of(program):
    (special,) = program._specialized.values()
    return special.executable


@pytest.mark.parametrize("net", NETS)
@pytest.mark.parametrize("passes", [None, ()])
def test_the_arena_is_as_large_as_planned(net, passes):
    program, _ = trained(net(), steps=1, passes=passes)
    plan = program.plan(batch=32)
    assert executable_of(program).arena.bytes.size == plan.peak_bytes
    assert plan.widest_bytes <= plan.peak_bytes


@pytest.mark.parametrize("net", NETS)
def test_a_plan_allocates_nothing_and_leaves_parameters_where_they_are(net):
    (inputs, loss, updates), _ = net()
    program = gg.compile(inputs, loss, updates)
    program.plan(batch=8)  # the first imports and parses
    places = [s.storage.array for s in updates]
    tracemalloc.start()
    plan = program.plan(batch=2**14)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < plan.staging_bytes / 2
    assert most < plan.peak_bytes / 2
    for leaf, place in zip(updates, places, strict=True):
        assert leaf.storage.array is place


@pytest.mark.parametrize("net", NETS)
def test_a_call_allocates_no_arrays_but_the_outputs(net):
    program, _ = trained(net(), 256)
    arrays = batch(net()[1], 256)
    tracemalloc.start()
    program(*arrays)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 20_000 < program.plan(batch=256).peak_bytes / 4


def places(layout, buffers):
    for buffer, offset in buffers.items():
        size = buffer.nbytes(layout.lanes)
        if size and buffer.last >= 0:
            yield buffer.first, buffer.last, offset, offset + size, buffer.label


def assert_disjoint(found, most):
    for place, left in enumerate(found):
        assert 0 <= left[2] <= left[3] <= most
        for right in found[:place]:
            together = left[0] <= right[1] and right[0] <= left[1]
            overlap = left[2] < right[3] and right[2] < left[3]
            assert not (together and overlap), (left, right)


@pytest.mark.parametrize("net", NETS)
@pytest.mark.parametrize("size", [1, 5, 32])
def test_no_two_live_buffers_overlap(net, size):
    program, _ = trained(net(dropout=[0.3]), size, steps=1)
    layout = executable_of(program).layout
    found = list(places(layout, layout.shared))
    assert found
    for region in layout.regions:
        assert len(region.offsets) == layout.lanes
        found += [
            (region.first, region.last, start, start + region.nbytes, "scratch")
            for start in region.offsets
        ]
        assert_disjoint(list(places(layout, region.buffers)), region.nbytes)
    assert_disjoint(found, layout.arena_bytes)


def test_a_gradient_takes_the_place_of_the_one_that_it_is_made_from():
    program, _ = trained(convnet(depth=4), 32, steps=1)
    executable = executable_of(program)
    names = executable.code.whole
    inside = [
        v.buffer
        for body in executable.code.bodies()
        for v in body.views.values()
        if v.buffer.scope == "batch" and v.buffer.parent is not None
    ]
    assert inside
    assert not set(inside) & set(names.buffers)
    for buffer in inside:
        home, offset = buffer.parent
        assert offset == 0
        assert home.nbytes(2) == buffer.nbytes(2)
        assert home.first < buffer.first
        assert buffer.last <= home.last


# --- budgets

DEEP = [
    (lambda: mlp(depth=12, dropout=[0.1]), 256, 0.9),
    (lambda: convnet(depth=8, norm=False, dropout=[0.1]), 64, 0.9),
    (lambda: convnet(depth=8), 256, 0.8),
]


@pytest.mark.parametrize(("net", "size", "part"), DEEP)
def test_a_budget_is_kept_and_changes_no_bit(net, size, part, monkeypatch):
    monkeypatch.setattr(loops, "_SPLIT", 0)  # as in larger nets
    monkeypatch.setattr(loops, "_LARGE", 0)
    program, expected = trained(net(), size)
    most = int(part * program.plan(batch=size).peak_bytes)
    budgeted, found = trained(net(), size, memory_budget=most, debug=True)
    assert budgeted.plan(batch=size).peak_bytes <= most
    assert_equal(expected, found)


@pytest.mark.parametrize("net", NETS)
def test_an_impossible_budget_names_the_least(net):
    with pytest.raises(gg.CompileError, match="expected at least") as caught:
        trained(net(), memory_budget=1000)
    least = int(str(caught.value).split("at least ")[1].split()[0].replace(",", ""))
    program, _ = trained(net(), memory_budget=least, steps=1)
    assert program.plan(batch=32).peak_bytes <= least
