"""Training a classifier of images: two programs that share their parameters."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from graphgpu import nn
from graphgpu.backends import Device, asnumpy
from graphgpu.compiling import compile
from graphgpu.data import Dataset, augment, batches
from graphgpu.executor import Program
from graphgpu.graph import Graph, State, Variable, placeholder, root_scope, scope
from graphgpu.ops import argmax, cast, cross_entropy, equal, state_updates
from graphgpu.ops import sum as sum_
from graphgpu.optim import SGD
from graphgpu.optim.schedules import one_cycle
from graphgpu.train.early_stopping import EarlyStopping
from graphgpu.train.history import Epoch, History
from graphgpu.train.progress import Display
from graphgpu.train.recipes import ImageShape, Recipe

__all__ = ["Classifier", "build", "fit"]

_UNREAD = 16
"""Steps whose results may lie on a device."""


@dataclass(frozen=True, slots=True, eq=False)
class Classifier:
    """A model, its training step and its evaluation.

    ``train`` takes images and labels and returns loss and the number that were
    right; ``evaluate`` the same without learning, with the loss summed.
    ``skipped`` counts the training steps that were skipped, if the loss is scaled.
    ``graph`` is that of the training step, updates included; ``forward`` that
    of the scores in inference.
    """

    model: nn.Sequential
    train: Program
    evaluate: Program
    graph: Graph
    forward: Graph
    skipped: State | None = None

    @property
    def skipped_steps(self) -> int:
        """How many training steps were skipped so far."""
        return 0 if self.skipped is None else int(self.skipped.value)

    def learn(
        self, recipe: Recipe, images: NDArray[Any], labels: NDArray[Any]
    ) -> tuple[Any, Any]:
        """Take one training step; return the mean loss and how many were right.

        They are as the program returns them: reading them waits for the device.
        """
        program = self.train
        shown = augment(
            images,
            seed=program.seed,
            step=program.step,
            shift=recipe.shift,
            flip=recipe.flip,
        )
        loss, right = program(shown, labels)
        return loss, right

    def measure(
        self, images: NDArray[Any], labels: NDArray[Any]
    ) -> tuple[float, float]:
        """Return the mean loss and the accuracy over images not trained on."""
        size = 256
        found = []
        for first in range(0, len(images), size):
            part = slice(first, first + size)
            found.append(self.evaluate(images[part], labels[part]))
        total = sum(float(asnumpy(loss)) for loss, _ in found)
        right = sum(int(asnumpy(correct)) for _, correct in found)
        return total / len(images), right / len(images)


@dataclass(slots=True)
class _Means:
    """Mean loss and accuracy of an epoch so far.

    Results that lie on a device are read some steps late, several at once: it need
    not wait for the host then.
    """

    display: Display
    epoch: int
    loss: float = 0.0
    accuracy: float = 0.0
    seen: int = 0
    unread: list[tuple[Any, Any, int]] = field(default_factory=list)

    def add(self, loss: Any, right: Any, count: int) -> None:
        """Add a step's results."""
        self.unread.append((loss, right, count))
        if isinstance(loss, np.ndarray) or len(self.unread) == _UNREAD:
            self.read()

    def read(self) -> None:
        """Read and show what was not read yet."""
        for loss, right, count in self.unread:
            self.seen += count
            share = count / self.seen
            self.loss += (float(asnumpy(loss)) - self.loss) * share
            self.accuracy += (int(asnumpy(right)) / count - self.accuracy) * share
            self.display.batch(self.epoch, self.loss, self.accuracy, count)
        self.unread.clear()


def build(
    recipe: Recipe,
    image_shape: ImageShape,
    classes: int,
    *,
    steps: int,
    seed: int,
    device: str | Device,
    precision: str = "float32",
    deterministic: bool = True,
) -> Classifier:
    """Return the classifier of a recipe, freshly initialised from the seed.

    ``steps`` is the length of the learning rate's schedule.  In float16 the loss is
    scaled, and a step that overflows is skipped, its running statistics too.
    """
    scaled = precision == "float16"
    with root_scope(seed):
        model = recipe.model(image_shape, classes)
        images = placeholder("images", ("batch", *image_shape))
        labels = placeholder("labels", ("batch",), "int64")
        scores = model(images, training=True)
        with scope("loss"):
            loss = cross_entropy(scores, labels).named("loss")
            right = _right(scores, labels)
        optimiser = SGD(
            lambda step: one_cycle(step, recipe.peak_lr, steps),
            momentum=0.9,
            nesterov=True,
            weight_decay=recipe.weight_decay,
        )
        updates = optimiser.updates(
            loss,
            model.parameters(),
            loss_scale="dynamic" if scaled else None,
            also=state_updates(scores),
        )
        test_scores = model(images, training=False)
        test_loss = cross_entropy(test_scores, labels, reduction="sum")
        test_right = _right(test_scores, labels)
    inputs = [images, labels]
    chosen = partial(compile, device=device, deterministic=deterministic)
    compiled = partial(chosen, seed=seed, precision=precision)
    return Classifier(
        model,
        compiled(inputs, [loss, right], updates),
        compiled(inputs, [test_loss, test_right]),
        Graph([loss, *updates.values()]),
        Graph(test_scores),
        optimiser.skipped_steps if scaled else None,
    )


def _right(scores: Variable, labels: Variable) -> Variable:
    """Return how many of the largest scores are the labels'."""
    return sum_(cast(equal(argmax(scores, 1), labels), "int64"))


def fit(
    classifier: Classifier,
    recipe: Recipe,
    data: Dataset,
    history: History,
    display: Display,
    *,
    epochs: int,
    seed: int,
    stop: Callable[[], bool] = lambda: False,
    early_stopping: EarlyStopping | None = None,
) -> None:
    """Train for some epochs, adding to the history; ``stop`` may end it early.

    ``stop`` is asked after every step, so a run that is stopped ends with whole
    steps; an epoch that was cut short is not part of the history.
    ``early_stopping`` is given the held-out loss after every epoch, and puts the best
    parameters back at the end.
    """
    for epoch in range(1, epochs + 1):
        start = time.perf_counter()
        shuffled = batches(
            data.train_images,
            data.train_labels,
            recipe.batch_size,
            seed=seed,
            epoch=epoch,
        )
        means = _Means(display, epoch)
        skipped = classifier.skipped_steps
        for images, labels in shuffled:
            means.add(*classifier.learn(recipe, images, labels), len(labels))
            if stop():
                history.interrupted = True
                break
        means.read()
        if history.interrupted:
            break
        seconds = time.perf_counter() - start
        held_out = classifier.measure(data.test_images, data.test_labels)
        skipped = classifier.skipped_steps - skipped
        trained = means.loss, means.accuracy
        rate = means.seen / seconds
        figures = Epoch(epoch, *trained, *held_out, rate, seconds, skipped)
        history.epochs.append(figures)
        display.epoch(figures)
        if early_stopping and early_stopping.update(figures.test_loss):
            break
    if early_stopping:
        early_stopping.restore()
        history.kept_epoch = early_stopping.best_at or None
