"""Algorithms 6.1 and 6.2 of *Deep Learning*, section 6.5.3, on scalars.

The book: the subgraph B has one node for each node of G, computed in the reverse
of the order of G, and exactly one edge for each edge of G; the edge from u(j) to
u(i) carries the partial derivative of u(i) by u(j), and each node of B is the dot
product of equation 6.49.

The graphs below are of products and quotients, none of whose derivatives is 1.
Where one is (a sum), our graph keeps one entry for each node all the same, but
shares the variable: multiplication by 1 is not written down.
"""

import math
from collections import Counter

import numpy as np
import pytest

import graphgpu as gg


def exp(x):
    return gg.exp(x) if isinstance(x, gg.Variable) else math.exp(x)


# node: parents, f, the partial derivative of f by each parent
PRODUCTS = {
    4: ((1, 2), lambda x, y: x * y, (lambda x, y: y, lambda x, y: x)),
    5: ((2, 3), lambda x, y: x * y, (lambda x, y: y, lambda x, y: x)),
    6: ((4, 1), lambda x, y: x * y, (lambda x, y: y, lambda x, y: x)),
    7: ((4, 5), lambda x, y: x * y, (lambda x, y: y, lambda x, y: x)),
    8: ((6, 7), lambda x, y: x * y, (lambda x, y: y, lambda x, y: x)),
}
MIXED = {
    3: ((1, 2), lambda x, y: x / y, (lambda x, y: 1 / y, lambda x, y: -x / (y * y))),
    4: ((3,), exp, (exp,)),
    5: ((3, 2), lambda x, y: x + y, (lambda x, y: 1.0, lambda x, y: 1.0)),
    6: ((4, 5), lambda x, y: x * y, (lambda x, y: y, lambda x, y: x)),
    7: ((6, 1), lambda x, y: x - y, (lambda x, y: 1.0, lambda x, y: -1.0)),
}


def forward(nodes, x):
    """Algorithm 6.1."""
    u = dict(enumerate(x, start=1))
    for i, (parents, f, _) in nodes.items():
        u[i] = f(*[u[j] for j in parents])
    return u


def backward(nodes, u, one):
    """Algorithm 6.2; also how many partial derivatives it computed."""
    last = max(nodes)
    grad_table = {last: one}
    edges = 0
    for j in range(last - 1, 0, -1):
        terms = [
            grad_table[i] * partials[parents.index(j)](*[u[p] for p in parents])
            for i, (parents, _, partials) in nodes.items()
            if j in parents
        ]
        edges += len(terms)
        grad_table[j] = sum(terms[1:], start=terms[0])
    return grad_table, edges


def graph_of(nodes, count):
    leaves = [gg.placeholder(f"u{i}", (), "float64") for i in range(1, count + 1)]
    return leaves, forward(nodes, leaves)


CASES = {"products": (PRODUCTS, (1.5, -0.7, 2.0)), "mixed": (MIXED, (0.8, -1.3))}


@pytest.mark.parametrize("name", CASES)
def test_forward_algorithm_computes_what_the_program_computes(name):
    nodes, x = CASES[name]
    leaves, u = graph_of(nodes, len(x))
    computed = gg.compile(leaves, list(u.values()))(*x)
    np.testing.assert_allclose(computed, list(forward(nodes, x).values()), rtol=1e-15)


@pytest.mark.parametrize("name", CASES)
def test_backward_algorithm_computes_every_gradient_of_the_library(name):
    nodes, x = CASES[name]
    leaves, u = graph_of(nodes, len(x))
    table, _ = backward(nodes, forward(nodes, x), 1.0)
    slopes = gg.gradients(u[max(u)], list(u.values()))
    computed = gg.compile(leaves, slopes)(*x)
    np.testing.assert_allclose(computed, [table[i] for i in u], rtol=1e-14)


