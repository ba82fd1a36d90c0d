"""Kernels' sources to libraries, by g++: each source once, kept by its hash."""

from __future__ import annotations

import ctypes
import hashlib
import os
import platform
import re
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from graphgpu.errors import CompileError

__all__ = ["CompiledKernel", "compile_kernel", "missing", "scheduler", "source_line"]

HERE = Path(__file__).parent
COMMON = ["g++", "-std=c++17", "-g1", "-shared", "-fPIC", "-w"]
KERNEL_FLAGS = [
    *COMMON,
    "-O1",
    "-ffp-contract=off",
    "-fno-strict-aliasing",
    "-fwrapv",
    "-fvisibility=hidden",
    "-fno-gnu-unique",
    "-fno-exceptions",
    "-fno-rtti",
    "-fno-threadsafe-statics",
    "-fstack-clash-protection",
    "-nostdinc",
    # Of the C libraries only what is called; start files took a third of the time.
    "-nostdlib",
    # Uninitialised variables hold -1.7e38; bad indices and addresses end in a trap.
    "-ftrivial-auto-var-init=pattern",
    "-fsanitize=bounds,alignment,shift-exponent,integer-divide-by-zero",
    "-fsanitize-undefined-trap-on-error",
    f"-I{HERE / 'cuda'}",
    "-include",
    str(HERE / "emulator.h"),
]
SCHEDULER_FLAGS = [*COMMON, "-O2", "-U_FORTIFY_SOURCE", "-fcf-protection=none"]

KERNEL = re.compile(r'extern\s*"C"\s*__global__\s+(?:[\w\s]*?)\b(\w+)\s*\(')
BOUNDS = re.compile(r"__launch_bounds__\s*\(\s*(\d+)[^)]*\)")
BOUNDED = re.compile(BOUNDS.pattern + r"\s*(?:void\s+)?(\w+)\s*\(")
DYNAMIC = re.compile(
    r"extern\s+__shared__\s+(?:(?:__align__|alignas)\s*\(\s*\d+\s*\)\s*)?"
    r"([\w:\s]+?)\s+(\w+)\s*\[\s*\]\s*;"
)


@dataclass(frozen=True, slots=True)
class CompiledKernel:
    """A kernel's entry, its parameters' dtypes, and its source's shared variables."""

    name: str
    call: int
    parameters: tuple[str, ...]
    shared: int
    shared_bytes: int
    most_threads: int
    library: ctypes.CDLL


@cache
def missing() -> str | None:
    """Return why kernels cannot be emulated here, or None."""
    if platform.machine() != "x86_64" or platform.system() != "Linux":
        return "the kernels' emulator needs Linux on x86-64"
    if shutil.which("g++") is None:
        return "the kernels' emulator needs g++: install gcc's C++ compiler"
    return None


@cache
def _folder() -> Path:
    folder = Path(tempfile.gettempdir()) / f"graphgpu-emulator-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    return folder


@cache
def _environment_key() -> str:
    """Return what every compilation depends on beside its source."""
    version = subprocess.run(
        ["g++", "-dumpfullversion"], capture_output=True, text=True, check=True
    ).stdout
    files = sorted([*HERE.glob("*.h"), *HERE.glob("cuda/*.h"), *HERE.glob("*.cpp")])
    return version + "".join(path.read_text() for path in files)


