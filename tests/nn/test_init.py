"""Initialisers: variances as published, orthogonality, generators by key."""

import math

import numpy as np
import pytest

import graphgpu as gg
from graphgpu.nn import init

DENSE = (300, 200)
KERNEL = (96, 64, 3, 3)


def draw(initializer, shape, fans=None):
    return initializer(init.generator(3, "w"), shape, fans or init.fans_of(shape))


VARIANCES = {
    "glorot": lambda fan_in, fan_out: 2 / (fan_in + fan_out),
    "he": lambda fan_in, fan_out: 2 / fan_in,
    "lecun": lambda fan_in, fan_out: 1 / fan_in,
}


@pytest.mark.parametrize("name", VARIANCES)
@pytest.mark.parametrize(("shape", "fans"), [(DENSE, (300, 200)), (KERNEL, (576, 864))])
def test_variances_are_those_published(name, shape, fans):
    variance = VARIANCES[name](*fans)
    limit = math.sqrt(3 * variance)
    uniform = draw(getattr(init, f"{name}_uniform")(), shape)
    normal = draw(getattr(init, f"{name}_normal")(), shape)
    count = math.prod(shape)
    for values, kurtosis in ((uniform, 1.8), (normal, 3.0)):
        deviations = 5 * math.sqrt((kurtosis - 1) / count)
        assert abs(values.mean()) < 5 * math.sqrt(variance / count)
        assert values.var() == pytest.approx(variance, rel=deviations)
        fourth = (values**4).mean() / variance**2
        assert fourth == pytest.approx(kurtosis, rel=0.05)
    assert np.abs(uniform).max() <= limit
    assert np.abs(uniform).max() > 0.99 * limit


def test_gains_and_slopes_scale_the_variance():
    for make in (init.glorot_uniform, init.glorot_normal):
        np.testing.assert_allclose(draw(make(3.0), DENSE), 3 * draw(make(), DENSE))
    for make in (init.he_uniform, init.he_normal):
        scale = math.sqrt(1 / (1 + 0.5**2))
        np.testing.assert_allclose(draw(make(0.5), DENSE), scale * draw(make(), DENSE))


def test_fans_count_the_channels_of_a_group_and_the_window():
    assert init.dense_fans((784, 10)) == init.Fans(784, 10)
    assert init.convolution_fans((64, 3, 7, 5)) == init.Fans(3 * 35, 64 * 35)
    assert init.convolution_fans((64, 1, 3, 3), groups=64) == init.Fans(9, 9)
    assert init.convolution_transpose_fans((8, 2, 4), groups=2) == init.Fans(16, 8)
    assert init.fans_of((5,)) == init.Fans(1, 1)


def test_layers_give_the_initialiser_their_fans():
    seen = []

    def spy(random, shape, fans):
        seen.append((shape, fans))
        return np.zeros(shape)

    options = {"bias": False, "weight_init": spy}
    gg.nn.Dense(5, 7, **options)
    gg.nn.Conv1d(4, 6, 3, groups=2, **options)
    gg.nn.ConvTranspose2d(4, 6, (3, 2), groups=2, **options)
    assert seen == [
        ((5, 7), init.Fans(5, 7)),
        ((6, 2, 3), init.Fans(6, 9)),
        ((4, 3, 3, 2), init.Fans(12, 18)),
    ]


@pytest.mark.parametrize("shape", [(6, 6), (8, 3), (3, 8), (4, 2, 3, 3), (1, 1)])
def test_orthogonal_matrices_are_orthonormal_along_the_shorter_side(shape):
    q = draw(init.orthogonal(2.0), shape).reshape(shape[0], -1)
    gram = q.T @ q if q.shape[0] >= q.shape[1] else q @ q.T
    np.testing.assert_allclose(gram, 4 * np.eye(min(q.shape)), atol=1e-12)


def test_orthogonal_matrices_have_no_preferred_sign():
    signs = [
        init.orthogonal()(init.generator(0, str(i)), (2, 2), init.Fans(2, 2))[0, 0] > 0
        for i in range(200)
    ]
    assert 60 < sum(signs) < 140


def test_plain_values():
    assert (draw(init.zeros(), (2, 3)) == 0).all()
    assert (draw(init.ones(), (2, 3)) == 1).all()
    array = draw(init.constant([1.0, 2.0, 3.0]), (2, 3))
    assert array.tolist() == [[1, 2, 3]] * 2
    normal = draw(init.normal(0.02, 1.0), DENSE)
    assert normal.mean() == pytest.approx(1, abs=1e-3)
    assert normal.std() == pytest.approx(0.02, rel=0.02)
    uniform = draw(init.uniform(-0.1, 0.3), DENSE)
    assert -0.1 <= uniform.min() < -0.099
    assert 0.299 < uniform.max() < 0.3


def test_values_depend_on_seed_and_key_alone():
    same = [init.generator(1, "a/w#0").standard_normal(5) for _ in range(2)]
    assert same[0].tobytes() == same[1].tobytes()
    others = [
        init.generator(*k).standard_normal(5) for k in ((2, "a/w#0"), (1, "a/w#1"))
    ]
    for other in others:
        assert (other != same[0]).all()


def test_initialisers_print_and_compare():
    assert init.he_normal() == init.he_normal()
    assert init.he_normal() != init.lecun_normal()
    assert repr(init.constant(0.5)) == "Constant(value=0.5)"


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16", "bfloat16"])
def test_parameters_have_the_dtype_asked_for(dtype):
    layers = [
        gg.nn.Dense(2, 2, dtype=dtype),
        gg.nn.Conv2d(2, 2, 1, dtype=dtype),
        gg.nn.BatchNorm(2, dtype=dtype),
        gg.nn.LayerNorm(2, dtype=dtype),
        gg.nn.Embedding(2, 2, dtype=dtype),
    ]
    for layer in layers:
        assert {p.dtype.name for p in layer.parameters()} == {dtype}
    wide = "float32" if dtype.endswith("16") else dtype
    assert {s.dtype.name for s in layers[2].states()} == {wide}
