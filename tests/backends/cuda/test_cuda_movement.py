"""Kernels that move elements, gather and scatter, against the NumPy slots."""

import numpy as np
import pytest
from kernel_cases import Case, case, check, compiled, values

from graphgpu.backends.cuda.rules import gathering, movement, scattering
from graphgpu.backends.cuda.rules.registry import Rules
from graphgpu.ops.diagonals import Diagonal, OnDiagonal
from graphgpu.ops.gather import (
    AddAlongAxis,
    Gather,
    PutAlongAxis,
    ScatterAdd,
    TakeAlongAxis,
)
from graphgpu.ops.indexing import OneHot
from graphgpu.ops.joining import Concat
from graphgpu.ops.padding import PaddingIndex
from graphgpu.ops.repeating import Roll
from graphgpu.ops.shape import BroadcastTo, Transpose
from graphgpu.ops.slicing import Slice, Unslice
from graphgpu.ops.triangular import LowerTriangle, UpperTriangle

RULES = Rules(
    {**movement.RULES.table, **gathering.RULES.table, **scattering.RULES.table}
)
SIZES = ("bool", "float16", "float32", "float64")
FLOATS = ("float16", "bfloat16", "float32", "float64")


def of(operation, *arrays):
    return case(RULES, operation, *arrays)


def test_transposes_permute_axes_of_all_sizes(driver):
    layouts = [
        ((), ()),
        ((0, 3), (1, 0)),
        ((1, 31), (1, 0)),
        ((31, 33), (1, 0)),
        ((65, 70), (1, 0)),
        ((2, 33, 31), (0, 2, 1)),
        ((3, 9, 10, 11), (0, 2, 3, 1)),
        ((3, 9, 10, 12), (3, 1, 0, 2)),
        ((5, 3, 8), (1, 0, 2)),
        ((33, 2, 3), (2, 1, 0)),
    ]
    cases = [
        of(Transpose(axes), values(shape, kind))
        for shape, axes in layouts
        for kind in SIZES
    ]
    names = {k.name for c in cases for k in c.kernels}
    assert names == {"transpose", "transpose_tiles"}
    check(driver, cases)


def test_broadcasts_repeat_elements(driver):
    layouts = [
        ((), (3, 5)),
        ((1,), (33,)),
        ((31, 1), (31, 33)),
        ((4,), (3, 4)),
        ((2, 1, 8), (5, 2, 3, 8)),
        ((1, 3), (0, 3)),
        ((1, 1, 3), (2, 1, 3)),
    ]
    check(
        driver,
        [
            of(BroadcastTo(shape), values(given, kind))
            for given, shape in layouts
            for kind in SIZES
        ],
    )


SLICES = [
    # shape, starts, lengths, steps
    ((33,), (32,), (33,), (-1,)),
    ((33,), (1,), (16,), (2,)),
    ((33,), (5,), (0,), (1,)),
    ((8, 16), (2, 0), (4, 16), (1, 1)),
    ((8, 16), (2, 8), (4, 8), (1, 1)),
    ((8, 16), (1, 9), (3, 5), (2, -1)),
    ((5, 6, 7), (4, 0, 1), (2, 6, 3), (-3, 1, 2)),
    ((5, 6, 7), (1, 0, 0), (1, 6, 7), (1, 1, 1)),
    ((40, 40), (0, 39), (40, 40), (1, -1)),
    ((), (), (), ()),
]


def test_slices_read_strides(driver):
    check(
        driver,
        [
            of(Slice(*cut), values(shape, kind))
            for shape, *cut in SLICES
            for kind in SIZES
        ],
    )


def test_slices_are_put_amid_a_value(driver):
    check(
        driver,
        [
            of(Unslice(shape, starts, lengths, steps, value), values(lengths, kind))
            for shape, starts, lengths, steps in SLICES
            for kind, value in zip(SIZES, (True, 1.5, -0.1, 0), strict=True)
        ],
    )


