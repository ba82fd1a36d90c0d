"""Graph to graph: the passes that make a graph cheaper and safer to compute.

They run once, when a program is compiled, after differentiation and before
sizes are known.  No pass changes a value beyond rounding.
"""

from graphgpu.rewrite.passes import PASSES, Rewritten, rewrite

__all__ = ["PASSES", "Rewritten", "rewrite"]
