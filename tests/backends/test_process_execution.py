"""A process that computes a lane changes no bit, and may be lost at any time."""

import os
import signal
import subprocess
import sys
import threading
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

import graphgpu as gg
from graphgpu.backends.numpy import sharing
from graphgpu.backends.numpy.processes import unavailable
from graphgpu.backends.numpy.shared_memory import Directory
from graphgpu.ops.elementwise import Unary

if unavailable():
    pytest.skip(str(unavailable()), allow_module_level=True)


MANY = 200
"""Images that are enough for inference to be shared by lanes at all."""


@pytest.fixture(autouse=True)
def _small_programs_too(monkeypatch):
    monkeypatch.setattr(sharing, "_LEAST", 0.0)


class Net:
    """A net with batch norm, its training step and its scores."""

    def __init__(self, wrap=lambda scores: scores):
        with gg.root_scope(0):
            nn = gg.nn
            self.layers = nn.Sequential(
                nn.Conv2d(3, 8, 3, padding=1, bias=False),
                nn.BatchNorm(8),
                nn.ReLU(),
                nn.MaxPool2d(2),
                nn.Conv2d(8, 4, 3, padding=1),
                nn.Flatten(),
                nn.Dense(4 * 8 * 8, 5),
            )
            self.x = gg.placeholder("x", ("batch", 3, 16, 16))
            self.y = gg.placeholder("y", ("batch",), "int64")
            scores = wrap(self.layers(self.x, training=True))
            self.loss = gg.cross_entropy(scores, self.y)
            optimizer = gg.optim.SGD(0.1, momentum=0.9)
            self.updates = optimizer.updates(self.loss, self.layers.parameters())
            self.updates |= gg.state_updates(scores)
            self.scores = self.layers(self.x, training=False)

    def training(self, threads=2):
        return gg.compile([self.x, self.y], self.loss, self.updates, threads=threads)

    def inference(self, threads=2):
        return gg.compile([self.x], self.scores, threads=threads)

    def state(self):
        return b"".join(v.value.tobytes() for v in self.updates)


def images(count, seed=0):
    random = np.random.default_rng(seed)
    x = random.standard_normal((count, 3, 16, 16)).astype("f")
    return x, random.integers(0, 5, count)


def executables(program):
    return [s.executable for s in program._specialized.values()]


def by_process(program, *given):
    """Call a program until a process computes a lane; return what it returns last."""
    program(*given)
    result = program(*given)
    assert all(e._processes.wait(60) for e in executables(program) if e._processes)
    assert any(e._processes for e in executables(program))
    return result


def worker_of(program):
    (member,) = executables(program)[-1]._team._members
    return member.process.pid


def in_threads(monkeypatch):
    monkeypatch.setattr(sharing, "_LEAST", np.inf)


@pytest.fixture(scope="module", autouse=True)
def _one_team():
    """Let all tests use the same process, unless it is lost."""
    team = sharing.current_team(2)
    yield
    del team


def test_bits_are_the_same_for_threads_and_processes(monkeypatch):
    def train(threads, processes=False):
        net = Net()
        program, losses = net.training(threads), []
        for step, size in enumerate((12, 12, 7, 12, 7, 2, 7, 12, 2, 1, 12, 1)):
            losses.append(float(program(*images(size, step))))
            for executable in executables(program):
                if executable._processes:
                    assert executable._processes.wait(60)
                    assert processes
        used = [e._processes is not None for e in executables(program)]
        assert not processes or any(used)
        return losses, net.state(), program(*images(12)).tobytes()

    expected = train(threads=1)
    assert train(threads=2, processes=True) == expected
    in_threads(monkeypatch)
    assert train(threads=2) == expected


@pytest.mark.parametrize("first", ["training", "inference"])
def test_programs_share_parameters_in_any_order(monkeypatch, first):
    def run(processes):
        net = Net()
        training, inference = net.training(), net.inference()
        found = []
        if first == "inference":
            found.append(
                (by_process if processes else inference)(
                    *([inference] if processes else []), images(MANY)[0]
                ).tobytes()
            )
        for step in range(4):
            training(*images(12, step))
            found.append(inference(images(MANY)[0]).tobytes())
            for program in (training, inference):
                for executable in executables(program):
                    if executable._processes:
                        assert executable._processes.wait(60)
        return found[-4:], net.state()

    shared = run(processes=True)
    in_threads(monkeypatch)
    assert run(processes=False) == shared


def test_parameters_packed_for_threads_are_shared_later(monkeypatch):
    net, other = Net(), Net()
    training, inference = net.training(), net.inference()
    expected = [other.training(1), other.inference(1)]
    in_threads(monkeypatch)
    training(*images(4))
    expected[0](*images(4))
    assert not any(map(Directory().find, arrays(net)))
    monkeypatch.setattr(sharing, "_LEAST", 0.0)
    for step in range(3):
        scores = inference(images(MANY, step)[0]), expected[1](images(MANY, step)[0])
        assert np.array_equal(*scores)
        losses = [p(*images(4, step)) for p in (training, expected[0])]
        assert losses[0] == losses[1]
    assert executables(inference)[0]._processes
    assert not executables(training)[0]._processes
    before = [id(a) for a in arrays(net)]
    inference(images(MANY)[0])
    training(*images(4))
    assert [id(a) for a in arrays(net)] == before


def arrays(net):
    return [v.storage.array for v in net.layers.parameters()]


