"""Graphs as networkx graphs: the same nodes, edges and order."""

import networkx as nx
import numpy as np
import pytest

import graphgpu as gg
from graphgpu.interop import to_networkx


def training_step():
    x = gg.placeholder("x", ("batch", 3))
    n = gg.state("n", 0)
    with gg.scope("dense"):
        w = gg.parameter("w", np.ones((3, 2), "float32"))
        h = gg.tanh(x @ w)
    loss = gg.mean(h * h) + gg.constant(2.0)
    (dw,) = gg.gradients(loss, [w])
    return gg.Graph([loss, w - 0.1 * dw, n + 1])


def test_the_nodes_are_the_variables_in_the_order_as_written():
    graph = training_step()
    exported = graph.to_networkx()
    assert isinstance(exported, nx.MultiDiGraph)
    assert list(exported) == list(graph.variables)
    assert all(a is b for a, b in zip(exported, graph.variables, strict=True))


def test_the_edges_are_the_operands():
    graph = training_step()
    exported = to_networkx(graph)
    assert exported.number_of_edges() == sum(len(v.inputs) for v in graph)
    for variable in graph:
        operands = {
            data["operand"]: parent
            for parent, _, data in exported.in_edges(variable, data=True)
        }
        assert tuple(operands[i] for i in range(len(operands))) == variable.inputs
        assert set(exported.successors(variable)) == set(graph.get_consumers(variable))


def test_a_variable_used_twice_has_two_edges():
    x = gg.placeholder("x", ())
    y = x - x
    edges = gg.Graph(y).to_networkx().get_edge_data(x, y)
    assert sorted(e["operand"] for e in edges.values()) == [0, 1]


def test_it_is_acyclic_and_the_order_as_written_is_topological():
    graph = training_step()
    exported = graph.to_networkx()
    assert nx.is_directed_acyclic_graph(exported)
    place = {v: i for i, v in enumerate(graph.variables)}
    assert all(place[a] < place[b] for a, b in exported.edges())
    by_serial = nx.lexicographical_topological_sort(exported, key=lambda v: v.serial)
    assert list(by_serial) == list(graph.variables)


def test_ancestors_and_descendants_agree_with_the_graph():
    graph = training_step()
    exported = graph.to_networkx()
    output = graph.outputs[0]
    assert nx.ancestors(exported, output) == set(gg.Graph(output)) - {output}


@pytest.mark.parametrize(
    ("make", "kind"),
    [
        (lambda: gg.placeholder("a", ("n", 2), "int32"), "placeholder"),
        (lambda: gg.parameter("a", [1.0]), "parameter"),
        (lambda: gg.state("a", 1), "state"),
        (lambda: gg.constant(1.5).named("a"), "constant"),
    ],
)
def test_a_leaf_has_its_kind_and_no_operation(make, kind):
    leaf = make()
    attributes = gg.Graph(leaf).to_networkx().nodes[leaf]
    assert attributes["kind"] == kind
    assert attributes["operation"] == ""
    assert attributes["label"] == "a"


def test_attributes_are_plain_values():
    with gg.scope("layer"):
        x = gg.placeholder("x", ("batch", 3), "float64")
        y = gg.sum(x + x, axis=1)
    attributes = gg.Graph(y).to_networkx().nodes[y]
    assert attributes == {
        "label": "layer/sum",
        "operation": "sum(axes=(1,), keepdims=False)",
        "kind": "computed",
        "phase": "forward",
        "dtype": "float64",
        "shape": ("batch",),
        "trace": f"{__file__}:{y.trace.line}",
    }
    assert gg.Graph(x).to_networkx().nodes[x]["shape"] == ("batch", 3)


def test_phases_are_told_apart():
    graph = training_step()
    phases = {d["phase"] for _, d in graph.to_networkx().nodes(data=True)}
    assert phases == {"forward", "gradient"}


def test_a_tuple_variable_and_the_run_key_are_nodes_too():
    x = gg.placeholder("x", (3,))
    mean, _ = gg.moments(x, 0)
    (moments,) = mean.inputs if isinstance(mean.inputs[0].type, gg.TupleType) else [0]
    exported = gg.Graph(mean).to_networkx()
    assert exported.nodes[moments]["dtype"] == "tuple"
    assert exported.nodes[moments]["shape"] == ()
    noise = gg.random.normal((2,)) if hasattr(gg, "random") else gg.random_normal((2,))
    kinds = [d["kind"] for _, d in gg.Graph(noise).to_networkx().nodes(data=True)]
    assert kinds == ["leaf", "computed"]
