"""Shifts and mirror images."""

import numpy as np

from graphgpu.data import augment

IMAGES = np.arange(2 * 1 * 5 * 4, dtype=np.float32).reshape(2, 1, 5, 4) + 1


def test_without_shift_and_flip_nothing_changes():
    assert augment(IMAGES, seed=0, step=0, shift=0, flip=False) is IMAGES


def test_each_image_is_moved_as_a_whole_and_zero_comes_in():
    many = np.repeat(IMAGES, 50, axis=0)
    moved = augment(many, seed=1, step=2, shift=1, flip=False)
    padded = np.pad(many, ((0, 0), (0, 0), (1, 1), (1, 1)))
    seen = set()
    for before, after in zip(padded, moved, strict=True):
        places = [
            (r, c)
            for r in range(3)
            for c in range(3)
            if (before[:, r : r + 5, c : c + 4] == after).all()
        ]
        assert len(places) == 1
        seen.add(places[0])
    assert len(seen) == 9


def test_a_mirrored_image_is_reversed_along_its_width():
    many = np.repeat(IMAGES[:1], 40, axis=0)
    result = augment(many, seed=0, step=0, shift=0, flip=True)
    same = [(image == IMAGES[0]).all() for image in result]
    back = [(image[:, :, ::-1] == IMAGES[0]).all() for image in result]
    assert all(a != b for a, b in zip(same, back, strict=True))
    assert 0 < sum(back) < 40


def test_seed_and_step_decide():
    def moved(seed, step):
        return augment(
            np.repeat(IMAGES, 8, axis=0), seed=seed, step=step, shift=2, flip=True
        )

    assert (moved(0, 1) == moved(0, 1)).all()
    assert (moved(0, 1) != moved(0, 2)).any()
    assert (moved(0, 1) != moved(1, 1)).any()
