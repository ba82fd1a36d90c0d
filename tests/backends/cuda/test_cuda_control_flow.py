"""cond and while_loop on a device: guarded kernels, loops that the host drives."""

from dataclasses import dataclass

import numpy as np
import pytest

import graphgpu as gg
from graphgpu.backends.cuda.device import CUDA

RANDOM = np.random.default_rng(0)
MOSTS = [None, 3, 30]
"""Bounds: driven by the host, unrolled, and driven although there is one."""


@pytest.fixture
def device(emulator):
    return CUDA(emulator())


def agree(device, inputs, outputs, calls, tolerance=1e-5, **options):
    """Require the CPU's values of each call: the first, and replayed ones."""
    f = gg.compile(inputs, outputs, device=device, **options)
    g = gg.compile(inputs, outputs, device="cpu", passes=())
    for arrays in calls:
        for left, right in zip(map(gg.asnumpy, f(*arrays)), g(*arrays), strict=True):
            assert left.shape == right.shape
            assert left.dtype == right.dtype
            wide = left.astype("d"), right.astype("d")
            np.testing.assert_allclose(*wide, rtol=tolerance, atol=tolerance)
    return f


def call_twice(f, *arrays):
    """Call a program: what is wrong is known to the second call at the latest."""
    for _ in range(2):
        gg.asnumpy(f(*arrays))


def numbers(*shape, dtype="f"):
    return RANDOM.uniform(0.2, 1, shape).astype(dtype)


# --- cond


@pytest.mark.parametrize("passes", [None, ()])
@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16", "float64"])
def test_the_branch_that_is_taken_and_its_gradients(device, dtype, passes):
    x, w = gg.placeholder("x", (4, 3), dtype), gg.placeholder("w", (3, 3), dtype)
    y = gg.cond(
        gg.sum(gg.cast(x, "float32")) > 0,
        lambda a: gg.tanh(a @ w) * 2,
        lambda a: gg.softmax(a * a, axis=1),
        x,
    )
    first = gg.gradients(gg.sum(gg.cast(y, "float32") ** 2), [x, w])
    second = gg.gradients(gg.sum(gg.cast(first[0], "float32") ** 2), [x, w])
    a, b = numbers(4, 3, dtype=x.dtype), numbers(3, 3, dtype=x.dtype)
    calls = [(a, b), (-a, b), (a, b), (-a, b)]
    tolerance = {"float16": 2e-2, "bfloat16": 2e-1}.get(dtype, 2e-5)
    agree(device, [x, w], [y, *first, *second], calls, tolerance, passes=passes)


def test_values_that_are_inputs_constants_views_or_equal(device):
    x, p = gg.placeholder("x", (2, 4)), gg.placeholder("p", (), "bool")

    def then(a):
        twice = a * 2
        return a, twice, gg.reshape(twice, (8,)), twice, gg.zeros((3,))

    def otherwise(a):
        return a * 3, a, gg.reshape(a, (8,)), a + 1, gg.ones((3,))

    outputs = list(gg.cond(p, then, otherwise, x))
    a = numbers(2, 4)
    for passes in (None, ()):
        calls = [(a, v) for v in (True, False, True)]
        agree(device, [x, p], outputs, calls, passes=passes)


def test_a_choice_waits_for_nobody_and_is_recorded(emulator):
    driver = emulator()
    x = gg.placeholder("x", (64,))
    y = gg.cond(gg.sum(x) > 0, gg.exp, gg.sin, x)
    f = gg.compile([x], y, device=CUDA(driver))
    a = numbers(64)
    f(a)
    f(a)
    before = driver.host_launches
    np.testing.assert_allclose(gg.asnumpy(f(-a)), np.sin(-a), rtol=1e-5)
    assert driver.host_launches == before + 1


