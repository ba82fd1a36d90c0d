"""What is measured in a process of its own, and how such a process is asked."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from importlib import import_module
from pathlib import Path
from typing import Any

from benchmarks.agreement import differences
from benchmarks.graphs import GRAPHS
from benchmarks.machine import clean_environment, facts
from benchmarks.modules import MODULES
from benchmarks.modules import step as module_step
from benchmarks.nets import NETS, problem
from benchmarks.peers import OURS, Peer, load, make, takes_part
from benchmarks.timing import interleaved

Answer = dict[str, Any]


class WorkerError(Exception):
    """A measuring process ended with an error; its last lines are the message."""


def ask(script: str, task: str, **arguments: Any) -> Answer:
    """Run a task in a fresh process without settings of BLAS and of threads."""
    environment = clean_environment() | {"TORCHINDUCTOR_CACHE_DIR": _inductor_cache()}
    if task == "first":
        environment["TORCHINDUCTOR_FORCE_DISABLE_CACHES"] = "1"
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "answer.json")
        order = json.dumps({"task": task, "answer": str(path), **arguments})
        done = subprocess.run(
            [sys.executable, script, "--worker", order],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode or not path.exists():
            last = "\n".join(done.stderr.strip().splitlines()[-12:])
            raise WorkerError(f"{task} of {arguments}: exit {done.returncode}\n{last}")
        answer: Answer = json.loads(path.read_text())
    return answer


def answer(order: str) -> None:
    """Do what :func:`ask` asks for, in the process that it started."""
    arguments = json.loads(order)
    task, path = arguments.pop("task"), Path(arguments.pop("answer"))
    path.write_text(json.dumps(TASKS[task](**arguments)))


def steps(row: str, peers: Sequence[str], rounds: int, seconds: float) -> Answer:
    """Time a net's training step: graphgpu and the peers, interleaved."""
    start = problem(NETS[row])
    ready: dict[str, Callable[[], float]] = {}
    failed: dict[str, str] = {}
    for name in (OURS, *peers):
        if takes_part(name, start):
            try:
                peer = make(name, start)
                peer.step()
            except Exception as error:  # such as a compiler that is not there
                if name == OURS:
                    raise
                failed[name] = _first_line(error)
            else:
                ready[name] = peer.step
    seconds_of = interleaved(ready, rounds, seconds)
    return {"seconds": seconds_of, "failed": failed, "machine": facts()}


def first(row: str, peer: str) -> Answer:
    """Time the way to the first loss, libraries loaded and weights in place.

    Whatever a library builds, traces and compiles is in it.  Then the peak of a
    step's memory.
    """
    start = problem(NETS[row])
    load(peer)
    if not takes_part(peer, start):
        return {}
    ready: Peer = make(peer, start)
    begin = time.perf_counter()
    ready.step()
    seconds = time.perf_counter() - begin
    return {"first": seconds, "peak_bytes": ready.peak_bytes()}


def agree(row: str, peers: Sequence[str], dtype: str) -> Answer:
    """Compare the peers' losses, gradients, statistics and weights with ours."""
    start = problem(NETS[row], dtype)
    found = differences(row, [p for p in peers if takes_part(p, start)], dtype)
    return {d.peer: asdict(d) | {"fails": d.fails(dtype)} for d in found}


def graph(row: str) -> Answer:
    """Measure the building and compiling of a graph."""
    return GRAPHS[row]()


def modules(names: Sequence[str], torch: bool, rounds: int, seconds: float) -> Answer:
    """Time single modules: graphgpu and PyTorch, each with one thread, interleaved."""
    found: dict[str, Any] = {}
    failed: dict[str, str] = {}
    for name in names:
        ready = {OURS: module_step(MODULES[name])}
        if torch:
            try:
                twin = import_module("benchmarks.torch_modules").step(MODULES[name])
                twin()
            except Exception as error:  # such as a version that lacks the function
                failed[name] = _first_line(error)
            else:
                ready["torch"] = twin
        found[name] = interleaved(ready, rounds, seconds)
    return {"seconds": found, "failed": failed, "machine": facts()}


TASKS: dict[str, Callable[..., Answer]] = {
    task.__name__: task for task in (steps, first, agree, graph, modules)
}


def _inductor_cache() -> str:
    default = Path(tempfile.gettempdir(), "graphgpu_bench_inductor")
    return os.environ.get("TORCHINDUCTOR_CACHE_DIR", str(default))


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines() or [""]
    return f"{type(error).__name__}: {lines[0]}"
