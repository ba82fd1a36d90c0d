"""The tests of everything but ``backends/cuda`` are about the CPU, on any machine."""

import os
import signal

os.environ.setdefault("GRAPHGPU_DEVICE", "cpu")

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as in a shell's background
    signal.signal(signal.SIGINT, signal.default_int_handler)
