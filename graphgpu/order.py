"""A topological order whose peak is low: what is alive at once, in bytes.

To find the lowest is NP-hard (register allocation on directed acyclic graphs,
Sethi, 1975).  Two greedy rules go over the order in turn, forward and backward,
and the best order met is kept, the given one included:

- forward, what frees at least as much as it makes runs as soon as it can (an
  update follows its gradient);
- backward, what makes more than it frees runs as late as it can (a value is
  computed right before its first reader).

The rest keeps its place, or goes by what it adds.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from heapq import heapify, heappop, heappush

from graphgpu.errors import GraphError

__all__ = ["low_peak_order", "peak"]

_MANY = 20_000
"""From how many nodes on only the cheapest orders are tried."""
_ROUNDS = 3


def peak(
    order: Sequence[int],
    inputs: Sequence[Sequence[int]],
    nbytes: Sequence[int],
    keep: Collection[int],
) -> int:
    """Return the most bytes alive while a node runs.

    Alive are its inputs, its result, and every result that is still to be read
    or is kept.

    >>> peak([0, 1, 2], [[], [0], [1]], [4, 8, 2], {2})
    12
    """
    left = [0] * len(inputs)
    for node in order:
        for value in set(inputs[node]):
            left[value] += 1
    for value in set(keep):
        left[value] += 1
    alive = most = 0
    for node in order:
        alive += nbytes[node]
        most = max(most, alive)
        if not left[node]:
            alive -= nbytes[node]
        for value in set(inputs[node]):
            left[value] -= 1
            if not left[value]:
                alive -= nbytes[value]
    return most


def low_peak_order(
    count: int,
    inputs: Sequence[Sequence[int]],
    nbytes: Sequence[int],
    keep: Collection[int],
) -> list[int]:
    """Return a topological order whose peak is at most that of ``0 .. count - 1``.

    Parameters
    ----------
    count
        The number of nodes; the order given is topological.
    inputs
        For each node, those whose results it reads.
    nbytes
        The bytes of each node's result; 0 for what lies elsewhere.
    keep
        The nodes whose results are needed to the end.

    Raises
    ------
    GraphError
        A node reads one that does not come before it.

    Examples
    --------
    Two large values that are each reduced are better reduced one by one:

    >>> low_peak_order(5, [[], [], [0], [1], [2, 3]], [8, 8, 1, 1, 1], {4})
    [0, 2, 1, 3, 4]
    """
    dag = _Dag(count, inputs, nbytes, keep)
    best = list(range(count))
    lowest = peak(best, dag.inputs, nbytes, dag.keep)
    floor = dag.floor()
    order = best
    for by_growth in (False, True) if count < _MANY else (False,):
        for _ in range(_ROUNDS if count < _MANY else 1):
            before = order
            for rule in (dag.forward, dag.backward):
                if lowest <= floor:
                    return best
                order = rule(order, by_growth)
                reached = peak(order, dag.inputs, nbytes, dag.keep)
                if reached < lowest:
                    best, lowest = order, reached
            if order == before:
                break
        order = best
    return best


class _Dag:
    """Who reads whom."""

    def __init__(
        self,
        count: int,
        inputs: Sequence[Sequence[int]],
        nbytes: Sequence[int],
        keep: Collection[int],
    ) -> None:
        self.inputs = [tuple(dict.fromkeys(i)) for i in inputs]
        self.nbytes = nbytes
        self.keep = frozenset(keep)
        self.readers: list[list[int]] = [[] for _ in range(count)]
        for node, values in enumerate(self.inputs):
            for value in values:
                if not 0 <= value < node:
                    raise GraphError(
                        f"an order is topological where each node reads earlier ones; "
                        f"node {node} reads {value}"
                    )
                self.readers[value].append(node)

    def floor(self) -> int:
        """Return what no order can go below: one node with what it reads; the kept."""
        nbytes = self.nbytes
        alone = (
            nbytes[node] + sum(nbytes[v] for v in values)
            for node, values in enumerate(self.inputs)
        )
        return max(max(alone, default=0), sum(nbytes[v] for v in self.keep))

    def forward(self, order: Sequence[int], by_growth: bool) -> list[int]:
        """Run at once what does not add to what is alive; the rest as in ``order``.

        Or, ``by_growth``, what adds least.
        """
        nbytes, readers = self.nbytes, self.readers
        waiting = [len(i) for i in self.inputs]
        left = [len(r) for r in readers]
        last = [sum(r) for r in readers]  # where one is left, the sum is that one
        growth = [n if left[v] or v in self.keep else 0 for v, n in enumerate(nbytes)]
        for value in range(len(left)):
            if left[value] == 1 and value not in self.keep:
                growth[last[value]] -= nbytes[value]
        queue = _Queue(order, growth, by_growth)
        queue.start([v for v in order if not waiting[v]])
        result = []
        while (node := queue.pop()) is not None:
            result.append(node)
            for value in self.inputs[node]:
                left[value] -= 1
                last[value] -= node
                if left[value] == 1 and value not in self.keep:
                    reader = last[value]
                    growth[reader] -= nbytes[value]
                    if not waiting[reader]:
                        queue.push(reader)
            for reader in readers[node]:
                waiting[reader] -= 1
                if not waiting[reader]:
                    queue.push(reader)
        return result

    def backward(self, order: Sequence[int], by_growth: bool) -> list[int]:
        """The same in reversed time, where a value is born when it is read last."""
        nbytes, readers = self.nbytes, self.readers
        waiting = [len(r) for r in readers]
        alive = [v in self.keep for v in range(len(waiting))]
        growth = [sum(nbytes[v] for v in i) for i in self.inputs]
        for value, kept in enumerate(alive):
            if kept:
                for reader in readers[value]:
                    growth[reader] -= nbytes[value]
            if kept or readers[value]:
                growth[value] -= nbytes[value]
        queue = _Queue(order[::-1], growth, by_growth)
        queue.start([v for v in order if not waiting[v]])
        result = []
        while (node := queue.pop()) is not None:
            result.append(node)
            for value in self.inputs[node]:
                waiting[value] -= 1
                if not alive[value]:
                    alive[value] = True
                    for reader in readers[value]:
                        growth[reader] -= nbytes[value]
                        if not waiting[reader] and reader != node:
                            queue.push(reader)
                if not waiting[value]:
                    queue.push(value)
        return result[::-1]


class _Queue:
    """What is ready to run, the best first; a node whose growth fell is pushed anew."""

    def __init__(
        self, order: Sequence[int], growth: list[int], by_growth: bool
    ) -> None:
        self._rank = [0] * len(order)
        for rank, node in enumerate(order):
            self._rank[node] = rank
        self._growth = growth
        self._by_growth = by_growth
        self._done = [False] * len(order)
        self._heap: list[tuple[int, int, int]] = []

    def start(self, nodes: Sequence[int]) -> None:
        self._heap = [self._entry(n) for n in nodes]
        heapify(self._heap)

    def push(self, node: int) -> None:
        if not self._done[node]:
            heappush(self._heap, self._entry(node))

    def pop(self) -> int | None:
        while self._heap:
            node = heappop(self._heap)[2]
            if not self._done[node]:
                self._done[node] = True
                return node
        return None

    def _entry(self, node: int) -> tuple[int, int, int]:
        growth = self._growth[node]
        if not self._by_growth:
            growth = int(growth > 0)
        return growth, self._rank[node], node
