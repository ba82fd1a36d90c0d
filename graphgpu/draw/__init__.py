"""Drawings of graphs: DOT text of our own, pictures through Graphviz.

>>> import graphgpu as gg
>>> x = gg.placeholder("x", ())
>>> print(gg.draw.to_dot(gg.exp(x)).splitlines()[0])
digraph {
"""

from graphgpu.draw.figure import to_dot
from graphgpu.draw.render import write
from graphgpu.graph import install_views

__all__ = ["to_dot", "write"]

install_views(to_dot=to_dot)