@pytest.mark.parametrize("name", CASES)
def test_backward_algorithm_on_variables_builds_the_same_gradients(name):
    nodes, x = CASES[name]
    leaves, u = graph_of(nodes, len(x))
    built, _ = backward(nodes, u, gg.constant(1.0, "float64"))
    slopes = gg.gradients(u[max(u)], list(u.values()))
    ours, algorithm = (
        gg.compile(leaves, outputs)(*x) for outputs in (slopes, [built[i] for i in u])
    )
    np.testing.assert_allclose(ours, algorithm, rtol=1e-14)


def test_gradient_graph_has_one_node_for_each_node_of_the_graph():
    _, u = graph_of(PRODUCTS, 3)
    slopes = gg.gradients(u[8], list(u.values()))
    assert len(set(slopes)) == len(u)
    assert not set(slopes) & set(u.values())


def test_gradient_graph_has_one_product_for_each_edge_of_the_graph():
    _, u = graph_of(PRODUCTS, 3)
    G = set(gg.Graph(u[8]).variables)
    B = gg.Graph(gg.gradients(u[8], [u[1], u[2], u[3]])).variables
    kinds = Counter(v.operation.kind() for v in B if v not in G and v.operation)
    edges = sum(len(parents) for parents, _, _ in PRODUCTS.values())
    _, partials = backward(PRODUCTS, forward(PRODUCTS, (1.5, -0.7, 2.0)), 1.0)
    assert kinds["multiply"] == edges == partials == 10
    joins = Counter(j for parents, _, _ in PRODUCTS.values() for j in parents)
    assert kinds["add"] == sum(n - 1 for n in joins.values()) == 3
    assert set(kinds) <= {"multiply", "add", "full"}


def test_gradient_graph_is_in_the_reverse_order_of_the_graph():
    _, u = graph_of(PRODUCTS, 3)
    slopes = gg.gradients(u[8], list(u.values()))
    place = {v: k for k, v in enumerate(gg.Graph(slopes).variables)}
    for i, (parents, _, _) in PRODUCTS.items():
        assert all(place[slopes[j - 1]] > place[slopes[i - 1]] for j in parents)


def test_partial_derivatives_are_functions_of_the_nodes_of_the_forward_graph():
    """Algorithm 6.2: this is what links G to B."""
    _, u = graph_of(PRODUCTS, 3)
    slopes = dict(zip(u, gg.gradients(u[8], list(u.values())), strict=True))
    # u8 = u6 u7: the gradient of u6 is that of u8 times u7, and the other way round.
    assert slopes[6].inputs == (slopes[8], u[7])
    assert slopes[7].inputs == (slopes[8], u[6])
    # u5 = u2 u3 feeds u7 = u4 u5 alone.
    assert slopes[5].inputs == (slopes[7], u[4])
    assert slopes[3].inputs == (slopes[5], u[2])


def test_entries_of_a_sum_share_the_variable_of_their_gradient():
    a, b = (gg.placeholder(n, (), "float64") for n in "ab")
    c = a + b
    da, db, dc = gg.gradients(c * c, [a, b, c])
    assert da is db is dc


def test_repeated_subexpressions_are_computed_once():
    """Section 6.5.3: the cost is linear in the edges where paths are exponential."""
    x = u = gg.placeholder("x", (), "float64")
    depth = 60
    for _ in range(depth):
        u = u + u
    (slope,) = gg.gradients(u, [x])
    assert len(gg.Graph(slope)) < 5 * depth
    assert float(gg.evaluate(slope, {x: 0.3})) == 2.0**depth


def test_chain_of_one_function_follows_equation_6_52():
    """dz/dw = f'(y) f'(x) f'(w) for x = f(w), y = f(x), z = f(y)."""
    w = gg.placeholder("w", (), "float64")
    x = gg.exp(w)
    y = gg.exp(x)
    z = gg.exp(y)
    (slope,) = gg.gradients(z, [w])
    value = float(gg.evaluate(slope, {w: -0.4}))
    fw = math.exp(-0.4)
    assert value == pytest.approx(math.exp(math.exp(fw)) * math.exp(fw) * fw, rel=1e-14)
    # f(w) is computed once and stored (equation 6.52, not 6.53).
    operations = [v.operation for v in gg.Graph(slope).variables if v.operation]
    assert [op.kind() for op in operations].count("exp") == 3