@pytest.mark.parametrize("given", [True, False])
def test_an_index_out_of_range_matters_only_in_the_branch_that_is_taken(device, given):
    table, index = gg.placeholder("table", (3,)), gg.placeholder("i", (), "int64")
    at = index if given else index + 0 * index
    y = gg.cond(index < 5, lambda: gg.take(table, at), lambda: gg.sum(table))
    (slope,) = gg.gradients(y, [table])
    f = gg.compile([table, index], [y, slope], device=device)
    values = np.arange(3, dtype="f")
    for _ in range(2):
        assert [gg.asnumpy(v).tolist() for v in f(values, 2)] == [2, [0, 0, 1]]
        assert [gg.asnumpy(v).tolist() for v in f(values, 7)] == [3, [1, 1, 1]]
    with pytest.raises(gg.ComputeError, match="is not from -3 to 2"):
        call_twice(f, values, 4)


def test_what_a_branch_checks_is_checked_again_outside(device):
    table, index = gg.placeholder("table", (3,)), gg.placeholder("i", (2,), "int64")
    p = gg.placeholder("p", (), "bool")
    y = gg.cond(p, lambda: gg.take(table, index), lambda: table[:2])
    z = gg.exp(gg.take(table, index))
    f = gg.compile([table, index, p], [y, z], device=device, passes=())
    values = np.arange(3, dtype="f")
    f(values, np.array([0, 2]), False)
    for taken in (True, False):
        with pytest.raises(gg.ComputeError, match="number 1 of"):
            gg.asnumpy(f(values, np.array([0, 3]), taken)[0])


def test_kernels_of_all_kinds_do_nothing_in_a_branch_that_is_not_taken(device):
    x, w = gg.placeholder("x", (16, 16)), gg.placeholder("w", (16, 16))
    k, p = gg.placeholder("k", (4, 4, 3, 3)), gg.placeholder("p", (), "bool")

    def then(a):
        image = gg.reshape(a, (1, 4, 8, 8))
        return (
            gg.cumsum(a, axis=1),
            gg.sort(a, axis=0),
            gg.softmax(a, axis=1) @ w,
            gg.log_softmax(gg.transpose(a), axis=0),
            gg.solve(a @ gg.transpose(a) + 16 * gg.eye(16), a),
            gg.conv2d(image, k, padding=1),
            gg.max_pool2d(image, 2),
            gg.var(a, axis=0),
            gg.sum(gg.exp(a)),
            gg.concat([a, w], axis=1),
            a * gg.random_uniform((16, 16)),
        )

    def otherwise(a):
        return tuple(v * 0 - 1 for v in then(a))

    with gg.root_scope(0):
        outputs = list(gg.cond(p, then, otherwise, x))
    given = numbers(16, 16), numbers(16, 16), numbers(4, 4, 3, 3)
    calls = [(*given, v) for v in (True, False, True)]
    agree(device, [x, w, k, p], outputs, calls, 1e-4)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_products_on_tensor_cores_in_a_branch(emulator, dtype):
    device = CUDA(emulator(architecture=90))
    x, p = gg.placeholder("x", (64, 64), dtype), gg.placeholder("p", (), "bool")
    y = gg.cond(p, lambda a: gg.relu(a @ a + 1), lambda a: a, x)
    a = numbers(64, 64, dtype=x.dtype) / 8
    f = agree(device, [x, p], [y], [(a, v) for v in (True, False, True)], 3e-2)
    assert "gg_taken_0" in f.source()


def test_choices_within_choices_maps_and_scans(device):
    x = gg.placeholder("x", ("n", 4))

    def one(row):
        def then(r):
            return gg.cond(r[1] > 0, lambda q: q * q, gg.cumsum, r)

        return gg.cond(row[0] > 0, then, gg.sin, row)

    def step(carry, row):
        new = gg.cond(gg.sum(carry) > 0, lambda: carry * 0.5 - row, lambda: carry + row)
        return new, gg.sum(new)

    mapped = gg.map(one, x)
    last, totals = gg.scan(step, x[0], x)
    slopes = gg.gradients(gg.sum(mapped**2) + gg.sum(totals**2), [x])
    signs = np.array([[1, 1, 1, 1], [1, -1, 1, 1], [-1, 1, 1, 1]], "f")
    calls = [(numbers(3, 4) * signs,), (numbers(3, 4),), (-numbers(3, 4),)]
    agree(device, [x], [mapped, last, totals, *slopes], calls)


