"""The kernels of a representative set of nodes: operations, and bundled nets' steps."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import product

import numpy as np
from benchmarks.nets import NETS, Net

import graphgpu as gg
from compile_checks.cases import CASES, NUMBERS
from compile_checks.graphs import Collector, Made, kernels_of
from compile_checks.tensor_cores import on_tensor_cores
from graphgpu.backends.cuda.kernels.kernel import Kernel
from graphgpu.backends.cuda.rules import RULES
from graphgpu.dtypes import is_floating
from graphgpu.errors import GraphGPUError
from graphgpu.graph import Graph, Operation, Placeholder, apply
from graphgpu.ops.activations.clipped import Hardtanh
from graphgpu.ops.activations.exponential_units import Celu, Elu
from graphgpu.ops.activations.rectifiers import LeakyRelu, Threshold
from graphgpu.ops.activations.self_gated import Swish
from graphgpu.ops.activations.shrinkage import Hardshrink, Softshrink
from graphgpu.ops.activations.sigmoidal import SharpSoftplus
from graphgpu.ops.elementwise import Binary, Cast, Elementwise, Unary
from graphgpu.ops.losses.regression import Huber
from graphgpu.ops.norms import Balance
from graphgpu.ops.rounding import RoundTo

__all__ = ["Collected", "collect", "leaves", "operations"]

_WITH_FIELDS: dict[type[Operation], tuple[object, ...]] = {
    LeakyRelu: (0.1,),
    Balance: (1e-30, 1e30),
    Elu: (1.5,),
    Celu: (1.5,),
    Hardtanh: (-1.0, 1.5),
    Huber: (1.0,),
    Threshold: (0.5, -3.0),
    Hardshrink: (0.5,),
    Softshrink: (0.5,),
    SharpSoftplus: (2.5,),
    Swish: (2.5,),
    RoundTo: (100.0, 1.0),
}
_DTYPES = (*NUMBERS, "bool")
_COMPILED = ("float32", "bfloat16", "int64")
_HUGE = (2**31 + 8,)
_PAIRS = [
    ((4096,), (4096,)),
    ((31, 33), (31, 33)),
    ((64, 1000), (1000,)),
    ((31, 33), (31, 1)),
    ((31, 33), ()),
]


@dataclass(eq=False)
class Collected:
    """The kernels with their nodes in words, and what is not among them."""

    kernels: list[tuple[str, Kernel]] = field(default_factory=list)
    calls: int = 0
    """Launches that are a library's."""
    operations: set[type[Operation]] = field(default_factory=set)
    gaps: list[str] = field(default_factory=list)
    uncovered: list[str] = field(default_factory=list)
    """The operations that have a rule, and no case here."""

    @property
    def met(self) -> int:
        """Launches, before equal sources are taken together."""
        return len(self.kernels)

    def add(self, found: Iterable[Made]) -> None:
        """Keep kernels."""
        for nodes, kernel in found:
            self.operations.update(type(n.operation) for n in nodes if n.operation)
            if not isinstance(kernel, Kernel):
                self.calls += 1
                continue
            types = ", ".join(str(n.type) for n in nodes[0].inputs)
            operations = ", ".join(str(n.operation) for n in nodes)
            self.kernels.append((f"{operations} of {types}", kernel))


def collect(*, nets: bool = True) -> Collected:
    """Return the kernels of all operations that have a rule, and of the nets."""
    found = Collected()
    _elementwise(found)
    _cases(found)
    found.add(on_tensor_cores())
    if nets:
        for net in NETS.values():
            _step(found, net, "float32")
        for dtype in ("float16", "bfloat16", "float64"):
            _step(found, NETS["mlp"], dtype)
        resnet = Net("resnet50", 32, (3, 224, 224), _resnet50, 1000)
        for precision in ("float32", "tf32", "bfloat16"):
            _step(found, resnet, "float32", precision)
    _vocabulary(found)
    for cls in {*leaves(Elementwise), *RULES.table}:
        if not any(issubclass(made, cls) for made in found.operations):
            found.uncovered.append(cls.__name__)
    if found.uncovered:
        names = ", ".join(sorted(found.uncovered))
        found.gaps.append(f"operations with a rule and without a case: {names}")
    return found


