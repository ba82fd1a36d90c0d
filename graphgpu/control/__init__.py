"""Control flow: operations that own closed subgraphs.

``map`` applies a function to each element of some sequences, and ``scan`` hands a
carry from one element to the next.  The gradient of either is a scan over the
gradient of the function's graph, so both can be differentiated any number of times;
and so can ``cond``, a choice between two functions, and a ``while_loop`` that has a
bound.
"""

from graphgpu.control.cond import Cond as Cond
from graphgpu.control.cond import cond
from graphgpu.control.loop import Scan as Scan
from graphgpu.control.mapping import map
from graphgpu.control.scanning import scan
from graphgpu.control.while_loop import WhileLoop as WhileLoop
from graphgpu.control.while_loop import while_loop

__all__ = ["cond", "map", "scan", "while_loop"]
