"""The CUDA backend: the only part that may import CuPy."""

from graphgpu.backends.cuda.probe import CudaState, probe

__all__ = ["CudaState", "probe"]
