"""A stack of cells over sequences, in one direction or in both."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, TypeAlias

from graphgpu.control.scanning import scan
from graphgpu.dims import Size
from graphgpu.dtypes import DType
from graphgpu.errors import DTypeError, GraphError, ShapeError
from graphgpu.graph import Operand, Variable, as_variable, current, inside
from graphgpu.nn.layer import Layer
from graphgpu.nn.recurrent.cells import Cell, States
from graphgpu.ops.comparison import where
from graphgpu.ops.joining import concat, stack
from graphgpu.ops.noise import dropout
from graphgpu.ops.shape import expand_dims, moveaxis
from graphgpu.types import TensorType

__all__ = ["Recurrent", "State"]

State: TypeAlias = Variable | tuple[Variable, ...]


class Recurrent(Layer):
    """Layers of cells over sequences (batch, time, features). Abstract.

    The batch is first, and the outputs are (batch, time, hidden_size), of the last
    layer; twice as many features with two directions.  It is called with a sequence
    and, if they are not zeros, initial states (layers, batch, hidden_size), a
    direction being a layer of its own.

    Given ``mask=``, a bool (batch, time), a sequence goes on only where it is True:
    elsewhere states stay as they are, outputs are 0 and inputs are not looked at, so
    ragged sequences are padded at either end, with anything.

    Inputs are projected for all times in one product; the rest is one
    :func:`graphgpu.scan` for each layer and direction.
    """

    shown = ("input_size", "hidden_size", "num_layers", "bidirectional")

    cells: list[Cell]
    """Those of the first layer, forward and backward, then those of the second."""

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int,
        dropout: float,
        bidirectional: bool,
        truncate: int | None,
        checkpoint_every: int | None,
        name: str | None,
    ) -> None:
        super().__init__(name=name)
        self.input_size = self.positive("input_size", input_size)
        self.hidden_size = self.positive("hidden_size", hidden_size)
        self.num_layers = self.positive("num_layers", num_layers)
        self.bidirectional = bidirectional
        if not isinstance(dropout, int | float) or not 0 <= dropout <= 1:
            self.reject(f"expected dropout to be a number from 0 to 1, got {dropout!r}")
        self.dropout = float(dropout)
        if truncate is not None:
            truncate = self.positive("truncate", truncate)
        if checkpoint_every is not None:
            checkpoint_every = self.positive("checkpoint_every", checkpoint_every)
        self.truncate = truncate
        self.checkpoint_every = checkpoint_every

    @property
    def directions(self) -> int:
        """How many directions there are, 1 or 2."""
        return 2 if self.bidirectional else 1

    def input_sizes(self) -> list[int]:
        """Return how many features the inputs of each cell have."""
        first = [self.input_size] * self.directions
        later = [self.hidden_size * self.directions] * self.directions
        return first + later * (self.num_layers - 1)

    def forward(
        self,
        x: Variable,
        *initial: Variable,
        mask: Operand | None = None,
        states: bool = False,
        training: bool,
    ) -> Variable | tuple[Variable, State]:
        """Return the outputs of the last layer; and the last states, if wanted."""
        self._check(x, initial)
        sequence = moveaxis(x, 1, 0)
        kept = None
        if mask is not None:
            kept = self._time_first(x, as_variable(mask))
            sequence = where(kept, sequence, 0)  # 0 * NaN would be in gradients
        finals: list[States] = []
        for layer in range(self.num_layers):
            if layer and self.dropout:
                sequence = dropout(sequence, self.dropout, training)
            found = []
            for direction in range(self.directions):
                place = layer * self.directions + direction
                first = tuple(s[place] for s in initial)
                cell, reverse = self.cells[place], direction == 1
                last, outputs = self._along(
                    cell, sequence, first, kept, reverse, training
                )
                finals.append(last)
                found.append(outputs)
            sequence = found[0] if len(found) == 1 else concat(found, axis=-1)
        outputs = moveaxis(sequence, 0, 1)
        if not states:
            return outputs
        after = tuple(stack(parts) for parts in zip(*finals, strict=True))
        return outputs, after[0] if len(after) == 1 else after

    def unroll(
        self,
        x: Operand,
        initial: Operand | Sequence[Operand] | None = None,
        mask: Operand | None = None,
        *,
        training: bool = False,
    ) -> tuple[Variable, State]:
        """Return the outputs, and the states after the last time.

        The states, those that are returned and those that are given, are one array
        (layers, batch, hidden_size), or for an LSTM a tuple of two: h and c.  With a
        mask they are those of each sequence's own last step.
        """
        given = () if initial is None else initial
        several = given if isinstance(given, tuple | list) else (given,)
        found: tuple[Variable, State] = self(
            x, *several, mask=mask, states=True, training=training
        )
        return found

    def _along(
        self,
        cell: Cell,
        sequence: Variable,
        initial: States,
        mask: Variable | None,
        reverse: bool,
        training: bool,
    ) -> tuple[States, Variable]:
        """Return the last states and all outputs of a cell over a sequence."""
        with inside(replace(current(), path=cell.path)):
            bound = cell.bound(training)

            def step(before: States, projected: Variable, *on: Any) -> Any:
                after = bound.advance(projected, before)
                if not on:
                    return after, after[0]
                held = [where(on[0], a, b) for a, b in zip(after, before, strict=True)]
                return tuple(held), where(on[0], after[0], 0)

            projected = bound.project(sequence)
            if initial:
                _require_dtype(initial, projected.dtype)
            final, outputs = scan(
                step,
                initial or bound.start(projected.shape[1:-1], projected.dtype),
                (projected,) if mask is None else (projected, mask),
                reverse=reverse,
                truncate=self.truncate,
                checkpoint_every=self.checkpoint_every,
            )
        return final, outputs

    def _check(self, x: Variable, initial: Sequence[Variable]) -> None:
        """Require a sequence, and states for its batch, if there are any."""
        if x.ndim != 3:
            raise ShapeError("expected a sequence (batch, time, features)")
        self.require_size(x, -1, self.input_size, "features")
        names = self.cells[0].carries
        if len(initial) not in (0, len(names)):
            raise GraphError(
                f"expected {len(names)} initial states, {', '.join(names)}, or none; "
                f"got {len(initial)}"
            )
        wanted: tuple[Size, ...] = len(self.cells), x.shape[0], self.hidden_size
        for state in initial:
            if _surely_differ(state.shape, wanted):
                expected = TensorType(state.dtype, wanted)
                raise ShapeError(
                    "expected initial states (layers and directions, batch, "
                    f"hidden_size), {expected}; got {state.type}"
                )

    def _time_first(self, x: Variable, mask: Variable) -> Variable:
        """Return a mask (time, batch, 1)."""
        if mask.dtype != bool:
            raise DTypeError(
                f"expected a mask of bools, True where a sequence goes on, not "
                f"{mask.type}; compare, or use gg.cast(mask, 'bool')"
            )
        if _surely_differ(mask.shape, x.shape[:2]):
            expected = TensorType(mask.dtype, x.shape[:2])
            raise ShapeError(
                f"expected a mask (batch, time), {expected}, not {mask.type}"
            )
        return expand_dims(moveaxis(mask, 1, 0), -1)


def _surely_differ(shape: Sequence[Size], wanted: Sequence[Size]) -> bool:
    """Return whether shapes differ, whatever their named sizes are."""
    pairs = zip(shape, wanted, strict=False)
    return len(shape) != len(wanted) or any(
        a != b and isinstance(a - b, int) for a, b in pairs
    )


def _require_dtype(initial: States, dtype: DType) -> None:
    """Require initial states of the dtype that inputs and weights have together."""
    for state in initial:
        if state.dtype != dtype:
            raise DTypeError(
                f"expected initial states of {dtype}, the dtype that inputs and "
                f"weights have together; got {state.dtype}; use "
                f"gg.cast(state, '{dtype}')"
            )
