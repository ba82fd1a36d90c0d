import importlib
import importlib.util
import sys
from pathlib import Path

import pytest

from graphgpu.errors import DeviceError

sys.path.insert(0, str(Path(__file__).parents[3] / "tools"))
emulation = importlib.import_module("emulator.driver")
compiler = importlib.import_module("emulator.compiler")


def emulated(**options):
    """Return an emulated driver, or skip the test where there is no g++."""
    if (reason := compiler.missing()) is not None:
        pytest.skip(reason)
    return emulation.EmulatedDriver(**options)


def cupys():
    """Return CuPy's driver, or skip the test where there is no GPU."""
    name = "graphgpu.backends.cuda.cupy_driver"
    if importlib.util.find_spec(name) is None:
        pytest.skip("CuPy's driver is not written yet")
    try:
        return importlib.import_module(name).CupyDriver()
    except (DeviceError, ImportError) as error:
        pytest.skip(f"no GPU: {error}")


@pytest.fixture(params=["emulated", "cupy"])
def driver(request):
    """Each driver in turn: what holds for all of them."""
    return emulated(capacity=1 << 26) if request.param == "emulated" else cupys()


@pytest.fixture
def emulator():
    """A maker of emulated drivers."""
    return emulated


@pytest.fixture(params=emulation.ORDERS)
def ordered(request):
    """An emulated driver of each order of threads."""
    return emulated(order=request.param)
