"""Every operation has kernels."""

import inspect

from graphgpu.backends.cuda.rules import RULES
from graphgpu.graph import Operation
from graphgpu.ops.markers import StopGradient, WithStateUpdate
from graphgpu.ops.shape import Reshape
from graphgpu.ops.tuples import Item

VIEWS = {Reshape, Item, StopGradient, WithStateUpdate}
ON_THE_HOST = {"Arange", "Extent", "Eye", "Full"}
"""What is made of nothing is computed once, when a program is bound."""
OF_ITS_BODY = {"Cond", "Scan", "WhileLoop"}
"""Their kernels are those of branches, of iterations."""


def operations(cls=Operation):
    for sub in cls.__subclasses__():
        own = sub.__module__.startswith(("graphgpu.ops.", "graphgpu.control"))
        if own and not inspect.isabstract(sub):
            yield sub
        yield from operations(sub)


def test_every_operation_has_kernels():
    without = {
        cls.__name__
        for cls in operations()
        if cls not in VIEWS and not any(c in RULES.table for c in cls.__mro__)
    }
    # Dataclasses with slots leave their first form behind, under the same name.
    ruled = {cls.__name__ for cls in RULES.table}
    views = {cls.__name__ for cls in VIEWS}
    assert without - ruled - views - ON_THE_HOST == OF_ITS_BODY