def test_arrays_are_joined(driver):
    def join(axis, *shapes, kind="float32"):
        return of(Concat(axis), *(values(s, kind, k) for k, s in enumerate(shapes)))

    check(
        driver,
        [
            *(join(1, (3, 4), (3, 8), (3, 0), (3, 4), kind=kind) for kind in SIZES),
            join(0, (1, 31), (33, 31)),
            join(2, (2, 3, 1), (2, 3, 2)),
            join(0, (0, 3), (0, 3)),
            join(0, (5,), (7,)),
            join(1, *((3, k % 4) for k in range(70))),
        ],
    )


def test_rolls_rotate(driver):
    check(
        driver,
        [
            of(Roll(shifts, axes), values(shape, kind))
            for shape, shifts, axes in [
                ((33,), (1,), (0,)),
                ((33,), (-40,), (0,)),
                ((4, 8), (1,), (0,)),
                ((4, 8), (3, 4), (0, 1)),
                ((4, 6, 5), (1, 2), (1, 1)),
                ((0, 3), (2,), (0,)),
            ]
            for kind in SIZES
        ],
    )


def test_diagonals_and_triangles(driver):
    cases = []
    for offset in (0, 1, -2, 40):
        for shape in ((31, 33), (2, 5, 3), (0, 3), (1, 1)):
            for kind in ("float16", "float64"):
                given = values(shape, kind)
                cases += [
                    of(LowerTriangle(offset), given),
                    of(UpperTriangle(offset), given),
                    of(Diagonal(offset), given),
                ]
                short = np.diagonal(given, offset, -2, -1)
                cases.append(of(OnDiagonal(offset, *shape[-2:]), short))
    check(driver, cases)


def test_padding_indices_fold_back(driver):
    check(
        driver,
        [
            of(PaddingIndex(size, before, after, mode))
            for size, before, after in ((1, 2, 3), (3, 7, 5), (33, 1, 0))
            for mode in ("edge", "reflect", "symmetric", "wrap")
        ],
    )


def test_long_arrays_give_a_thread_several_words(driver):
    long = values((2**19 + 3,), "bool")
    cases = [
        of(Slice((2**19 + 2,), (2**19 + 3,), (-1,)), long),
        of(Unslice((2**19 + 9,), (5,), (2**19 + 3,), (1,)), long),
    ]
    check(driver, cases, orders=("forward", "shuffled"))


def places(shape, size, kind="int64", seed=1):
    low = 0 if kind.startswith("u") else -size
    return np.random.default_rng(seed).integers(low, size, shape).astype(kind)


GATHERS = [
    ((33, 8), (0,), [(5,)]),
    ((33, 3), (0,), [(2, 3)]),
    ((3, 31, 4), (1,), [(7,)]),
    ((3, 4, 31), (2,), [()]),
    ((5, 6, 7), (0, 1), [(4,), (4,)]),
    ((5, 6, 7), (1, 2), [(4, 1), (3,)]),
    ((5, 6, 7), (0, 2), [(4,), (2, 4)]),
    ((4, 5, 6, 2), (1, 3), [(3,), (1,)]),
    ((5, 3), (0,), [(0,)]),
    ((0, 3), (0,), [(0,)]),
]


def gathers(operation):
    """Yield shapes, axes and indices of all layouts and dtypes of indices."""
    kinds = ("int64", "int32", "uint8", "int8")
    for n, (shape, axes, indexed) in enumerate(GATHERS):
        yield (
            shape,
            axes,
            [
                places(i, shape[a] or 1, kinds[(n + k) % 4], k)
                for k, (i, a) in enumerate(zip(indexed, axes, strict=True))
            ],
        )


def test_gathers_read_at_indices(driver):
    check(
        driver,
        [
            of(Gather(axes), values(shape, kind), *indices)
            for shape, axes, indices in gathers(Gather)
            for kind in SIZES
        ],
    )


def updates(shape, axes, indices, kind):
    expected = Gather(axes).numpy(np.zeros(shape, "int8"), *indices).shape
    return values(expected, kind, 3)


