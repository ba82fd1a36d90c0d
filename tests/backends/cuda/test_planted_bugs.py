"""Kernels with one bug each: the emulator catches every one.

A bug is caught when some order of threads ends in an error that says what is
wrong, or in a wrong result.
"""

from dataclasses import dataclass

import numpy as np
import pytest

from graphgpu.errors import DeviceError

N = 200

REVERSE = """
extern "C" __global__ void kernel(const float* __restrict__ x, float* __restrict__ y) {
  __shared__ float s[64];
  int i = threadIdx.x, start = blockIdx.x * 50;
  if (i < 50) s[i] = x[start + i];
  __syncthreads();
  if (i < 50) y[start + i] = s[49 - i];
}
"""
SUM = """
extern "C" __global__ void kernel(const float* __restrict__ x, float* __restrict__ y) {
  extern __shared__ float part[];
  __shared__ float total;
  float v = 0.0f;
  for (int i = threadIdx.x; i < 200; i += 64) v += x[i];
  for (int d = 16; d > 0; d >>= 1) v += __shfl_down_sync(0xffffffffu, v, d);
  if ((threadIdx.x & 31) == 0) part[threadIdx.x >> 5] = v;
  __syncthreads();
  if (threadIdx.x == 0) total = part[0] + part[1];
  __syncthreads();
  for (int i = threadIdx.x; i < 200; i += 64) y[i] = total;
}
"""
SCALE = """
extern "C" __global__ void kernel(const float* __restrict__ x, float* __restrict__ y) {
  int i = 4 * (blockIdx.x * 64 + threadIdx.x);
  if (i < 200) {
    float4 v = *reinterpret_cast<const float4*>(x + i);
    *reinterpret_cast<float4*>(y + i) = make_float4(2 * v.x, 2 * v.y, 2 * v.z, 2 * v.w);
  }
}
"""
GRIDS = {REVERSE: 4, SUM: 1, SCALE: 1}
X = np.random.default_rng(0).integers(1, 9, N).astype(np.float32)
EXPECTED = {
    REVERSE: X.reshape(4, 50)[:, ::-1].ravel(),
    SUM: np.full(N, X.sum()),
    SCALE: 2 * X,
}


@dataclass(frozen=True)
class Bug:
    """One replacement in a source, and what is said or whether it is only wrong."""

    source: str
    before: str
    after: str
    says: str | None = None

    @property
    def text(self):
        assert self.source.count(self.before) >= 1
        return self.source.replace(self.before, self.after, 1)


