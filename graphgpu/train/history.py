"""What a training run measured, epoch by epoch."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from graphgpu.optional import load_optional

__all__ = ["Epoch", "History"]


@dataclass(frozen=True, slots=True)
class Epoch:
    """The figures of one epoch; accuracies are fractions, ``seconds`` wall time.

    ``train_loss`` and ``train_accuracy`` are means over the epoch's minibatches
    as they were trained on; the held-out figures were taken after the epoch.
    ``skipped_steps`` did nothing, because scaled gradients overflowed.
    """

    epoch: int
    train_loss: float
    train_accuracy: float
    test_loss: float
    test_accuracy: float
    images_per_second: float
    seconds: float
    skipped_steps: int = 0


@dataclass(slots=True)
class History:
    """All epochs of a run, and what would repeat it.

    ``kept_epoch`` is the one whose parameters early stopping put back.
    """

    settings: dict[str, Any]
    epochs: list[Epoch] = field(default_factory=list)
    interrupted: bool = False
    kept_epoch: int | None = None

    def to_json(self) -> str:
        """Return the history as JSON."""
        content = {
            "settings": self.settings,
            "interrupted": self.interrupted,
            "kept_epoch": self.kept_epoch,
            "epochs": [dataclasses.asdict(e) for e in self.epochs],
        }
        return json.dumps(content, indent=2) + "\n"

    def plot(self, path: Path) -> None:
        """Draw loss and accuracy over the epochs into a PNG file.

        Raises
        ------
        MissingDependencyError
            Matplotlib is not installed.
        """
        figure_module = load_optional(
            "matplotlib.figure", "matplotlib", "curves.png", extra="plot"
        )
        figure = figure_module.Figure(figsize=(8, 3.2), layout="constrained")
        left, right = figure.subplots(1, 2)
        count = [e.epoch for e in self.epochs]
        _lines(left, count, "loss", self._column("loss"))
        _lines(right, count, "accuracy", self._column("accuracy"))
        left.set_yscale("log")
        figure.savefig(path, dpi=130, metadata={"Software": None})

    def _column(self, name: str) -> dict[str, list[float]]:
        return {
            "training": [getattr(e, f"train_{name}") for e in self.epochs],
            "held out": [getattr(e, f"test_{name}") for e in self.epochs],
        }


def _lines(
    axes: Any, count: Sequence[int], name: str, series: dict[str, list[float]]
) -> None:
    for style, (label, values) in zip(("-", "--"), series.items(), strict=True):
        axes.plot(count, values, style, label=label, marker=".")
    axes.set_xlabel("epoch")
    axes.set_ylabel(name)
    axes.grid(alpha=0.3)
    axes.legend()
