"""The NumPy backend."""

from graphgpu.backends.numpy.device import CPU

__all__ = ["CPU"]
