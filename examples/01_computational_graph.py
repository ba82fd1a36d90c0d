"""The graph of e = (a + b)(b + 1), with a derivative on every edge.

Source: C. Olah, "Calculus on Computational Graphs: Backpropagation" (2015), for
the graph; Goodfellow, Bengio & Courville, *Deep Learning*, section 6.5.1 and
figure 6.8 for the language of nodes and operations.

The derivative on an edge is the partial derivative of the child by that parent
alone.  The derivative of e by any node is the sum over all paths from it to e
of the products of the derivatives along the path.
"""

import graphgpu as gg

POINT = {"a": 2.0, "b": 1.0}


def edge_derivatives(graph):
    """Return ∂child/∂parent for every edge: the other parents are constant."""
    edges = {}
    for child in graph.variables:
        parents = graph.get_inputs(child)
        for parent in parents:
            others = [v for v in parents if v is not parent]
            (slope,) = gg.gradients(child, [parent], constant=others)
            edges[parent, child] = slope
    return edges


def sum_over_paths(edges, start, end):
    """Return the sum, over the paths from start to end, of the edges' product."""
    if start is end:
        return 1.0
    return sum(
        slope * sum_over_paths(edges, child, end)
        for (parent, child), slope in edges.items()
        if parent is start
    )


def to_dot(values, edges):
    """Return the drawing: values in the nodes, derivatives on the edges."""
    names = {v: v.name or f"{value:g}" for v, value in values.items()}
    lines = ["digraph {", "  rankdir=BT"]
    for v, value in values.items():
        label = f"{names[v]} = {value:g}" if v.name else names[v]
        lines.append(f'  "{names[v]}" [label="{label}"]')
    for (parent, child), slope in edges.items():
        lines.append(f'  "{names[parent]}" -> "{names[child]}" [label="{slope:g}"]')
    return "\n".join([*lines, "}"])


def main():
    a = gg.placeholder("a", (), "float64")
    b = gg.placeholder("b", (), "float64")
    c = (a + b).named("c")
    d = (b + 1).named("d")
    e = (c * d).named("e")

    graph = gg.Graph(e)
    edges = edge_derivatives(graph)
    nodes = [v for v in graph.variables if v.name]
    slopes = gg.gradients(e, nodes)
    program = gg.compile(
        [a, b],
        {
            **{("value", v): v for v in graph.variables},
            **{("edge", edge): slope for edge, slope in edges.items()},
            **{("slope", v): s for v, s in zip(nodes, slopes, strict=True)},
        },
    )
    result = {key: float(value) for key, value in program(**POINT).items()}
    values = {v: result["value", v] for v in graph.variables}
    on_edges = {edge: result["edge", edge] for edge in edges}

    print("node  value  de/dnode  sum over paths")
    for v in nodes:
        paths = sum_over_paths(on_edges, v, e)
        print(f"{v.name:4s}  {values[v]:5g}  {result['slope', v]:8g}  {paths:14g}")
    print("\nThe same as a drawing; render it with `dot -Tsvg`:\n")
    print(to_dot(values, on_edges))


if __name__ == "__main__":
    main()
