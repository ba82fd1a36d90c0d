"""compile(): from a graph to a program that runs it.

A program is specialised for the sizes that it is called with: the named sizes
are bound, the guards checked, every operation made concrete; the result is
kept, so that the odd last batch costs once.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from operator import attrgetter
from typing import Any, final

import numpy as np

from graphgpu.backends import Device, Step, select
from graphgpu.binding import bind, check_guards, sizes_of
from graphgpu.dtypes import Array
from graphgpu.errors import CompileError, InputError
from graphgpu.graph import (
    RUN_KEY,
    Constant,
    Placeholder,
    Stored,
    Variable,
    describe,
)
from graphgpu.request import (
    Outputs,
    check_inputs,
    check_leaves,
    check_updates,
    flatten,
    snapshot,
    unflatten,
    warn_forgotten,
)
from graphgpu.schedule import Schedule, schedule

__all__ = ["Program", "compile", "evaluate"]

_by_serial = attrgetter("serial")


@final
class Program:
    """A compiled graph; call it with arrays in the order of its inputs, or by name.

    Made by :func:`compile`.  ``step`` counts the calls that succeeded; random
    numbers depend on it, and it may be set, to continue where a run ended.
    """

    def __init__(
        self,
        inputs: tuple[Placeholder, ...],
        outputs: Outputs,
        updates: Mapping[Stored, Variable],
        device: Device,
        seed: int,
    ) -> None:
        self.inputs = inputs
        self.outputs = outputs
        self.updates = dict(updates)
        self.device = device
        self.seed = seed
        self.step = 0
        self._lock = threading.RLock()
        listed = flatten(outputs)
        self._output_count = len(listed)
        self._schedule = schedule([*listed, *self.updates.values()])
        self._guards = [(v, guard) for v in self._schedule.order for guard in v.guards]
        self._held = _held(self._schedule.order)
        stored = {v for v in self._schedule.order if isinstance(v, Stored)}
        stored.update(self.updates)
        # In the order of creation, so that no two programs wait for each other.
        self._locks = [v.storage.lock for v in sorted(stored, key=_by_serial)]
        self._specialized: dict[tuple[int, ...], _Specialization] = {}

    def __repr__(self) -> str:
        inputs = ", ".join(f"{p.name}: {p.type}" for p in self.inputs)
        return (
            f"<Program({inputs}) of {len(self._schedule.order)} variables and "
            f"{len(self.updates)} updates on {self.device.name}>"
        )

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Compute the outputs and apply the updates.

        Raises
        ------
        InputError
            The inputs are too few, too many, unknown, or do not fit; nothing
            has changed then.
        ComputeError
            An operation failed; nothing has changed then.
        """
        arrays = bind(self.inputs, args, kwargs)
        with self._lock, ExitStack() as claimed:
            for lock in self._locks:
                claimed.enter_context(lock)
            special = self._specialize(arrays)
            values = special.run(arrays, self._run_key())
            new = [np.asarray(v) for v in values[self._output_count :]]
            results = self._own(values[: self._output_count], arrays)
            pairs = self._checked(new)
            interrupt = _uninterrupted(pairs)
            self.step += 1
            if interrupt:
                raise interrupt
        return unflatten(self.outputs, results)

    def _run_key(self) -> Array:
        return np.array([self.seed, self.step, 0], np.uint64)

    def _specialize(self, arrays: Sequence[Array]) -> _Specialization:
        """Return the specialisation for the sizes of the inputs."""
        key = tuple(size for a in arrays for size in a.shape)
        if key not in self._specialized:
            sizes = sizes_of(self.inputs, arrays)
            check_guards(self._guards, sizes)
            special = _Specialization(self._schedule, self.inputs, sizes, self.device)
            self._specialized[key] = special
        return self._specialized[key]

    def _own(self, values: Sequence[Any], arrays: Sequence[Array]) -> list[Array]:
        """Return the outputs as arrays that nobody else holds."""
        shared: dict[int, Any] = self._held | {id(a): a for a in arrays}
        results = []
        for value in values:
            array = self.device.output(value, shared)
            shared[id(array)] = array
            results.append(array)
        return results

    def _checked(self, new: Sequence[Array]) -> list[tuple[Stored, Array]]:
        """Return what to write where, in memory that the writing leaves alone."""
        pairs: list[tuple[Stored, Array]] = []
        for target, array in zip(self.updates, new, strict=True):
            want = target.storage.array
            if array.shape != want.shape or array.dtype != want.dtype:
                raise InputError(
                    f"update of {describe(target)} expected type {target.type}; got "
                    f"{array.dtype.name}{list(array.shape)}; no state was changed"
                )
            overlaps = array.base is not None or id(array) in self._held
            pairs.append((target, array.copy() if overlaps else array))
        return pairs


