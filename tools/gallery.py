"""Run the examples, print the table of bars and results, and keep the gallery.

    python tools/gallery.py              # all, in default size, on the CPU or a GPU
    python tools/gallery.py 17 gan       # some, by number or by part of the name
    python tools/gallery.py --update     # also: pictures, drawings, examples/README.md

The exit status is the number of examples that failed or missed a bar.
"""

from __future__ import annotations

import ast
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.markup import escape
from rich.table import Table

ROOT = Path(__file__).resolve().parent.parent
EXAMPLES = ROOT / "examples"
PICTURES = EXAMPLES / "pictures"
MEASURED = PICTURES / "measured.json"
"""What the last ``--update`` measured, example by example."""
README = EXAMPLES / "README.md"
BEGIN, END = "<!-- gallery: python tools/gallery.py --update -->", "<!-- end -->"


def examples(wanted: tuple[str, ...] = ()) -> list[Path]:
    """Return the files of the examples, all or those whose names hold a word given."""
    paths = sorted(EXAMPLES.glob("[0-9][0-9]_*.py"))
    return [p for p in paths if not wanted or any(word in p.stem for word in wanted)]


def is_system(path: Path) -> bool:
    """Whether an example has bars; the others print what tests/worked/ asserts."""
    return "start(main)" in path.read_text(encoding="utf-8")


def title(path: Path) -> str:
    """Return the first line of an example's docstring, without its full stop."""
    text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    return text.splitlines()[0].removesuffix(".")


def run(path: Path, out: Path, options: list[str]) -> dict[str, Any]:
    """Run one example; return its bars, seconds, and whether all went well."""
    report = out / f"{path.stem}.json"
    report.unlink(missing_ok=True)
    command = [sys.executable, str(path)]
    if is_system(path):
        command += ["--out", str(out), *options]
    begun = time.perf_counter()
    environment = {**os.environ, "PYTHONIOENCODING": "utf-8"}
    done = subprocess.run(
        command,
        cwd=ROOT,
        env=environment,
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    seconds = time.perf_counter() - begun
    bars: list[dict[str, Any]] = []
    if report.exists():
        bars = json.loads(report.read_text(encoding="utf-8"))["bars"]
    lines = done.stderr.strip().splitlines()
    error = lines[-1] if done.returncode and lines else ""
    return {
        "bars": bars,
        "met": done.returncode == 0,
        "seconds": round(seconds, 1),
        "error": error,
    }


def print_table(console: Console, results: dict[str, dict[str, Any]]) -> None:
    """Print one line for every bar."""
    table = Table("example", "bar", "measured", "wanted", "", "seconds")
    for stem, result in results.items():
        rows = result["bars"] or [{"what": result["error"] or "runs"}]
        for i, bar in enumerate(rows):
            value = f"{bar['value']:.6g}" if "value" in bar else ""
            failed = "NOT MET" if result["bars"] else "NOT RUN"
            verdict = "ok" if bar.get("met", result["met"]) else failed
            seconds = f"{result['seconds']:.1f}" if i == 0 else ""
            name = stem if i == 0 else ""
            bounds = bar.get("bounds", "")
            table.add_row(name, escape(bar["what"]), value, bounds, verdict, seconds)
    console.print(table)


def keep(stem: str, out: Path) -> None:
    """Copy an example's picture and drawings into the gallery."""
    PICTURES.mkdir(exist_ok=True)
    for name in (f"{stem}.png", f"{stem}.svg", f"{stem}_gradients.svg"):
        shutil.copyfile(out / name, PICTURES / name)


def cell(lines: Iterable[str]) -> str:
    """Return lines as a cell of a table in Markdown."""
    return "<br>".join(lines).replace("|", "\\|")


def gallery(measured: dict[str, dict[str, Any]]) -> str:
    """Return the generated part of examples/README.md."""
    rows = [
        "| | system | bar | wanted | measured | seconds |",
        "|---|---|---|---|---|---|",
    ]
    shown = []
    for path in examples():
        if path.stem not in measured:
            continue
        stem, result = path.stem, measured[path.stem]
        bars = result["bars"]
        rows.append(
            f"| [{stem[:2]}]({path.name}) | {title(path)} "
            f"| {cell(bar['what'] for bar in bars)} "
            f"| {cell(bar['bounds'] for bar in bars)} "
            f"| {cell(format(bar['value'], '.4g') for bar in bars)} "
            f"| {result['seconds']:.0f} |"
        )
        shown += [
            f"### {stem[:2]} {title(path)}",
            f"[{path.name}]({path.name}) · drawn: [forward](pictures/{stem}.svg), "
            f"[with gradients](pictures/{stem}_gradients.svg)",
            f"![{title(path)}](pictures/{stem}.png)",
        ]
    return "\n\n".join(["\n".join(rows), *shown])


def update_readme(measured: dict[str, dict[str, Any]]) -> None:
    """Write the measured figures, and the gallery made of them."""
    MEASURED.write_text(json.dumps(measured, indent=1) + "\n", encoding="utf-8")
    text = README.read_text(encoding="utf-8")
    part = re.compile(f"{re.escape(BEGIN)}.*{re.escape(END)}", re.DOTALL)
    made = f"{BEGIN}\n\n{gallery(measured)}\n\n{END}"
    README.write_text(part.sub(lambda _: made, text), encoding="utf-8")


def load_measured() -> dict[str, dict[str, Any]]:
    """Return what was measured last, of examples that there are."""
    if not MEASURED.exists():
        return {}
    kept: dict[str, dict[str, Any]] = json.loads(MEASURED.read_text(encoding="utf-8"))
    stems = {path.stem for path in examples()}
    return {stem: result for stem, result in kept.items() if stem in stems}


@click.command(help="\b\n" + __doc__.replace("\n\n", "\n\n\b\n"))
@click.argument("wanted", nargs=-1)
@click.option("--full", is_flag=True, help="The long versions.")
@click.option("--quick", is_flag=True, help="Two steps of everything.")
@click.option("--device", default="auto", show_default=True)
@click.option("--data", type=click.Path(), help="A folder of MNIST and CIFAR-10.")
@click.option("--update", is_flag=True, help="Keep pictures and figures.")
def main(
    wanted: tuple[str, ...],
    full: bool,
    quick: bool,
    device: str,
    data: str | None,
    update: bool,
) -> None:
    """Run examples one after another."""
    if update and (full or quick):
        raise click.UsageError("the gallery shows the default size: --update alone")
    paths = examples(wanted)
    if not paths:
        raise click.UsageError(f"no example matches {', '.join(wanted)}")
    chosen = {"--full": full, "--quick": quick, "--draw": update}
    options = [flag for flag, on in chosen.items() if on] + ["--device", device]
    options += ["--data", data] if data else []
    out = ROOT / "build" / "gallery"
    console, results = Console(), {}
    for path in paths:
        results[path.stem] = result = run(path, out, options)
        verdict = "ok" if result["met"] else f"FAILED {result['error']}"
        line = f"{path.stem}: {result['seconds']:.1f} s {verdict}"
        console.print(line, markup=False, highlight=False)
        if update and result["met"] and is_system(path):
            keep(path.stem, out)
    print_table(console, results)
    if update:
        good = {s: r for s, r in results.items() if r["met"] and r["bars"]}
        update_readme(dict(sorted({**load_measured(), **good}.items())))
    sys.exit(sum(not result["met"] for result in results.values()))


if __name__ == "__main__":
    main()
