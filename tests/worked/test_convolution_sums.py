"""The gradients of a convolution as sums: *Deep Learning*, section 9.5.

Counted from 0, of stride t (equations 9.8, 9.11 and 9.13):

    Z_o,p,q       = Σ_c,r,s V_c,tp+r,tq+s K_o,c,r,s
    ∂J/∂K_o,c,r,s = Σ_p,q   G_o,p,q V_c,tp+r,tq+s             with G = ∂J/∂Z
    ∂J/∂V_c,h,w   = Σ K_o,c,r,s G_o,p,q    over o and all tp + r = h, tq + s = w

For one feature map, with c = o = 1, these are the sums of the lectures.  The last
is, for stride 1, the convolution of G, padded with zeros, with the flipped kernel
("full" convolution).
"""

import numpy as np
import pytest

import graphgpu as gg

# image (C, H, W), kernel (O, C, R, S), stride
CASES = {
    "one map": ((1, 5, 6), (1, 1, 3, 2), 1),
    "one pixel": ((1, 1, 1), (1, 1, 1, 1), 1),
    "kernel of the image's size": ((1, 4, 3), (1, 1, 4, 3), 1),
    "many channels": ((3, 6, 5), (4, 3, 2, 3), 1),
    "one map, stride 2": ((1, 7, 8), (1, 1, 3, 2), 2),
    "many channels, stride 3": ((2, 9, 10), (3, 2, 3, 3), 3),
}
STRIDE_1 = [name for name, (_, _, stride) in CASES.items() if stride == 1]


class Convolution:
    """Z = V * K for one image, with J = Σ Z G, whose gradient by Z is G."""

    def __init__(self, image, kernel, stride):
        random = np.random.default_rng(5)
        P = (image[1] - kernel[2]) // stride + 1
        Q = (image[2] - kernel[3]) // stride + 1
        self.maps = (kernel[0], P, Q)
        self.stride = stride
        shapes = {"V": image, "K": kernel, "G": self.maps}
        self.values = [random.standard_normal(s) for s in shapes.values()]
        self.V, self.K, self.G = (
            gg.placeholder(name, shape, "float64") for name, shape in shapes.items()
        )
        self.Z = gg.conv2d(self.V[None], self.K, stride=stride)[0]
        self.J = gg.sum(self.Z * self.G)

    def run(self, variable):
        return gg.compile([self.V, self.K, self.G], variable)(*self.values)

    def terms(self):
        """Every product of the sums: indices of K, of Z and of V."""
        for o, c, r, s in np.ndindex(self.K.shape):
            for p, q in np.ndindex(self.maps[1:]):
                place = (c, self.stride * p + r, self.stride * q + s)
                yield (o, c, r, s), (o, p, q), place

    def sums(self):
        """Z, ∂J/∂K and ∂J/∂V, term by term."""
        V, K, G = self.values
        Z, dK, dV = np.zeros_like(G), np.zeros_like(K), np.zeros_like(V)
        for k, z, v in self.terms():
            Z[z] += V[v] * K[k]
            dK[k] += G[z] * V[v]
            dV[v] += K[k] * G[z]
        return Z, dK, dV


@pytest.fixture(params=CASES)
def convolution(request):
    return Convolution(*CASES[request.param])


@pytest.fixture(params=STRIDE_1)
def of_stride_1(request):
    return Convolution(*CASES[request.param])


def assert_equal(computed, expected):
    np.testing.assert_allclose(computed, expected, rtol=1e-12, atol=1e-13)


def test_convolution_is_the_sum_of_equation_9_8(convolution):
    assert_equal(convolution.run(convolution.Z), convolution.sums()[0])


def test_gradient_by_the_kernel_is_the_sum_of_equation_9_11(convolution):
    (dK,) = gg.gradients(convolution.J, [convolution.K])
    assert_equal(convolution.run(dK), convolution.sums()[1])


def test_gradient_by_the_image_is_the_sum_of_equation_9_13(convolution):
    (dV,) = gg.gradients(convolution.J, [convolution.V])
    assert_equal(convolution.run(dV), convolution.sums()[2])


def test_gradient_by_the_image_convolves_the_padded_gradient_with_the_flipped_kernel(
    of_stride_1,
):
    V, K, G = of_stride_1.V, of_stride_1.K, of_stride_1.G
    r, s = K.shape[2] - 1, K.shape[3] - 1
    padded = gg.pad(G, ((0, 0), (r, r), (s, s)))
    flipped = gg.flip(K, (2, 3)).transpose((1, 0, 2, 3))
    full = gg.conv2d(padded[None], flipped)[0]
    assert full.shape == V.shape
    assert_equal(of_stride_1.run(full), of_stride_1.sums()[2])


def test_full_convolution_is_a_convolution_with_padding(of_stride_1):
    K, G = of_stride_1.K, of_stride_1.G
    padding = (K.shape[2] - 1, K.shape[3] - 1)
    flipped = gg.flip(K, (2, 3)).transpose((1, 0, 2, 3))
    full = gg.conv2d(G[None], flipped, padding=padding)[0]
    assert_equal(of_stride_1.run(full), of_stride_1.sums()[2])


def test_gradient_by_the_kernel_convolves_the_image_with_the_gradient(of_stride_1):
    """The image's channels take the place of a batch, as do those of G."""
    V, G = of_stride_1.V, of_stride_1.G
    built = gg.conv2d(V[:, None], G[:, None]).transpose((1, 0, 2, 3))
    assert_equal(of_stride_1.run(built), of_stride_1.sums()[1])


