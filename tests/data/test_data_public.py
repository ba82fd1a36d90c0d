import subprocess
import sys

from graphgpu import data


def test_the_public_names():
    assert sorted(data.__all__) == [
        "Batches",
        "Dataset",
        "augment",
        "batches",
        "cifar10",
        "digits",
        "epoch_order",
        "mnist",
        "read_idx",
    ]
    assert all(hasattr(data, name) for name in data.__all__)


def test_importing_loads_no_optional_package():
    code = (
        "import sys, graphgpu.data; "
        "print([m for m in ('sklearn', 'pooch', 'PIL') if m in sys.modules])"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert ran.stdout.strip() == "[]"
