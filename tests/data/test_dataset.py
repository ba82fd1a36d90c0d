import numpy as np
import pytest

from graphgpu.data import Dataset
from graphgpu.errors import DataError


def fields(**changes):
    images = np.linspace(0, 1, 2 * 3 * 4 * 5, dtype=np.float32).reshape(2, 3, 4, 5)
    good = {
        "name": "tiny",
        "train_images": images,
        "train_labels": np.array([0, 1]),
        "test_images": images[:1],
        "test_labels": np.array([1]),
        "classes": ("a", "b"),
    }
    return good | changes


def test_prints_types_and_not_values():
    assert repr(Dataset(**fields())) == (
        "Dataset('tiny', train=float32[2,3,4,5], test=float32[1,3,4,5], classes=2)"
    )


def test_image_shape_is_channels_height_width():
    assert Dataset(**fields()).image_shape == (3, 4, 5)


def test_note_is_empty_unless_given():
    assert Dataset(**fields()).note == ""
    assert Dataset(**fields(note="mine")).note == "mine"


def test_is_frozen_and_compares_by_identity():
    first, second = Dataset(**fields()), Dataset(**fields())
    assert first == first  # noqa: PLR0124
    assert first != second
    with pytest.raises(AttributeError):
        first.name = "other"


IMAGES = np.zeros((2, 3, 4, 5), np.float32)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"train_images": IMAGES.astype(np.float64)},
            "Dataset('tiny'): train_images must be float32[N,C,H,W]; "
            "got float64[2,3,4,5]; convert with .astype(numpy.float32) and .reshape",
        ),
        (
            {"test_images": IMAGES[0]},
            "Dataset('tiny'): test_images must be float32[N,C,H,W]; "
            "got float32[3,4,5]; convert with .astype(numpy.float32) and .reshape",
        ),
        (
            {"train_images": [[0.0]]},
            "Dataset('tiny'): train_images must be float32[N,C,H,W]; got list; "
            "convert with .astype(numpy.float32) and .reshape",
        ),
        (
            {"train_images": IMAGES[:0], "train_labels": np.zeros(0, np.int64)},
            "Dataset('tiny'): train_images has no pixels: float32[0,3,4,5]",
        ),
        (
            {"train_images": IMAGES + np.float32(255)},
            "Dataset('tiny'): train_images must lie in [0, 1]; its values run from "
            "255.0 to 255.0; divide bytes by 255",
        ),
        (
            {"train_images": IMAGES * np.float32(np.nan)},
            "Dataset('tiny'): train_images must lie in [0, 1]; its values run from "
            "nan to nan; divide bytes by 255",
        ),
        (
            {"train_labels": np.array([0, 1], np.uint8)},
            "Dataset('tiny'): train_labels must be int64[N]; got uint8[2]",
        ),
        (
            {"test_labels": np.array([[1]])},
            "Dataset('tiny'): test_labels must be int64[N]; got int64[1,1]",
        ),
        (
            {"train_labels": np.array([0, 2])},
            "Dataset('tiny'): train_labels must lie in 0..1 for 2 classes; "
            "label 1 is 2",
        ),
        (
            {"train_labels": np.array([-1, 2])},
            "Dataset('tiny'): train_labels must lie in 0..1 for 2 classes; "
            "label 0 is -1",
        ),
        (
            {"train_labels": np.array([0, 1, 1])},
            "Dataset('tiny'): one label an image was expected; train_images has 2 and "
            "train_labels has 3",
        ),
        (
            {"test_images": np.zeros((1, 3, 4, 4), np.float32)},
            "Dataset('tiny'): train_images and test_images must agree in C, H and W; "
            "got float32[2,3,4,5] and float32[1,3,4,4]",
        ),
        (
            {"classes": ["a", "b"]},
            "Dataset('tiny'): classes must be a tuple of at least one name; "
            "got ['a', 'b']",
        ),
        (
            {"classes": ()},
            "Dataset('tiny'): classes must be a tuple of at least one name; got ()",
        ),
        (
            {"classes": ("a", "a")},
            "Dataset('tiny'): classes must all be different; got ('a', 'a')",
        ),
    ],
)
def test_refuses(changes, message):
    with pytest.raises(DataError) as caught:
        Dataset(**fields(**changes))
    assert str(caught.value) == message
