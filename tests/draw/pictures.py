"""Reading drawings back: the nodes and edges of DOT that the library wrote."""

import re
import shutil
import subprocess
import xml.etree.ElementTree as ET

import pytest

needs_graphviz = pytest.mark.skipif(
    shutil.which("dot") is None, reason="Graphviz is not installed"
)
_NODE = re.compile(r"^\s*(\w+) \[(.*)\]$")
_EDGE = re.compile(r"^\s*(\w+) -> (\w+)(?: \[(.*)\])?$")
_ATTRIBUTE = re.compile(r'(\w+)=(<.*?>(?= \w+=|$)|"(?:\\.|[^"\\])*"|\S+)')
_TAG = re.compile(r"<[^>]*>")


def plain(label):
    """Return a label without its markup, lines separated by a bar."""
    text = label[1:-1].replace("<BR/>", "|").replace("&#160;", "")
    text = _TAG.sub("", text)
    for entity, sign in (("&lt;", "<"), ("&gt;", ">"), ("&amp;", "&")):
        text = text.replace(entity, sign)
    return text


def _attributes(text):
    found = dict(_ATTRIBUTE.findall(text or ""))
    if "label" in found:
        found["text"] = plain(found["label"])
    return found


class Picture:
    """The nodes, edges and clusters of a drawing."""

    def __init__(self, dot):
        self.nodes, self.edges, self.inside = {}, [], {}
        clusters = []
        for line in dot.splitlines():
            if "subgraph cluster_" in line:
                clusters.append("")
            elif line.strip() == "}" and clusters:
                clusters.pop()
            elif line.strip().startswith('label="') and clusters:
                clusters[-1] = line.strip()[7:-1]
            elif edge := _EDGE.match(line):
                self.edges.append((*edge.groups()[:2], _attributes(edge[3])))
            elif (node := _NODE.match(line)) and node[1] not in (
                "graph",
                "node",
                "edge",
            ):
                self.nodes[node[1]] = _attributes(node[2])
                self.inside[node[1]] = tuple(clusters)

    def find(self, text):
        """Return the identifiers of the nodes with a text (its first line or all)."""
        return [
            name
            for name, look in self.nodes.items()
            if text in (look.get("text"), look.get("text", "").split("|")[0])
        ]

    def one(self, text):
        """Return the only node with a text."""
        (name,) = self.find(text)
        return name

    def links(self):
        """Return the edges as pairs of texts."""
        name = {n: look.get("text", n).split("|")[0] for n, look in self.nodes.items()}
        return [(name.get(a, a), name.get(b, b)) for a, b, _ in self.edges]


def laid_out(dot, kind="svg"):
    """Return what Graphviz makes of a drawing; it must have no complaint."""
    done = subprocess.run(
        ["dot", f"-T{kind}"], input=dot.encode(), capture_output=True, check=True
    )
    assert done.stderr == b""
    return done.stdout


def svg_texts(dot):
    """Return all text in the picture, as drawn."""
    root = ET.fromstring(laid_out(dot))
    return [e.text for e in root.iter("{http://www.w3.org/2000/svg}text")]
