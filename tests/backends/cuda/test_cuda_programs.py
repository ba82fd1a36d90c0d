"""Programs on a device: the CPU's results, one launch a step, shared parameters."""

from dataclasses import dataclass

import numpy as np
import pytest

import graphgpu as gg
from graphgpu.backends.cuda.device import CUDA
from graphgpu.backends.cuda.kernels.kernel import Call, Operand, Routine
from graphgpu.backends.cuda.rules import RULES
from graphgpu.ops.sorting import Argsort


def training(seed=0):
    """Return a small net, its inputs, a loss and its updates."""
    with gg.root_scope(seed):
        nn = gg.nn
        net = nn.Sequential(nn.Dense(6, 9), nn.ReLU(), nn.Dense(9, 3))
        x = gg.placeholder("x", ("batch", 6))
        y = gg.placeholder("y", ("batch",), "int64")
        loss = gg.mean((net(x) - gg.one_hot(y, 3)) ** 2)
        updates = gg.optim.SGD(0.1, momentum=0.9).updates(loss, net.parameters())
        return net, [x, y], loss, updates


def batch(size, seed=0):
    rng = np.random.default_rng(seed)
    return rng.standard_normal((size, 6)).astype("f"), rng.integers(0, 3, size)


def test_a_net_trains_as_on_the_cpu_with_one_launch_a_step(emulator):
    driver = emulator()
    nets = []
    for device in ("cpu", CUDA(driver)):
        net, inputs, loss, updates = training()
        step = gg.compile(inputs, loss, updates, device=device)
        losses = [float(step(*batch(7, k))) for k in range(2)]
        before = driver.host_launches
        losses += [float(step(*batch(7, k))) for k in range(2, 6)]
        assert driver.host_launches == before + 4 * (device != "cpu")
        losses += [float(step(*batch(3, 6)))]  # the odd last batch
        nets.append((losses, [p.value for p in net.parameters()]))
    np.testing.assert_allclose(nets[1][0], nets[0][0], rtol=1e-5)
    for left, right in zip(nets[0][1], nets[1][1], strict=True):
        np.testing.assert_allclose(left, right, rtol=1e-4, atol=1e-6)


def test_programs_share_parameters_and_see_what_the_host_writes(emulator):
    device = CUDA(emulator())
    w = gg.parameter("w", [1.0, 2.0])
    double = gg.compile([], gg.sum(w), {w: w * 2}, device=device)
    read = gg.compile([], w + 0, device=device)
    on_cpu = gg.compile([], gg.sum(w), {w: w + 1}, device="cpu")
    assert float(double()) == 3.0
    assert read().tolist() == [2.0, 4.0]
    assert w.value.tolist() == [2.0, 4.0]
    w.value = [5.0, 6.0]
    assert float(double()) == 11.0
    assert float(on_cpu()) == 22.0
    assert read().tolist() == [11.0, 13.0]
    assert double.step == 2


def test_updates_and_outputs_see_the_state_as_it_was(emulator):
    device = CUDA(emulator())
    a, b = gg.state("a", 1.0), gg.state("b", 2.0)
    swap = gg.compile([], [a, b], {a: b, b: a}, device=device)
    for expected in ([1.0, 2.0], [2.0, 1.0], [1.0, 2.0]):
        assert [float(v) for v in swap()] == expected
    assert (float(a.value), float(b.value)) == (2.0, 1.0)


def test_a_program_larger_than_the_device_is_refused_with_its_largest_values(emulator):
    x = gg.placeholder("x", ("n", 64))
    program = gg.compile(
        [x], gg.exp(gg.exp(x)), device=CUDA(emulator(capacity=1 << 16))
    )
    with pytest.raises(
        gg.DeviceError, match=r"takes 512.00 KiB.*largest.*memory_budget"
    ):
        program(np.zeros((2048, 64), "f"))


def test_an_operation_without_a_kernel_names_itself_and_its_line(emulator, monkeypatch):
    monkeypatch.delitem(RULES.table, Argsort)
    x = gg.placeholder("x", (2, 2))
    program = gg.compile([x], gg.argsort(x), device=CUDA(emulator()))
    with pytest.raises(
        gg.CompileError, match=r"argsort.*test_cuda_programs.*no CUDA kernel"
    ):
        program(np.eye(2, dtype="f"))


def test_a_plan_and_the_sources_need_no_device_memory(emulator):
    driver = emulator()
    free = driver.free_bytes()
    x = gg.placeholder("x", ("n",))
    program = gg.compile([x], gg.sum(gg.sort(x)), device=CUDA(driver))
    assert program.plan(n=1000).peak_bytes >= 4000
    assert "__global__" in program.source(n=1000)
    assert driver.free_bytes() == free


