"""What compile() is asked for: inputs, outputs and updates, checked."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from graphgpu.bytesize import parse_bytes
from graphgpu.dtypes import Array
from graphgpu.errors import CompileError, GraphError, InputError
from graphgpu.graph import (
    Parameter,
    Placeholder,
    Stored,
    Variable,
    as_variable,
    describe,
)
from graphgpu.ops.markers import lost_updates, state_updates
from graphgpu.rewrite import PASSES, PRECISIONS, Rewritten, rewrite
from graphgpu.schedule import Schedule
from graphgpu.types import TensorType

__all__ = [
    "LOSS_SCALE",
    "Options",
    "Outputs",
    "check_inputs",
    "check_leaves",
    "check_updates",
    "flatten",
    "shapes_for",
    "snapshot",
    "unflatten",
    "warn_forgotten",
    "warn_unscaled",
]

LOSS_SCALE = "loss_scale"
"""The name of the state by which an optimiser scales a loss."""

Outputs: TypeAlias = "Variable | Sequence[Variable] | Mapping[str, Variable] | None"


@dataclass(frozen=True)
class Options:
    """How a program is to be compiled."""

    seed: int = 0
    threads: int = 1
    memory_budget: int | None = None
    passes: tuple[str, ...] = PASSES
    fused: bool = True
    debug: bool = False
    check_finite: bool = False
    precision: str = "float32"
    deterministic: bool = True

    @staticmethod
    def checked(
        seed: Any,
        threads: object,
        memory_budget: Any,
        passes: Collection[str] | None,
        debug: object,
        check_finite: object,
        precision: object,
        deterministic: object,
    ) -> Options:
        """Return the options that the arguments of ``compile`` mean."""
        whole = isinstance(seed, int | np.integer) and not isinstance(seed, bool)
        if not whole or not 0 <= seed < 2**64:
            raise CompileError(f"expected a seed from 0 to 2**64 - 1; got {seed!r}")
        if threads is None:
            threads = usable_cores()
        if isinstance(threads, bool) or not isinstance(threads, int) or threads < 1:
            raise CompileError(f"expected threads to be 1 or more; got {threads!r}")
        known = (*PASSES, "fuse")
        chosen = known if passes is None else passes
        if isinstance(chosen, str) or not isinstance(chosen, Collection):
            raise CompileError(f"expected a list of passes; got {passes!r}")
        for name in chosen:
            if name not in known:
                raise CompileError(
                    f"unknown pass {name!r}; the passes are {', '.join(known)}"
                )
        if precision not in PRECISIONS:
            raise CompileError(
                f"unknown precision {precision!r}; the precisions are "
                f"{', '.join(PRECISIONS)}"
            )
        return Options(
            int(seed),
            threads,
            None if memory_budget is None else parse_bytes(memory_budget),
            tuple(p for p in PASSES if p in chosen),
            "fuse" in chosen,
            _switch("debug", debug),
            _switch("check_finite", check_finite),
            str(precision),
            _switch("deterministic", deterministic),
        )

    def rewritten(
        self, written: Schedule, channels_last: Callable[[str], int] | None = None
    ) -> Rewritten:
        """Return a graph as the passes leave it, in the precision asked for.

        ``channels_last`` is what the device wishes of convolutions in a precision.
        """
        return rewrite(
            written.outputs,
            self.passes,
            precision=self.precision,
            channels_last=channels_last,
            debug=self.debug,
        )


def _switch(name: str, value: object) -> bool:
    if not isinstance(value, bool | np.bool_):
        raise CompileError(f"expected {name} to be True or False; got {value!r}")
    return bool(value)


def usable_cores() -> int:
    """Return the number of cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def check_inputs(inputs: object) -> tuple[Placeholder, ...]:
    """Return the inputs, which must be placeholders of different names."""
    if isinstance(inputs, Variable):
        inputs = (inputs,)
    if not isinstance(inputs, Iterable):
        raise CompileError(f"inputs are a list of placeholders; got {inputs!r}")
    names: dict[str | None, Placeholder] = {}
    for variable in inputs:
        if not isinstance(variable, Placeholder):
            raise CompileError(f"inputs are placeholders; got {_shown(variable)}")
        if variable.name in names:
            raise CompileError(
                f"two inputs are named {variable.name!r}: "
                f"{_shown(names[variable.name])}, and {_shown(variable)}"
            )
        names[variable.name] = variable
    return tuple(names.values())


def check_updates(updates: object) -> dict[Stored, Variable]:
    """Return the new values as variables; each must fit what it replaces."""
    if not isinstance(updates, Mapping):
        raise CompileError(
            f"updates are a dict of parameters or state to new values; got {updates!r}"
        )
    checked: dict[Stored, Variable] = {}
    for target, value in updates.items():
        if not isinstance(target, Stored):
            raise CompileError(
                f"only parameters and state can be updated; got {_shown(target)}"
            )
        wanted = f"update of {describe(target)} expected type {target.type}"
        try:
            new = as_variable(value, target.tensor)
        except GraphError as error:
            raise CompileError(f"{wanted}: {error}") from None
        if not _may_fit(new, target):
            raise CompileError(f"{wanted}; got {new.type}, created at {new.trace}")
        checked[target] = new
    return checked