FIRST, LAST = "  __syncthreads();\n  if (threadIdx.x == 0)", "  __syncthreads();\n  for"
BUGS = {
    "no barrier between write and read": Bug(REVERSE, "__syncthreads();", ""),
    "warps race for what another warp sums": Bug(
        SUM, FIRST, FIRST.replace("__syncthreads();", "__syncwarp();")
    ),
    "no barrier before the total is read": Bug(SUM, LAST, "  for"),
    "barrier in one branch alone": Bug(
        REVERSE, "__syncthreads();", "if (i < 50) __syncthreads();", "divergent barrier"
    ),
    "barrier in each of two branches": Bug(
        REVERSE,
        "__syncthreads();",
        "if (i < 50) { __syncthreads(); } else { __syncthreads(); }",
        "divergent barrier",
    ),
    "some threads return before a barrier": Bug(
        REVERSE,
        "__syncthreads();",
        "if (i >= 50) return; __syncthreads();",
        "has ended",
    ),
    "reads just past the end": Bug(SCALE, "x + i)", "x + i + 4)"),
    "reads far past the end": Bug(
        SCALE, "x + i)", "x + i + 64)", "reads .* past the end of allocation"
    ),
    "reads before the beginning": Bug(
        REVERSE, "x[start + i]", "x[start + i - 1024]", "reads .* before allocation"
    ),
    "reads one beside its part": Bug(REVERSE, "x[start + i]", "x[start + i + 1]"),
    "writes one past the end": Bug(
        REVERSE, "y[start + i]", "y[start + i + 1]", "wrote 0 bytes past the end"
    ),
    "writes far past the end": Bug(
        SCALE, "(y + i)", "(y + i + 64)", "writes .* past the end of allocation"
    ),
    "writes one before the beginning": Bug(
        REVERSE, "y[start + i]", "y[start + i - 1]", "wrote 4 bytes before"
    ),
    "no bound on the index": Bug(SCALE, "if (i < 200)", "", "past the end"),
    "misaligned vector": Bug(SCALE, "x + i)", "x + (i & ~7) + 1)", "no multiple"),
    "index past a shared array": Bug(
        REVERSE, "if (i < 50) s[i]", "s[i + 1]", "out of bounds"
    ),
    "index before a shared array": Bug(REVERSE, "s[49 - i]", "s[48 - i]", "out of"),
    "dynamic shared memory too small": Bug(
        SUM, "part[threadIdx.x >> 5]", "part[threadIdx.x]", "8 bytes of dynamic shared"
    ),
    "shuffle's mask leaves lanes out": Bug(
        SUM, "0xffffffffu", "0x0000ffffu", "not in its own mask|not in the mask"
    ),
    "shuffle in a branch": Bug(
        SUM,
        "v += __shfl_down_sync",
        "if ((threadIdx.x & 31) < d) v += __shfl_down_sync",
        "waits at line 7 for the lanes ffffffff|reads lane",
    ),
    "shuffle reads a lane outside the mask": Bug(
        SUM,
        "0xffffffffu, v, d)",
        "(threadIdx.x & 16) ? 0xffff0000u : 0xffffu, v, d)",
        "which is not in the mask",
    ),
    "lanes meet with different masks": Bug(
        SUM,
        "__shfl_down_sync(0xffffffffu",
        "__shfl_down_sync((threadIdx.x & 1) ? 0xffffffffu : 0x55555555u",
        "different masks|not in the mask",
    ),
    "one step of the tree is missing": Bug(SUM, "d = 16", "d = 8"),
    "shared memory is read before it is written": Bug(
        SUM, "part[0] + part[1]", "part[0] + part[1] + total"
    ),
    "a local variable is not initialised": Bug(SUM, "float v = 0.0f;", "float v;"),
    "the stride of the loop is too long": Bug(SUM, "i += 64) v", "i += 128) v"),
    "a block writes what another reads": Bug(
        REVERSE,
        "y[start + i] = s[49 - i];",
        "{ y[start + i] = s[49 - i]; if (blockIdx.x == 0) y[199] = 0; }",
    ),
    "an integer is divided by zero": Bug(
        SUM, "x[i];", "x[i / (blockIdx.x * 2)];", "division by zero|divided by zero"
    ),
    "a thread waits for another in a loop": Bug(
        REVERSE,
        "if (i < 50) y",
        "if (i == 0) { volatile float* w = s; while (w[63] != 1.0f) {} } "
        "if (i == 1) s[63] = 1.0f; if (i < 50) y",
        "more than",
    ),
    "local variables larger than the stack": Bug(
        SUM,
        "float v = 0.0f;",
        "volatile float many[50000]; many[9] = 0; float v = many[9];",
        "larger than its stack",
    ),
    "a trap is reached": Bug(
        SCALE, "if (i < 200)", "if (i >= 200) __trap(); else", "trap"
    ),
}


def run(driver, text, source):
    """Return y after a kernel has run on x."""
    stream = driver.stream()
    x, y = driver.allocate(X.nbytes), driver.allocate(X.nbytes)
    driver.upload(x.address, X, stream)
    addresses = [np.uint64(x.address), np.uint64(y.address)]
    kernel = driver.compile(text, "kernel")
    grid, shared = (GRIDS[source], 1, 1), 8 if source == SUM else 0
    driver.launch(kernel, grid, (64, 1, 1), addresses, stream, shared)
    found = np.empty_like(X)
    driver.download(y.address, found, stream)
    return found


