"""What is known of a model file without running it: size, opset, operators."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runner.onnx_export.packages import require
from runner.results.columns import Column, Row

#: Names of the standard domain.
STANDARD = ("", "ai.onnx")
#: Columns of onnx_nodes.csv.
NODE_COLUMNS = (
    Column("exporter", str, "", "exporter that made the model"),
    Column("domain", str, "", "domain of the operator; ai.onnx is the standard one"),
    Column("op_type", str, "", "operator"),
    Column("nodes", int, "", "nodes of it, in subgraphs and local functions too"),
)


@dataclass(frozen=True)
class Facts:
    """`nodes` counts by domain and operator; `local` are functions that the file itself defines."""

    size: int
    opset: int
    nodes: Counter[tuple[str, str]]
    local: frozenset[tuple[str, str]]

    def row(self) -> Row:
        """Columns of the main table."""
        return {
            "model_bytes": self.size,
            "opset": self.opset,
            "nodes": self.nodes.total(),
            "node_types": len(self.nodes),
            "nonstandard_ops": ";".join(sorted(self._nonstandard())),
        }

    def rows(self) -> list[Row]:
        """Rows of onnx_nodes.csv, the most frequent operator first."""
        counts = self.nodes.most_common()
        return [{"domain": domain or STANDARD[1], "op_type": kind, "nodes": n} for (domain, kind), n in counts]

    def _nonstandard(self) -> Iterator[str]:
        for domain, kind in self.nodes:
            if domain not in STANDARD and (domain, kind) not in self.local:
                yield f"{domain}.{kind}"


def facts_of(path: Path) -> Facts:
    """The facts of a model and its external data, which lies beside it."""
    model = require("onnx").load(str(path), load_external_data=False)
    nodes = [*_nodes(model.graph), *(node for function in model.functions for node in _nodes(function))]
    return Facts(
        size=sum(file.stat().st_size for file in path.parent.iterdir() if file.is_file()),
        opset=max((o.version for o in model.opset_import if o.domain in STANDARD), default=0),
        nodes=Counter((node.domain, node.op_type) for node in nodes),
        local=frozenset((function.domain, function.name) for function in model.functions),
    )


def _nodes(graph: Any) -> Iterator[Any]:
    """Nodes of a graph and of the graphs in their attributes (If, Loop, Scan)."""
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            for inner in (*attribute.graphs, *([attribute.g] if attribute.HasField("g") else [])):
                yield from _nodes(inner)
