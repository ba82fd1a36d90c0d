"""Reductions, softmax and scans as kernels, against the operations' NumPy slots."""

from dataclasses import dataclass
from itertools import product

import numpy as np
import pytest

import graphgpu as gg
from graphgpu.backends.cuda.kernels.kernel import Kernel, Workspace
from graphgpu.backends.cuda.rules.rows import reductions, scans, softmax
from graphgpu.dtypes import dtype as dtype_of
from graphgpu.dtypes import is_floating
from graphgpu.graph import Operation, apply
from graphgpu.nodes import Node
from graphgpu.ops.activations.normalized import LogSoftmax, Softmax
from graphgpu.ops.cumulative import Cumsum, Prod, ProductBefore, StateBefore
from graphgpu.ops.moments import Moments
from graphgpu.ops.reduction import All, Any, Logsumexp, Max, Mean, Min, Sum
from graphgpu.ops.sorting import Argmax, Argmin

RULES = {
    **reductions.RULES.table,
    **softmax.RULES.table,
    **scans.RULES.table,
}
FLOATS = ("float16", "bfloat16", "float32", "float64")
INTEGERS = tuple(f"{u}int{b}" for u in ("", "u") for b in (8, 16, 32, 64))
ALL = (*FLOATS, *INTEGERS, "bool")
ALMOST = {"float16": 2e-3, "bfloat16": 1.6e-2, "float32": 3e-6, "float64": 1e-13}


@dataclass(frozen=True)
class Case:
    """An operation, the arrays it is given, and its kernels."""

    operation: Operation
    arrays: tuple[np.ndarray, ...]
    node: Node
    kernels: list[Kernel]


def case(operation, *arrays):
    variables = [
        gg.placeholder(f"x{k}", a.shape, a.dtype) for k, a in enumerate(arrays)
    ]
    output = apply(operation, *variables)
    leaves = tuple(Node(k, v, None, (), v.type) for k, v in enumerate(variables))
    node = Node(len(arrays), output, operation, leaves, output.type)
    return Case(operation, arrays, node, RULES[type(operation)](node))


def values(shape, dtype="float32", seed=0, near=0.0):
    """Return numbers of a dtype; integers over all their range."""
    rng = np.random.default_rng(seed)
    kind = dtype_of(dtype)
    if kind.kind == "b":
        return rng.random(shape) < 0.9
    if is_floating(kind):
        return (near + rng.standard_normal(shape)).astype(kind)
    limits = np.iinfo(kind)
    return rng.integers(limits.min, limits.max, shape, kind, endpoint=True)


def launched(driver, functions, made):
    """Return what a case's kernels write, the memory around being poisoned."""
    stream = driver.stream()
    keep, places, shared = [], {}, {}

    def fresh(nbytes):
        keep.append(driver.allocate(max(nbytes, 1)))
        return keep[-1].address

    for leaf, array in zip(made.node.inputs, made.arrays, strict=True):
        places[leaf, 0] = fresh(array.nbytes)
        driver.upload(places[leaf, 0], np.ascontiguousarray(array), stream)
    results = []
    for k, kind in enumerate(made.node.components):
        results.append(np.zeros(kind.shape, kind.dtype))
        places[made.node, k] = fresh(results[-1].nbytes)
    for kernel in made.kernels:
        operands = [*kernel.reads, *kernel.writes]
        addresses = [places[o.node, o.component] for o in operands]
        for space in kernel.scratch:
            assert isinstance(space, Workspace)
            if space not in shared:
                shared[space] = fresh(space.nbytes)
            addresses.append(shared[space])
        given = [np.uint64(a) for a in addresses]
        function = functions[kernel.name]
        driver.launch(function, kernel.grid, kernel.block, given, stream)
    for k, result in enumerate(results):
        driver.download(places[made.node, k], result, stream)
    return results


def compiled(driver, cases):
    """Compile the kernels of all cases as one source, and return them by name."""
    sources = {k.name: k.source for c in cases for k in c.kernels}
    whole = "\n".join(sources.values())
    return {name: driver.compile(whole, name) for name in sources}