def test_gradient_by_the_image_is_the_transposed_convolution(convolution):
    """Its size is lost where the stride does not divide: the rest has gradient 0."""
    K, G = convolution.K, convolution.G
    transposed = gg.conv_transpose2d(G[None], K, stride=convolution.stride)[0]
    dV = convolution.sums()[2]
    _, h, w = transposed.shape
    assert_equal(convolution.run(transposed), dV[:, :h, :w])
    assert not dV[:, h:].any()
    assert not dV[:, :, w:].any()


def test_gradient_by_the_kernel_of_a_batch_is_the_sum_over_the_images():
    random = np.random.default_rng(1)
    images = random.standard_normal((3, 2, 5, 5))
    G = random.standard_normal((3, 4, 3, 3))
    V = gg.placeholder("V", ("batch", 2, 5, 5), "float64")
    K = gg.parameter("K", random.standard_normal((4, 2, 3, 3)))
    g = gg.placeholder("G", ("batch", 4, 3, 3), "float64")
    (dK,) = gg.gradients(gg.sum(gg.conv2d(V, K) * g), [K])
    program = gg.compile([V, g], dK)
    one_by_one = [program(images[i : i + 1], G[i : i + 1]) for i in range(3)]
    assert_equal(program(images, G), sum(one_by_one))


# --- weight sharing: one shared kernel, or a locally connected layer, tied


def locally_connected(V, U, stride=1):
    """Equation 9.9: Z_o,p,q = Σ_c,r,s V_c,tp+r,tq+s U_o,c,r,s,p,q."""
    _, C, R, S, P, Q = U.shape
    patches = [
        V[
            :,
            r : r + stride * (P - 1) + 1 : stride,
            s : s + stride * (Q - 1) + 1 : stride,
        ]
        for r, s in np.ndindex((R, S))
    ]
    window = gg.stack(patches, 1).reshape((C, R, S, P, Q))
    return gg.sum(U * window, (1, 2, 3))


def tied(convolution):
    """The weights at every place, all of them those of the one kernel."""
    K, (_, P, Q) = convolution.K, convolution.maps
    return K.reshape((*K.shape, 1, 1)).broadcast_to((*K.shape, P, Q))


def test_locally_connected_layer_with_tied_weights_is_the_convolution(convolution):
    local = locally_connected(convolution.V, tied(convolution), convolution.stride)
    assert_equal(convolution.run(local), convolution.sums()[0])


def test_gradient_of_the_shared_kernel_sums_those_of_the_tied_weights(convolution):
    U = tied(convolution)
    local = locally_connected(convolution.V, U, convolution.stride)
    dU, dK = gg.gradients(gg.sum(local * convolution.G), [U, convolution.K])
    at_the_places = convolution.run(dU)
    # At each place the gradient is that of one term: G_o,p,q V_c,tp+r,tq+s.
    V, _, G = convolution.values
    for k, z, v in convolution.terms():
        assert at_the_places[(*k, *z[1:])] == G[z] * V[v]
    # Tying sums them, which is the gradient of the one kernel.
    assert_equal(at_the_places.sum((4, 5)), convolution.sums()[1])
    assert_equal(convolution.run(dK), convolution.sums()[1])


def test_gradient_by_the_image_is_the_same_in_both_views(convolution):
    local = locally_connected(convolution.V, tied(convolution), convolution.stride)
    (dV,) = gg.gradients(gg.sum(local * convolution.G), [convolution.V])
    assert_equal(convolution.run(dV), convolution.sums()[2])


def test_untied_weights_part_after_one_step_and_tied_weights_do_not():
    """Descent on the tied weights keeps them equal only if their gradient is summed."""
    convolution = Convolution(*CASES["one map"])
    V, K, G = convolution.V, convolution.K, convolution.G
    U = tied(convolution)
    J = gg.sum(locally_connected(V, U) * G)
    dU, dK = gg.gradients(J, [U, K])
    alone = convolution.run(U - 0.1 * dU)
    assert np.ptp(alone, axis=(4, 5)).min() > 1e-3
    shared = K - 0.1 * dK
    together = convolution.run(
        shared.reshape((*K.shape, 1, 1)).broadcast_to(U.shape),
    )
    np.testing.assert_array_equal(np.ptp(together, axis=(4, 5)), 0.0)


def test_convolution_is_a_product_with_a_sparse_matrix_of_tied_entries():
    """Section 9.1: multiplication by a doubly block circulant (Toeplitz) matrix."""
    convolution = Convolution(*CASES["one map"])
    V, K, G = convolution.V, convolution.K, convolution.G
    rows, columns = int(np.prod(G.shape)), int(np.prod(V.shape))
    # Which entries of the matrix are which entry of the kernel.
    selection = np.zeros((int(np.prod(K.shape)), rows, columns))
    for k, z, v in convolution.terms():
        place = [
            np.ravel_multi_index(index, x.shape)
            for index, x in ((k, K), (z, G), (v, V))
        ]
        selection[tuple(place)] = 1
    matrix = gg.sum(K.reshape((-1, 1, 1)) * selection, 0)
    product = (matrix @ V.reshape(-1)).reshape(G.shape)
    Z, dK, dV = convolution.sums()
    assert_equal(convolution.run(product), Z)
    by_matrix, by_kernel, by_image = gg.gradients(gg.sum(product * G), [matrix, K, V])
    # A dense layer's gradient, of which the entries that share a weight are summed.
    dense = convolution.run(by_matrix)
    v, _, g = convolution.values
    assert_equal(dense, np.outer(g, v))
    assert_equal((selection * dense).sum((1, 2)).reshape(K.shape), dK)
    assert_equal(convolution.run(by_kernel), dK)
    # By the image: the transposed matrix.
    assert_equal(convolution.run(by_image), dV)