def test_a_wrong_index_is_an_error_and_changes_nothing(emulator):
    w = gg.parameter("w", np.ones((3, 4)))
    x = gg.placeholder("x", ("batch", 3), "float64")
    y = gg.placeholder("y", ("batch",), "int64")
    loss = gg.cross_entropy(x @ w, y)
    updates = gg.optim.SGD(0.1).updates(loss, [w])
    step = gg.compile([x, y], loss, updates, device=CUDA(emulator()))
    good = np.array([0, 3, -100]), np.array([0, 1, 2])
    inputs = np.arange(9.0).reshape(3, 3)
    step(inputs, good[0])
    for wrong in ([0, 4, 1], [0, 3, -1]):
        before = w.value
        with pytest.raises(gg.ComputeError, match=r"class_index.*number . of .*0 to 3"):
            step(inputs, np.array(wrong))
        np.testing.assert_array_equal(w.value, before)
        assert step.step == 1 + (wrong[1] == 3)
        step(inputs, good[1])
        assert (w.value != before).any()


@pytest.mark.parametrize(
    ("place", "wrong", "complaint"),
    [
        (0, 3, "an index (number 1 of (1, 2)) is not from 0 to 2"),
        (1, 4, "an index (number 0 of (1,)) is not from 0 to 3"),
        (2, -1, "an index (number 0 of (1,)) is not from 0 to 2"),
    ],
)
def test_a_wrong_label_or_length_of_ctc_is_told_with_its_range(
    emulator, place, wrong, complaint
):
    """Nothing is said of a class to be ignored, for there is none."""
    names = ("targets", (1, 2)), ("frames", (1,)), ("counts", (1,))
    inputs = [gg.placeholder(name, shape, "int64") for name, shape in names]
    loss = gg.ctc_loss(gg.constant(np.zeros((3, 1, 3), "f")), *inputs)
    program = gg.compile(inputs, loss, device=CUDA(emulator()))
    values = [np.array([[1, 2]]), np.array([3]), np.array([2])]
    assert np.isfinite(program(*values).get())
    values[place].reshape(-1)[-1] = wrong
    with pytest.raises(gg.ComputeError) as caught:
        program(*values)
    assert f" failed: {complaint}; got int64[" in str(caught.value)


def test_gathers_check_their_indices(emulator):
    device = CUDA(emulator())
    x = gg.placeholder("x", (5, 2))
    i = gg.placeholder("i", (3,), "int32")
    taken = gg.compile([x, i], gg.take(x, i, axis=0), device=device)
    values = np.arange(10, dtype="f").reshape(5, 2)
    for places in ([0, 4, -5], [1, 1, 1]):
        found = taken(values, np.int32(places)).get()
        np.testing.assert_array_equal(found, values[places])
    with pytest.raises(gg.ComputeError, match=r"number 2 of \(3,\).*-5 to 4"):
        taken(values, np.int32([0, 0, 5]))


def test_a_convolutional_net_trains_as_on_the_cpu(emulator):
    """Batch norm, pooling and dropout, whose masks are the same on both."""
    rng = np.random.default_rng(0)
    images = rng.standard_normal((5, 1, 8, 8)).astype("f")
    classes = rng.integers(0, 10, 5)
    results = []
    for device in ("cpu", CUDA(emulator())):
        with gg.root_scope(0):
            nn = gg.nn
            net = nn.Sequential(
                nn.Conv2d(1, 4, 3, padding=1, bias=False),
                nn.BatchNorm(4),
                nn.ReLU(),
                nn.MaxPool2d(2),
                nn.Flatten(),
                nn.Dropout(0.2),
                nn.Dense(4 * 16, 10),
            )
            x = gg.placeholder("x", ("batch", 1, 8, 8))
            y = gg.placeholder("y", ("batch",), "int64")
            scores = net(x, training=True)
            loss = gg.cross_entropy(scores, y)
            updates = gg.optim.Adam(0.01).updates(loss, net.parameters())
            updates |= gg.state_updates(scores)
        step = gg.compile([x, y], loss, updates, device=device)
        losses = [float(step(images, classes)) for _ in range(4)]
        state = [v.value for v in (*net.parameters(), *net.states())]
        results.append((losses, state))
    np.testing.assert_allclose(results[1][0], results[0][0], rtol=1e-4)
    for left, right in zip(results[0][1], results[1][1], strict=True):
        np.testing.assert_allclose(left, right, rtol=1e-3, atol=1e-4)


