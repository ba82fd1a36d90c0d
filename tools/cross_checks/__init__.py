"""The cases of ``tools/cross_check.py``, by subject."""

import sys
from importlib.util import find_spec

if find_spec("torch") is None:
    sys.exit("PyTorch is missing, the peer to compare with: pip install torch==2.13.0")
