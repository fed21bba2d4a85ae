"""Replacing patterns of nodes in a graph that exists."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper, numpy_helper

from models.convert.build import Array

#: The domain of ONNX Runtime's own operators.
CONTRIB = "com.microsoft"


class Rewriting:
    """One pass over ``graph``: nodes are found by their values and replaced; `finish` puts the result into the graph.

    What replaces a node stands where the node stood. What nothing uses afterwards is left out, weights too.
    """

    def __init__(self, graph: onnx.GraphProto) -> None:
        self.graph = graph
        self._weights = {weight.name: weight for weight in graph.initializer}
        self._made_by = {name: node for node in graph.node for name in node.output}
        self._taken_by: dict[str, list[onnx.NodeProto]] = {}
        for node in graph.node:
            for name in dict.fromkeys(node.input):
                self._taken_by.setdefault(name, []).append(node)
        self._instead: dict[str, list[onnx.NodeProto]] = {}  # by the first output of what is replaced

    def maker(self, name: str, kind: str) -> onnx.NodeProto | None:
        """The node that makes a value, if it is of this kind."""
        node = self._made_by.get(name)
        return node if node is not None and node.op_type == kind else None

    def takers(self, name: str) -> Sequence[onnx.NodeProto]:
        """The nodes that take a value, each once."""
        return self._taken_by.get(name, ())

    def taker(self, name: str, kind: str) -> onnx.NodeProto | None:
        """The one node that takes a value, if it is of this kind."""
        nodes = self.takers(name)
        return nodes[0] if len(nodes) == 1 and nodes[0].op_type == kind else None

    def constant(self, name: str) -> Array | None:
        """The numbers of a weight; None for what is computed."""
        return numpy_helper.to_array(self._weights[name]) if name in self._weights else None

    def is_number(self, name: str, number: float) -> bool:
        """Whether a value is a weight that holds this one number."""
        value = self.constant(name)
        return value is not None and value.size == 1 and float(value.reshape(())) == number

    def weight(self, name: str, value: npt.ArrayLike, dtype: npt.DTypeLike) -> str:
        """A weight that is in the graph once, however often it is asked for; equal names are equal numbers."""
        if name not in self._weights:
            array = np.asarray(value, dtype)
            self._weights[name] = numpy_helper.from_array(array.copy(order="C"), name)
        return name

    def whole(self, *numbers: int) -> str:
        """A weight int64 [n]."""
        return self.weight("whole_" + "_".join(map(str, numbers)), numbers, np.int64)

    def replace(self, value: str, new: Iterable[onnx.NodeProto]) -> None:
        """``value``: the first output of the node that is replaced."""
        self._instead[value] = list(new)

    def finish(self) -> None:
        nodes = [new for node in self.graph.node for new in self._instead.get(node.output[0], [node])]
        needed = {output.name for output in self.graph.output}
        kept: list[onnx.NodeProto] = []
        for node in reversed(nodes):
            if needed.intersection(node.output):
                kept.append(node)
                needed.update(node.input)
        weights = [weight for name, weight in self._weights.items() if name in needed]
        copies = [onnx.NodeProto.FromString(node.SerializeToString()) for node in reversed(kept)]
        del self.graph.node[:], self.graph.value_info[:]
        self.graph.node.extend(copies)
        kept_weights = [onnx.TensorProto.FromString(weight.SerializeToString()) for weight in weights]
        del self.graph.initializer[:]
        self.graph.initializer.extend(kept_weights)


class Chain:
    """Nodes one after the other; values are named after the last one's output, ``name/1``, ``name/2``, …"""

    def __init__(self, name: str) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self._name = name

    def op(self, kind: str, *inputs: str, output: str | None = None, domain: str = "", **attributes: Any) -> str:
        """Adds a node with one output and returns the output's name."""
        output = output or f"{self._name}/{len(self.nodes) + 1}"
        self.nodes.append(helper.make_node(kind, list(inputs), [output], domain=domain or None, **attributes))
        return output


def other(node: onnx.NodeProto, name: str) -> str:
    """Of a node with two inputs, the one beside ``name``; ``name`` itself where it is both."""
    return str(node.input[1] if node.input[0] == name else node.input[0])
