"""What building, differentiating and compiling cost: ``python tools/bench.py``.

Each row is measured in a process of its own, so that memory is that row's
alone.  Times are wall times on this machine; compare rows of one run only.
"""

from __future__ import annotations

import argparse
import gc
import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

import graphgpu as gg

Figures = dict[str, float]


class Stopwatch:
    """Times consecutive parts of a row, and the memory that they leave behind."""

    def __init__(self) -> None:
        gc.collect()
        self.figures: Figures = {}
        self._first = _resident()
        self._last = time.perf_counter()

    def lap(self, name: str) -> None:
        """End a part."""
        now = time.perf_counter()
        self.figures[f"{name} s"] = now - self._last
        self._last = time.perf_counter()

    def memory(self) -> float:
        """Return the bytes that the process has grown by."""
        return float(_resident() - self._first)


def chain(length: int) -> Figures:
    """A chain of ``length`` sines: build, gradient, sort, compile, run, free."""
    watch = Stopwatch()
    x = gg.placeholder("x", ("batch",))
    y: gg.Variable = x
    for _ in range(length):
        y = gg.sin(y)
    cost = gg.sum(y)
    watch.lap("build")
    (slope,) = gg.gradients(cost, [x])
    watch.lap("gradient")
    graph = gg.Graph([cost, slope])
    watch.lap("sort")
    summary = str(graph.summary())
    watch.lap("summary")
    assert summary
    program = gg.compile([x], [cost, slope])
    watch.lap("compile")
    program(np.ones(2, np.float32))
    watch.lap("first run")
    memory = watch.memory()
    program(np.ones(2, np.float32))
    watch.lap("second run")
    nodes = len(graph)
    del graph, program, cost, slope, y, summary
    gc.collect()
    watch.lap("free")
    parts = ("build", "gradient", "compile", "first run")
    total = sum(watch.figures[f"{p} s"] for p in parts)
    per_node = {"us a node to the first result": total / nodes * 1e6}
    return {
        "nodes": nodes,
        **watch.figures,
        **per_node,
        "bytes a node": memory / nodes,
    }


def resnet50() -> Figures:
    """ResNet-50, batch 32, 224 x 224: build, gradient and updates, compile."""
    watch = Stopwatch()
    with gg.root_scope(0):
        model = gg.nn.resnet50(1000)
        watch.lap("initial values")
        images = gg.placeholder("images", (32, 3, 224, 224))
        labels = gg.placeholder("labels", (32,), "int64")
        scores = model(images, training=True)
        loss = gg.cross_entropy(scores, labels)
        watch.lap("build")
        parameters = model.parameters()
        optimiser = gg.optim.SGD(0.1, momentum=0.9)
        updates = optimiser.updates(loss, parameters) | gg.state_updates(scores)
        watch.lap("gradient and updates")
        program = gg.compile([images, labels], loss, updates)
        watch.lap("compile")
    assert program
    total = sum(watch.figures.values())
    return {
        "nodes": len(gg.Graph([loss, *updates.values()])),
        **watch.figures,
        "total s": total,
    }


ROWS: dict[str, Callable[[], Figures]] = {
    "chain of 1,000": lambda: chain(1_000),
    "chain of 100,000": lambda: chain(100_000),
    "chain of 1,000,000": lambda: chain(1_000_000),
    "ResNet-50": resnet50,
}


def main() -> None:
    """Run the rows that were asked for, each in its own process."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("rows", nargs="*", help=f"some of {', '.join(ROWS)}")
    parser.add_argument("--one", choices=list(ROWS), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(ROWS[options.one]()))
        return
    for name in options.rows or ROWS:
        command = [sys.executable, __file__, "--one", name]
        result = subprocess.run(command, capture_output=True, text=True, check=True)
        _show(name, json.loads(result.stdout))


def _show(name: str, figures: Figures) -> None:
    table = Table(title=name, show_header=False, box=None)
    for key, value in figures.items():
        table.add_row(key, f"{value:,.0f}" if value >= 1000 else f"{value:.3g}")
    Console().print(table)


def _resident() -> int:
    """Return the resident memory of this process in bytes."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096


if __name__ == "__main__":
    main()