@pytest.mark.parametrize("source", GRIDS, ids=["reverse", "sum", "scale"])
def test_without_a_bug_every_order_of_threads_is_right(ordered, source):
    assert np.array_equal(run(ordered, source, source), EXPECTED[source])


@pytest.mark.parametrize("name", BUGS)
def test_a_bug_is_caught(emulator, name):
    bug, errors, wrong = BUGS[name], [], 0
    for order in ("forward", "backward", "shuffled"):
        try:
            found = run(emulator(order=order, seconds=1), bug.text, bug.source)
            wrong += not np.array_equal(found, EXPECTED[bug.source])
        except DeviceError as error:
            errors.append(error)
    if bug.says is None:
        assert wrong, errors
        return
    for error in errors:
        with pytest.raises(DeviceError, match=bug.says):
            raise error
    assert errors, f"{wrong} wrong results, no error"


ONE = """
extern "C" __global__ void kernel(const float* x, float* y, int n) {
  if (threadIdx.x < n) y[threadIdx.x] = x[threadIdx.x];
}
"""


class Launch:
    """What a launch of the kernel above is given."""

    def __init__(self, driver):
        self.driver, self.stream = driver, driver.stream()
        self.kernel = driver.compile(ONE, "kernel")
        self.x, self.y = driver.allocate(40), driver.allocate(40)
        self.pair = [np.uint64(self.x.address), np.uint64(self.y.address)]

    def __call__(self, *arguments, block=(32, 1, 1), grid=(1, 1, 1), shared=0):
        self.driver.launch(self.kernel, grid, block, arguments, self.stream, shared)


WRONG = {
    "an argument too few": (lambda la: la(*la.pair), "takes 3 arguments, not 2"),
    "an argument too wide": (
        lambda la: la(*la.pair, np.int64(4)),
        "argument 2 is int32",
    ),
    "an argument of Python": (lambda la: la(*la.pair, 4), "not int"),
    "a float for an integer": (
        lambda la: la(*la.pair, np.float32(4)),
        "a NumPy int32 is needed, not float32",
    ),
    "an address of the host": (
        lambda la: la(la.pair[0], np.uint64(np.zeros(9).ctypes.data), np.int32(1)),
        "no memory of this device",
    ),
    "a null address": (
        lambda la: la(la.pair[0], np.uint64(0), np.int32(1)),
        "no memory of this device",
    ),
    "an empty grid": (lambda la: la(*la.pair, np.int32(1), grid=(0, 1, 1)), "grid"),
    "a block too large": (
        lambda la: la(*la.pair, np.int32(1), block=(64, 32, 1)),
        "2048 threads",
    ),
    "too much shared memory": (
        lambda la: la(*la.pair, np.int32(1), shared=1 << 20),
        "1048576 bytes of dynamic shared memory",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_launch_is_refused(emulator, name):
    launch, says = WRONG[name]
    with pytest.raises(DeviceError, match=says):
        launch(Launch(emulator()))


def test_memory_read_after_its_end_is_noticed(emulator):
    driver = emulator()
    launch = Launch(driver)
    launch.stream.synchronize()
    driver.begin_recording(launch.stream)
    launch(*launch.pair, np.int32(10))
    recording = driver.end_recording(launch.stream)
    del launch.x
    recording.launch(launch.stream)
    with pytest.raises(DeviceError, match=r"reads .* byte 0 of freed allocation 1"):
        launch.stream.synchronize()


def test_uninitialised_memory_is_nan(emulator):
    launch = Launch(emulator())
    launch(*launch.pair, np.int32(10))
    found = np.zeros(10, np.float32)
    launch.driver.download(launch.y.address, found, launch.stream)
    assert np.isnan(found).all()


def test_a_failed_kernel_poisons_the_device(emulator):
    launch = Launch(emulator())
    launch(*launch.pair, np.int32(32), block=(1024, 1, 1))
    launch(*launch.pair, np.int32(2000), block=(1024, 1, 1))
    with pytest.raises(DeviceError, match="past the end of allocation"):
        launch.stream.synchronize()
    with pytest.raises(DeviceError, match="the device has failed: kernel"):
        launch.driver.allocate(4)
