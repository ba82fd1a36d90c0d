"""Whether NVRTC compiles the kernels, and what registers and stack they take."""