def _vocabulary(found: Collected) -> None:
    """Keep the kernels of a cross entropy of more classes than fit in registers."""
    scores = gg.placeholder("scores", (64, 50_257))
    loss = gg.cross_entropy(scores, gg.placeholder("targets", (64,), "int64"))
    device = Collector()
    inputs = [v for v in Graph(loss).variables if isinstance(v, Placeholder)]
    gg.compile(inputs, [loss, *gg.gradients(loss, [scores])], device=device).source()
    found.add(device.found)


def leaves(base: type[Operation]) -> list[type[Operation]]:
    """Return the classes of the package that derive from one, and are derived no more.

    A dataclass with slots replaces the class that was written: that one is left out.
    """
    derived = [
        cls
        for cls in base.__subclasses__()
        if getattr(sys.modules[cls.__module__], cls.__name__, None) is cls
    ]
    if not derived:
        return [base] if base.__module__.startswith("graphgpu.") else []
    return [leaf for cls in derived for leaf in leaves(cls)]


def operations(base: type[Operation]) -> list[Operation]:
    """Return one of each operation of a kind."""
    return [cls(*_WITH_FIELDS.get(cls, ())) for cls in leaves(base)]


def _elementwise(found: Collected) -> None:
    for operation, dtype in product(operations(Unary), _DTYPES):
        for shape in ((4096,), (31, 33)):
            _apply(found, operation, (shape,), dtype)
    for operation, dtype in product(operations(Binary), _DTYPES):
        for shapes in _PAIRS:
            _apply(found, operation, shapes, dtype)
    for source, target in product(_DTYPES, _DTYPES):
        if source != target:
            _apply(found, Cast(gg.dtypes.dtype(target)), ((4096,),), source)
    for dtype in _DTYPES:
        condition = gg.placeholder("c", (31, 33), "bool")
        x, y = (gg.placeholder(n, (31, 33), dtype) for n in "xy")
        found.add(kernels_of(gg.where(condition, x, y)))
        huge = gg.placeholder("x", _HUGE, dtype)
        if dtype != "bool":
            found.add(kernels_of(huge + huge))


def _apply(
    found: Collected,
    operation: Operation,
    shapes: Sequence[tuple[int, ...]],
    dtype: str,
) -> None:
    """Add an operation's kernels, where it takes the dtype."""
    inputs = [gg.placeholder(f"x{k}", s, dtype) for k, s in enumerate(shapes)]
    try:
        output = apply(operation, *inputs)
    except GraphGPUError:
        return
    found.add(kernels_of(output))


def _cases(found: Collected) -> None:
    """Add the kernels of the table's functions and of their gradients."""
    for case in CASES:
        for shape, dtype in product(case.shapes, case.dtypes):
            x = gg.placeholder("x", shape, dtype)
            output = case.function(x)
            outputs = [output]
            if is_floating(output.dtype) and is_floating(x.dtype):
                cost = gg.sum(output * output)
                wrt = [v for v in _placeholders([output]) if is_floating(v.dtype)]
                outputs += gg.gradients(cost, wrt, disconnected="zero")
            found.add(kernels_of(*outputs))
            if dtype in _COMPILED and shape == case.shapes[0]:
                _compiled(found, outputs)


def _compiled(found: Collected, outputs: Sequence[gg.Variable]) -> None:
    """Add the kernels of a program: fused ones, and those that check indices."""
    device = Collector()
    gg.compile(_placeholders(outputs), list(outputs), device=device).source()
    found.add(device.found)


def _placeholders(outputs: Sequence[gg.Variable]) -> list[Placeholder]:
    variables = dict.fromkeys(v for o in outputs for v in Graph(o).variables)
    return [v for v in variables if isinstance(v, Placeholder)]


def _step(found: Collected, net: Net, dtype: str, precision: str = "float32") -> None:
    """Add the kernels of a training step, as it is compiled."""
    with gg.root_scope(0):
        model = net.model(dtype)
    x = gg.placeholder("x", ("batch", *net.inputs), dtype)
    targets = net.targets(dtype)
    loss = net.loss(model(x), targets)
    updates = gg.optim.SGD(0.01, momentum=0.9).updates(loss, model.parameters())
    device = Collector()
    step = gg.compile([x, targets], loss, updates, device=device, precision=precision)
    step.source(batch=net.batch)
    found.add(device.found)
    if device.without:
        names = ", ".join(sorted(device.without))
        found.gaps.append(f"{net.name} {dtype}: without a rule {names}")


def _resnet50(dtype: str) -> gg.nn.Sequential:
    assert np.dtype(dtype) == np.float32
    return gg.nn.resnet50()