def _build(flags: list[str], text: str, last: list[str]) -> tuple[Path, str]:
    """Return a library of a text, and g++'s log if there is none."""
    key = "\0".join([_environment_key(), *flags, *last, text])
    path = _folder() / f"{hashlib.sha256(key.encode()).hexdigest()[:32]}.so"
    if path.exists():
        return path, ""
    with tempfile.TemporaryDirectory(dir=_folder()) as scratch:
        source, library = Path(scratch) / "kernel.cu", Path(scratch) / "kernel.so"
        source.write_text(text)
        done = subprocess.run(
            [*flags, "-x", "c++", str(source), "-x", "none", "-o", str(library), *last],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            return path, done.stderr.replace(str(source), "kernel.cu")
        library.replace(path)
    return path, ""


@cache
def scheduler() -> ctypes.PyDLL:
    """Return the library that runs threads; it holds the interpreter's lock."""
    path = _scheduler_path()
    return ctypes.PyDLL(str(path), mode=ctypes.RTLD_GLOBAL)


@cache
def _scheduler_path() -> Path:
    text = (HERE / "scheduler.cpp").read_text()
    path, log = _build(SCHEDULER_FLAGS, text, ["-ldl"])
    if log:
        raise CompileError(f"g++ does not compile the emulator's scheduler:\n{log}")
    return path


def _failure(name: str, source: str, log: str) -> CompileError:
    lines = source.splitlines()
    width = len(str(len(lines)))
    numbered = "\n".join(f"{n:{width}} | {line}" for n, line in enumerate(lines, 1))
    return CompileError(f"kernel {name} does not compile\n{numbered}\n{log}")


@cache
def _library(source: str, architecture: int) -> tuple[ctypes.CDLL | None, str]:
    scheduler()
    # A declaration of dynamic shared memory is a pointer to it, on the same line.
    text = DYNAMIC.sub(r"\1* const \2 = (\1*)emulator_dynamic;", source)
    entries = "".join(f"EMULATOR_KERNEL({name})\n" for name in _names(source))
    # Something shared, so that the section is there.
    text += (
        '\n#line 1 "entries"\n__attribute__((used)) __shared__ char emulator_last;\n'
    )
    text += (
        'extern "C" char __start_emulator_shared[], __stop_emulator_shared[];\n'
        "EMULATOR_EXPORT char* emulator_shared_start() {"
        " return __start_emulator_shared; }\n"
        "EMULATOR_EXPORT char* emulator_shared_stop() {"
        " return __stop_emulator_shared; }\n" + entries
    )
    flags = [*KERNEL_FLAGS, f"-D__CUDA_ARCH__={architecture * 10}"]
    path, log = _build(flags, text, [str(_scheduler_path()), "-lm", "-lc"])
    return (None, log) if log else (ctypes.CDLL(str(path)), "")


def _names(source: str) -> list[str]:
    return KERNEL.findall(BOUNDS.sub("", source))


def _address_of(library: ctypes.CDLL, name: str) -> int:
    function = library[name]
    function.restype = ctypes.c_void_p
    return int(function() or 0)


def compile_kernel(source: str, name: str, architecture: int = 90) -> CompiledKernel:
    """Return a source's kernel of a name, as for an architecture."""
    if name not in _names(source):
        found = ", ".join(_names(source)) or "none"
        raise _failure(name, source, f'no kernel extern "C" {name}; found: {found}')
    library, log = _library(source, architecture)
    if library is None:
        raise _failure(name, source, log)
    start = _address_of(library, "emulator_shared_start")
    stop = _address_of(library, "emulator_shared_stop")
    call = ctypes.cast(library[f"emulator_call_{name}"], ctypes.c_void_p).value
    bounds = {n: int(most) for most, n in BOUNDED.findall(source)}
    assert call is not None
    return CompiledKernel(
        name,
        call,
        _parameters(library, name),
        start,
        stop - start,
        bounds.get(name, 1024),
        library,
    )


def _parameters(library: ctypes.CDLL, name: str) -> tuple[str, ...]:
    parameter = library[f"emulator_parameter_{name}"]
    parameter.restype = ctypes.c_char_p
    names: list[str] = []
    while (text := parameter(len(names))) is not None:
        names.append(text.decode())
    return tuple(names)


def source_line(file: str, offset: int) -> str:
    """Return where in a kernel's source an instruction comes from, or nothing."""
    if shutil.which("addr2line") is None or not file:
        return ""
    text = subprocess.run(
        ["addr2line", "-i", "-e", file, hex(offset)],
        capture_output=True,
        text=True,
        check=False,
    ).stdout
    found = re.findall(r"kernel\.cu:(\d+)", text)
    return f"line {found[0]}" if found else ""
