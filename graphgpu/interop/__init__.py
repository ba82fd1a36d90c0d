"""Other libraries' formats."""

from graphgpu.interop.networkx import to_networkx

__all__ = ["to_networkx"]
