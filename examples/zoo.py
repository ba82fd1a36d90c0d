"""What the examples of systems share: options, bars, pictures, a command line.

An example ends with ``start(main)``; its main takes :class:`Options` and returns a
:class:`Result`.  ``python tools/gallery.py`` runs them all and prints the table.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

import graphgpu as gg

QUICK = 2
PACKAGES = {"sklearn": "scikit-learn"}  # by what is imported
WRONG = gg.MissingDependencyError, gg.DataError, gg.DeviceError, gg.CompileError


@dataclass(frozen=True)
class Options:
    """How an example is to be run."""

    device: Any = "auto"
    full: bool = False
    """The long version: more data, more steps, a larger net."""
    quick: bool = False
    """Two steps of everything, to see that it runs; no bar is judged."""
    data: Path | None = None
    """The folder or file with the larger data set, where an example can use one."""

    def steps(self, default: int, full: int | None = None) -> int:
        """Return how many steps, epochs or rounds to take."""
        if self.quick:
            return min(default, QUICK)
        return full if self.full and full is not None else default


@dataclass(frozen=True)
class Bar:
    """One figure that an example measures, and what it has to reach."""

    what: str
    value: float
    at_least: float | None = None
    at_most: float | None = None

    @property
    def met(self) -> bool:
        """Whether the value is in the bounds; NaN never is."""
        above = self.at_least is None or self.value >= self.at_least
        below = self.at_most is None or self.value <= self.at_most
        return above and below and self.value == self.value

    @property
    def bounds(self) -> str:
        """The bounds in words: ``at least 0.97``."""
        bounds = {"at least": self.at_least, "at most": self.at_most}
        return ", ".join(f"{k} {v:g}" for k, v in bounds.items() if v is not None)


@dataclass(frozen=True)
class Result:
    """What an example leaves: figures, a picture, and the graph that it trained."""

    bars: Sequence[Bar]
    picture: Any
    """A figure of matplotlib."""
    graph: gg.Variable
    """What is drawn: a loss, or an output."""
    parameters: Sequence[gg.Variable]
    """What its gradients are drawn with respect to."""


def figure(rows: int = 1, columns: int = 1, size: tuple[float, float] = (8, 4)) -> Any:
    """Return a new figure of matplotlib, and its axes as an array of two dimensions."""
    from matplotlib.figure import Figure

    drawn = Figure(figsize=size, dpi=100, layout="constrained")
    return drawn, drawn.subplots(rows, columns, squeeze=False)


def show_image(axes: Any, image: Any, title: str = "", **options: Any) -> None:
    """Show an array of two dimensions as a picture in grey, without ticks."""
    axes.imshow(image, **{"cmap": "gray_r", **options})
    axes.set_axis_off()
    axes.set_title(title, fontsize=9)


def start(main: Callable[[Options], Result]) -> None:
    """Run an example from the command line.

    Its bars are printed and its picture is written.  The exit status is 0 if all
    bars are met, and 1 if one is not, or if a package, a file or a device is missing:
    one line says which.
    """
    stem = Path(sys.modules[main.__module__].__file__ or "example").stem
    text = sys.modules[main.__module__].__doc__ or ""

    @click.command(help="\b\n" + text.replace("\n\n", "\n\n\b\n"))  # lines as they are
    @click.option("--full", is_flag=True, help="The long version.")
    @click.option("--quick", is_flag=True, help="Two steps of everything.")
    @click.option("--device", default="auto", show_default=True, help="cpu or cuda.")
    @click.option(
        "--data", type=click.Path(path_type=Path), help="Larger data, where used."
    )
    @click.option(
        "--out",
        type=click.Path(path_type=Path, file_okay=False),
        default=Path("runs", "examples"),
        show_default=True,
        help="The folder for the picture and the figures.",
    )
    @click.option("--draw", is_flag=True, help="Draw the graph too, as SVG.")
    def command(out: Path, draw: bool, **options: Any) -> None:
        begun = time.perf_counter()
        try:
            figure()  # without matplotlib, do not train first
            result = main(Options(**options))
            seconds = time.perf_counter() - begun
            _write(result, out, stem, seconds, options, draw)
        except ModuleNotFoundError as error:
            package = str(error.name).partition(".")[0]
            sys.exit(
                f"{stem}: the package {PACKAGES.get(package, package)} is needed; "
                'install it with: pip install "graphgpu[data,plot]"'
            )
        except WRONG as error:
            sys.exit(" ".join(f"{stem}: {error}".split()))
        print(f"{seconds:.1f} s; {out / stem}.png")
        if not options["quick"] and not all(bar.met for bar in result.bars):
            sys.exit(1)

    command()


def _write(
    result: Result,
    out: Path,
    stem: str,
    seconds: float,
    options: dict[str, Any],
    draw: bool,
) -> None:
    """Print the bars; write the picture, the figures and, if asked, the graphs."""
    for bar in result.bars:
        verdict = "" if options["quick"] or bar.met else "   NOT MET"
        print(f"{bar.what}: {bar.value:.6g} ({bar.bounds}){verdict}")
    out.mkdir(parents=True, exist_ok=True)
    result.picture.savefig(out / f"{stem}.png")
    bars = [
        {
            "what": bar.what,
            "value": float(bar.value),
            "bounds": bar.bounds,
            "met": bool(options["quick"] or bar.met),
        }
        for bar in result.bars
    ]
    met = all(bar["met"] for bar in bars)
    report = {"bars": bars, "met": met, "seconds": round(seconds, 1)}
    (out / f"{stem}.json").write_text(json.dumps(report, indent=1), encoding="utf-8")
    if draw:
        slopes = gg.gradients(result.graph, list(result.parameters))
        drawings = {stem: result.graph, f"{stem}_gradients": [result.graph, *slopes]}
        for name, graph in drawings.items():
            gg.draw.write(graph, out / f"{name}.svg", style="compact", max_nodes=120)
