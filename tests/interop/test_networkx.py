"""Graphs exported to networkx: nodes, attributes, edges, algorithms."""

import networkx as nx
import pytest

import graphgpu as gg
from graphgpu.graph import RUN_KEY


def training_graph():
    model = gg.nn.Sequential(gg.nn.Dense(3, 4, name="first"), gg.nn.Dense(4, 2))
    x = gg.placeholder("x", ("batch", 3))
    cost = gg.mean(gg.square(model(x)))
    updates = gg.optim.SGD(0.1, momentum=0.9).updates(cost, model.parameters())
    return gg.Graph([cost, *updates.values()])


def test_it_is_a_directed_acyclic_multigraph_of_the_variables():
    graph = training_graph()
    exported = graph.to_networkx()
    assert isinstance(exported, nx.MultiDiGraph)
    assert nx.is_directed_acyclic_graph(exported)
    assert list(exported) == list(graph.variables)
    operands = sum(len(v.inputs) for v in graph)
    assert exported.number_of_edges() == operands


def test_the_order_of_the_nodes_is_topological():
    exported = training_graph().to_networkx()
    place = {v: i for i, v in enumerate(exported)}
    assert all(place[a] < place[b] for a, b in exported.edges())
    by_serial = nx.lexicographical_topological_sort(exported, lambda v: v.serial)
    assert list(by_serial) == list(exported)


def test_an_edge_tells_which_operand_it_is():
    x, y = gg.placeholder("x", ()), gg.placeholder("y", ())
    z = y - x
    exported = gg.Graph(z).to_networkx()
    assert exported.edges[y, z, 0] == {"operand": 0}
    assert exported.edges[x, z, 0] == {"operand": 1}


def test_a_repeated_operand_is_two_edges():
    x = gg.placeholder("x", ())
    y = x * x
    exported = gg.Graph(y).to_networkx()
    assert [d["operand"] for *_, d in exported.edges(data=True)] == [0, 1]
    assert exported.in_degree(y) == exported.out_degree(x) == 2


def test_ancestors_and_descendants_are_those_of_the_graph():
    graph = training_graph()
    exported = graph.to_networkx()
    for variable in graph:
        assert nx.ancestors(exported, variable) | {variable} == set(gg.Graph(variable))
        assert set(exported.successors(variable)) == set(graph.get_consumers(variable))
        assert set(exported.predecessors(variable)) == set(graph.get_inputs(variable))


def test_nodes_have_attributes():
    x = gg.placeholder("x", ("batch", 3), "float64")
    with gg.scope("part"):
        y = gg.sum(x, 1)
    assert gg.Graph(y).to_networkx().nodes[y] == {
        "label": "part/sum",
        "operation": "sum(axes=(1,), keepdims=False)",
        "kind": "computed",
        "phase": "forward",
        "dtype": "float64",
        "shape": ("batch",),
        "trace": str(y.trace),
    }
    assert gg.Graph(y).to_networkx().nodes[x]["shape"] == ("batch", 3)


def test_sizes_that_are_expressions_are_text():
    x = gg.placeholder("x", (2 * gg.dim("n") + 1, 4))
    assert gg.Graph(x).to_networkx().nodes[x]["shape"] == ("2*n + 1", 4)


@pytest.mark.parametrize(
    ("leaf", "kind", "label"),
    [
        (gg.placeholder("x", ()), "placeholder", "x"),
        (gg.constant(1.0), "constant", "constant"),
        (gg.parameter("w", 1.0), "parameter", "w"),
        (gg.state("s", 1), "state", "s"),
        (RUN_KEY, "leaf", "run_key"),
    ],
)
def test_leaves_are_told_apart(leaf, kind, label):
    found = gg.Graph(leaf).to_networkx().nodes[leaf]
    assert (found["kind"], found["label"], found["operation"]) == (kind, label, "")


def test_phases_are_told_apart():
    exported = training_graph().to_networkx()
    phases = {d["phase"] for _, d in exported.nodes(data=True)}
    assert phases == {"forward", "gradient", "update"}


def test_tuple_variables_have_the_dtype_tuple_and_no_shape():
    mean, _ = gg.moments(gg.placeholder("x", (3,)))
    both = mean.inputs[0]
    exported = gg.Graph(mean).to_networkx()
    assert (exported.nodes[both]["dtype"], exported.nodes[both]["shape"]) == (
        "tuple",
        (),
    )
    assert exported.nodes[mean]["dtype"] == "float32"


def test_attributes_are_plain_and_can_be_written_to_a_file(tmp_path):
    exported = nx.convert_node_labels_to_integers(training_graph().to_networkx())
    for _, data in exported.nodes(data=True):
        data["shape"] = ",".join(map(str, data["shape"]))
    path = tmp_path / "graph.graphml"
    nx.write_graphml_xml(exported, path)
    read = nx.read_graphml(path, node_type=int, force_multigraph=True)
    assert dict(read.nodes(data=True)) == dict(exported.nodes(data=True))
    assert read.number_of_edges() == exported.number_of_edges()


def test_an_empty_graph_has_no_nodes():
    assert len(gg.Graph([]).to_networkx()) == 0


def test_changing_the_export_does_not_change_the_graph():
    x = gg.placeholder("x", ())
    y = gg.exp(x)
    graph = gg.Graph(y)
    graph.to_networkx().remove_node(x)
    assert list(graph.to_networkx()) == [x, y]
