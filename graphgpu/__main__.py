"""``python -m graphgpu`` is ``graphgpu``."""

from graphgpu.cli import main

main()
