"""Drawings of graphs."""

from graphgpu.draw.figure import to_dot
from graphgpu.graph import install_views

__all__ = ["to_dot"]
install_views(to_dot=to_dot)
