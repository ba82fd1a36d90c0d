"""The cases of all families, and what a case is as a function of variables."""

import importlib
from functools import cache
from pathlib import Path

import numpy as np

import graphgpu as gg
from graphgpu.dtypes import is_floating
from graphgpu.graph import substitute


@cache
def cases():
    """Return every case, in the order of the families' names."""
    folder = Path(__file__).parent / "cases"
    found = []
    for path in sorted(folder.glob("*.py")):
        found += importlib.import_module(f"cases.{path.stem}").CASES
    return found


def public_name(case):
    """Return the name of what a case is of, as in ``gg.__all__`` or ``nn.__all__``."""
    return case.name.split(",")[0].strip().removeprefix("nn.")


def function_of(case):
    """Return a case as a function of variables: the inputs, then the parameters.

    Random nodes have the same keys every time that it is called.
    """

    def function(*variables):
        with gg.root_scope(case.seed):
            if case.layer is None:
                return _joined(case.function(*variables))
            given = len(case.inputs)
            inputs, values = variables[:given], variables[given:]
            layer = case.layer(_dtype_of(variables))
            output = _joined(layer(*inputs, training=case.training))
            replaced = dict(zip(layer.parameters(), values, strict=True))
            return substitute([output], replaced)[0]

    return function


def extremes_of(case):
    """Return the extreme inputs of a case: its own, or of a layer its inputs, large.

    There are none where the case says why.
    """
    if isinstance(case.extremes, str):
        return []
    if case.extremes or case.layer is None:
        return case.extremes
    given = [np.asarray(x) for x in case.inputs]
    return [
        [scale * x if is_floating(x.dtype) else x for x in given]
        for scale in case.scales
    ]


def _joined(output):
    """Return several outputs as one vector."""
    if isinstance(output, gg.Variable):
        return output
    floating = [v.reshape(-1) for v in output if is_floating(v.dtype)]
    return gg.concat(floating)


def arrays_of(case):
    """Return the inputs, and float64 values for the parameters of a layer.

    The parameters are moved a little, so that no rectifier stands at its kink.
    """
    arrays = [np.asarray(x) for x in case.inputs]
    if case.layer is None:
        return arrays
    random = np.random.default_rng(9)
    with gg.root_scope(case.seed):
        parameters = case.layer("float64").parameters()
    values = [p.value.astype(np.float64) for p in parameters]
    return arrays + [v + 0.1 * random.standard_normal(v.shape) for v in values]


def _dtype_of(variables):
    """Return the dtype of the first floating-point variable."""
    return next(v.dtype.name for v in variables if is_floating(v.dtype))
