"""The facts that the examples of convolutional nets rest on."""

from importlib import import_module

import numpy as np

import graphgpu as gg

motifs = import_module("18_motif_detection")
residual = import_module("19_residual_net")
segmentation = import_module("20_segmentation")


def random_images(count=8, side=8):
    random = np.random.default_rng(0)
    return random.random((count, 1, side, side), np.float32)


def test_a_motif_that_is_moved_has_the_same_score_at_the_place_that_moved_with_it():
    detector, _ = motifs.nets(random_images(1)[0])
    images = gg.placeholder("images", ("batch", 1, "height", "width"))
    outputs = [detector(images), detector.locate(images)]
    find = gg.compile(images, outputs, device="cpu")

    def locate(scenes):
        scores, places = find(scenes)
        scene, best = np.arange(len(scores)), scores.argmax(axis=1)
        return scores[scene, best], best, places[scene, best], None

    scenes = random_images(side=24)
    assert motifs.moved_with(locate, scenes) == (0, 1)


def test_the_digit_of_a_cluttered_image_lies_whole_at_its_place():
    images, labels = random_images(), np.arange(8)
    scenes, places, digits = motifs.scatter(images, labels, np.random.default_rng(1), 5)
    for scene, (row, column), digit in zip(scenes, places, digits, strict=True):
        there = scene[:, row : row + 8, column : column + 8]
        np.testing.assert_array_equal(there, images[digit])


def test_nets_with_and_without_skips_start_with_the_same_weights():
    starts = []
    for skips in (True, False):
        with gg.root_scope(seed=0):
            starts.append(residual.deep(2, skips).parameters())
    for with_skips, plain in zip(*starts, strict=True):
        np.testing.assert_array_equal(with_skips.value, plain.value)


def test_without_skips_a_block_is_its_body():
    x = gg.constant(random_images(2))
    with gg.root_scope(seed=0):
        plain = residual.deep(1, skips=False)
    y = x
    for layer in plain:
        y = (layer.body if isinstance(layer, gg.nn.Residual) else layer)(y)
    np.testing.assert_array_equal(gg.evaluate(y), gg.evaluate(plain(x)))


def test_a_segmented_pixel_is_of_the_digit_whose_ink_it_has():
    images, labels = np.ones((3, 1, 8, 8), np.float32), np.array([4, 5, 6])
    random = np.random.default_rng(2)
    scenes, masks = segmentation.scatter(images, labels, random, 20)
    of_digits = masks != segmentation.NONE
    assert (scenes[:, 0][of_digits] == 1).all()
    assert of_digits.reshape(20, -1).sum(axis=1).max() <= 4 * 64
    assert (of_digits.sum(axis=(1, 2)) % 64 == 0).all()


def test_overlap_is_intersection_over_union():
    a, b = np.array([1, 1, 0, 0], bool), np.array([0, 1, 1, 0], bool)
    assert segmentation.overlap(a, b) == 1 / 3
    assert segmentation.overlap(a, a) == 1
    assert segmentation.overlap(a & ~a, a & ~a) == 1
