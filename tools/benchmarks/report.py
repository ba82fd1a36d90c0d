"""What was measured, as tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

from rich.table import Table
from rich.text import Text

from benchmarks.peers import OURS
from benchmarks.timing import ratio

Row = Mapping[str, Any]


def summary(
    timed: Row, firsts: Mapping[str, Sequence[Row]]
) -> dict[str, dict[str, Any]]:
    """Return the figures of a row by peer: times, ratios, memory.

    ``firsts`` are the peers' ways to the first result, each of a fresh process.
    """
    ours, figures = timed["seconds"][OURS], {}
    for name, seconds in timed["seconds"].items():
        ways = firsts.get(name, ())
        figures[name] = {
            "ms": median(seconds) * 1e3,
            "ms_by_round": [s * 1e3 for s in seconds],
            "ratio": ratio(seconds, ours).as_json(),
            "first_s": median(f["first"] for f in ways) if ways else None,
            "firsts_s": [f["first"] for f in ways],
            "peak_bytes": ways[0]["peak_bytes"] if ways else None,
        }
    return figures


def nets_table(rows: Mapping[str, Mapping[str, Row]]) -> Table:
    """Return a line for each net and peer; ratios above 1 are in our favour.

    First results include whatever a library builds, traces and compiles.  The peak
    is that of a step, all that lives on between steps apart.
    """
    table = Table(title="A training step: times and memory, and peer / ours")
    table.add_column("row")
    table.add_column("peer", no_wrap=True)
    for title in (
        "ms",
        "of medians",
        "median of rounds",
        "rounds from, to",
        "first result s",
        "ratio",
        "peak MB",
        "ratio",
    ):
        table.add_column(title, justify="right")
    for row, peers in rows.items():
        ours = peers[OURS]
        for name, figures in peers.items():
            table.add_row(
                row if name == OURS else "",
                name,
                _number(figures["ms"]),
                *_ratios(name, figures),
                _number(figures["first_s"]),
                _ratio(name, figures["first_s"], ours["first_s"]),
                _number(_mega(figures["peak_bytes"])),
                _ratio(name, figures["peak_bytes"], ours["peak_bytes"]),
            )
        table.add_section()
    return table


def modules_table(seconds: Mapping[str, Mapping[str, Sequence[float]]]) -> Table:
    """Return a line for each module; ratios above 1 are in our favour."""
    table = Table(title="Modules, forward and gradient, one thread: torch / ours")
    for title in ("module", "ours ms", "torch ms", "of medians", "rounds from, to"):
        table.add_column(title, justify="left" if title == "module" else "right")
    for name, by_peer in seconds.items():
        ours, peer = by_peer[OURS], by_peer.get("torch")
        line = [name, _number(median(ours) * 1e3)]
        if peer is None:
            table.add_row(*line)
            continue
        found = ratio(peer, ours)
        span = f"{min(found.by_round):.2f} {max(found.by_round):.2f}"
        figures = _number(median(peer) * 1e3), _coloured(found.of_medians), span
        table.add_row(*line, *figures)
    return table


def figures_table(name: str, figures: Mapping[str, float]) -> Table:
    """Return a graph's figures, one a line."""
    table = Table(title=name, show_header=False, box=None)
    for key, value in figures.items():
        table.add_row(key, f"{value:,.0f}" if value >= 1000 else f"{value:.3g}")
    return table


def agreement_table(rows: Mapping[tuple[str, str], Mapping[str, Row]]) -> Table:
    """Return a line for each net, dtype and peer: how far from ours."""
    parts = ("losses", "gradients", "running", "weights")
    table = Table("row", "dtype", "peer", *parts, "verdict")
    for (row, dtype), peers in rows.items():
        for name, found in peers.items():
            verdict = Text("differs", "red") if found["fails"] else "agrees"
            errors = (f"{found[part]:.1e}" for part in parts)
            table.add_row(row, dtype, name, *errors, verdict)
    return table


def machine_lines(machine: Mapping[str, Any]) -> list[str]:
    """Return what is said of the machine, one fact a line."""
    shown = {**machine, "versions": _pairs(machine["versions"])}
    shown["blas"] = "; ".join(_pairs(library) for library in machine["blas"])
    return [f"{key}: {value}" for key, value in shown.items()]


def _pairs(facts: Mapping[str, Any]) -> str:
    return ", ".join(f"{k} {v}" for k, v in facts.items() if v is not None)


def _ratios(name: str, figures: Row) -> list[Text]:
    if name == OURS:
        return [Text("")] * 3
    found, by_round = figures["ratio"], figures["ratio"]["by_round"]
    span = f"{min(by_round):.2f} {max(by_round):.2f}"
    return [
        _coloured(found["of_medians"]),
        _coloured(found["median_of_rounds"]),
        Text(span),
    ]


def _ratio(name: str, theirs: float | None, ours: float | None) -> Text:
    if name == OURS or theirs is None or not ours:
        return Text("" if name == OURS else "-")
    return _coloured(theirs / ours)


def _coloured(value: float) -> Text:
    shown = f"{value:.2f}" if value < 100 else f"{value:,.0f}"
    return Text(shown, style="green" if value >= 1 else "red")


def _mega(count: float | None) -> float | None:
    return None if count is None else count / 1e6


def _number(value: float | None) -> str:
    return (
        "-" if value is None else f"{value:#.3g}" if value < 1000 else f"{value:,.0f}"
    )
