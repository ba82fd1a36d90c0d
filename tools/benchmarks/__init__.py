"""The parts of ``tools/bench.py``: nets, peers, timing, agreement, report."""
