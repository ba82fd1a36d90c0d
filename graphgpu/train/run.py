"""One training run from start to end: what ``graphgpu train`` does."""

from __future__ import annotations

import json
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import FrameType

from rich.console import Console

from graphgpu.data import Dataset
from graphgpu.draw import to_dot, write
from graphgpu.errors import InputError, MissingDependencyError
from graphgpu.graph import Graph
from graphgpu.saving import save
from graphgpu.train.classifier import Classifier, build, fit
from graphgpu.train.early_stopping import EarlyStopping
from graphgpu.train.history import History
from graphgpu.train.progress import Display
from graphgpu.train.recipes import Recipe
from graphgpu.train.run_folder import RunFolder

__all__ = ["run"]


def run(
    recipe: Recipe,
    *,
    data: Path | None,
    out: Path | None,
    epochs: int | None,
    seed: int,
    device: str,
    console: Console,
    precision: str = "float32",
    deterministic: bool = True,
    patience: int | None = None,
) -> History:
    """Train by a recipe and leave a run folder; return what was measured.

    The folder holds model.safetensors, history.json, curves.png, the graph of
    the training step as graph.dot and graph.svg, and the net alone as model.svg; and
    tuning.json, what a GPU chose by time, on which bits depend.
    With ``patience``, the run ends after so many epochs without a lower held-out loss,
    and the parameters of the epoch with the lowest are kept.
    Ctrl-C ends the run after the step in hand, and what was learned is saved all
    the same.

    Raises
    ------
    SaveError, DataError, DeviceError
        Before any work is done, where that can be known.
    """
    count = recipe.epochs if epochs is None else epochs
    _check(count, out)
    console.print(f"{recipe.name}: reading the images", soft_wrap=True)
    dataset = recipe.load(data)
    steps = count * -(-len(dataset.train_images) // recipe.batch_size)
    classifier = build(
        recipe,
        dataset.image_shape,
        len(dataset.classes),
        steps=steps,
        seed=seed,
        device=device,
        precision=precision,
        deterministic=deterministic,
    )
    folder = RunFolder(out) if out else RunFolder.next_free(Path("runs"), recipe.name)
    _introduce(recipe, dataset, classifier, console)
    settings = {"recipe": recipe.name, "epochs": count, "seed": seed}
    settings |= {"device": classifier.train.device.name, "precision": precision}
    settings |= {"deterministic": deterministic, "patience": patience}
    history = History(settings)
    with _interruptible() as stop, Display(console, steps) as display:
        fit(
            classifier,
            recipe,
            dataset,
            history,
            display,
            epochs=count,
            seed=seed,
            stop=stop,
            early_stopping=_early_stopping(classifier, patience),
        )
    _leave(folder, recipe, classifier, history, console)
    return history


def _check(epochs: int, out: Path | None) -> None:
    """Refuse what can be known to fail before the images are read."""
    if epochs < 1:
        raise InputError(f"expected at least one epoch; got {epochs}")
    if out:
        RunFolder.require_empty(out)


def _early_stopping(
    classifier: Classifier, patience: int | None
) -> EarlyStopping | None:
    if patience is None:
        return None
    return EarlyStopping(classifier.model, patience=patience)


def _introduce(
    recipe: Recipe, data: Dataset, classifier: Classifier, console: Console
) -> None:
    parameters = classifier.model.parameters()
    console.print(
        f"{recipe.name}: {len(data.train_images):,} images to train on, "
        f"{len(data.test_images):,} held out; "
        f"{sum(p.storage.array.size for p in parameters):,} parameters; "
        f"a training step of {len(classifier.graph):,} variables; "
        f"device {classifier.train.device.name}",
        highlight=False,
        soft_wrap=True,
    )
    if data.note:
        console.print(data.note, highlight=False, soft_wrap=True)


def _leave(
    folder: RunFolder,
    recipe: Recipe,
    classifier: Classifier,
    history: History,
    console: Console,
) -> None:
    """Write the run folder, what was learned first, and say what is in it."""
    folder.replace("model.safetensors", lambda path: save(path, classifier.model))
    folder.write("history.json", history.to_json())
    if tuning := classifier.train.tuning():
        folder.write("tuning.json", json.dumps(tuning, indent=1) + "\n")
    if history.interrupted:
        console.print("interrupted; what was learned so far is saved")
    folder.write("graph.dot", to_dot(classifier.graph, style="compact"))
    for name, make in _pictures(folder, recipe, classifier, history).items():
        try:
            make()
        except MissingDependencyError as error:
            console.print(f"{name} was not made: {error}", soft_wrap=True)
    skipped = sum(e.skipped_steps for e in history.epochs)
    if skipped:
        console.print(
            f"steps skipped: {skipped}; their gradients overflowed in float16, and the "
            "loss scale was halved",
            highlight=False,
            soft_wrap=True,
        )
    if history.epochs:
        last = history.epochs[(history.kept_epoch or 0) - 1]
        if history.kept_epoch:
            console.print(f"kept the parameters of epoch {history.kept_epoch}")
        seconds = sum(e.seconds for e in history.epochs)
        console.print(
            f"held-out accuracy {last.test_accuracy:.2%} after {seconds:.1f} s of "
            "training",
            highlight=False,
            soft_wrap=True,
        )
    console.print(f"results in {folder.path}", highlight=False, soft_wrap=True)


def _pictures(
    folder: RunFolder, recipe: Recipe, classifier: Classifier, history: History
) -> dict[str, Callable[[], object]]:
    """Return what draws each picture of the folder; they need optional programs."""

    def drawing(name: str, graph: Graph, title: str) -> Callable[[], object]:
        return partial(write, graph, folder.path / name, style="compact", title=title)

    pictures = {
        "model.svg": drawing("model.svg", classifier.forward, f"{recipe.name}: net"),
        "graph.svg": drawing(
            "graph.svg", classifier.graph, f"{recipe.name}: training step"
        ),
    }
    if history.epochs:
        curves = partial(folder.replace, "curves.png", history.plot)
        pictures = {"curves.png": curves, **pictures}
    return pictures


@contextmanager
def _interruptible() -> Iterator[Callable[[], bool]]:
    """Turn the first Ctrl-C into a request to stop; a second one raises."""
    asked = threading.Event()

    def handle(number: int, frame: FrameType | None) -> None:
        if asked.is_set():
            raise KeyboardInterrupt
        asked.set()

    if threading.current_thread() is not threading.main_thread():
        yield asked.is_set
        return
    before = signal.signal(signal.SIGINT, handle)
    try:
        yield asked.is_set
    finally:
        signal.signal(signal.SIGINT, before)
