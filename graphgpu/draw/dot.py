r"""The DOT language of Graphviz: a document is collected, then written as text.

The grammar is that of https://graphviz.org/doc/info/lang.html.  A label is an
*escString*, in which a backslash starts a command (``\N`` is the node's name)
and HTML entities are decoded, in quotes as in markup; text of the user's must
survive all of that, whatever is in it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

__all__ = ["Document", "Html", "escaped", "markup"]

ClusterPath: TypeAlias = tuple[str, ...]

# What XML, and so an SVG file, cannot hold; newline and tab are kept.
_UNPRINTABLE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")


class Html(str):
    """A label in Graphviz's HTML-like markup, which stands between ``<`` and ``>``."""

    __slots__ = ()


def escaped(text: str) -> str:
    r"""Return plain text as a string of DOT, quotes included.

    >>> print(escaped(r'a "b" \N'))
    "a \"b\" \\N"
    """
    clean = _UNPRINTABLE.sub("\N{REPLACEMENT CHARACTER}", text)
    clean = clean.replace("&", "&amp;").replace("\\", "\\\\").replace('"', '\\"')
    return '"' + clean.replace("\n", "\\n").replace("\t", " ") + '"'


def markup(text: str) -> str:
    """Return plain text as it is written inside of HTML-like markup.

    >>> markup("a < b & c")
    'a &lt; b &amp; c'
    """
    clean = _UNPRINTABLE.sub("\N{REPLACEMENT CHARACTER}", text).replace("\t", " ")
    clean = clean.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return clean.replace("\\", "\\\\").replace("\n", "<BR/>")


@dataclass(eq=False)
class Cluster:
    """A box around nodes; clusters nest."""

    attributes: dict[str, object] = field(default_factory=dict)
    nodes: list[str] = field(default_factory=list)
    inner: dict[str, Cluster] = field(default_factory=dict)


class Document:
    """A directed graph in DOT: nodes in nested clusters, edges, and defaults.

    Identifiers are ours, so they need no quotes; attributes are quoted as what
    they are: :class:`Html`, numbers, plain text.

    >>> document = Document()
    >>> document.node("v0", cluster=("layer",), label="x")
    >>> document.edge("v0", "v0")
    >>> print(document)
    digraph {
      subgraph cluster_0 {
        v0 [label="x"]
      }
      v0 -> v0
    }
    """

    def __init__(self) -> None:
        self._defaults: list[str] = []
        self._root = Cluster()
        self._edges: list[str] = []

    def defaults(self, of: str, **attributes: object) -> None:
        """Set attributes of the graph, or of every ``node`` or ``edge``."""
        self._defaults.append(f"{of}{_attributes(attributes)}")

    def node(self, name: str, cluster: ClusterPath = (), **attributes: object) -> None:
        """Add a node."""
        self._cluster(cluster).nodes.append(f"{name}{_attributes(attributes)}")

    def edge(self, tail: str, head: str, **attributes: object) -> None:
        """Add an edge."""
        self._edges.append(f"{tail} -> {head}{_attributes(attributes)}")

    def cluster(self, path: ClusterPath, attributes: Mapping[str, object]) -> None:
        """Set the attributes of a cluster, if they are not set."""
        cluster = self._cluster(path)
        if not cluster.attributes:
            cluster.attributes.update(attributes)

    def _cluster(self, path: ClusterPath) -> Cluster:
        cluster = self._root
        for key in path:
            if key not in cluster.inner:
                cluster.inner[key] = Cluster()
            cluster = cluster.inner[key]
        return cluster

    def __str__(self) -> str:
        lines = ["digraph {"]
        lines += [f"  {line}" for line in self._defaults]
        lines += [f"  {line}" for line in self._root.nodes]
        lines += self._cluster_lines()
        lines += [f"  {line}" for line in self._edges]
        lines.append("}")
        return "\n".join(lines)

    def _cluster_lines(self) -> list[str]:
        """Write the clusters, depth first, in the order of their first nodes."""
        lines: list[str] = []
        stack: list[Cluster | str] = list(reversed(self._root.inner.values()))
        count = 0
        indent = "  "
        while stack:
            top = stack.pop()
            if isinstance(top, str):
                indent = indent[:-2]
                lines.append(f"{indent}}}")
                continue
            lines.append(f"{indent}subgraph cluster_{count} {{")
            count += 1
            indent += "  "
            lines += [
                f"{indent}{name}={_value(value)}"
                for name, value in top.attributes.items()
            ]
            lines += [f"{indent}{line}" for line in top.nodes]
            stack.append("}")
            stack.extend(reversed(top.inner.values()))
        return lines


def _attributes(attributes: Mapping[str, object]) -> str:
    if not attributes:
        return ""
    parts = (f"{name}={_value(value)}" for name, value in attributes.items())
    return f" [{' '.join(parts)}]"


def _value(value: object) -> str:
    if isinstance(value, Html):
        return f"<{value}>"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        return f"{value:.4g}"
    return escaped(str(value))
