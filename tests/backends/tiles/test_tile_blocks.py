"""Block sizes, and how products are cut."""

import numpy as np
import pytest

from graphgpu.backends.numpy.tiles import ConvolutionBackward, block_size
from graphgpu.backends.numpy.tiles.products import OuterProducts, Products

SAME = (1, 1), ((1, 1), (1, 1)), (1, 1), np.dtype("float32")


def test_blocks_are_smaller_for_larger_images():
    sizes = [
        block_size(ConvolutionBackward(H, 1, H, C, C, (3, 3), *SAME))
        for H, C in ((8, 64), (16, 64), (32, 64), (224, 64))
    ]
    assert sizes == [16, 4, 1, 1]


@pytest.mark.parametrize("M", [1, 7, 49, 128, 8192])
@pytest.mark.parametrize("L", [1, 9, 48, 384])
@pytest.mark.parametrize("N", [1, 16, 128])
def test_products_are_the_same_in_pieces(M, L, N):
    rng = np.random.default_rng(0)
    A, B = (rng.integers(-4, 5, (M, L)).astype("float32") for _ in (0, 1))
    W, Y = (rng.integers(-4, 5, (n, N)).astype("float32") for n in (L, M))
    out, term = np.empty((2, M, N), "float32")
    Products(M, L, N).compute([A, B], [W, 2 * W], out, term)
    np.testing.assert_array_equal(out, A @ W + 2 * B @ W)

    outer = OuterProducts(M, L, N)
    acc = np.full((L, N), np.nan, "float32")
    scratch = np.empty((L, N), "float32"), np.empty((outer.parts, L, N), "float32")
    outer.add(A, Y, acc, True, *scratch)
    outer.add(B, Y, acc, False, *scratch)
    np.testing.assert_array_equal(acc, A.T @ Y + B.T @ Y)


def test_pieces_divide_the_matrices():
    products = Products(8192, 48, 16)
    assert (products.rows, products.columns) == (1024, 16)
    products = Products(512, 384, 128)
    assert (products.rows, products.columns) == (32, 64)
    outer = OuterProducts(512, 192, 64)
    assert (outer.rows, outer.columns, outer.parts) == (512, 24, 1)