def test_maps_and_scans_within_a_branch(device):
    x, p = gg.placeholder("x", (3, 4)), gg.placeholder("p", (), "bool")

    def then(a):
        last, _ = gg.scan(lambda c, row: (gg.tanh(c + row), None), a[0], a)
        return last, gg.map(gg.cumsum, a)

    outputs = gg.cond(p, then, lambda a: (gg.sum(a, 0), a), x)
    slopes = gg.gradients(gg.sum(outputs[0] * 2) + gg.sum(outputs[1] ** 2), [x])
    calls = [(numbers(3, 4), v) for v in (True, False, True)]
    agree(device, [x, p], [*outputs, *slopes], calls)


def test_both_branches_draw_the_random_numbers_of_the_cpu(device):
    p = gg.placeholder("p", (), "bool")
    with gg.root_scope(0):
        y = gg.cond(
            p, lambda: gg.random_uniform((5,)), lambda: gg.random_normal((5,)) * 2
        )
    f, g = (gg.compile([p], y, device=d, seed=7) for d in (device, "cpu"))
    for value in (True, False, True):
        np.testing.assert_allclose(gg.asnumpy(f(value)), g(value), rtol=1e-5)


def test_check_finite_looks_at_what_is_taken(device):
    x = gg.placeholder("x", ())
    y = gg.cond(x > 0, gg.log, lambda a: gg.log(a - a), x)
    z = gg.map(gg.exp, gg.stack([y, y]))
    f = gg.compile([x], [y, z], device=device, check_finite=True)
    assert float(gg.asnumpy(f(1.0)[0])) == 0
    with pytest.raises(gg.NonFiniteError, match="cond") as error:
        f(-1.0)
    assert [r.name.split(" ")[0] for r in error.value.inputs][-1] == "x"


class Twice(gg.Operation):
    """2 x, of 4 numbers."""

    def infer(self, guards, x):
        return x

    def numpy(self, x):
        return 2 * x


_HEAD = 'extern "C" __global__ void twice(const float* x, float* y)'
_BODY = "{\n  if (threadIdx.x < 4) y[threadIdx.x] = 2 * x[threadIdx.x];\n}\n"


def twice(source, x):
    """Apply an operation whose kernel is given."""

    @dataclass(frozen=True)
    class Doubled(Twice):
        def cuda(self, x):
            return gg.CudaKernel(source, "twice", (1, 1, 1), (32, 1, 1))

    return gg.apply(Doubled(), x)


@pytest.mark.usefixtures("made_up")
def test_a_users_kernel_is_guarded_too(device):
    source = f"// as twice(x)\n{_HEAD}\n  // doubles\n{_BODY}"
    x, p = gg.placeholder("x", (4,)), gg.placeholder("p", (), "bool")
    y = gg.cond(p, lambda a: twice(source, a), lambda a: a, x)
    agree(device, [x, p], [y], [(numbers(4), v) for v in (True, False, True)])


@pytest.mark.usefixtures("made_up")
def test_a_users_kernel_that_is_not_found_is_refused(device):
    source = (
        f"#define KERNEL(name) {_HEAD.replace('twice', 'name')}\nKERNEL(twice) {_BODY}"
    )
    x, p = gg.placeholder("x", (4,)), gg.placeholder("p", (), "bool")
    y = gg.cond(p, lambda a: twice(source, a), lambda a: a, x)
    f = gg.compile([x, p], y, device=device)
    with pytest.raises(gg.CompileError, match=r"expected '__global__ void twice"):
        f(numbers(4), True)


# --- while_loop


def doubled(x, most):
    """Return x, doubled until its sum is 10 or more."""
    return gg.while_loop(
        lambda c: gg.sum(c) < 10, lambda c: c * 2, x, max_iterations=most
    )


@pytest.mark.parametrize("most", [*MOSTS, 0])
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_a_loop_ends_by_its_condition_or_its_bound(device, dtype, most):
    x = gg.placeholder("x", (5,), dtype)
    outputs = [doubled(x, most), gg.sum(doubled(x * 2, most))]
    if most is not None:
        outputs += gg.gradients(gg.sum(gg.cast(outputs[0], "float32") ** 2), [x])
        outputs += gg.gradients(gg.sum(outputs[-1] ** 2), [x])
    values = [np.full(5, v, x.dtype) for v in (0.5, 5, 0.125, 0.75, 0.001)]
    calls = [(v,) for v in values[: 5 if most is not None or dtype == "float32" else 4]]
    for passes in (None, ()):
        agree(device, [x], outputs, calls, passes=passes)