def test_a_profile_times_every_launch_and_writes_nothing(emulator):
    net, inputs, loss, updates = training()
    step = gg.compile(inputs, loss, updates, device=CUDA(emulator()))
    before = [p.value for p in net.parameters()]
    profile = step.profile(*batch(5), repeat=2)
    assert "matmul" in str(profile)
    assert all(cost.seconds > 0 for cost in profile.nodes)
    for left, parameter in zip(before, net.parameters(), strict=True):
        np.testing.assert_array_equal(left, parameter.value)
    assert step.step == 0


@dataclass(frozen=True)
class ArgsortOfALibrary(Routine):
    """A library's argsort, which may not be recordable."""

    recordable: bool = True

    @property
    def obstacle(self):
        return "" if self.recordable else "the library cannot be recorded"

    def reference(self, x):
        return [np.argsort(x)]


@pytest.mark.parametrize("recordable", [True, False])
def test_a_librarys_call_runs_between_kernels(emulator, monkeypatch, recordable):
    def rule(node):
        reads, writes = [Operand(node.inputs[0])], [Operand(node)]
        return [Call(ArgsortOfALibrary("argsort", recordable), reads, writes)]

    monkeypatch.setitem(RULES.table, Argsort, rule)
    driver = emulator()
    x, w = gg.placeholder("x", ("n",)), gg.parameter("w", np.ones(3, "f"))
    order = gg.argsort(x * 2)
    y = gg.cast(order, "float32")
    f = gg.compile([x], y + 1, {w: y * w}, device=CUDA(driver))
    for k in range(3):
        before = driver.host_launches
        assert f(np.array([3, 1, 2], "f")).tolist() == [2, 3, 1]
        assert w.value.tolist() == [1, 2.0 ** (k + 1), 0]
    assert driver.library_calls["argsort"] == 3
    assert driver.host_launches == before + (1 if recordable else 3)
    assert ("cannot be recorded" in str(f.explain(order))) is not recordable


class RecordingError(Exception):
    """What a library may raise while a stream records."""


@dataclass(frozen=True)
class Surprising(ArgsortOfALibrary):
    """A library's argsort that cannot be recorded, and did not say so."""


def test_what_fails_while_a_step_is_recorded_leaves_the_device_usable(
    emulator, monkeypatch
):
    def rule(node):
        reads, writes = [Operand(node.inputs[0])], [Operand(node)]
        return [Call(Surprising("argsort"), reads, writes)]

    driver = emulator()
    prepare = driver.prepare

    def prepared(routine, reads, writes):
        call = prepare(routine, reads, writes)

        def refusing(addresses, stream):
            if stream.recorded is not None and isinstance(routine, Surprising):
                raise RecordingError("not now")
            call(addresses, stream)

        return refusing

    monkeypatch.setattr(driver, "prepare", prepared)
    device, x = CUDA(driver), gg.placeholder("x", ("n",))
    with monkeypatch.context() as patched:
        patched.setitem(RULES.table, Argsort, rule)
        f = gg.compile([x], gg.argsort(x), device=device)
        f(np.array([3, 1, 2], "f"))
        with pytest.raises(RecordingError):
            f(np.array([3, 1, 2], "f"))
    g = gg.compile([x], x + 1, device=device)
    for _ in range(3):
        assert g(np.ones(2, "f")).get().tolist() == [2, 2]


@dataclass(frozen=True)
class Hungry(ArgsortOfALibrary):
    """A library's argsort that takes more workspace than was thought."""


def test_a_library_that_wants_more_workspace_than_it_has_is_refused(
    emulator, monkeypatch
):
    def rule(node):
        reads, writes = [Operand(node.inputs[0])], [Operand(node)]
        return [Call(Hungry("argsort"), reads, writes, [1024])]

    driver = emulator()
    prepare = driver.prepare

    class Prepared:
        workspace = 4096

        def __init__(self, call):
            self.call = call

        def __call__(self, addresses, stream):
            self.call(addresses, stream)

    monkeypatch.setattr(driver, "prepare", lambda *a: Prepared(prepare(*a)))
    monkeypatch.setitem(RULES.table, Argsort, rule)
    x = gg.placeholder("x", ("n",))
    f = gg.compile([x], gg.argsort(x), device=CUDA(driver))
    with pytest.raises(gg.DeviceError, match=r"argsort takes 4\.00 KiB of workspace"):
        f(np.array([3, 1, 2], "f"))
