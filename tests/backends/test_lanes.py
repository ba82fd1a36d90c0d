"""Lanes: every part for every lane, then its action, then the next part."""

import _thread
import os
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

from graphgpu.backends.numpy import lanes as module
from graphgpu.backends.numpy.lanes import Lanes, Part

THREADS = [1, 2, 3]


def threads_of_the_pool():
    return [t for t in threading.enumerate() if t.name.startswith("graphgpu lane")]


@pytest.mark.parametrize("threads", THREADS)
@pytest.mark.parametrize("patience", [0, 50])
def test_an_action_sees_all_lanes_of_its_part_and_none_of_the_next(
    threads, patience, monkeypatch
):
    monkeypatch.setattr(module, "_PATIENCE", patience)
    done, seen = [], []

    def part(number):
        return Part(
            lambda lane: done.append((number, lane)),
            lambda: seen.append(sorted(done)),
        )

    Lanes(5, threads).run([part(n) for n in range(20)])
    every = [(n, lane) for n in range(20) for lane in range(5)]
    assert seen == [every[: 5 * (n + 1)] for n in range(20)]


def test_results_do_not_depend_on_the_number_of_threads():
    def compute(threads):
        rows = np.random.default_rng(0).standard_normal((4, 1000)).astype("f")
        sums, total = np.zeros((4, 1000), "f"), np.zeros(1000, "f")

        def add(lane):
            np.add(sums[lane], np.tanh(rows[lane] + total), out=sums[lane])

        Lanes(4, threads).run([Part(add, lambda: np.sum(sums, 0, out=total))] * 9)
        return total.tobytes()

    assert len({compute(threads) for threads in THREADS}) == 1


def test_two_threads_work_at_the_same_time():
    meeting = threading.Barrier(2)
    Lanes(2, 2).run([Part(lambda lane: meeting.wait(5))] * 2)


def test_one_thread_is_the_caller():
    seen = []
    Lanes(3, 1).run([Part(lambda lane: seen.append((lane, threading.get_ident())))])
    assert seen == [(lane, threading.get_ident()) for lane in range(3)]


@pytest.mark.parametrize("threads", THREADS)
def test_parts_may_lack_either_half(threads):
    seen = []
    lanes = Lanes(2, threads)
    lanes.run([])
    lanes.run([Part(None, lambda: seen.append("a")), Part(None, None)])
    lanes.run([Part(lambda lane: None), Part(None, lambda: seen.append("b"))])
    assert seen == ["a", "b"]


def test_the_threads_survive_from_step_to_step():
    lanes = Lanes(3, 3)
    lanes.run([Part(lambda lane: None)])
    before = threads_of_the_pool()
    for _ in range(5):
        lanes.run([Part(lambda lane: None)])
        Lanes(2, 2).run([Part(lambda lane: None)])
    assert threads_of_the_pool() == before
    assert all(t.daemon for t in before)


@pytest.mark.parametrize("threads", THREADS)
def test_the_first_lane_that_failed_is_raised_and_no_later_part_begins(threads):
    seen = []

    def fail(lane):
        if lane > 0:
            raise ValueError(f"lane {lane}")

    lanes = Lanes(4, threads)
    with pytest.raises(ValueError, match="lane 1"):
        lanes.run([Part(fail, lambda: seen.append(1)), Part(seen.append)])
    assert not seen
    lanes.run([Part(seen.append)])
    assert sorted(seen) == [0, 1, 2, 3]


@pytest.mark.parametrize("threads", THREADS)
def test_an_action_that_fails_ends_the_step(threads):
    seen = []
    lanes = Lanes(3, threads)
    with pytest.raises(ZeroDivisionError):
        lanes.run([Part(lambda lane: None, lambda: 1 / 0), Part(seen.append)])
    assert not seen
    lanes.run([Part(seen.append)])
    assert sorted(seen) == [0, 1, 2]


