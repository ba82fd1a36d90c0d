"""The 1,797 hand-written digits of 8x8 pixels that come with scikit-learn."""

import numpy as np

from graphgpu.data.dataset import Dataset, hold_out_a_fifth, to_unit_interval
from graphgpu.optional import load_optional

__all__ = ["digits"]


def digits() -> Dataset:
    """Load the digits: real data that needs no network and no file.

    They are the test part of the UCI "Optical Recognition of Handwritten Digits"
    (E. Alpaydin and C. Kaynak, 1998): each pixel counts, 0 to 16, the ink in a 4x4
    block of a scan.  There is no official split; every sample whose index is
    divisible by 5 is held out for testing.

    Returns
    -------
    Dataset
        1,437 training and 360 test images, float32[N,1,8,8], values / 16.

    Raises
    ------
    MissingDependencyError
        If scikit-learn is not installed.

    Examples
    --------
    >>> digits()
    Dataset('digits', train=float32[1437,1,8,8], test=float32[360,1,8,8], classes=10)
    """
    datasets = load_optional("sklearn.datasets", "scikit-learn", "digits")
    bunch = datasets.load_digits()
    return hold_out_a_fifth(
        "digits",
        to_unit_interval(bunch.images[:, np.newaxis], 16),
        bunch.target.astype(np.int64),
        tuple(str(name) for name in bunch.target_names),
        note="no official split: every sample with index % 5 == 0 is held out",
    )