@pytest.mark.parametrize("most", MOSTS)
def test_carries_that_change_places_and_numbers_of_iterations(device, most):
    n = gg.placeholder("n", (), "int32")
    a, b, c = gg.constant([1, 2]), gg.constant([3, 4]), gg.constant([[5], [6]])

    def body(carry):
        i, a, b, c, _d = carry
        return i + 1, b, a, gg.reshape(a + b, (2, 1)), gg.reshape(c, (2,))

    loop = gg.while_loop(lambda v: v[0] < n, body, (0, a, b, c, a), max_iterations=most)
    count = gg.item(loop[0].inputs[0], 5)
    agree(device, [n], [*loop, count], [(np.int32(k),) for k in (0, 1, 2, 5, 3)])


@pytest.mark.parametrize("most", MOSTS)
def test_euclid_with_the_condition_among_the_carries(device, most):
    a, b = gg.placeholder("a", (), "int64"), gg.placeholder("b", (), "int64")

    def body(c):
        rest = gg.remainder(c[0], gg.maximum(c[1], 1))
        return c[1], rest, gg.not_equal(rest, 0)

    loop = gg.while_loop(
        lambda c: c[2], body, (a, b, gg.not_equal(b, 0)), max_iterations=most
    )
    calls = [(48, 36), (17, 5), (7, 0), (2**40, 2**35 * 3)]
    agree(device, [a, b], list(loop), calls)


@pytest.mark.parametrize("most", MOSTS)
def test_random_numbers_of_iterations_are_the_cpus(device, most):
    with gg.root_scope(0):
        last = gg.map(
            lambda x: gg.while_loop(
                lambda c: gg.sum(c) < 4,
                lambda c: c + gg.random_uniform((3,)),
                x,
                max_iterations=most,
            ),
            gg.constant(np.zeros((2, 3), "f")),
        )
    f, g = (gg.compile([], last, device=d, seed=7) for d in (device, "cpu"))
    for _ in range(3):
        np.testing.assert_allclose(gg.asnumpy(f()), g(), rtol=1e-5)


@pytest.mark.parametrize("outer", MOSTS)
@pytest.mark.parametrize("inner", MOSTS)
def test_loops_within_loops_and_branches(device, outer, inner):
    x = gg.placeholder("x", (3,))

    def body(c):
        grown = gg.while_loop(
            lambda v: gg.max(v) < 2, lambda v: v * 1.5, c, max_iterations=inner
        )
        return gg.cond(grown[0] > 1, lambda: grown * 0.8, lambda: doubled(c, inner))

    y = gg.while_loop(
        lambda c: gg.sum(c) < 5, lambda c: body(c) + 0.5, x, max_iterations=outer
    )
    z = gg.cond(x[0] > 1, lambda: doubled(x, inner), lambda: y)
    calls = [(numbers(3) * s,) for s in (1, 2, 5, 1)]
    agree(device, [x], [y, z], calls)


def test_a_loop_without_a_bound_in_a_branch_that_is_not_taken_is_not_begun(emulator):
    driver = emulator()
    x, p = gg.placeholder("x", (3,)), gg.placeholder("p", (), "bool")
    y = gg.cond(
        p,
        lambda a: gg.while_loop(lambda c: gg.sum(c) > 0, lambda c: c + 1, a),
        lambda a: a,
        x,
    )
    agree(CUDA(driver), [x, p], [y], [(-numbers(3), True), (numbers(3), False)] * 2)


