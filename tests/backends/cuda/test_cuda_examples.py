"""The systems of examples/ run on a device, and find what the CPU finds."""

import runpy
import sys
from pathlib import Path

import pytest

from graphgpu.backends.cuda.device import CUDA

sys.path.insert(0, str(Path(__file__).parents[3] / "examples"))
sys.path.insert(0, str(Path(__file__).parents[3] / "tools"))
import gallery
from zoo import Options

SYSTEMS = [path for path in gallery.examples() if gallery.is_system(path)]


@pytest.mark.slow
@pytest.mark.parametrize("path", SYSTEMS, ids=lambda p: p.stem)
def test_two_steps_of_a_system_give_the_figures_of_the_cpu(path, emulator):
    main = runpy.run_path(str(path))["main"]
    expected = main(Options(device="cpu", quick=True)).bars
    found = main(Options(device=CUDA(emulator()), quick=True)).bars
    for bar, right in zip(found, expected, strict=True):
        assert bar.what == right.what
        assert bar.value == pytest.approx(right.value, rel=1e-2, abs=1e-3)
