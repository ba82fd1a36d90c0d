"""Algorithms 6.1 and 6.2 as the book writes them, and the gradients as graph.

Source: Goodfellow, Bengio & Courville, *Deep Learning*, section 6.5.3: Algorithm
6.1 (forward), Algorithm 6.2 (backward) and equation 6.49; section 6.5.5 for the
symbol-to-symbol view.

Both algorithms only multiply and add, so they run on numbers, and as well on
variables: then what they build is the subgraph B of the book, with one node for
each node of the graph G and one product for each edge.  ``gg.gradients`` builds
the same.
"""

import graphgpu as gg

INPUTS = (2.0, 3.0, 1.5)

# u1, u2, u3 are the inputs.  Each further node has its parents, the function f,
# and the partial derivative of f by each parent.
NODES = {
    4: ((1, 2), lambda x, y: x * y, (lambda x, y: y, lambda x, y: x)),
    5: ((2, 3), lambda x, y: x / y, (lambda x, y: 1 / y, lambda x, y: -x / (y * y))),
    6: ((4,), lambda x: x * x, (lambda x: 2 * x,)),
    7: ((4, 5), lambda x, y: x * y, (lambda x, y: y, lambda x, y: x)),
    8: ((6, 7), lambda x, y: x * y, (lambda x, y: y, lambda x, y: x)),
}
LAST = 8


def forward(x):
    """Algorithm 6.1: from the inputs to u(n), each node after its parents."""
    u = dict(enumerate(x, start=1))
    for i, (parents, f, _) in NODES.items():
        u[i] = f(*[u[j] for j in parents])
    return u


def backward(u, one):
    """Algorithm 6.2: from u(n) to the inputs, each node after its children."""
    grad_table = {LAST: one}
    for j in range(LAST - 1, 0, -1):
        terms = [
            grad_table[i] * partials[parents.index(j)](*[u[p] for p in parents])
            for i, (parents, _, partials) in NODES.items()
            if j in parents
        ]
        grad_table[j] = sum(terms[1:], start=terms[0])
    return grad_table


def main():
    # On numbers.
    u = forward(INPUTS)
    numbers = backward(u, 1.0)

    # On variables: the same lines now add nodes to the graph.
    placeholders = [gg.placeholder(f"u{i}", (), "float64") for i in (1, 2, 3)]
    G = forward(placeholders)
    B = backward(G, gg.constant(1.0, "float64"))

    # By the library.
    nodes = sorted(G)
    slopes = gg.gradients(G[LAST], [G[i] for i in nodes])

    tables = {"u": G, "B": B, "gradients": dict(zip(nodes, slopes, strict=True))}
    program = gg.compile(
        placeholders, {(name, i): t[i] for name, t in tables.items() for i in nodes}
    )
    result = {key: float(value) for key, value in program(*INPUTS).items()}
    print("node   value   du(n)/du(i): numbers   graph B   gradients")
    for i in nodes:
        print(
            f"u({i})  {result['u', i]:6g}  {numbers[i]:21g}  {result['B', i]:8g}  "
            f"{result['gradients', i]:10g}"
        )

    edges = sum(len(parents) for parents, _, _ in NODES.values())
    print(f"\nG has {len(nodes)} nodes and {edges} edges.")
    print(f"B has {len(set(B.values()))} nodes, one for each node of G.")


if __name__ == "__main__":
    main()
