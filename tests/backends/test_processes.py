"""Lanes of other processes compute what threads do, and never outlive their use."""

import gc
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from graphgpu.backends.numpy.lanes import Lanes, Part
from graphgpu.backends.numpy.processes import (
    LaneCode,
    ProcessLanes,
    UnshareableError,
    current_team,
    unavailable,
)
from graphgpu.errors import DeviceError, ShapeError

if unavailable():
    pytest.skip(str(unavailable()), allow_module_level=True)

from graphgpu.backends.numpy.shared_memory import allocate

ADD = """
def add(lane):
    x[lane] += 1
"""


def shared(*shape, dtype="f"):
    size = np.dtype(dtype).itemsize * int(np.prod(shape))
    return allocate(size).array.view(dtype).reshape(shape)


def make(source, team, names="add", lanes=2, action=None, **namespace):
    """Return the parts of one lane function after another, and them as a program."""
    own = dict(namespace)
    exec(compile(source, "<here>", "exec"), own)
    parts = [Part(own[name], action) for name in names.split()]
    codes = [LaneCode(source, "<generated>", dict(namespace)) for _ in range(lanes)]
    return parts, ProcessLanes(parts, codes, team)


def ready(program):
    assert program.wait(60)
    return program


def processes():
    """Return the lanes' processes that are alive."""
    found = set()
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                line = (folder / "cmdline").read_bytes()
                state = (folder / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if b"backends.numpy.worker" in line and state[0] != "Z":
                found.add(int(folder.name))
    return found


def process_of(program):
    (member,) = program._team._members
    return member.process.pid


def until(true):
    deadline = time.monotonic() + 30
    while not true() and time.monotonic() < deadline:
        time.sleep(0.005)
    assert true()


@pytest.fixture(scope="module")
def team():
    return current_team(2)


def test_bits_are_those_of_threads(team):
    source = """
def compute(lane):
    np.matmul(x[lane], w, out=y[lane])
    np.tanh(y[lane], out=y[lane])
    np.matmul(x[lane].T, y[lane], out=g[lane])
    np.multiply(np.sum(g, axis=0), 0.5, out=w2[lane]) if lane else None
"""
    x, y, g = shared(2, 300, 64), shared(2, 300, 64), shared(2, 64, 64)
    w, w2 = shared(64, 64), shared(2, 64, 64)

    def start():
        random = np.random.default_rng(0)
        x[:], w[:] = random.standard_normal(x.shape), random.standard_normal(w.shape)
        w[:] *= 0.1

    def step():
        np.subtract(w, g[0] + g[1], out=w)

    names = {"x": x, "y": y, "g": g, "w": w, "w2": w2, "np": np}
    parts, program = make(source, team, "compute compute", action=step, **names)
    ready(program)
    results = []
    for run in (lambda: Lanes(2, 1).run(parts), program.run, program.run):
        start()
        for _ in range(3):
            run()
        results.append(w.tobytes() + y.tobytes())
    assert len(set(results)) == 1


def test_actions_run_between_parts_in_the_caller(team):
    x, seen = shared(2), []
    _, program = make(
        ADD, team, "add add add", action=lambda: seen.append(x.tolist()), x=x
    )
    ready(program).run()
    assert seen == [[1, 1], [2, 2], [3, 3]]


def test_parts_may_lack_either_half(team):
    x, seen = shared(2), []
    own = {"x": x}
    exec(ADD, own)
    parts = [
        Part(None, lambda: seen.append("a")),
        Part(own["add"]),
        Part(None, None),
        Part(None, lambda: seen.append(x.tolist())),
    ]
    codes = [LaneCode(ADD, "<generated>", {"x": x}) for _ in range(2)]
    ready(ProcessLanes(parts, codes, team)).run()
    assert seen == ["a", [1, 1]]


@pytest.mark.parametrize("size", [2, 3])
def test_any_number_of_lanes_is_dealt_out(size):
    x, where = shared(5), shared(5, dtype=np.int64)
    source = ADD + "    where[lane] = os.getpid()\n"
    names = {"x": x, "where": where, "os": os}
    _, program = make(source, current_team(size), "add add", lanes=5, **names)
    ready(program).run()
    assert x.tolist() == [2] * 5
    assert where[0] == os.getpid()
    assert where.tolist() == [where[lane % size] for lane in range(5)]
    assert len(set(where.tolist())) == size


def test_the_process_imports_little(team):
    source = """
def look(lane):
    modules = sys.modules
    x[lane] = any(name in modules for name in ("networkx", "graphgpu.executor"))
"""
    x = shared(2)
    _, program = make(source, team, "look", x=x, sys=sys)
    ready(program).run()
    assert x.tolist() == [1, 0]


def test_views_keep_shape_strides_and_identity(team):
    base = shared(4, 6)
    base[:] = np.arange(24).reshape(4, 6)
    source = """
def check(lane):
    same = a is b and a.base is not None
    out[lane] = [same, a.shape == (3, 4), a[0, 0], empty.size, fixed.flags.writeable]
"""
    a = base[::-1, 1:4].T
    fixed = base[0]
    fixed.flags.writeable = False
    out = shared(2, 5)
    names = {"a": a, "b": a, "empty": np.zeros((3, 0)), "fixed": fixed, "out": out}
    _, program = make(source, team, "check", **names)
    ready(program).run()
    assert out[1].tolist() == out[0].tolist() == [1, 1, 19, 0, 0]


def test_an_error_says_where_it_was_raised_and_the_program_goes_on(team):
    source = """
def fail(lane):
    if lane and x[0] < 2:
        raise ShapeError(f"lane {lane}")
"""
    x, seen = shared(2), []
    _, program = make(
        source, team, "fail", action=lambda: seen.append(1), x=x, ShapeError=ShapeError
    )
    ready(program)
    for _ in range(2):
        with pytest.raises(ShapeError, match="lane 1") as caught:
            program.run()
        assert caught.value.lane_lines[-1] == ("<generated>", 4)
        assert "<generated>:4" in caught.value.__notes__[0]
    assert not seen
    x[0] = 2
    program.run()
    assert seen == [1]


@pytest.mark.parametrize(("number", "text"), [(0, "0"), (1, "1"), (-1, "0")])
def test_the_first_lane_that_failed_is_raised(team, number, text):
    source = """
def fail(lane):
    if which in (lane, -1):
        raise ValueError(lane)
"""
    _, program = make(source, team, "fail", which=number)
    with pytest.raises(ValueError, match=text):
        ready(program).run()


def test_an_error_that_cannot_be_sent_is_described(team):
    source = """
class Odd(Exception):
    def __init__(self, a, b):
        super().__init__("odd", a)
def fail(lane):
    if lane:
        raise Odd(1, 2)
"""
    _, program = make(source, team, "fail")
    with pytest.raises(RuntimeError, match="Odd: "):
        ready(program).run()


def test_an_action_that_fails_ends_the_step(team):
    x = shared(2)
    _, program = make(ADD, team, "add add", action=lambda: 1 / 0, x=x)
    ready(program)
    with pytest.raises(ZeroDivisionError):
        program.run()
    assert x.tolist() == [1, 1]
    with pytest.raises(ZeroDivisionError):
        program.run()


def test_source_that_does_not_load_is_left_to_threads(team):
    x = shared(2)
    own = {"x": x}
    exec(ADD, own)
    codes = [LaneCode("oh no", "<generated>", {"x": x}) for _ in range(2)]
    program = ProcessLanes([Part(own["add"])], codes, team)
    with pytest.warns(RuntimeWarning, match="SyntaxError"):
        assert not program.wait(60)
    program.run()
    assert x.tolist() == [1, 1]
    ready(make(ADD, team, x=x)[1]).run()


@pytest.mark.parametrize(
    ("thing", "message"),
    [
        (
            np.zeros((2, 3), "f"),
            r"as 'thing': expected .* or read-only; got float32\[2, 3\]",
        ),
        (lambda: None, "cannot be sent"),
        (make, "cannot be sent"),
        (UnshareableError, None),
        (threading.Lock(), "cannot be sent"),
    ],
    ids=["array", "lambda", "function", "own class", "lock"],
)
def test_what_no_other_process_can_have_is_refused(team, thing, message):
    if message is None:
        make(ADD, team, x=shared(2), thing=thing)
    else:
        with pytest.raises(UnshareableError, match=message):
            make(ADD, team, x=shared(2), thing=thing)


def test_steps_of_another_python_thread_go_on_in_threads(team):
    x, y = shared(2), shared(2)
    inside, leave = threading.Event(), threading.Event()

    def stay():
        inside.set()
        assert leave.wait(30)

    first = ready(make(ADD, team, action=stay, x=x)[1])
    second = ready(make(ADD, team, x=y)[1])
    other = threading.Thread(target=first.run)
    other.start()
    assert inside.wait(30)
    second.run()
    leave.set()
    other.join()
    assert [*x, *y] == [1, 1, 1, 1]


def test_a_step_inside_a_step_goes_on_in_threads(team):
    x, y = shared(2), shared(2)
    inner = ready(make(ADD, team, x=y)[1])
    outer = ready(make(ADD, team, "add add", action=inner.run, x=x)[1])
    outer.run()
    assert [*x, *y] == [2, 2, 2, 2]


def test_an_idle_process_sleeps(team):
    program = ready(make(ADD, team, "add add", x=shared(2))[1])
    program.run()
    stat = Path(f"/proc/{process_of(program)}/stat")
    until(lambda: stat.read_text().rpartition(")")[2].split()[0] == "S")
    program.run()


def test_programs_share_a_process_that_ends_with_the_last():
    first = current_team(4)
    x = shared(4)
    one = ready(make(ADD, first, lanes=4, x=x)[1])
    two = ready(make(ADD, current_team(4), lanes=4, x=x)[1])
    found = {m.process.pid for m in one._team._members}
    assert found == {m.process.pid for m in two._team._members}
    del first, one
    gc.collect()
    assert found <= processes()
    two.run()
    assert x.tolist() == [1] * 4
    del two
    gc.collect()
    assert not found & processes()


def test_a_process_that_is_killed_within_a_step_is_an_error_then_done_without():
    source = """
def die(lane):
    if lane and alive[0]:
        alive[0] = 0
        os.kill(os.getpid(), 9)
    x[lane] += 1
"""
    x, alive = shared(2), shared(1)
    alive[0] = 1
    _, program = make(source, current_team(2), "die", x=x, alive=alive, os=os)
    ready(program)
    alive[0] = 1
    with pytest.raises(DeviceError, match="SIGKILL within a step"):
        program.run()
    program.run()
    assert x.tolist() == [2, 1]


def test_a_process_that_was_killed_between_steps_is_done_without():
    x = shared(2)
    program = ready(make(ADD, current_team(2), x=x)[1])
    program.run()
    killed = process_of(program)
    os.kill(killed, signal.SIGKILL)
    until(lambda: killed not in processes())
    with pytest.warns(RuntimeWarning, match="SIGKILL"):
        program.run()
    program.run()
    assert x.tolist() == [3, 3]
    new = ready(make(ADD, current_team(2), x=x)[1])
    assert process_of(new) != killed
    new.run()
    assert x.tolist() == [4, 4]


START = """
import os, sys, time
sys.path[:0] = {paths!r}
from test_processes import *
team = current_team(2)
x = shared(2)
parts, program = make(ADD, team, "add add add", x=x)
ready(program).run()
print(process_of(program), flush=True)
""".replace("{paths!r}", repr([str(Path(__file__).parent)]))


def start(code):
    return subprocess.Popen(
        [sys.executable, "-c", START + code],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_the_interpreter_ends_its_process_without_noise():
    with start("") as parent:
        out, errors = parent.communicate(timeout=60)
    assert (parent.returncode, errors) == (0, "")
    assert int(out) not in processes()


@pytest.mark.parametrize("code", ["time.sleep(60)", "while True: program.run()"])
def test_a_process_ends_with_a_parent_that_is_killed(code):
    with start(code) as parent:
        worker = int(parent.stdout.readline())
        assert worker in processes()
        parent.kill()
        parent.communicate(timeout=60)
    until(lambda: worker not in processes())


def test_an_interrupt_ends_the_step_and_leaves_the_program_in_order():
    code = """
import _thread, threading
for delay in np.linspace(0, 4e-3, 40):
    alarm = threading.Timer(delay, _thread.interrupt_main)
    hit = False
    try:
        alarm.start()
        while True: program.run()
    except KeyboardInterrupt:
        hit = True
    alarm.join()
    assert hit
    x[:] = 0
    program.run()
    assert x.tolist() == [3, 3], x
assert program._is_ready()
print("fine", flush=True)
while True: program.run()
"""
    with start(code) as parent:
        worker = int(parent.stdout.readline())
        assert parent.stdout.readline() == "fine\n"
        parent.send_signal(signal.SIGINT)
        _, errors = parent.communicate(timeout=60)
    assert errors.count("Traceback") == 1
    assert errors.endswith("KeyboardInterrupt\n")
    assert worker not in processes()


def test_a_forked_child_computes_in_threads_of_its_own():
    code = """
child = os.fork()
program.run()
if child:
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
    program.run()
    print(x.tolist(), program._is_ready())
else:
    del program, team
    os._exit(7 if x.tolist() == [6, 6] else 1)
"""
    with start("import warnings; warnings.simplefilter('ignore')\n" + code) as parent:
        out, errors = parent.communicate(timeout=60)
    assert errors == ""
    assert out.splitlines()[1] == "[9.0, 9.0] True"
