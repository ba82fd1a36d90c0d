"""Early stopping: training ends when what is watched no longer improves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import isnan
from typing import Any, Literal, final

import numpy as np

from graphgpu.errors import GraphError
from graphgpu.graph import State, Stored, current, inside, state
from graphgpu.optim.hyperparameters import at_least_zero, count
from graphgpu.saving import HasParameters, HasStates, stored_of

__all__ = ["EarlyStopping"]


@final
class EarlyStopping:
    """Says when to stop, and puts back the best parameters.

    *Deep Learning*, section 7.8 and algorithm 7.1.  After each epoch, or whenever the
    model is measured on data that it does not learn from, :meth:`update` is given what
    was measured.  A measurement is better than the best so far by more than
    ``min_delta``, or it is not; NaN is not.  After ``patience`` in a row that are not,
    it is time to stop.  :meth:`restore` sets what is kept back to its values at the
    best measurement.

    A run that is to be resumed saves it with the rest, ``gg.save(path, model,
    optimiser, stopping)``: its state is ``early_stopping/best``, ``best_at`` and
    ``measured``, and ``<path>/best`` of what is kept.

    Parameters
    ----------
    kept
        Layers and optimisers, for all that they have, parameters and states, and
        lists of those.
    patience
        How many measurements in a row may be no better.
    min_delta
        What is no improvement yet.
    mode
        ``"min"`` for losses, ``"max"`` for accuracies.

    Raises
    ------
    GraphError
        The patience is no int above 0, ``min_delta`` is negative, the mode is another,
        or something is kept that has no parameters and no states.

    Examples
    --------
    >>> import graphgpu as gg
    >>> from graphgpu.train import EarlyStopping
    >>> w = gg.parameter("w", 0.0)
    >>> stopping = EarlyStopping(w, patience=2)
    >>> for epoch, loss in enumerate([3.0, 1.0, 2.0, 1.5, 0.5]):
    ...     w.value = epoch
    ...     if stopping.update(loss):
    ...         break
    >>> stopping.restore()
    >>> epoch, float(w.value), stopping.best
    (3, 1.0, 1.0)
    """

    def __init__(
        self,
        *kept: Stored | HasParameters | HasStates | Sequence[Any],
        patience: int = 5,
        min_delta: float = 0.0,
        mode: Literal["min", "max"] = "min",
    ) -> None:
        if mode not in ("min", "max"):
            raise GraphError(f"expected mode 'min' or 'max'; got {mode!r}")
        self.kept = kept
        self.patience = count("patience", patience)
        self.min_delta = at_least_zero("min_delta", min_delta)
        self.mode = mode
        with inside(replace(current(), path="early_stopping")):
            self._best = state("best", np.float64("nan"))
            self._best_at = state("best_at", 0)
            self._measured = state("measured", 0)
        self._copies: dict[Stored, State] = {}
        _stored(kept)

    @property
    def best(self) -> float | None:
        """The best measurement; None before the first that is a number."""
        return float(self._best.value) if self.best_at else None

    @property
    def best_at(self) -> int:
        """Which measurement was the best, counted from 1; 0 if there is none."""
        return int(self._best_at.value)

    @property
    def measured(self) -> int:
        """How many measurements there were."""
        return int(self._measured.value)

    def states(self) -> list[State]:
        """Return what there is to be saved: the counts, and the best values."""
        copies = [self._copy_of(stored) for stored in _stored(self.kept)]
        return [self._best, self._best_at, self._measured, *copies]

    @property
    def stopped(self) -> bool:
        """Whether it is time to stop."""
        return self.measured - self.best_at >= self.patience

    def update(self, measured: float) -> bool:
        """Take note of a measurement; return whether it is time to stop.

        Raises
        ------
        GraphError
            The measurement is no number.
        """
        value = _number(measured)
        better = self._is_better(value)
        self._measured.value = self.measured + 1
        if better:
            self._best.value, self._best_at.value = value, self.measured
            for stored in _stored(self.kept):
                self._copy_of(stored).value = stored.value
        return self.stopped

    def restore(self) -> None:
        """Set what is kept to its values at the best measurement, if there was one."""
        if self.best_at:
            for stored, copy in self._copies.items():
                stored.value = copy.value

    def _copy_of(self, stored: Stored) -> State:
        """Return the state for its best value, which is made once."""
        if stored not in self._copies:
            with inside(replace(current(), path=stored.path)):
                self._copies[stored] = state("best", stored.value)
        return self._copies[stored]

    def _is_better(self, value: float) -> bool:
        if self.best is None:
            return not isnan(value)
        gain = self.best - value if self.mode == "min" else value - self.best
        return gain > self.min_delta


def _number(measured: Any) -> float:
    """Return a measurement as a float, or raise."""
    if not isinstance(measured, str | bytes):
        try:
            return float(measured)
        except (TypeError, ValueError):
            pass
    raise GraphError(
        "expected a measurement that is one number, such as float(losses.mean()); got "
        f"{measured!r}"
    )


def _stored(kept: tuple[Any, ...]) -> list[Stored]:
    """Return all parameters and states, each once."""
    found: list[Stored] = []
    for one in kept:
        if not isinstance(one, Stored | HasParameters | HasStates | list | tuple):
            raise GraphError(
                "expected layers, optimisers, parameters and states to be kept, or "
                f"lists of them; got {one!r}"
            )
        found += stored_of(one)
    return list(dict.fromkeys(found))
