"""Max pooling with indices, and unpooling with them."""

import re

import numpy as np
import pytest

import graphgpu as gg
from graphgpu.ops.gather import AddAlongAxis
from graphgpu.ops.pooling_operations import MaxPool
from graphgpu.ops.window_picks import WindowScatter
from graphgpu.reference import reference_value
from graphgpu.testing import check_operation

RNG = np.random.default_rng(43)
POOL = {1: gg.max_pool1d, 2: gg.max_pool2d, 3: gg.max_pool3d}
UNPOOL = {1: gg.max_unpool1d, 2: gg.max_unpool2d, 3: gg.max_unpool3d}
SIZES = {1: (9,), 2: (6, 7), 3: (4, 5, 4)}


def distinct(*shape):
    return RNG.permutation(int(np.prod(shape))).reshape(shape) / 4.0 - 3.0


def kinds(y):
    return {type(v.operation) for v in gg.Graph(y).variables}


@pytest.mark.parametrize("axes", [1, 2, 3])
@pytest.mark.parametrize("geometry", [(2, None, 0), (3, 2, 1), (3, 1, 1)])
def test_indices_are_flat_places_in_the_image(axes, geometry):
    x = distinct(2, 3, *SIZES[axes])
    y, indices = POOL[axes](gg.constant(x), *geometry, return_indices=True)
    values, places = gg.evaluate(y), gg.evaluate(indices)
    assert places.dtype == np.int32
    flat = x.reshape(2, 3, -1)
    found = np.take_along_axis(flat, places.reshape(2, 3, -1), 2)
    np.testing.assert_array_equal(found.reshape(values.shape), values)


def test_the_first_of_equal_elements_is_found():
    x = gg.constant(np.ones((1, 1, 2, 4)))
    _, indices = gg.max_pool2d(x, 2, return_indices=True)
    np.testing.assert_array_equal(gg.evaluate(indices), [[[[0, 2]]]])


def test_pooling_without_indices_is_the_node_that_it_is_with_them():
    x = gg.placeholder("x", ("n", 3, 8, 8))
    plain, (largest, _) = gg.max_pool2d(x, 2), gg.max_pool2d(x, 2, return_indices=True)
    assert isinstance(plain, gg.Variable)
    assert type(plain.operation) is MaxPool
    assert plain.operation == largest.operation
    assert list(gg.Graph(plain).variables) == [x, plain]


@pytest.mark.parametrize("axes", [1, 2, 3])
@pytest.mark.parametrize("geometry", [(2, None, 0), (3, 2, 1), (2, 3, 0)])
@pytest.mark.parametrize("known", [True, False])
def test_maxima_stand_where_they_were_amid_zeros(axes, geometry, known):
    """The same from the pooling's own indices as from any integers."""
    x = distinct(2, 2, *SIZES[axes])
    y, indices = POOL[axes](gg.constant(x), *geometry, return_indices=True)
    places = gg.evaluate(indices)
    if not known:
        y, indices = gg.constant(gg.evaluate(y)), gg.constant(places.astype("int64"))
    back = UNPOOL[axes](y, indices, *geometry, output_size=SIZES[axes])
    taken = np.zeros((2, 2, np.prod(SIZES[axes])), bool)
    np.put_along_axis(taken, places.reshape(2, 2, -1), True, 2)
    expected = np.where(taken.reshape(x.shape), x, 0)
    np.testing.assert_allclose(gg.evaluate(back), expected, rtol=1e-15)


def test_one_scatter_does_it_where_windows_surely_do_not_overlap():
    x = gg.placeholder("x", ("n", 3, 8, 8))
    y, indices = gg.max_pool2d(x, 2, return_indices=True)
    assert WindowScatter in kinds(gg.max_unpool2d(y, indices, 2))
    assert AddAlongAxis not in kinds(gg.max_unpool2d(y, indices, 2))
    any_indices = gg.placeholder("i", ("n", 3, 4, 4), "int64")
    assert AddAlongAxis in kinds(gg.max_unpool2d(y, any_indices, 2))
    y, indices = gg.max_pool2d(x, 3, 2, 1, return_indices=True)
    assert AddAlongAxis in kinds(gg.max_unpool2d(y, indices, 3, 2, 1, (8, 8)))


def test_windows_that_found_one_element_share_it_equally():
    x = gg.constant([[[1.0, 5.0, 2.0]]])
    indices = gg.constant([[[1, 1, 2]]])
    values = gg.constant([[[4.0, 6.0, 7.0]]])
    y = gg.max_unpool1d(values, indices, 1)
    np.testing.assert_array_equal(gg.evaluate(y), [[[0, 5, 7]]])
    huge = gg.constant(np.full((1, 1, 3), 3e38, "f"))
    y = gg.max_unpool1d(huge, indices, 1)
    np.testing.assert_array_equal(gg.evaluate(y), np.array([[[0, 3e38, 3e38]]], "f"))
    y, found = gg.max_pool1d(x, 2, 1, return_indices=True)
    back = gg.max_unpool1d(y, found, 2, 1)
    np.testing.assert_array_equal(gg.evaluate(back), [[[0, 5, 0]]])


def test_pooling_what_was_unpooled_gives_it_again():
    x = np.abs(distinct(1, 2, 6, 6))
    y, indices = gg.max_pool2d(gg.constant(x), 2, return_indices=True)
    again = gg.max_pool2d(gg.max_unpool2d(y, indices, 2), 2)
    np.testing.assert_array_equal(gg.evaluate(again), gg.evaluate(y))