@pytest.mark.parametrize("sorts", [False, True])
def test_scatters_add_in_order_to_the_bit(driver, monkeypatch, sorts):
    if sorts:
        monkeypatch.setattr(scattering, "SEARCHED", 0)
        monkeypatch.setattr(scattering, "SEARCHED_LINES", 0)
        monkeypatch.setattr(scattering, "FEW", 0)
    cases = [
        of(ScatterAdd(shape, axes), updates(shape, axes, indices, kind), *indices)
        for shape, axes, indices in gathers(ScatterAdd)
        for kind in (*FLOATS, "int8", "uint64")[: 6 if not sorts else 3]
    ]
    index = places((700,), 3)
    cases.append(of(ScatterAdd((3, 2), (0,)), values((700, 2)), index))
    along = [
        (AddAlongAxis(axis, size), values(shape, kind), places(shape, size))
        for axis, size, shape in ((0, 5, (7, 3)), (1, 3, (2, 31, 2)), (0, 4, (9,)))
        for kind in (*FLOATS, "int8")
    ]
    cases += [of(*parts) for parts in along]
    check(driver, cases)


def test_many_places_are_sorted_in_several_chunks(driver):
    index = places((5000,), 1000)
    cases = [of(ScatterAdd((1000,), (0,)), values((5000,)), index)]
    assert len(cases[0].kernels) > 6
    check(driver, cases, orders=("forward", "shuffled"))


@pytest.mark.parametrize("width", [(), (3,)])
def test_long_runs_of_one_place_are_sums_of_pieces(driver, monkeypatch, width):
    """As an embedding's padding has; whole numbers, so that any order is exact."""
    monkeypatch.setattr(scattering, "SEARCHED", 0)
    monkeypatch.setattr(scattering, "FEW", 0)
    cases = []
    for lengths in ([5, 1800, 3], [2048], [256, 512, 257, 1, 700], [1, 300, 255, 0]):
        index = np.repeat(np.arange(len(lengths)), lengths)
        order = np.random.default_rng(1).permutation(len(index))
        y = np.round(8 * values((len(index), *width)))
        cases.append(of(ScatterAdd((len(lengths), *width), (0,)), y, index[order]))
    check(driver, cases, orders=("forward", "shuffled"))


@pytest.mark.parametrize("marks", [False, True])
def test_elements_along_an_axis_are_taken_and_put(driver, monkeypatch, marks):
    if marks:
        monkeypatch.setattr(scattering, "SEARCHED", 0)
        monkeypatch.setattr(scattering, "SEARCHED_LINES", 0)
        monkeypatch.setattr(scattering, "FEW", 0)
    cases = []
    for axis, shape, taken in (
        (0, (5, 3), (7, 3)),
        (1, (2, 33, 4), (2, 40, 4)),
        (2, (2, 3, 31), (2, 3, 1)),
        (0, (4,), (0,)),
    ):
        for kind in SIZES:
            index = places(taken, shape[axis])
            x, y = values(shape, kind), values(taken, kind, 5)
            cases.append(of(PutAlongAxis(axis), x, index, y))
            if not marks:
                cases.append(of(TakeAlongAxis(axis), x, index))
    check(driver, cases)


def test_one_hot_rows(driver):
    check(
        driver,
        [
            of(OneHot(5, np.dtype(kind)), np.array(given, "int32"))
            for kind in SIZES
            for given in ([0, 4, 2], 3, [[1], [1]])
        ],
    )


def test_indices_out_of_range_read_and_write_nothing(driver):
    x, index = values((3, 4)), np.array([2, 3, -4, -1, 1 << 62])
    read = np.stack([x[2], 0 * x[0], 0 * x[0], x[2], 0 * x[0]]) + 0.0
    gather = of(Gather((0,)), x, index)
    y = values((5, 4))
    scatter = of(ScatterAdd((3, 4), (0,)), y, index)
    added = np.stack([0 * y[0], 0 * y[0], y[0] + y[3]]) + 0.0
    check(
        driver,
        [
            Case(gather.node, gather.arrays, gather.kernels, read),
            Case(scatter.node, scatter.arrays, scatter.kernels, added),
        ],
    )


def test_arrays_of_2_to_the_31_elements_have_places_of_64_bits(driver):
    huge = np.broadcast_to(np.zeros((), bool), (2**31 + 9, 9))
    cases = [
        of(Transpose((1, 0)), huge),
        of(Slice((1, 1), (2**31, 3), (1, 2)), huge),
        of(Concat(0), huge, huge),
        of(Gather((0,)), huge, np.zeros(2, "int8")),
    ]
    assert all("long long" in k.source for c in cases for k in c.kernels)
    compiled(driver, cases)
