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


@pytest.mark.parametrize("first_to_leave", ["main", "other"])
def test_overlapping_entries_keep_one_thread_and_restore_the_number(first_to_leave):
    before = counts()
    one = [1] * len(before)
    inside, leave = threading.Event(), threading.Event()
    seen = []

    def other():
        with one_thread():
            inside.set()
            assert leave.wait(5)
            seen.append(counts())

    thread = threading.Thread(target=other)
    with one_thread():
        thread.start()
        assert inside.wait(5)
        if first_to_leave == "other":
            leave.set()
            thread.join()
            assert counts() == one
    leave.set()
    thread.join()
    assert seen == [one]
    assert counts() == before


def test_a_limit_of_the_user_s_own_is_still_theirs_afterwards():
    outside = counts()
    with threadpool_limits(1, "blas"):
        thread = threading.Thread(target=gg.evaluate, args=(gg.constant(1.0),))
        thread.start()
        thread.join()
        assert counts() == [1] * len(outside)
    assert counts() == outside


def test_a_program_that_fails_restores_the_threads():
    before = counts()
    x = gg.placeholder("x", (2, 2))
    with pytest.raises(gg.ComputeError):
        gg.evaluate(gg.inv(x), {x: [[0, 0], [0, 0]]})
    assert counts() == before
