"""e = (a + b)(b + 1): C. Olah, "Calculus on Computational Graphs" (2015).

In the language of *Deep Learning*, section 6.5.1: c = a + b, d = b + 1, e = c d.
"""

import numpy as np
import pytest

import graphgpu as gg

VALUES = {"a": 2.0, "b": 1.0, "c": 3.0, "d": 2.0, "e": 6.0}
SLOPES = {"a": 2.0, "b": 5.0, "c": 2.0, "d": 3.0, "e": 1.0}


def sample():
    a = gg.placeholder("a", (), "float64")
    b = gg.placeholder("b", (), "float64")
    c = (a + b).named("c")
    d = (b + 1).named("d")
    return {"a": a, "b": b, "c": c, "d": d, "e": (c * d).named("e")}


def run(v, outputs):
    results = gg.compile([v["a"], v["b"]], outputs)(2.0, 1.0)
    return [float(r) for r in results]


def test_values_of_the_sample_graph():
    v = sample()
    assert run(v, list(v.values())) == list(VALUES.values())


@pytest.mark.parametrize("name", SLOPES)
def test_derivative_of_e_with_respect_to_each_node(name):
    v = sample()
    assert run(v, gg.gradients(v["e"], [v[name]])) == [SLOPES[name]]


def test_derivatives_at_the_edges_are_the_partial_derivatives():
    v = sample()
    edges = {"ac": 1.0, "bc": 1.0, "bd": 1.0, "ce": 2.0, "de": 3.0}
    for (parent, child), slope in edges.items():
        others = [w for w in v[child].inputs if w is not v[parent]]
        built = gg.gradients(v[child], [v[parent]], constant=others)
        assert run(v, built) == [slope]


def test_derivative_by_b_is_the_sum_over_both_paths():
    v = sample()
    through_c = gg.gradients(v["e"], [v["b"]], constant=[v["d"]])
    through_d = gg.gradients(v["e"], [v["b"]], constant=[v["c"]])
    assert run(v, through_c) == [2.0]
    assert run(v, through_d) == [3.0]


def test_graph_lists_each_node_after_its_parents():
    v = sample()
    graph = gg.Graph(v["e"])
    place = {w: i for i, w in enumerate(graph.variables)}
    assert all(place[p] < place[w] for w in place for p in graph.get_inputs(w))
    assert graph.get_consumers(v["b"]) == (v["c"], v["d"])
    assert graph.get_consumers(v["e"]) == ()
    assert graph.get_operation(v["a"]) is None
    one = v["d"].inputs[1]
    assert set(graph.variables) == {*v.values(), one}
    assert np.asarray(one.value) == 1