def test_families_that_another_program_lays_out_are_found_again():
    random = np.random.default_rng(0)
    start = [random.standard_normal((5, 7)).astype("f") for _ in range(3)]
    x = gg.placeholder("x", ("batch", 5))

    def program(parameters):
        total = gg.sum(gg.concat([gg.square(x @ p) for p in parameters], axis=1))
        updates = gg.optim.SGD(0.01, momentum=0.9).updates(total, parameters)
        return gg.compile([x], total, updates)

    def run(planned):
        p = [gg.parameter(f"p{k}", value) for k, value in enumerate(start)]
        some, every = program([p[0], p[2]]), program(p)
        if planned:
            every.plan(batch=4)
        ones = np.ones((4, 5), "f")
        losses = [some(ones), every(ones), some(ones), every(ones)]
        return losses, [q.value.tobytes() for q in p]

    assert run(planned=True) == run(planned=False)


@pytest.mark.parametrize("place", [0, -1])
def test_an_error_is_blamed_on_the_same_node_whoever_computes_it(place):
    net, messages = Net(), []
    x, y = images(12)
    program = net.training()
    by_process(program, x, y)
    before = net.state()
    y[place] = 7
    for one in (program, net.training(1)):
        with pytest.raises(gg.GraphGPUError) as caught:
            one(x, y)
        assert net.state() == before
        messages.append(str(caught.value))
    assert messages[0] == messages[1]
    assert "test_process_execution.py" in messages[0]
    y[place] = 0
    program(x, y)
    assert executables(program)[0]._processes._is_ready()


def test_a_worker_killed_between_calls_is_done_without():
    net, other = Net(), Net()
    program, expected = net.training(), other.training(1)
    by_process(program, *images(12))
    os.kill(worker_of(program), signal.SIGKILL)
    process = executables(program)[0]._team._members[0].process
    process.wait(30)
    with pytest.warns(RuntimeWarning, match="threads share the lanes"):
        program(*images(12))
    program(*images(12))
    while expected.step < program.step:
        expected(*images(12))
    assert net.state() == other.state()


def test_a_step_whose_worker_is_lost_is_computed_again():
    net, other = Net(), Net()
    program, expected = net.training(), other.training(1)
    by_process(program, *images(12))
    worker = worker_of(program)
    os.kill(worker, signal.SIGSTOP)  # so that it is lost within the step
    timer = threading.Timer(0.2, os.kill, [worker, signal.SIGKILL])
    timer.start()
    with pytest.warns(RuntimeWarning, match="SIGKILL within a step"):
        loss = program(*images(12))
    timer.join()
    losses = [expected(*images(12)) for _ in range(3)]
    assert (loss, net.state()) == (losses[-1], other.state())


def test_values_that_are_set_or_loaded_reach_the_worker(tmp_path):
    net, other = Net(), Net()
    program = net.inference()
    x, y = images(MANY)
    other.training(1)(x, y)
    by_process(program, x)
    expected = other.inference(1)(x)
    path = tmp_path / "net.safetensors"
    gg.save(path, other.layers)
    kept = [p.value for p in net.layers.parameters()]
    gg.load(path, net.layers)
    assert np.array_equal(program(x), expected)
    for parameter, value in zip(net.layers.parameters(), kept, strict=True):
        parameter.value = value
    assert not np.array_equal(program(x), expected)
    assert executables(program)[0]._processes._is_ready()


@dataclass(frozen=True, slots=True)
class Twice(Unary):
    """An operation that a user wrote; in float16 its ``numpy`` is called."""

    expression = "x + x"

    def derivative(self, x, y):
        return gg.constant(2, x.dtype)


def test_operations_of_users_are_left_to_threads():
    net = Net(lambda x: gg.cast(gg.apply(Twice(), gg.cast(x, "float16")), "float32"))
    program, expected = net.training(), net.training(1)
    start = [v.value for v in net.updates]
    losses = [program(*images(12, step)) for step in range(3)]
    (executable,) = executables(program)
    assert "twice" in executable.source()
    assert executable._processes is None
    for variable, value in zip(net.updates, start, strict=True):
        variable.value = value
    assert losses == [expected(*images(12, step)) for step in range(3)]


def test_one_thread_and_small_programs_and_single_calls_start_nothing(monkeypatch):
    monkeypatch.setattr(sharing, "current_team", lambda lanes: pytest.fail("started"))
    program = Net().training(threads=1)
    for _ in range(3):
        program(*images(12))
    program = Net().training(threads=2)
    program.plan(batch=12)
    program.source(batch=12)
    monkeypatch.undo()
    x = gg.placeholder("x", ("batch", 2))
    xor = gg.compile([x], gg.tanh(x @ gg.parameter("w", np.ones((2, 8), "f"))))
    for _ in range(3):
        xor(np.ones((4, 2), "f"))
    assert not executables(xor)[0].code.whole.shared


CHILD = """
import os, sys, warnings
warnings.simplefilter("ignore")
sys.path[:0] = {path!r}
from test_process_execution import *
sharing._LEAST = 0.0
net = Net()
program, given = net.training(), images(12)
by_process(program, *given)
before = net.state()
child = os.fork()
loss = program(*given)
after = net.state()
if child:
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
    assert net.state() == after
    program(*given)
    print(executables(program)[0]._processes._is_ready())
else:
    ready = executables(program)[0]._processes._is_ready()
    other = Net()
    again = other.training(1)
    for _ in range(3): again(*given)
    same = other.state() == after != before
    fresh = by_process(other.training(2), *given)
    os._exit(7 if same and not ready else 1)
"""


def test_a_forked_child_has_memory_and_lanes_of_its_own():
    code = CHILD.replace("{path!r}", repr([str(Path(__file__).parent)]))
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        check=False,
        text=True,
        timeout=100,
    )
    assert (done.stderr, done.stdout) == ("", "True\n")
