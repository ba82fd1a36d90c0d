"""Kernels that sort, against the NumPy slot."""

import numpy as np
import pytest
from kernel_cases import case, check, compiled, values

from graphgpu.backends.cuda.rules import sorting
from graphgpu.dtypes import dtype
from graphgpu.ops.sorting import Argsort

FLOATS = ("float16", "bfloat16", "float32", "float64")
INTEGERS = ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")
KINDS = ("bool", *INTEGERS, *FLOATS)


def of(x, axis, length=None, descending=False):
    length = x.shape[axis] if length is None else length
    return case(sorting.RULES, Argsort(axis, length, descending), x)


def both(x, axis, length=None):
    return [of(x, axis, length, down) for down in (False, True)]


def special(shape, kind, seed=0):
    """Numbers of which many are equal: NaNs of both signs, zeros, infinities."""
    some = [0.0, -0.0, np.nan, -np.nan, np.inf, -np.inf, 1.0, -1.0, 6e-8, -6e-8]
    chosen = np.random.default_rng(seed).choice(np.array(some, dtype(kind)), shape)
    return np.ascontiguousarray(chosen)


@pytest.mark.parametrize("kind", KINDS)
def test_lines_of_every_dtype_are_sorted_stably(driver, kind):
    x = values((3, 37), kind)
    cases = [*both(x, 1), *both(x, 0)]
    if kind in FLOATS:
        cases += [*both(special((3, 100), kind), 1), *both(special((40, 2), kind), 0)]
    else:
        few = np.array([0, 1]).astype(kind)[values((2, 100), "bool").astype(int)]
        cases += both(few, 1)
    check(driver, cases, orders=("forward", "shuffled"))


def test_any_axis_is_sorted_and_cut(driver):
    cases = []
    for shape, axis, length in (
        ((1,), 0, 1),
        ((5,), 0, 0),
        ((0, 3), 0, 0),
        ((0, 3), 1, 2),
        ((700, 1), 1, 1),
        ((600, 3), 1, 2),
        ((2, 9, 7), 0, 1),
        ((3, 33, 5), 1, 33),
        ((3, 33, 5), 1, 4),
        ((3, 1, 513), 2, 500),
    ):
        for kind in ("float32", "int64"):
            cases += both(values(shape, kind), axis, length)
    check(driver, cases, orders=("forward", "shuffled"))


@pytest.mark.parametrize("chunk", [2, 32])
def test_long_lines_are_sorted_in_chunks_that_are_merged(driver, monkeypatch, chunk):
    monkeypatch.setattr(sorting, "CHUNK", chunk)
    cases = []
    for shape, axis in (
        ((chunk + 1,), 0),
        ((3, 4 * chunk), 1),
        ((2, 5 * chunk + 1, 3), 1),
    ):
        for length in (None, 3, shape[axis] - 1):
            cases += both(values(shape, "int8"), axis, length)
            cases += both(special(shape, "float64"), axis, length)
            cases += both(special(shape, "bfloat16"), axis, length)
    assert all(len(c.kernels) > 1 for c in cases)
    check(driver, cases)


def test_chunks_fill_a_block(driver):
    cases = [
        of(values((2 * sorting.CHUNK + 5,), "float32"), 0),
        of(values((sorting.CHUNK,), "float64"), 0),
    ]
    assert [len(c.kernels) for c in cases] == [3, 1]
    check(driver, cases, orders=("shuffled",))


def test_a_merge_of_any_run_is_compiled_once(driver):
    made = of(values((40 * sorting.CHUNK,), "int8"), 0)
    assert len(made.kernels) == 7
    assert len({k.source for k in made.kernels}) == 3
    compiled(driver, [made])


def test_lines_of_2_to_the_32_elements_have_places_of_64_bits(driver):
    huge = np.broadcast_to(np.zeros((), bool), (2**32 + 9, 2))
    made = of(huge, 0, 3)
    assert all("ulonglong2" in k.source for k in made.kernels)
    compiled(driver, [made])
