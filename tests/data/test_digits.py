import sys

import numpy as np
import pytest

from graphgpu.data import digits
from graphgpu.errors import MissingDependencyError


@pytest.fixture(scope="module")
def loaded():
    pytest.importorskip("sklearn.datasets", exc_type=ImportError)
    return digits()


def test_has_1797_images_of_which_360_are_held_out(loaded):
    assert loaded.train_images.shape == (1437, 1, 8, 8)
    assert loaded.test_images.shape == (360, 1, 8, 8)
    assert loaded.classes == tuple("0123456789")
    assert loaded.note == (
        "no official split: every sample with index % 5 == 0 is held out"
    )


def test_every_fifth_sample_is_held_out(loaded):
    original = pytest.importorskip("sklearn.datasets").load_digits()
    np.testing.assert_array_equal(
        loaded.test_images[:, 0], (original.images[::5] / 16).astype(np.float32)
    )
    np.testing.assert_array_equal(loaded.test_labels, original.target[::5])
    kept = [index for index in range(1797) if index % 5]
    np.testing.assert_array_equal(
        loaded.train_images[:, 0], (original.images[kept] / 16).astype(np.float32)
    )
    np.testing.assert_array_equal(loaded.train_labels, original.target[kept])


def test_pixels_are_sixteenths_that_reach_zero_and_one(loaded):
    for images in (loaded.train_images, loaded.test_images):
        assert images.min() == 0
        assert images.max() == 1
        assert images.flags.c_contiguous
        np.testing.assert_array_equal(images * 16, np.round(images * 16))


def test_classes_are_balanced_as_published(loaded):
    # E. Alpaydin and C. Kaynak's table of the test set's digits.
    counts = np.bincount(loaded.train_labels) + np.bincount(loaded.test_labels)
    assert counts.tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]


def test_without_scikit_learn_says_how_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(MissingDependencyError) as caught:
        digits()
    assert str(caught.value) == (
        "digits: the package scikit-learn is needed and cannot be imported "
        "(import of sklearn.datasets halted; None in sys.modules); "
        'install it with: pip install "graphgpu[data]"'
    )
