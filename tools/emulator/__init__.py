"""CUDA kernels on the CPU, for tests: compiled by g++, each thread watched.

``EmulatedDriver`` (driver.py) stands for a GPU; ``emulator.h`` is the CUDA C++ that
kernels see, ``scheduler.cpp`` runs their threads, ``compiler.py`` calls g++.
"""
