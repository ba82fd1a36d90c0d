"""The backpropagation equations of an MLP, node by node against our gradients.

*Deep Learning*, section 6.5.4.  Algorithm 6.3 computes, with h⁰ = x,

    a^k = b^k + W^k h^(k-1),    h^k = f(a^k),    ŷ = h^l,    J = L(ŷ, y) + λ Ω(θ)

and Algorithm 6.4 goes back through the layers with g, which the lectures call δ:

    δ^L = ∇_ŷ J ⊙ f'(a^L)
    δ^k = (W^(k+1)ᵀ δ^(k+1)) ⊙ f'(a^k)
    ∂J/∂W^k = δ^k h^(k-1)ᵀ + λ ∂Ω/∂W^k
    ∂J/∂b^k = δ^k (+ λ ∂Ω/∂b^k, where the biases are penalised)

A column is an example; of a batch, ∂J/∂b^k is the sum of the columns of δ^k.
"""

from itertools import pairwise

import numpy as np
import pytest

import graphgpu as gg

SIZES = (4, 5, 3, 2)
DECAY = 0.05

ACTIVATIONS = {
    "tanh": (gg.tanh, np.tanh, lambda a: 1 - np.tanh(a) ** 2),
    "sigmoid": (
        gg.sigmoid,
        lambda a: 1 / (1 + np.exp(-a)),
        lambda a: np.exp(-a) / (1 + np.exp(-a)) ** 2,
    ),
    "relu": (
        gg.relu,
        lambda a: np.maximum(a, 0),
        lambda a: (a > 0).astype(a.dtype),
    ),
}


class Perceptron:
    """Algorithm 6.3 as graph, with L = 1/2 ‖ŷ - y‖² and Ω = 1/2 Σ ‖W‖²."""

    def __init__(self, f, batch, decay=0.0):
        random = np.random.default_rng(7)
        self.x = gg.placeholder("x", (SIZES[0], batch), "float64")
        self.y = gg.placeholder("y", (SIZES[-1], batch), "float64")
        self.data = [random.standard_normal((s, batch)) for s in (4, 2)]
        self.W, self.b, self.a, self.h = [], [], [], [self.x]
        for k, (inputs, units) in enumerate(pairwise(SIZES), 1):
            with gg.scope(f"layer{k}"):
                W = gg.parameter("W", random.standard_normal((units, inputs)))
                b = gg.parameter("b", random.standard_normal((units, 1)))
                a = (W @ self.h[-1] + b).named("a")
                self.W.append(W)
                self.b.append(b)
                self.a.append(a)
                self.h.append(f(a).named("h"))
        self.J = gg.sum(gg.square(self.h[-1] - self.y)) / 2
        if decay:
            for W in self.W:
                self.J = self.J + decay / 2 * gg.sum(gg.square(W))

    def run(self, outputs):
        return gg.compile([self.x, self.y], outputs)(*self.data)


def algorithms_6_3_and_6_4(net, f, slope, decay):
    """Return the gradients by a, h, W and b of each layer, in NumPy."""
    x, y = net.data
    W, b = [p.value for p in net.W], [p.value for p in net.b]
    a, h = [], [x]
    for Wk, bk in zip(W, b, strict=True):
        a.append(bk + Wk @ h[-1])
        h.append(f(a[-1]))
    g = h[-1] - y
    found = {"a": [], "h": [], "W": [], "b": []}
    for k in reversed(range(len(W))):
        found["h"].insert(0, g)
        g = g * slope(a[k])
        found["a"].insert(0, g)
        found["W"].insert(0, g @ h[k].T + decay * W[k])
        found["b"].insert(0, g.sum(axis=1, keepdims=True))
        g = W[k].T @ g
    return found | {"x": [g]}


@pytest.mark.parametrize("decay", [0.0, DECAY])
@pytest.mark.parametrize("batch", [1, 6])
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_gradient_by_every_node_is_that_of_algorithm_6_4(name, batch, decay):
    function, f, slope = ACTIVATIONS[name]
    net = Perceptron(function, batch, decay)
    expected = algorithms_6_3_and_6_4(net, f, slope, decay)
    nodes = {"a": net.a, "h": net.h[1:], "W": net.W, "b": net.b, "x": [net.x]}
    for kind, variables in nodes.items():
        computed = net.run(gg.gradients(net.J, variables))
        for got, want in zip(computed, expected[kind], strict=True):
            np.testing.assert_allclose(got, want, rtol=1e-12, atol=1e-14)