def check(driver, cases):
    """Compare each case with its slot, in every order of threads to the bit."""
    functions = compiled(driver, cases)
    for made in cases:
        with np.errstate(all="ignore"):
            expected = made.operation.numpy(*made.arrays)
        expected = expected if isinstance(expected, tuple) else (expected,)
        found = launched(driver, functions, made)
        for left, right in zip(expected, found, strict=True):
            assert left.dtype == right.dtype, made.operation
            assert left.shape == right.shape, made.operation
            almost = ALMOST.get(left.dtype.name, 0)
            wide = "float64" if is_floating(left.dtype) else left.dtype
            np.testing.assert_allclose(
                right.astype(wide),
                left.astype(wide),
                almost,
                4 * almost * spread(made),
                err_msg=f"{made.operation} {made.arrays[0].dtype}{made.node.inputs}",
            )
        for order in orders(driver):
            again = launched(driver, functions, made)
            assert [a.tobytes() for a in again] == [f.tobytes() for f in found], order


def spread(made):
    """Return the scale of rounding where results are small differences."""
    if isinstance(made.operation, Sum | Cumsum | Mean):
        return float(made.arrays[0].size) ** 0.5
    return 1.0


def orders(driver):
    """Run an emulated device's threads in other orders; a GPU's have their own."""
    if not hasattr(driver, "order"):
        return
    usual = driver.order
    for driver.order in ("backward", "shuffled"):
        yield driver.order
    driver.order = usual


def every(*operations):
    """Return the operations' cases over shapes and axes of all kinds."""
    layouts = [
        ((), ()),
        ((3, 5), ()),
        ((1,), (0,)),
        ((31,), (0,)),
        ((33,), (0,)),
        ((5, 257), (1,)),
        ((3, 1200), (1,)),
        ((1, 5003), (1,)),
        ((257, 3), (0,)),
        ((31, 33), (0,)),
        ((3, 7, 5), (1,)),
        ((2, 3, 4, 5), (0, 2)),
        ((2, 3, 4, 5), (1, 3)),
        ((4, 3, 5, 6), (0, 2, 3)),
    ]
    return [
        case(operation(axes, keepdims), values(shape))
        for (shape, axes), operation in product(layouts, operations)
        for keepdims in (False, len(shape) == 2)[: 1 + (len(shape) == 2)]
    ]


@pytest.mark.parametrize("operation", [Sum, Max, Logsumexp, Moments, Mean, Prod])
def test_reductions_over_any_axes_equal_the_slots(driver, operation):
    def make(axes, keepdims):
        return Moments(axes) if operation is Moments else operation(axes, keepdims)

    check(driver, every(make))


@pytest.mark.parametrize("dtype", ALL)
def test_reductions_take_every_dtype(driver, dtype):
    row, column = values((3, 96), dtype), values((33, 5), dtype)
    classes = [Sum, Mean, Prod, Max, Min, Any, All]
    cases = [case(c((1,)), row) for c in classes]
    cases += [case(c((0,)), column) for c in classes]
    cases += [case(c(1), row) for c in (Argmax, Argmin)]
    cases += [case(c(0), column) for c in (Argmax, Argmin)]
    if is_floating(dtype_of(dtype)):
        cases += [case(Moments((1,)), row), case(Moments((0,)), column)]
        cases += [case(Softmax(1), row), case(LogSoftmax(0), column)]
    cases += [case(Cumsum(1), row), case(Cumsum(0, reverse=True), column)]
    check(driver, cases)


def test_long_reductions_are_cut_into_parts(driver):
    long, wide = values(33_001), values((4100, 3))
    classes = [Sum, Max, Logsumexp]
    cases = [case(c((0,)), x) for c in classes for x in (long, wide)]
    cases += [case(Moments((0,)), x) for x in (long + 100, wide, long[:20480])]
    cases += [case(Argmin(0), x) for x in (long.round(), wide.round(1))]
    cases += [case(Sum((0, 2)), values((40, 2, 211), "float16"))]
    assert all(len(c.kernels) == 2 for c in cases)
    check(driver, cases)


def test_neighbouring_outputs_share_what_is_read_at_once(driver):
    images = values((40, 6, 9, 16), "bfloat16"), values((3, 50, 20, 12), near=30)
    cases = [case(c((0, 1, 2)), x) for c in (Sum, Max, Logsumexp) for x in images]
    cases += [case(Moments(axes), x) for axes in ((0, 1, 2), (1, 2)) for x in images]
    cases += [case(Mean((1, 2), True), x) for x in images]
    cases += [case(Sum((0,)), values((70, 258, 2), "float64"))]
    cases += [case(Any((0,)), values((300, 130), "bool"))]
    cases += [case(Argmin(0), values((4100, 12)).round(1))]
    assert all("Bundle" in c.kernels[0].source for c in cases)
    assert {len(c.kernels) for c in cases} == {1, 2}
    few = [values((4100, 3)), values((40, 36))]
    plain = [case(Sum((0,)), x) for x in few]
    assert not any("Bundle" in c.kernels[0].source for c in plain)
    check(driver, cases)


