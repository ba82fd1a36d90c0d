"""The command line: ``graphgpu train | draw | bench | doctor``."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from graphgpu import __version__, doctor
from graphgpu.backends import select
from graphgpu.bytesize import format_bytes
from graphgpu.draw import to_dot, write
from graphgpu.errors import GraphGPUError, InputError
from graphgpu.graph import Graph, Variable
from graphgpu.rewrite import PRECISIONS
from graphgpu.train import RECIPES, build, run
from graphgpu.train.speed import NETS, measure

__all__ = ["main"]


class _Commands(click.Group):
    """A group whose commands turn the library's errors into one line."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except GraphGPUError as error:
            raise click.ClickException(str(error)) from error


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="graphgpu")
def main() -> None:
    """Define a graph, differentiate it into more graph, and train it."""


_on_device = click.option(
    "--device",
    default="auto",
    show_default=True,
    help="cpu, cuda, cuda:1, ...; auto takes a GPU that works, or else the CPU.",
)
_in_precision = click.option(
    "--precision",
    type=click.Choice(PRECISIONS),
    default="float32",
    show_default=True,
    help="Of products and convolutions; float16 scales the loss in training.",
)


@main.command()
@click.argument("recipe", type=click.Choice(list(RECIPES)))
@click.option(
    "--data",
    type=click.Path(path_type=Path),
    help="The folder or file with the data; without it, it is downloaded.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="The run folder.  [default: runs/RECIPE-1, -2, ...]",
)
@click.option("--epochs", type=click.IntRange(min=1), help="Instead of the recipe's.")
@click.option(
    "--patience",
    type=click.IntRange(min=1),
    help="Stop after so many epochs without a lower held-out loss, and keep the best.",
)
@click.option("--seed", type=click.IntRange(0, 2**63 - 1), default=0, show_default=True)
@_on_device
@_in_precision
@click.option(
    "--deterministic/--no-deterministic",
    default=True,
    show_default=True,
    help="Whether a GPU keeps to what gives the same bits every time.",
)
def train(
    recipe: str,
    data: Path | None,
    out: Path | None,
    epochs: int | None,
    patience: int | None,
    seed: int,
    device: str,
    precision: str,
    deterministic: bool,
) -> None:
    """Train a convolutional net on real images and leave a run folder.

    RECIPE is digits (scikit-learn's 1,797 digits; nothing to download), mnist
    or cifar10.  Ctrl-C ends training early and saves what was learned.
    """
    history = run(
        RECIPES[recipe],
        data=data,
        out=out,
        epochs=epochs,
        seed=seed,
        device=device,
        console=Console(),
        precision=precision,
        deterministic=deterministic,
        patience=patience,
    )
    if history.interrupted:
        sys.exit(130)


@main.command()
@click.argument("target")
@click.option(
    "-o",
    "--out",
    type=click.Path(path_type=Path),
    help="A .svg, .png, .pdf or .dot file; without it DOT is printed.",
)
@click.option(
    "--style",
    type=click.Choice(["book", "compact"]),
    default="compact",
    show_default=True,
)
@click.option("--forward", is_flag=True, help="The model alone, without its training.")
def draw(target: str, out: Path | None, style: str, forward: bool) -> None:
    """Draw a graph.

    TARGET is a recipe, whose training step is drawn, or FILE.py:NAME, where
    NAME is a variable, a list of variables or a graph that the file makes.
    """
    graph = _recipe_graph(target, forward) if target in RECIPES else _graph_in(target)
    if out is None:
        click.echo(to_dot(graph, style=style))
        return
    write(graph, out, style=style)
    click.echo(f"{len(graph)} variables drawn in {out}")


@main.command()
@click.argument("nets", nargs=-1, type=click.Choice(list(NETS)))
@_on_device
@_in_precision
@click.option("--batch", type=click.IntRange(min=1), help="Instead of the net's.")
@click.option(
    "--seconds",
    type=click.FloatRange(min=0),
    default=2.0,
    show_default=True,
    help="For each net, about.",
)
def bench(
    nets: tuple[str, ...],
    device: str,
    precision: str,
    batch: int | None,
    seconds: float,
) -> None:
    """Time training steps of bundled nets on this machine.

    A step is forward, backward and an update, on random images that come from the
    host.  NETS are those to be timed; all but resnet50, if none is named.
    tools/bench.py of the source tree measures the same side by side with PyTorch
    and JAX.
    """
    target = select(device)
    console = Console()
    title = f"A training step in {precision} on {target.name}, graphgpu {__version__}"
    result = Table(title=title, title_justify="left")
    result.add_column("net", no_wrap=True)
    for heading in ("batch", "ms", "images/s", "first result", "peak memory"):
        result.add_column(heading, justify="right")
    for name in nets or [name for name in NETS if name != "resnet50"]:
        with console.status(f"timing {name}"):
            speed = measure(
                name, device=target, precision=precision, batch=batch, seconds=seconds
            )
        result.add_row(
            name,
            str(speed.batch),
            f"{1e3 * speed.step:.3g}",
            f"{speed.images_per_second:,.0f}",
            f"{speed.first:.2f} s",
            format_bytes(speed.peak_bytes),
        )
    console.print(result)


@main.command("doctor")
def doctor_command() -> None:
    """Show versions, CPU, BLAS and GPU, what is missing and how to get it."""
    Console().print(doctor.table(doctor.examine(__version__)))


def _recipe_graph(name: str, forward: bool) -> Graph:
    recipe = RECIPES[name]
    classifier = build(recipe, recipe.image_shape, 10, steps=1000, seed=0, device="cpu")
    return classifier.forward if forward else classifier.graph


def _graph_in(target: str) -> Graph:
    """Return the graph that a Python file makes."""
    file, _, name = target.rpartition(":")
    if not file or not name:
        raise InputError(
            f"expected a recipe ({', '.join(RECIPES)}) or FILE.py:NAME; got {target!r}"
        )
    path = Path(file)
    if not path.is_file():
        raise InputError(f"there is no file {path}")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise InputError(f"{path} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    if not hasattr(module, name):
        raise InputError(f"{path} defines no {name!r}")
    value = getattr(module, name)
    if isinstance(value, Graph):
        return value
    if isinstance(value, Variable):
        return Graph(value)
    if not isinstance(value, list | tuple):
        raise InputError(
            f"{name!r} in {path} is {value!r}; expected a graph, a variable or a list "
            "of variables"
        )
    return Graph(value)