def _shown(value: object) -> str:
    """Return what a message says of something that may be a node."""
    return describe(value).rstrip(",") if isinstance(value, Variable) else repr(value)


def _may_fit(new: Variable, target: Stored) -> bool:
    """Whether a value has the type of a state, if named sizes turn out right."""
    if new.dtype != target.dtype or new.ndim != target.ndim:
        return False
    return all(
        left == right or not isinstance(left - right, int)
        for left, right in zip(new.shape, target.shape, strict=True)
    )


def check_leaves(inputs: Sequence[Placeholder], plan: Schedule) -> None:
    """Require every placeholder, and every named size, to be given by an input."""
    given = set(inputs)
    shapes = [size for p in inputs for size in p.shape]
    named = {str(s) for s in shapes if not isinstance(s, int)}
    for variable in plan.order:
        if isinstance(variable, Placeholder) and variable not in given:
            users = [v for v in plan.order if variable in plan.inputs[v]]
            use = f"needed by {describe(users[0])}" if users else "an output"
            raise CompileError(
                f"{describe(variable)} is {use} but is not among the inputs "
                f"({', '.join(str(p.name) for p in inputs) or 'none'})"
            )
    for variable in (*inputs, *plan.order):
        if isinstance(variable.type, TensorType):
            missing = variable.type.symbols() - named
            if missing:
                raise CompileError(
                    f"{describe(variable)} has the sizes {sorted(missing)}, which no "
                    "input gives"
                )


def warn_forgotten(wanted: Sequence[Variable], updates: Mapping[Any, Any]) -> None:
    """Warn of state whose updates the outputs ask for and do not get, or not all."""
    forgotten = [s.path for s in state_updates(wanted) if s not in updates]
    if forgotten:
        warnings.warn(
            f"the program updates parameters but not the state {', '.join(forgotten)}; "
            "add gg.state_updates(outputs) to its updates",
            stacklevel=3,
        )
    if lost := [s.path for s in lost_updates(wanted, updates)]:
        warnings.warn(
            f"the program has several updates of the state {', '.join(lost)} and makes "
            "one of them; ask for all at once: gg.state_updates([output, another])",
            stacklevel=3,
        )


def warn_unscaled(written: Schedule, updates: Mapping[Any, Any]) -> None:
    """Warn of gradients in float16 of a loss that no optimiser scales."""
    trained = any(isinstance(target, Parameter) for target in updates)
    if not trained or all(v.phase != "gradient" for v in written.order):
        return
    if any(isinstance(v, Stored) and v.name == LOSS_SCALE for v in written.order):
        return
    warnings.warn(
        "the program trains in float16 without loss scaling, and small gradients "
        'become 0; build its updates with optimizer.updates(..., loss_scale="dynamic"),'
        ' or compile with precision="bfloat16"',
        stacklevel=4,
    )


def shapes_for(
    inputs: Sequence[Placeholder], sizes: Mapping[str, int]
) -> list[tuple[int, ...]]:
    """Return the inputs' shapes for given sizes, which must be all that they name."""
    named = {s for p in inputs for s in p.type.symbols()}
    if set(sizes) != named:
        raise InputError(
            f"expected the sizes {sorted(named)}; got {sorted(sizes) or 'none'}"
        )
    for name, size in sizes.items():
        if isinstance(size, bool) or not isinstance(size, int) or size < 0:
            raise InputError(f"expected {name} to be a size; got {size!r}")
    return [p.tensor.at(sizes).shape for p in inputs]  # type: ignore[misc]


def snapshot(outputs: Outputs) -> Outputs:
    """Return the outputs as a container that nobody changes later."""
    if outputs is None or isinstance(outputs, Variable):
        return outputs
    if isinstance(outputs, Mapping):
        return dict(outputs)
    if not isinstance(outputs, Iterable):
        raise CompileError(
            f"outputs are a variable, or a list or dict of variables; got {outputs!r}"
        )
    return outputs if isinstance(outputs, tuple) else list(outputs)


def flatten(outputs: Outputs) -> list[Variable]:
    """Return the outputs as a list."""
    if outputs is None:
        return []
    if isinstance(outputs, Variable):
        listed = [outputs]
    elif isinstance(outputs, Mapping):
        listed = list(outputs.values())
    else:
        listed = list(outputs)
    for output in listed:
        if not isinstance(output, Variable):
            raise CompileError(f"outputs are variables; got {output!r}")
        if not isinstance(output.type, TensorType):
            raise CompileError(f"{describe(output)} is a tuple; read it with gg.item")
    return listed


def unflatten(outputs: Outputs, results: list[Array]) -> Any:
    """Return the results in the container that the outputs came in."""
    if outputs is None:
        return None
    if isinstance(outputs, Variable):
        return results[0]
    if isinstance(outputs, Mapping):
        return dict(zip(outputs, results, strict=True))
    return tuple(results) if isinstance(outputs, tuple) else results