def operation(variable):
    return variable.operation.kind()


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_gradient_graph_has_the_operations_of_the_equations(name):
    """Of one example (a column), the equations can be read off the nodes."""
    net = Perceptron(ACTIVATIONS[name][0], 1)
    everything = [*net.a, *net.h[1:], *net.W, *net.b]
    slope = dict(zip(everything, gg.gradients(net.J, everything), strict=True))
    for k in range(len(net.W)):
        delta = slope[net.a[k]]
        # ∂J/∂W^k = δ^k h^(k-1)ᵀ: a product of these two nodes.
        left, right = slope[net.W[k]].inputs
        assert operation(slope[net.W[k]]) == "matmul"
        assert left is delta
        assert operation(right) == "transpose"
        assert right.inputs == (net.h[k],)
        # ∂J/∂b^k = δ^k: not a copy, the same node.
        assert slope[net.b[k]] is delta
        # ∇_h^k J = W^(k+1)ᵀ δ^(k+1).
        if k + 1 < len(net.W):
            transposed, following = slope[net.h[k + 1]].inputs
            assert operation(slope[net.h[k + 1]]) == "matmul"
            assert following is slope[net.a[k + 1]]
            assert operation(transposed) == "transpose"
            assert transposed.inputs == (net.W[k + 1],)
        # δ^k = ∇_h^k J ⊙ f'(a^k): built from the gradient by h^k.
        assert slope[net.h[k + 1]] in gg.Graph(delta)


def test_gradient_of_the_bias_of_a_batch_sums_the_columns_of_delta():
    net = Perceptron(ACTIVATIONS["tanh"][0], 6)
    for a, b in zip(net.a, net.b, strict=True):
        da, db = gg.gradients(net.J, [a, b])
        summed = next(
            v for v in gg.Graph(db).variables if v.operation and da in v.inputs
        )
        assert operation(summed) == "sum"


def test_nodes_of_the_gradient_belong_to_the_layer_they_are_the_gradient_of():
    net = Perceptron(ACTIVATIONS["tanh"][0], 1)
    slopes = gg.gradients(net.J, net.W)
    for k, slope in enumerate(slopes, 1):
        assert slope.path.startswith(f"layer{k}/")
        assert slope.phase == "gradient"


def test_cost_of_the_backward_pass_is_about_twice_that_of_the_forward_pass():
    """Section 6.5.4: each product of the forward pass has two in the backward."""
    net = Perceptron(ACTIVATIONS["tanh"][0], 6)
    graph = gg.Graph(gg.gradients(net.J, [net.x, *net.W, *net.b]))
    forward = gg.Graph(net.J)
    products = [v for v in graph.variables if v.operation and operation(v) == "matmul"]
    of_forward = [v for v in products if v in forward]
    assert len(of_forward) == len(net.W)
    assert len(products) == 3 * len(of_forward)


# --- section 6.5.7: cross-entropy and weight decay, a design matrix of rows


class Classifier:
    """J = J_MLE + λ (Σ (W¹)² + Σ (W²)²), with H = max{0, X W¹}: equation 6.56."""

    def __init__(self):
        random = np.random.default_rng(2)
        self.data = random.standard_normal((5, 4)), random.integers(0, 3, 5)
        self.X = gg.placeholder("X", ("m", 4), "float64")
        self.y = gg.placeholder("y", ("m",), "int64")
        self.W1 = gg.parameter("W1", random.standard_normal((4, 6)))
        self.W2 = gg.parameter("W2", random.standard_normal((6, 3)))
        self.U1 = self.X @ self.W1
        self.H = gg.relu(self.U1)
        self.U2 = self.H @ self.W2
        self.likelihood = gg.cross_entropy(self.U2, self.y)
        self.penalty = DECAY * (gg.sum(gg.square(self.W1)) + gg.sum(gg.square(self.W2)))
        self.J = self.likelihood + self.penalty

    def run(self, outputs):
        return gg.compile([self.X, self.y], outputs)(*self.data)


def test_path_through_weight_decay_contributes_twice_lambda_times_the_weights():
    net = Classifier()
    slopes = net.run(gg.gradients(net.penalty, [net.W1, net.W2]))
    for slope, W in zip(slopes, [net.W1, net.W2], strict=True):
        np.testing.assert_allclose(slope, 2 * DECAY * W.value, rtol=1e-15)


def test_path_through_cross_entropy_follows_section_6_5_7():
    """G by U², Hᵀ G by W², G W²ᵀ by H, G' by U¹ where U¹ > 0, and Xᵀ G' by W¹."""
    net = Classifier()
    X, y = net.data
    W1, W2 = net.W1.value, net.W2.value
    U1 = X @ W1
    H = np.maximum(U1, 0)
    p = np.exp(H @ W2)
    G = (p / p.sum(1, keepdims=True) - np.eye(3)[y]) / len(y)
    G1 = G @ W2.T * (U1 > 0)
    expected = [G, H.T @ G, G @ W2.T, G1, X.T @ G1]
    nodes = [net.U2, net.W2, net.H, net.U1, net.W1]
    computed = net.run(gg.gradients(net.likelihood, nodes))
    for got, want in zip(computed, expected, strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-12, atol=1e-15)


def test_gradient_of_the_total_cost_is_the_sum_over_both_paths():
    net = Classifier()
    weights = [net.W1, net.W2]
    total, likelihood, penalty = (
        net.run(gg.gradients(cost, weights))
        for cost in (net.J, net.likelihood, net.penalty)
    )
    for whole, one, other in zip(total, likelihood, penalty, strict=True):
        np.testing.assert_allclose(whole, one + other, rtol=1e-13)