def test_what_the_loop_reads_lives_as_long_as_it_and_nothing_else_is_written(emulator):
    x = gg.placeholder("x", (64, 64))
    grown = gg.exp(x)  # read in every iteration, and by nobody afterwards
    other = gg.sin(x)  # read afterwards
    y = gg.while_loop(
        lambda c: gg.sum(c) < 1e6, lambda c: (c @ grown) * 0.1 + gg.cumsum(c, 0), x
    )
    outputs = [gg.sum(gg.cumsum(y * 1e-6, 1), 1), gg.cumsum(other, 1)]
    agree(CUDA(emulator()), [x], outputs, [(numbers(64, 64),)] * 3, 1e-3)


def test_a_loop_with_a_small_bound_is_recorded_and_others_wait(emulator):
    x = gg.placeholder("x", (5,))
    counts = {}
    for most in (3, None):
        driver = emulator()
        f = gg.compile([x], doubled(x, most), device=CUDA(driver))
        for _ in range(2):
            f(np.full(5, 0.5, "f"))
        counts[most] = []
        for value in (0.5, 0.25):
            before = driver.host_launches
            f(np.full(5, value, "f"))
            counts[most].append(driver.host_launches - before)
    assert counts[3] == [1, 1]
    assert counts[None][1] == counts[None][0] + 2  # one more iteration


@pytest.mark.parametrize("most", MOSTS)
def test_a_wrong_index_in_an_iteration_ends_the_loop(device, most):
    table, start = gg.placeholder("table", (3,)), gg.placeholder("i", (), "int64")
    total = gg.state("total", np.zeros((), "f"))
    _, found = gg.while_loop(
        lambda c: gg.less(c[1], 1e30),  # not ended by what is wrong
        lambda c: (c[0] + 1, c[1] + gg.take(table, c[0])),
        (start, 0.0),
        max_iterations=most,
    )
    f = gg.compile([table, start], found, updates={total: found}, device=device)
    enough = np.full(3, 2e30, "f")
    assert float(gg.asnumpy(f(enough, 2))) == enough[0]
    with pytest.raises(gg.ComputeError, match="is not from -3 to 2"):
        call_twice(f, np.ones(3, "f"), 2)
    assert float(total.value) == enough[0]
    assert float(gg.asnumpy(f(enough, 2))) == enough[0]


@pytest.mark.parametrize("most", [None, 3])
def test_check_finite_sees_through_loops(device, most):
    x = gg.placeholder("x", (3,))
    y = gg.while_loop(lambda c: gg.sum(c) < 10, lambda c: c * 4, x, max_iterations=most)
    z = gg.while_loop(
        lambda c: gg.sum(c) < 10,
        lambda c: gg.log(c - c),
        gg.sqrt(y),
        max_iterations=most,
    )
    f = gg.compile([x], [y, z], device=device, check_finite=True)
    with pytest.raises(gg.NonFiniteError, match="while_loop"):
        f(np.ones(3, "f"))
    assert gg.asnumpy(f(np.full(3, 100, "f"))[1]).tolist() == [10] * 3


def test_an_interrupt_in_a_loop_changes_nothing(emulator, monkeypatch):
    driver = emulator()
    x = gg.placeholder("x", (3,))
    state = gg.state("state", np.zeros(3, "f"))
    y = doubled(x, None)
    f = gg.compile([x], y, updates={state: state + y}, device=CUDA(driver))
    ones = np.ones(3, "f")
    for _ in range(2):
        f(ones)
    download = driver.download

    def interrupted(*arguments):
        download(*arguments)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(driver, "download", interrupted)
        with pytest.raises(KeyboardInterrupt):
            f(ones)
    assert state.value.tolist() == [8, 8, 8]
    assert gg.asnumpy(f(ones)).tolist() == [4, 4, 4]
    assert state.value.tolist() == [12, 12, 12]


def test_loops_and_choices_are_explained_timed_and_planned(device):
    x = gg.placeholder("x", (5,))
    y = doubled(x, None)
    z = gg.cond(x[0] > 0, lambda: gg.cumsum(x), lambda: x)
    f = gg.compile([x], [y, z], device=device)
    assert f.plan().peak_bytes > 0
    assert "copy" in str(f.explain(y.inputs[0]))
    assert "cumsum" in str(f.explain(z))
    f(np.full(5, 0.5, "f"))
    assert "while_loop" in str(f.profile(np.full(5, 0.5, "f"), repeat=2))
