"""BLAS threads: one inside our calls, what the user had outside."""

import threading

import numpy as np
import pytest
from threadpoolctl import threadpool_info, threadpool_limits

import graphgpu as gg
from graphgpu.backends.numpy.blas import one_thread


def counts():
    np.dot(np.ones(2), np.ones(2))
    return [i["num_threads"] for i in threadpool_info() if i["user_api"] == "blas"]


@pytest.fixture(autouse=True)
def two_threads():
    with threadpool_limits(2, "blas"):
        yield


def test_one_thread_inside_and_as_before_outside():
    before = counts()
    with one_thread():
        assert counts() == [1] * len(before)
        with one_thread():
            pass
        assert counts() == [1] * len(before)
    assert counts() == before


def test_overlapping_entries_leave_the_number_as_it_was():
    before = counts()
    inside, leave = threading.Event(), threading.Event()

    def other():
        with one_thread():
            inside.set()
            leave.wait(5)

    with one_thread():
        thread = threading.Thread(target=other)
        thread.start()
        inside.wait(5)
    leave.set()
    thread.join()
    assert counts() == before


def test_a_program_that_fails_restores_the_threads():
    before = counts()
    x = gg.placeholder("x", (2, 2))
    with pytest.raises(gg.ComputeError):
        gg.evaluate(gg.inv(x), {x: [[0, 0], [0, 0]]})
    assert counts() == before
