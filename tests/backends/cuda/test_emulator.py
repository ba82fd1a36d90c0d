"""What the emulated device does beyond the contract, and what its CUDA C++ is."""

import gc
import math

import ml_dtypes
import numpy as np
import pytest

from graphgpu.errors import CompileError, DeviceError


def compute(driver, body, *arrays, out, headers=()):
    """Return what a kernel's body writes to ``y`` of an array for each of ``x0``, …"""
    names = {"float16": "__half", "bfloat16": "__nv_bfloat16", "uint32": "unsigned int"}
    names |= {"float32": "float", "float64": "double", "int32": "int"}
    names |= {"uint16": "unsigned short"}
    types = [names[a.dtype.name] for a in (*arrays, out)]
    parameters = [f"const {t}* x{k}" for k, t in enumerate(types[:-1])]
    source = "".join(f"#include <{name}>\n" for name in headers)
    source += f'extern "C" __global__ void compute({", ".join(parameters)}'
    source += f"{', ' if parameters else ''}{types[-1]}* y, int n) {{\n"
    source += "  int i = blockIdx.x * blockDim.x + threadIdx.x;\n"
    source += f"  if (i < n) {{ {body} }}\n}}\n"
    stream = driver.stream()
    memories = [driver.allocate(a.nbytes) for a in (*arrays, out)]
    for memory, array in zip(memories, (*arrays, out), strict=True):
        driver.upload(memory.address, array, stream)
    values = [*(np.uint64(m.address) for m in memories), np.int32(out.size)]
    function, grid = driver.compile(source, "compute"), (-(-out.size // 64), 1, 1)
    driver.launch(function, grid, (64, 1, 1), values, stream)
    found = np.empty_like(out)
    driver.download(memories[-1].address, found, stream)
    return found


# --- numbers

HALVES = np.arange(65536, dtype=np.uint16)
EDGES = [0.0, -0.0, np.inf, -np.inf, 65504, 65519.9, 65520, 2**-24, 2**-25, 3e-8]
FLOATS = np.concatenate(
    [
        np.random.default_rng(0).integers(0, 2**32, 50000, np.uint32).view(np.float32),
        np.random.default_rng(1).uniform(-9, 9, 9000).astype(np.float32) * 1e-5,
        # Halfway between two halves, and between two bfloat16s.
        (np.arange(9000, dtype=np.uint32) * 0x2000 + 0x38801000).view(np.float32),
        (np.arange(9000, dtype=np.uint32) * 0x10000 + 0x00808000).view(np.float32),
        np.float32(EDGES),
    ],
    dtype=np.float32,
)
SHORTS = [
    pytest.param(np.float16, "cuda_fp16.h", "half", id="half"),
    pytest.param(ml_dtypes.bfloat16, "cuda_bf16.h", "bfloat16", id="bfloat16"),
]


@pytest.mark.parametrize(("dtype", "header", "name"), SHORTS)
def test_every_short_float_becomes_the_float_that_it_is(emulator, dtype, header, name):
    x = HALVES.view(dtype)
    out = np.zeros(65536, np.float32)
    found = compute(
        emulator(), f"y[i] = __{name}2float(x0[i]);", x, out=out, headers=[header]
    )
    np.testing.assert_array_equal(found, x.astype(np.float32))


@pytest.mark.parametrize(("dtype", "header", "name"), SHORTS)
def test_floats_are_rounded_to_even(emulator, dtype, header, name):
    with np.errstate(all="ignore"):
        x = FLOATS[~np.isnan(FLOATS)]
        expected = x.astype(dtype)
    body = f"y[i] = __float2{name}_rn(x0[i]);"
    found = compute(emulator(), body, x, out=np.zeros(x.shape, dtype), headers=[header])
    np.testing.assert_array_equal(found.view(np.uint16), expected.view(np.uint16))


@pytest.mark.parametrize(("dtype", "header", "name"), SHORTS)
def test_short_floats_compute_as_numpys(emulator, dtype, header, name):
    rng = np.random.default_rng(0)
    a, b = (rng.uniform(-3, 3, 5000).astype(dtype) for _ in range(2))
    body = "auto t = x0[i] * x1[i]; t += x0[i] / x1[i]; y[i] = x0[i] < x1[i] ? t : -t;"
    found = compute(emulator(), body, a, b, out=0 * a, headers=[header])
    t = a * b + a / b
    np.testing.assert_array_equal(found, np.where(a < b, t, -t))


FUNCTIONS = {
    "expf(v)": np.exp,
    "exp(v)": np.exp,
    "__expf(v)": np.exp,
    "logf(fabsf(v))": lambda v: np.log(np.abs(v)),
    "tanh(v)": np.tanh,
    "rsqrtf(v * v + 1)": lambda v: 1 / np.sqrt(v * v + 1),
    "erff(v)": np.vectorize(math.erf),
    "normcdff(v)": np.vectorize(lambda v: math.erfc(-v / math.sqrt(2)) / 2),
    "lgammaf(v * v + 0.5f)": np.vectorize(lambda v: math.lgamma(v * v + 0.5)),
    "powf(fabsf(v), 1.5f)": lambda v: np.abs(v) ** 1.5,
    "sinpif(v)": lambda v: np.sin(np.pi * v),
    "cospi((double)v)": lambda v: np.cos(np.pi * v),
    "max(v, 0.5f) + min(v, 1)": lambda v: np.maximum(v, 0.5) + np.minimum(v, 1),
    "fmaf(v, v, 1.0f)": lambda v: v * v + 1,
    "rintf(v) + truncf(v)": lambda v: np.rint(v) + np.trunc(v),
    "(float)(int)__umulhi(3000000000u, 1u << 31)": lambda v: 0 * v + 1.5e9,
    "__int_as_float(__float_as_int(v) & 0x7fffffff)": np.abs,
    "__popc(255) + __clz(1) + __ffs(8) + __brev(1u) / 1e9": lambda v: (
        0 * v + 43 + 2**31 / 1e9
    ),
}


def test_functions_have_the_values_of_mathematics(emulator):
    v = np.random.default_rng(0).uniform(-3, 3, 200).astype(np.float32)
    stores = [f"y[{k} * n + i] = {text};" for k, text in enumerate(FUNCTIONS)]
    body = "n = 200; if (i < n) { float v = x0[i]; " + " ".join(stores) + " }"
    out = np.zeros((len(FUNCTIONS), 200), np.float32)
    found = compute(emulator(), body, v, out=out)
    for (text, function), row in zip(FUNCTIONS.items(), found, strict=True):
        expected = function(v.astype(np.float64))
        np.testing.assert_allclose(row, expected, 1e-6, 1e-6, err_msg=text)


ABSENT = {
    "a float's atomic sum": "atomicAdd(y, 1.0f);",
    "uint32_t": "uint32_t k = 1; y[i] = k;",
    "INFINITY": "y[i] = INFINITY;",
    "std": "y[i] = std::exp(1.0f);",
    "long long's atomic sum": "long long k; atomicAdd(&k, 1LL);",
}


@pytest.mark.parametrize("what", ABSENT)
def test_what_nvrtc_or_the_rules_of_kernels_do_not_have_is_absent(emulator, what):
    with pytest.raises(CompileError, match=r"3 \|   if"):
        compute(emulator(), ABSENT[what], out=np.zeros(4, np.float32))


def test_headers_of_the_system_are_not_found(emulator):
    out = np.zeros(4, np.float32)
    with pytest.raises(CompileError, match="cstdint"):
        compute(emulator(), "y[i] = 0;", out=out, headers=["cstdint"])


# --- orders


def test_orders_differ_in_which_thread_writes_last(emulator):
    last = {}
    for order in ("forward", "backward", "shuffled"):
        out = np.zeros(1, np.float32)
        found = compute(emulator(order=order), "} { y[0] = threadIdx.x;", out=out)
        last[order] = int(found[0])
    assert last["forward"] == 63
    assert last["backward"] == 0
    assert last["shuffled"] not in (0, 63)


def test_shuffled_blocks_all_run_once(emulator):
    out = np.zeros(7919 * 2, np.int32)
    found = compute(emulator(order="shuffled"), "y[i] += i + 1;", out=out)
    assert np.array_equal(found, np.arange(1, out.size + 1))


# --- streams and memory

FILL = 'extern "C" __global__ void one(float* y) { y[threadIdx.x] = 1; }'


def test_a_forgotten_wait_between_streams_shows(emulator):
    driver = emulator()
    first, second = driver.stream(), driver.stream()
    memory, out = driver.allocate(16), np.zeros(4, np.float32)
    one = driver.compile(FILL, "one")
    driver.launch(one, (1, 1, 1), (4, 1, 1), [np.uint64(memory.address)], first)
    driver.download(memory.address, out, second)
    assert np.isnan(out).all()
    driver.wait(second, driver.event(first))
    driver.download(memory.address, out, second)
    assert out.tolist() == [1.0] * 4


def test_pinned_bytes_that_change_too_early_show(emulator):
    driver = emulator()
    stream, memory = driver.stream(), driver.allocate(16)
    x, out = driver.pinned(16).view(np.float32), np.zeros(4, np.float32)
    x[:] = 1
    driver.upload(memory.address, x, stream)
    x[:] = 2
    driver.download(memory.address, out, stream)
    assert out.tolist() == [2.0] * 4


def test_a_stream_that_is_not_late_works_at_once(emulator):
    driver = emulator(late=False)
    stream, memory = driver.stream(), driver.allocate(16)
    function = driver.compile(FILL, "one")
    with pytest.raises(DeviceError, match=r"past the end of allocation 1 of 16 bytes"):
        driver.launch(
            function, (1, 1, 1), (5, 1, 1), [np.uint64(memory.address)], stream
        )


def test_free_bytes_are_counted(emulator):
    driver = emulator(capacity=1000)
    memory = driver.allocate(600)
    assert driver.free_bytes() == 400
    with pytest.raises(MemoryError, match="600 bytes asked for, 400 free"):
        driver.allocate(600)
    del memory
    gc.collect()
    assert driver.free_bytes() == 1000


def test_memory_lives_until_the_work_before_its_end_is_done(emulator):
    driver = emulator()
    stream, memory, target = driver.stream(), driver.allocate(16), driver.allocate(16)
    driver.fill(memory.address, 0, 16, stream)
    driver.copy(target.address, memory.address, 16, stream)
    del memory
    gc.collect()
    out = np.ones(4, np.float32)
    driver.download(target.address, out, stream)
    assert out.tolist() == [0.0] * 4


def test_launches_are_counted(emulator):
    driver = emulator()
    stream, memory = driver.stream(), driver.allocate(16)
    arguments = [np.uint64(memory.address)]
    one = driver.compile(FILL, "one")
    driver.launch(one, (1, 1, 1), (4, 1, 1), arguments, stream)
    stream.synchronize()
    driver.begin_recording(stream)
    for _ in range(3):
        driver.launch(one, (1, 1, 1), (4, 1, 1), arguments, stream)
    recording = driver.end_recording(stream)
    for _ in range(2):
        recording.launch(stream)
    stream.synchronize()
    assert driver.launches == {"one": 7}
    assert driver.host_launches == 3
    assert len(recording) == 3


MISUSE = {
    "strided": lambda driver, stream, at: driver.upload(at, np.zeros((4, 4)).T, stream),
    "too long": lambda driver, stream, at: driver.upload(at, np.zeros(9), stream),
    "overlapping": lambda driver, stream, at: driver.copy(at, at + 4, 8, stream),
    "beyond": lambda driver, stream, at: driver.copy(at, at + 1024, 8, stream),
    "no byte": lambda driver, stream, at: driver.fill(at, 256, 8, stream),
    "foreign stream": lambda driver, stream, at: driver.fill(at, 0, 8, None),
    "not recording": lambda driver, stream, at: driver.end_recording(stream),
}


@pytest.mark.parametrize("what", MISUSE)
def test_misuse_raises_when_it_is_asked_for(emulator, what):
    driver = emulator()
    stream, memory = driver.stream(), driver.allocate(64)
    with pytest.raises(DeviceError):
        MISUSE[what](driver, stream, memory.address)


def test_without_gxx_the_driver_says_what_to_install(emulator, monkeypatch):
    emulator()
    module = __import__("emulator.driver", fromlist=["EmulatedDriver"])
    monkeypatch.setattr(module, "missing", lambda: "needs g++: install it")
    with pytest.raises(DeviceError, match="install it"):
        module.EmulatedDriver()
