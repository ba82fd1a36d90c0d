"""Early stopping: training ends when what is watched no longer improves."""

from __future__ import annotations

from collections.abc import Sequence
from math import isnan
from typing import Any, Literal, final

from graphgpu.dtypes import Array
from graphgpu.errors import GraphError
from graphgpu.graph import Stored
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
        self.best: float | None = None
        """The best measurement; None before the first that is a number."""
        self.measured = 0
        """How many measurements there were."""
        self.best_at = 0
        """Which of them was the best, counted from 1; 0 if there is none."""
        self._values: dict[Stored, Array] = {}
        _stored(kept)

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
        self.measured += 1
        if self._is_better(value):
            self.best, self.best_at = value, self.measured
            self._values = {stored: stored.value for stored in _stored(self.kept)}
        return self.stopped

    def restore(self) -> None:
        """Set what is kept to its values at the best measurement, if there was one."""
        for stored, value in self._values.items():
            stored.value = value

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
