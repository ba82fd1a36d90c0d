"""Training a classifier of images: two programs that share their parameters."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from graphgpu import nn
from graphgpu.data import Dataset, batches
from graphgpu.executor import Program, compile
from graphgpu.graph import Graph, Stored, Variable, placeholder, root_scope, scope
from graphgpu.ops import argmax, cast, cross_entropy, equal, state_updates
from graphgpu.ops import sum as sum_
from graphgpu.optim import SGD
from graphgpu.optim.schedules import one_cycle
from graphgpu.train.augment import augment
from graphgpu.train.history import Epoch, History
from graphgpu.train.progress import Display
from graphgpu.train.recipes import ImageShape, Recipe

__all__ = ["Classifier", "build", "fit"]


@dataclass(frozen=True, slots=True, eq=False)
class Classifier:
    """A model, its training step and its evaluation.

    ``train`` takes images and labels and returns loss and the number that were
    right; ``evaluate`` the same without learning, with the loss summed.
    ``graph`` is that of the training step, updates included; ``forward`` that
    of the scores in inference.
    """

    model: nn.Sequential
    train: Program
    evaluate: Program
    graph: Graph
    forward: Graph

    def learn(
        self, recipe: Recipe, images: NDArray[Any], labels: NDArray[Any]
    ) -> tuple[float, int]:
        """Take one training step; return the mean loss and how many were right."""
        program = self.train
        shown = augment(
            images,
            seed=program.seed,
            step=program.step,
            shift=recipe.shift,
            flip=recipe.flip,
        )
        loss, right = program(shown, labels)
        return float(loss), int(right)

    def measure(
        self, images: NDArray[Any], labels: NDArray[Any]
    ) -> tuple[float, float]:
        """Return the mean loss and the accuracy over images not trained on."""
        size = 256
        total, right = 0.0, 0
        for first in range(0, len(images), size):
            part = slice(first, first + size)
            loss, correct = self.evaluate(images[part], labels[part])
            total += float(loss)
            right += int(correct)
        return total / len(images), right / len(images)


def build(
    recipe: Recipe,
    image_shape: ImageShape,
    classes: int,
    *,
    steps: int,
    seed: int,
    device: str,
) -> Classifier:
    """Return the classifier of a recipe, freshly initialised from the seed.

    ``steps`` is the length of the learning rate's schedule.
    """
    with root_scope(seed):
        model = recipe.model(image_shape, classes)
        images = placeholder("images", ("batch", *image_shape))
        labels = placeholder("labels", ("batch",), "int64")
        scores = model(images, training=True)
        with scope("loss"):
            loss = cross_entropy(scores, labels).named("loss")
            right = sum_(cast(equal(argmax(scores, 1), labels), "int64"))
        optimiser = SGD(
            lambda step: one_cycle(step, recipe.peak_lr, steps),
            momentum=0.9,
            nesterov=True,
            weight_decay=recipe.weight_decay,
        )
        updates: dict[Stored, Variable] = {
            **optimiser.updates(loss, model.parameters()),
            **state_updates(scores),
        }
        test_scores = model(images, training=False)
        test_loss = cross_entropy(test_scores, labels, reduction="sum")
        test_right = sum_(cast(equal(argmax(test_scores, 1), labels), "int64"))
    inputs = [images, labels]
    return Classifier(
        model,
        compile(inputs, [loss, right], updates, device=device, seed=seed),
        compile(inputs, [test_loss, test_right], device=device, seed=seed),
        Graph([loss, *updates.values()]),
        Graph(test_scores),
    )


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
) -> None:
    """Train for some epochs, adding to the history; ``stop`` may end it early.

    ``stop`` is asked after every step, so a run that is stopped ends with whole
    steps; an epoch that was cut short is not part of the history.
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
        loss, accuracy = 0.0, 0.0
        seen = 0
        for images, labels in shuffled:
            batch_loss, right = classifier.learn(recipe, images, labels)
            seen += len(labels)
            loss += (batch_loss - loss) * len(labels) / seen
            accuracy += (right / len(labels) - accuracy) * len(labels) / seen
            display.batch(epoch, loss, accuracy, len(labels))
            if stop():
                history.interrupted = True
                return
        seconds = time.perf_counter() - start
        held_out = classifier.measure(data.test_images, data.test_labels)
        figures = Epoch(epoch, loss, accuracy, *held_out, seen / seconds, seconds)
        history.epochs.append(figures)
        display.epoch(figures)
