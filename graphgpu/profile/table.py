"""Costs as tables."""

from __future__ import annotations

from collections.abc import Sequence

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from graphgpu.profile.cost import Cost, NodeCost

__all__ = ["cost_table", "shown_time"]

_SHOWN = 20
"""How many rows a table has at most."""
_UNITS = ((1.0, "s"), (1e-3, "ms"), (1e-6, "us"), (1e-9, "ns"))


def cost_table(
    heading: str, costs: Sequence[Cost], others: Sequence[Cost] = ()
) -> Table:
    """Return a table of costs, and of others below a line."""
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    table.add_column(heading, overflow="fold")
    work = any(c.nbytes for c in costs)
    nodes = any(isinstance(c, NodeCost) for c in costs)
    names = ["time", "share", *(("FLOPs", "GFLOP/s", "MB", "GB/s") if work else ())]
    for name in names:
        table.add_column(name, justify="right", no_wrap=True)
    if nodes:
        table.add_column("phase", no_wrap=True)
        table.add_column("created at", overflow="fold")
    for cost in costs[:_SHOWN]:
        table.add_row(*map(Text, _cells(cost, work)))
    rest = costs[_SHOWN:]
    if rest:
        seconds, share = sum(c.seconds for c in rest), sum(c.share for c in rest)
        others = [Cost(f"{len(rest)} others", seconds, share), *others]
    if others:
        table.add_section()
    for cost in others:
        table.add_row(*map(Text, _cells(cost, work)))
    return table


def _cells(cost: Cost, work: bool) -> list[str]:
    cells = [cost.name, shown_time(cost.seconds), f"{cost.share:.1%}"]
    if work:
        cells += [_count(cost.flops), f"{cost.gflops:.1f}"] if cost.flops else ["", ""]
        moved = [f"{cost.nbytes / 1e6:.2f}", f"{cost.gbytes:.1f}"]
        cells += moved if cost.nbytes else ["", ""]
    if isinstance(cost, NodeCost):
        if not cost.name.split("/")[-1].startswith(cost.operation):
            cells[0] += f" ({cost.operation})"
        again = f" ×{cost.evaluations}" if cost.evaluations > 1 else ""
        cells += [f"{cost.phase}{again}", cost.created]
    return cells


def _count(flops: int) -> str:
    """Return a number of operations in thousands, millions, ...

    >>> _count(999), _count(1500), _count(2_000_000)
    ('999', '1.5k', '2.0M')
    """
    for size, unit in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if flops >= size:
            return f"{flops / size:.1f}{unit}"
    return str(flops)


def shown_time(seconds: float) -> str:
    """Return a time with three digits, in the unit that it is at least one of.

    >>> shown_time(0.01234), shown_time(2e-5), shown_time(0.0)
    ('12.3 ms', '20.0 us', '0.00 ns')
    """
    size, unit = next((u for u in _UNITS if seconds >= u[0]), _UNITS[-1])
    value = seconds / size
    digits = 2 if value < 10 else 1 if value < 100 else 0
    return f"{value:.{digits}f} {unit}"