class _Specialization:
    """The steps of a program for given sizes."""

    def __init__(
        self,
        plan: Schedule,
        inputs: Sequence[Placeholder],
        sizes: Mapping[str, int],
        device: Device,
    ) -> None:
        slot = {v: i for i, v in enumerate(plan.order)}
        dying: dict[int, list[int]] = {}
        for variable, place in plan.last_use.items():
            dying.setdefault(place, []).append(slot[variable])
        steps = [
            Step(
                variable,
                variable.operation.specialize(sizes),
                tuple(slot[v] for v in plan.inputs[variable]),
                place,
                tuple(dying.get(place, ())),
            )
            for place, variable in enumerate(plan.order)
            if variable.operation
        ]
        self._count = len(plan.order)
        self._outputs = [slot[v] for v in plan.outputs]
        self._inputs = [(slot.get(p), i) for i, p in enumerate(inputs)]
        self._constants = [
            (slot[v], v.value) for v in plan.order if isinstance(v, Constant)
        ]
        self._stored = [
            (slot[v], v.storage) for v in plan.order if isinstance(v, Stored)
        ]
        self._key_slot = slot.get(RUN_KEY)
        self._run = device.prepare(steps)

    def run(self, arrays: Sequence[Array], run_key: Array) -> list[Any]:
        """Return the values of the outputs and of the updates."""
        slots: list[Any] = [None] * self._count
        for slot, value in self._constants:
            slots[slot] = value
        for slot, storage in self._stored:
            slots[slot] = storage.array
        for place, index in self._inputs:
            if place is not None:
                slots[place] = arrays[index]
        if self._key_slot is not None:
            slots[self._key_slot] = run_key
        self._run(slots)
        return [slots[i] for i in self._outputs]


def compile(
    inputs: Placeholder | Sequence[Placeholder],
    outputs: Outputs,
    updates: Mapping[Any, Variable] | None = None,
    *,
    device: str = "auto",
    seed: int = 0,
) -> Program:
    """Return a program that computes the outputs from the inputs.

    Parameters
    ----------
    inputs
        The placeholders, in the order of the program's arguments.
    outputs
        A variable, a list or a dict of variables; calls return the same shape
        of thing, in memory that the caller owns.
    updates
        Maps a parameter or state to its new value.  Outputs and new values see
        the state as it was before the call; then all are written, or, if
        anything raises, none.
    device
        ``"auto"``, ``"cpu"``, ``"cuda"`` or ``"cuda:1"``.
    seed
        What random numbers depend on beside their keys and the step.

    Raises
    ------
    CompileError
        An input is no placeholder or named twice; a placeholder that is needed
        is not among the inputs; an update does not fit.
    DeviceError
        The device cannot be used.

    Examples
    --------
    >>> import graphgpu as gg
    >>> x = gg.placeholder("x", ("batch",))
    >>> n = gg.state("n", 0)
    >>> total = gg.compile([x], gg.sum(x), updates={n: n + 1})
    >>> float(total([1.0, 2.0, 3.0])), int(n.value)
    (6.0, 1)
    """
    listed = check_inputs(inputs)
    outputs = snapshot(outputs)
    chosen = select(device)
    checked = check_updates({} if updates is None else updates)
    wanted = [*flatten(outputs), *checked.values()]
    if not isinstance(seed, int | np.integer) or not 0 <= seed < 2**64:
        raise CompileError(f"expected a seed from 0 to 2**64 - 1; got {seed!r}")
    program = Program(listed, outputs, checked, chosen, int(seed))
    check_leaves(listed, program._schedule)
    if checked:
        warn_forgotten(wanted, checked)
    return program


def evaluate(
    variable: Variable, values: Mapping[Placeholder, Any] | None = None
) -> Array:
    """Return the value of a variable, given those of placeholders; compiles once.

    >>> import graphgpu as gg
    >>> x = gg.placeholder("x", (2,))
    >>> gg.evaluate(x + 1, {x: [1.0, 2.0]})
    array([2., 3.], dtype=float32)
    """
    given = dict(values or {})
    result: Array = compile(list(given), variable, device="cpu")(*given.values())
    return result


# --- committing


def _held(order: Sequence[Variable]) -> dict[int, Array]:
    """Return the arrays that belong to leaves, by ``id``."""
    arrays = [v.storage.array for v in order if isinstance(v, Stored)]
    arrays += [v.value for v in order if isinstance(v, Constant)]
    return {id(a): a for a in arrays}


def _uninterrupted(pairs: Sequence[tuple[Stored, Array]]) -> KeyboardInterrupt | None:
    """Write all; return an interrupt from the keyboard that came meanwhile."""
    interrupt: KeyboardInterrupt | None = None
    place = 0
    while place < len(pairs):
        try:
            while place < len(pairs):
                target, array = pairs[place]
                target.storage.write(array)
                place += 1
        except KeyboardInterrupt as error:
            interrupt = error
    return interrupt