def test_empty_reductions_are_the_slots(driver):
    cases = []
    for shape, axes in [((0,), (0,)), ((3, 0), (1,)), ((0, 3), (0,)), ((0, 3), (1,))]:
        x = np.zeros(shape, "float32")
        cases += [case(c(axes), x) for c in (Sum, Mean, Prod, Any, All, Logsumexp)]
        cases.append(case(Moments(axes), x))
    cases += [case(Max((1,)), np.zeros((0, 3), "float32"))]
    cases += [case(Argmax(1), np.zeros((0, 3), "float32"))]
    cases += [case(Softmax(k), np.zeros((0, 3), "float32")) for k in (0, 1)]
    cases += [case(Cumsum(k), np.zeros((0, 3), "float32")) for k in (0, 1)]
    check(driver, cases)


def test_nan_and_infinity_are_as_in_the_slots(driver):
    inf, nan = np.inf, np.nan
    rows = np.array(
        [
            [1, nan, 2, nan, 0],
            [inf, 1, 2, 3, inf],
            [-inf] * 5,
            [nan] * 5,
            [-inf, 0, 1, -inf, 2],
            [inf, -inf, 0, 1, nan],
            [2.0**66] * 5,
        ],
        "float32",
    )
    long = np.repeat(rows, 300, axis=1)
    cases = []
    turned = [np.ascontiguousarray(x.T) for x in (rows, long)]
    for x, axis in [(rows, 1), (long, 1), (turned[0], 0), (turned[1], 0)]:
        classes = [Sum, Mean, Max, Min, Logsumexp, Any]
        cases += [case(c((axis,)), x) for c in classes]
        cases += [case(Moments((axis,)), x)]
        cases += [case(c(axis), x) for c in (Argmax, Argmin, Softmax, LogSoftmax)]
    cases += [case(Cumsum(1), rows), case(Cumsum(1, reverse=True), long[:6])]
    check(driver, cases)


def test_the_variance_of_equal_numbers_is_exactly_zero(driver):
    sizes = (1, 33, 1999, 40_001)
    cases = [case(Moments((0,)), np.full(n, 0.1, "float32")) for n in sizes]
    functions = compiled(driver, cases)
    for made in cases:
        mean, variance = launched(driver, functions, made)
        assert mean == np.float32(0.1)
        assert variance == 0


@pytest.mark.parametrize("operation", [Softmax, LogSoftmax])
def test_softmax_equals_the_slot_along_any_axis(driver, operation):
    shapes = [((1,), 0), ((3, 1), 1), ((5, 10), 1), ((4, 31), 1), ((9, 257), 1)]
    shapes += [((2, 1000), 1), ((2, 1025), 1), ((1, 4096), 1), ((1, 16_500), 1)]
    shapes += [((3, 5, 7), 1), ((33, 4), 0), ((1, 300, 2), 1), ((3, 1, 5), 1)]
    check(driver, [case(operation(axis), 3 * values(s)) for s, axis in shapes])


def test_scans_equal_the_slots(driver):
    shapes = [((1,), 0), ((31,), 0), ((257,), 0), ((2, 1025), 1), ((17_000,), 0)]
    shapes += [((130, 3), 0), ((2, 5, 3), 1), ((33, 33, 2), 1), ((2, 70, 1030), 1)]
    cases = []
    for shape, axis in shapes:
        x = values(shape)
        factors = (1 + values(shape, seed=1) / 64).astype("float32")
        for reverse in (False, True):
            cases += [case(Cumsum(axis, e, reverse), x) for e in (False, True)]
            cases += [case(ProductBefore(axis, reverse), factors)]
            damped = np.tanh(factors)
            cases += [case(StateBefore(axis, reverse), damped, x)]
    cases += [case(Cumsum(0), values(5000, d)) for d in ("int8", "uint64", "bfloat16")]
    check(driver, cases)
