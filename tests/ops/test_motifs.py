"""Motif detection: the best score, its place, and that a moved motif keeps it."""

import re

import numpy as np
import pytest

import graphgpu as gg
from graphgpu import nn

RNG = np.random.default_rng(47)


def detected(x, w, b=None, **options):
    given = [v if v is None else gg.constant(v) for v in (x, w, b)]
    return [gg.evaluate(v) for v in gg.detect_motifs(*given, **options)]


@pytest.mark.parametrize("axes", [1, 2, 3])
@pytest.mark.parametrize(
    "options", [{}, {"padding": 1}, {"stride": 2, "padding": "full"}, {"dilation": 2}]
)
def test_the_place_found_is_where_the_score_is_had(axes, options):
    x = RNG.standard_normal((2, 2, *(7, 6, 5)[:axes]))
    w, b = RNG.standard_normal((3, 2, *[2] * axes)), RNG.standard_normal(3)
    scores, places = detected(x, w, b, **options)
    assert places.shape == (2, 3, axes)
    step = options.get("dilation", 1)
    padded = np.pad(x, [(0, 0), (0, 0), *[(1, 2)] * axes])
    for n, m in np.ndindex(2, 3):
        taps = [slice(p + 1, p + 2 + step, step) for p in places[n, m]]
        patch = padded[(n, slice(None), *taps)]
        np.testing.assert_allclose((patch * w[m]).sum() + b[m], scores[n, m])
    function = {1: gg.conv1d, 2: gg.conv2d, 3: gg.conv3d}[axes]
    fits = gg.evaluate(function(*map(gg.constant, (x, w, b)), **options))
    np.testing.assert_array_equal(scores, fits.reshape(2, 3, -1).max(-1))


def test_a_moved_motif_has_the_same_score_at_the_moved_place():
    motif = RNG.standard_normal((1, 2, 3, 4))
    found = {}
    for place in [(0, 0), (2, 5), (7, 1), (9, 8)]:
        x = np.zeros((1, 2, 12, 12))
        x[:, :, place[0] : place[0] + 3, place[1] : place[1] + 4] = motif
        scores, places = detected(x, motif)
        assert tuple(places[0, 0]) == place
        found[place] = float(scores[0, 0])
    np.testing.assert_allclose(list(found.values()), (motif**2).sum(), rtol=1e-13)


def test_the_gradient_flows_through_the_best_place_alone():
    x, w = RNG.standard_normal((1, 1, 9)), RNG.standard_normal((1, 1, 3))
    signal = gg.placeholder("x", x.shape, "float64")
    scores, places = gg.detect_motifs(signal, gg.constant(w))
    (slope,) = gg.gradients(gg.sum(scores), [signal])
    place = gg.evaluate(places, {signal: x})[0, 0, 0]
    expected = np.zeros((1, 1, 9))
    expected[0, 0, place : place + 3] = w[0, 0]
    np.testing.assert_array_equal(gg.evaluate(slope, {signal: x}), expected)


def test_of_equally_good_places_the_first_is_found():
    x = np.array([[[0.0, 1.0, 0.0, 1.0]]])
    assert detected(x, np.ones((1, 1, 1)))[1] == 1


def test_named_sizes_give_the_same():
    x, w = RNG.standard_normal((2, 3, 6, 7)), RNG.standard_normal((4, 3, 2, 3))
    named = gg.placeholder("x", ("n", 3, "h", "w"), "float64")
    results = gg.detect_motifs(named, gg.constant(w), stride=2, padding="same")
    found = gg.compile([named], list(results), device="cpu")(x)
    for got, expected in zip(
        found, detected(x, w, stride=2, padding="same"), strict=True
    ):
        np.testing.assert_array_equal(got, expected)


def test_the_layer_has_the_scores_and_locates():
    x = RNG.standard_normal((2, 3, 8, 8))
    layer = nn.MotifDetector2d(
        3, 5, (2, 3), bias_init=nn.init.normal(), dtype="float64"
    )
    scores, places = detected(x, layer.weight.value, layer.bias.value)
    np.testing.assert_array_equal(gg.evaluate(layer(gg.constant(x))), scores)
    np.testing.assert_array_equal(gg.evaluate(layer.locate(gg.constant(x))), places)
    layer.transform("weight", nn.Function(gg.negative))
    scores, places = detected(x, -layer.weight.value, layer.bias.value)
    np.testing.assert_array_equal(gg.evaluate(layer(gg.constant(x))), scores)
    np.testing.assert_array_equal(gg.evaluate(layer.locate(gg.constant(x))), places)


def test_the_message_is_exactly_this():
    x, w = gg.placeholder("x", ("n", 3, 8, 8)), gg.placeholder("w", (4, 3))
    message = (
        "detect_motifs(stride=1, padding=0, dilation=1): expected a weight with axes "
        "M, C and one, two or three more; got float32[n,3,8,8] and float32[4,3]; "
        "created at "
    )
    with pytest.raises(gg.ShapeError, match=f"^{re.escape(message)}"):
        gg.detect_motifs(x, w)


@pytest.mark.parametrize("counts", [(0, 2), (2, 0)])
def test_there_may_be_no_samples_and_no_motifs(counts):
    samples, motifs = counts
    scores, places = gg.detect_motifs(
        gg.zeros((samples, 1, 5)), gg.zeros((motifs, 1, 2))
    )
    assert gg.evaluate(scores).shape == (samples, motifs)
    assert gg.evaluate(places).shape == (samples, motifs, 1)


@pytest.mark.parametrize("padding", [[(2, 0)], [(0, 3)], [(1, 2)], "same", "full"])
def test_places_are_counted_from_the_input_and_not_from_its_padding(padding):
    x = gg.constant([[[0.0, 1.0, 2.0, 0.0]]])
    scores, places = gg.detect_motifs(x, [[[1.0, 2.0]]], padding=padding)
    assert gg.evaluate(scores).item() == 5
    assert gg.evaluate(places).item() == 1
