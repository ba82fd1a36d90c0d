"""graphgpu's speed, beside PyTorch and JAX: ``python tools/bench.py [row ...]``.

On a GPU (``--device cuda``) the rows are bandwidth, gemm, latency, training and
compile: each peer is a process of its own, steps are handed over many at once and
waited for, and the aims are told with the figures.  ``--budget 540`` keeps the whole
run within nine minutes.  ``--tiny --device cpu`` tries all of that in small sizes.

On the CPU, the rows of nets time one training step (forward, backward, SGD with
momentum) in float32: graphgpu and its peers take turns in one process on two CPUs, in
a process without settings of BLAS and of threads.  The way to the first loss and a
step's peak memory are each peer's in a fresh process.  The rows of graphs tell what
building, differentiating and compiling cost.  The row ``modules`` times single
functions and layers beside PyTorch's, forward and gradient, each with one thread.

Peers are no dependency: ``pip install "graphgpu[bench]"``.  Times are of this
machine as it is now: compare those of one run only, and leave it idle.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from pathlib import Path
from typing import Any

from benchmarks import peers, report, worker
from benchmarks.agreement import LIMITS
from benchmarks.gpu import peers as gpu_peers
from benchmarks.gpu import run as gpu
from benchmarks.graphs import GRAPHS
from benchmarks.machine import conditions, keep_to_two_cores
from benchmarks.modules import MODULES
from benchmarks.nets import NETS
from rich.console import Console

from graphgpu.backends import cuda_state

ROWS = [*NETS, *GRAPHS, "modules"]
BUSY = 0.5
"""The load average above which the machine is doing something else."""
# A terminal knows its width; a file or a pipe takes whole tables.
CONSOLE = Console(width=None if sys.stdout.isatty() else 150)


def main() -> int:
    """Measure the rows that were asked for; return how many failed."""
    options = _options()
    if options.worker:
        worker.answer(options.worker)
        return 0
    if _is_on_gpu(options):
        return _measure_gpu(options)
    keep_to_two_cores()
    names, missing = peers.chosen(options.peers)
    _tell_missing(missing)
    rows = options.rows or ROWS
    if options.check:
        return _check([r for r in rows if r in NETS], names)
    return _measure(rows, names, options)


def _tell_missing(libraries: list[str]) -> None:
    for library in libraries:
        CONSOLE.print(
            f'{library} is not installed (pip install "graphgpu[bench]"): measuring '
            "without it",
            markup=False,
        )


def _is_on_gpu(options: argparse.Namespace) -> bool:
    return bool(options.tiny) or options.device != "cpu"


def _measure_gpu(options: argparse.Namespace) -> int:
    """Measure the rows of a GPU; return 3 where there is none."""
    if options.device != "cpu" and not (state := cuda_state()).works:
        CONSOLE.print(f"no GPU to measure: {state}", markup=False, soft_wrap=True)
        return gpu.NO_GPU
    names, missing = gpu_peers.chosen(options.peers)
    _tell_missing(missing)
    settings = gpu.Settings(
        options.device,
        options.rows or gpu.ROWS,
        names,
        options.rounds,
        options.seconds,
        options.budget,
        options.tiny,
        options.json,
        options.commit,
    )
    return gpu.run(settings, CONSOLE)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "rows",
        nargs="*",
        help=f"some of {', '.join(ROWS)}; on a GPU of {', '.join(gpu.ROWS)}, or a "
        "part of one, as training/resnet50",
    )
    parser.add_argument("--device", default="cpu", help="cpu, cuda, cuda:1, ... (cpu)")
    parser.add_argument(
        "--budget", type=float, metavar="SECONDS", help="of a whole run on a GPU"
    )
    parser.add_argument(
        "--tiny", action="store_true", help="a GPU's rows in sizes for a trial"
    )
    parser.add_argument("--commit", help="what is measured, where git does not know")
    parser.add_argument("--rounds", type=int, help="of turns (7; on a GPU 5)")
    parser.add_argument(
        "--seconds", type=float, default=0.5, help="that a turn takes (0.5)"
    )
    parser.add_argument(
        "--peers",
        default="torch,jax",
        type=lambda text: [name for name in text.split(",") if name],
        help=f"some of {', '.join(peers.NAMES)}, on a GPU of "
        f"{', '.join(gpu_peers.NAMES)}, by commas; '' for none (torch,jax)",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write figures here")
    parser.add_argument(
        "--check", action="store_true", help="compare results, and measure nothing"
    )
    parser.add_argument(
        "--firsts",
        type=int,
        default=1,
        help="first results by peer, each of a fresh process; 0 for none (1)",
    )
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.rounds is None:
        options.rounds = 5 if _is_on_gpu(options) else 7
    _check_options(parser, options)
    return options


def _check_options(
    parser: argparse.ArgumentParser, options: argparse.Namespace
) -> None:
    """End with an error if the options do not fit."""
    on_gpu = _is_on_gpu(options)
    if not re.fullmatch(r"cpu|cuda(:\d+)?", options.device):
        parser.error(f"expected --device cpu, cuda or cuda:N; got {options.device}")
    rows, more = (gpu.ROWS, gpu.PARTS) if on_gpu else (ROWS, [])
    names = gpu_peers.NAMES if on_gpu else peers.NAMES
    for what, given, known, accepted in (
        ("rows", options.rows, rows, [*rows, *more]),
        ("peers", options.peers, names, names),
    ):
        if unknown := sorted(set(given) - set(accepted)):
            parser.error(f"unknown {what} {', '.join(unknown)}; use {', '.join(known)}")
    if options.rounds < 1 or options.firsts < 0:
        parser.error("expected --rounds of at least 1 and --firsts of at least 0")
    if on_gpu and options.check:
        parser.error("--check compares on the CPU; use it without --device")


def _measure(rows: list[str], names: list[str], options: argparse.Namespace) -> int:
    """Measure, show and write rows; what fails is told and left out."""
    start = conditions()
    if start["load average"] > BUSY:
        CONSOLE.print(
            f"the machine is busy (load {start['load average']}): do not trust ratios",
            style="yellow",
        )
    found: dict[str, Any] = {"machine": start, "nets": {}, "graphs": {}}
    failures: list[str] = []
    for row in rows:
        CONSOLE.print(f"measuring {row} ...", style="dim")
        try:
            if row == "modules":
                found["modules"] = _modules(names, options, failures)
            elif row in GRAPHS:
                found["graphs"][row] = worker.ask(__file__, "graph", row=row)
            else:
                machine, figures = _net(row, names, options, failures)
                found["nets"][row] = figures
                found["machine"] = start | machine
        except worker.WorkerError as error:
            failures.append(str(error))
        if options.json:  # after every row: what is measured is not lost
            options.json.write_text(json.dumps(found, indent=1) + "\n")
    _show(found)
    for failure in failures:
        CONSOLE.print(failure, style="red", markup=False)
    return len(failures)


def _modules(
    names: list[str], options: argparse.Namespace, failures: list[str]
) -> dict[str, Any]:
    """Return the seconds of all modules by peer; append failures."""
    timed = worker.ask(
        __file__,
        "modules",
        names=list(MODULES),
        torch="torch-default" in names,
        rounds=min(options.rounds, 3),
        seconds=min(options.seconds, 0.05),
    )
    failures += [f"{name}, torch: {why}" for name, why in timed["failed"].items()]
    seconds: dict[str, Any] = timed["seconds"]
    return seconds


def _net(
    row: str, names: list[str], options: argparse.Namespace, failures: list[str]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the machine's facts and the row's figures by peer; append failures."""
    turns = {"rounds": options.rounds, "seconds": options.seconds}
    timed = worker.ask(__file__, "steps", row=row, peers=names, **turns)
    failures += [f"{row}, {peer}: {why}" for peer, why in timed["failed"].items()]
    firsts: dict[str, list[Any]] = {}
    for peer in list(timed["seconds"]) * options.firsts:
        try:
            first = worker.ask(__file__, "first", row=row, peer=peer)
            firsts.setdefault(peer, []).append(first)
        except worker.WorkerError as error:
            failures.append(str(error))
    return timed["machine"], report.summary(timed, firsts)


def _show(found: dict[str, Any]) -> None:
    for name, figures in found["graphs"].items():
        CONSOLE.print(report.figures_table(name, figures))
    if "modules" in found:
        CONSOLE.print(report.modules_table(found["modules"]))
    if found["nets"]:
        CONSOLE.print(report.nets_table(found["nets"]))
        for line in report.machine_lines(found["machine"]):
            CONSOLE.print(line, highlight=False, markup=False)


def _check(rows: list[str], names: list[str]) -> int:
    """Compare the peers' results with ours; return how many differ."""
    found: dict[tuple[str, str], Any] = {}
    for row in rows:
        for dtype in LIMITS:
            CONSOLE.print(f"comparing {row} in {dtype} ...", style="dim")
            found[row, dtype] = worker.ask(
                __file__, "agree", row=row, peers=names, dtype=dtype
            )
    CONSOLE.print(report.agreement_table(found))
    return sum(d["fails"] for peers_ in found.values() for d in peers_.values())


if __name__ == "__main__":
    sys.exit(main())