def test_unpooling_is_the_adjoint_of_gathering_the_maxima():
    x = gg.placeholder("x", (1, 2, 4, 6), "float64")
    y, indices = gg.max_pool2d(x, 2, return_indices=True)
    g = gg.constant(RNG.standard_normal((1, 2, 2, 3)))
    (slope,) = gg.gradients(gg.sum(y * g), [x])
    value = distinct(1, 2, 4, 6)
    expected = gg.evaluate(gg.max_unpool2d(g, indices, 2), {x: value})
    np.testing.assert_array_equal(gg.evaluate(slope, {x: value}), expected)


def test_any_indices_have_all_derivatives_in_every_float_dtype():
    places = np.array([[[0, 5, 5, 2]], [[1, 0, 3, 1]]])

    def mean_of_those(x):
        y = np.zeros((2, 1, 6))
        for n, k in np.ndindex(2, 6):
            here = x[n, 0][places[n, 0] == k]
            y[n, 0, k] = here.mean() if here.size else 0
        return y

    check_operation(
        lambda x: gg.max_unpool1d(x, gg.constant(places), 2, 1, output_size=6),
        [RNG.standard_normal((2, 1, 4))],
        mean_of_those,
        dtypes=("float64", "float32", "float16", "bfloat16"),
        symbolic=False,
    )


@pytest.mark.parametrize("geometry", [(2, None, 0), (3, 2, 1), (3, 3, 0)])
def test_indices_unpooling_and_gradients_in_one_program(geometry):
    """What a program does with a pooling of its own does not show in the indices."""
    x = gg.placeholder("x", (4, 3, 9, 9))
    z = gg.relu(x)
    y, indices = gg.max_pool2d(z, *geometry, return_indices=True)
    back = gg.max_unpool2d(gg.tanh(y), indices, *geometry, output_size=(9, 9))
    (slope,) = gg.gradients(gg.sum(back * z) + gg.sum(y * y), [x])
    value = distinct(4, 3, 9, 9).astype("f")
    for outputs in ([y, indices, back, slope], [back, slope], [indices, slope]):
        found = gg.compile([x], outputs, device="cpu")(value)
        for output, got in zip(outputs, found, strict=True):
            expected = reference_value(output, {x: value})
            np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-5)


def test_named_sizes_are_inferred():
    x = gg.placeholder("x", ("n", 3, "h", 9))
    y, indices = gg.max_pool2d(x, 3, 2, 1, return_indices=True)
    back = gg.max_unpool2d(y, indices, 3, 2, 1, output_size=x.shape[2:])
    assert back.type == x.type
    half, places = gg.max_pool1d(
        gg.placeholder("s", ("n", 3, "w")), 2, return_indices=True
    )
    assert str(gg.max_unpool1d(half, places, 2).shape[2]) == "2*(w//2)"


def test_an_index_out_of_range_is_an_error_when_the_program_runs():
    indices = gg.placeholder("i", (1, 1, 2), "int64")
    y = gg.max_unpool1d(gg.constant([[[1.0, 2.0]]]), indices, 2)
    with pytest.raises(gg.ComputeError, match="index 4 is out of range"):
        gg.evaluate(y, {indices: np.array([[[0, 4]]])})


def test_the_output_is_of_the_image_whose_maxima_they_are():
    x = gg.constant(np.arange(81.0).reshape(1, 1, 9, 9))
    half, places = gg.max_pool2d(x, 2, return_indices=True)
    for given, sizes in (((4, 4), "4,4"), (None, "8,8")):
        with pytest.raises(gg.ShapeError) as error:
            gg.max_unpool2d(half, places, 2, output_size=given)
        assert (
            "expected output_size to be [9,9], of which max_pool found the indices, "
            f"not [{sizes}]; got float64[1,1,4,4] and int32[1,1,4,4]; created at "
        ) in str(error.value)
    with pytest.raises(gg.ShapeError) as error:
        gg.max_unpool2d(half, gg.evaluate(places), 2)
    assert (
        "expected output_size, [8,8], to have a place for each index, but 70 is beyond "
        "its 64 elements; got float64[1,1,4,4] and int32[1,1,4,4]; created at "
    ) in str(error.value)


X = gg.placeholder("x", ("n", 3, 8, 8))
PLACES = gg.placeholder("i", ("n", 3, 8, 8), "int32")
MISFITS = [
    (
        (X, X, 2),
        "max_unpool2d(kernel_size=2, stride=2): expected integers as indices: what "
        "max_pool returns with return_indices=True; got float32[n,3,8,8] and "
        "float32[n,3,8,8]; created at ",
    ),
    (
        (X, gg.placeholder("j", ("n", 3, 4, 8), "int32"), 2),
        "max_unpool2d(kernel_size=2, stride=2): expected indices of shape [n,3,8,8]; "
        "got float32[n,3,8,8] and int32[n,3,4,8]; created at ",
    ),
    (
        (X, PLACES, 2, 1, "same"),
        "max_unpool2d(kernel_size=2, stride=1): expected padding as numbers, those of "
        "the pooling; got float32[n,3,8,8] and int32[n,3,8,8]; created at ",
    ),
    (
        (X, PLACES, 2, None, 0, (16,)),
        "max_unpool2d(kernel_size=2, stride=2, output_size=(16,)): expected "
        "output_size to have 2 sizes; got float32[n,3,8,8] and int32[n,3,8,8]; "
        "created at ",
    ),
]


@pytest.mark.parametrize(("arguments", "message"), MISFITS)
def test_the_messages_are_exactly_these(arguments, message):
    with pytest.raises(gg.GraphError, match=f"^{re.escape(message)}"):
        gg.max_unpool2d(*arguments)