@pytest.mark.parametrize("stopper", [KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("lane_of_it", [0, 1])
@pytest.mark.parametrize("threads", THREADS)
def test_what_is_no_plain_error_ends_the_step_too(threads, lane_of_it, stopper):
    def stop(lane):
        if lane == lane_of_it:
            raise stopper

    lanes, seen = Lanes(2, threads), []
    with pytest.raises(stopper):
        lanes.run([Part(stop), Part(seen.append)])
    assert not seen
    lanes.run([Part(seen.append)])
    assert sorted(seen) == [0, 1]


def test_an_interrupt_from_the_keyboard_ends_the_step_wherever_it_comes():
    lanes = Lanes(2, 2)
    for delay in np.linspace(0, 4e-3, 60):
        alarm = threading.Timer(delay, _thread.interrupt_main)
        parts = [Part(lambda lane: None, lambda: None)] * 10
        interrupted = False
        try:
            alarm.start()
            while True:
                lanes.run(parts)
        except KeyboardInterrupt:
            interrupted = True
        alarm.join()
        assert interrupted
        seen = []
        lanes.run([Part(seen.append)])
        assert sorted(seen) == [0, 1]
    meeting = threading.Barrier(2)
    lanes.run([Part(lambda lane: meeting.wait(5))])


def test_an_interrupt_waits_for_the_part_that_another_thread_is_in():
    seen = []

    def part(lane):
        if lane == 1:
            _thread.interrupt_main()
            time.sleep(0.05)
            seen.append("through")

    with pytest.raises(KeyboardInterrupt):
        Lanes(2, 2).run([Part(part), Part(lambda lane: seen.append("next"))])
    assert seen == ["through"]


def test_a_step_inside_a_step_is_done_by_its_caller():
    seen = []

    def inner(lane):
        seen.append((lane, threading.get_ident()))

    lanes = Lanes(2, 2)
    lanes.run([Part(None, lambda: lanes.run([Part(inner)]))])
    assert [lane for lane, _ in seen] == [0, 1]
    assert len({thread for _, thread in seen}) == 1


def test_steps_of_several_python_threads_do_not_wait_for_each_other():
    lanes = Lanes(2, 2)
    inside, leave, seen = threading.Event(), threading.Event(), []

    def stay(lane):
        inside.set()
        assert leave.wait(5)

    other = threading.Thread(target=lanes.run, args=([Part(stay)],))
    other.start()
    assert inside.wait(5)
    lanes.run([Part(seen.append)])
    leave.set()
    other.join()
    assert seen == [0, 1]


def test_a_thread_of_the_pool_is_silent_about_floating_point():
    def overflow(lane):
        np.exp(np.full(10, 1e3, "f"))

    with np.errstate(all="ignore"):
        Lanes(2, 2).run([Part(overflow)])


def test_nothing_of_a_step_is_kept_when_it_is_over():
    class Something:
        pass

    one = Something()
    before = sys.getrefcount(one)
    lanes = Lanes(2, 2)
    lanes.run([Part(lambda lane, one=one: None)])
    deadline = time.monotonic() + 5
    while sys.getrefcount(one) > before and time.monotonic() < deadline:
        time.sleep(0.001)
    assert sys.getrefcount(one) == before


def test_threads_that_cannot_be_started_are_done_without(monkeypatch):
    def refuse(self):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    monkeypatch.setattr(module, "_pool", module._Pool())
    seen = []
    Lanes(2, 2).run([Part(seen.append)])
    assert seen == [0, 1]


def run_python(code):
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


START = """
import os, sys, threading
from graphgpu.backends.numpy.lanes import Lanes, Part
lanes, seen = Lanes(2, 2), []
lanes.run([Part(seen.append)])
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_has_a_pool_of_its_own():
    code = (
        START
        + """
import warnings
warnings.simplefilter("ignore")
child = os.fork()
meeting = threading.Barrier(2)
lanes.run([Part(lambda lane: meeting.wait(5))])
if child:
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
else:
    os._exit(7)
"""
    )
    done = run_python(code)
    assert (done.stdout, done.stderr) == ("7\n", "")


def test_the_interpreter_ends_without_noise():
    done = run_python(START)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_a_signal_ends_a_program_within_a_step():
    code = (
        START
        + """
import signal, time
def slow(lane):
    print(lane, flush=True)
    time.sleep(0.02)
lanes.run([Part(slow)] * 1000)
"""
    )
    with subprocess.Popen(
        [sys.executable, "-c", code],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        process.stdout.readline()
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=30)
    assert "KeyboardInterrupt" in errors
    assert "Fatal" not in errors


# --- the commit


@pytest.mark.parametrize("threads", THREADS)
@pytest.mark.parametrize("parts", [0, 1, 3])
def test_a_commit_comes_last_after_a_call_in_the_callers_thread(threads, parts):
    done = []

    def call(what):
        return lambda *lane: done.append((what, *lane))

    def before_commit():
        assert threading.current_thread() is threading.main_thread()
        assert "commit" not in {d[0] for d in done}
        done.append(("before",))

    step = [Part(call("part"), call("action"))] * parts
    commit = [Part(call("commit"), call("end"))]
    Lanes(4, threads).run(step, commit, before_commit)
    assert [d[0] for d in done][-5:] == ["commit"] * 4 + ["end"]
    assert sorted(d[0] for d in done) == sorted(
        ["part"] * 4 * parts + ["action"] * parts + ["before", "end"] + ["commit"] * 4
    )


@pytest.mark.parametrize("threads", THREADS)
@pytest.mark.parametrize("where", ["lane", "action"])
def test_a_commit_is_not_begun_after_an_error(threads, where):
    done = []

    def fail(*lane):
        if lane in {(), (3,)}:
            raise ValueError(where)

    part = Part(fail, None) if where == "lane" else Part(lambda lane: None, fail)
    with pytest.raises(ValueError, match=where):
        Lanes(4, threads).run([part], [Part(done.append, lambda: done.append("end"))])
    assert done == []


@pytest.mark.parametrize("late", [False, True])
def test_an_interrupt_before_the_commit_prevents_it(late):
    done, main = [], threading.main_thread()

    def compute(lane):
        if not late and threading.current_thread() is main:
            signal.raise_signal(signal.SIGINT)

    def before_commit():
        if late:
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        Lanes(2, 2).run([Part(compute)], [Part(done.append)], before_commit)
    assert done == []
