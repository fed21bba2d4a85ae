"""Reading OpenVINO's intermediate representation (versions 10 and 11): an XML file of layers and edges, a file of weights."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from xml.etree import ElementTree

import numpy as np

from models.convert.build import Array

Port = tuple[str, int]  # layer id, port id
_DTYPES = {"f32": np.float32, "f16": np.float16, "i64": np.int64, "i32": np.int32, "i8": np.int8, "u8": np.uint8, "u64": np.uint64}


def integers(text: str) -> list[int]:
    """The IR's lists: ``"1, 3,60"``; an empty text is an empty list."""
    return [int(part) for part in text.split(",") if part.strip()]


@dataclass(frozen=True, slots=True)
class Layer:
    """``inputs``: what feeds each input port, in port order. ``outputs``: shape by output port. ``attributes`` as in the file."""

    id: str
    kind: str
    name: str
    attributes: Mapping[str, str]
    inputs: tuple[Port, ...]
    outputs: Mapping[int, tuple[int, ...]]

    def ints(self, attribute: str) -> list[int]:
        return integers(self.attributes.get(attribute, ""))

    def flag(self, attribute: str, default: bool = False) -> bool:
        return self.attributes.get(attribute, str(default).lower()) in ("true", "1")


@dataclass(frozen=True, slots=True)
class Network:
    """``layers``: those that a result depends on, each after what feeds it."""

    name: str
    layers: tuple[Layer, ...]
    weights: bytes

    def constant(self, layer: Layer) -> Array:
        """The value of a `Const` layer."""
        offset, size = int(layer.attributes["offset"]), int(layer.attributes["size"])
        if offset + size > len(self.weights):
            raise ValueError(f"{layer.name} lies outside the file of weights")
        value = np.frombuffer(self.weights[offset : offset + size], _DTYPES[layer.attributes["element_type"]]).reshape(layer.ints("shape"))
        return value.astype(np.int64) if value.dtype == np.uint64 else value


def read(xml: bytes, weights: bytes) -> Network:
    """Raises `ValueError` for what is not an IR."""
    try:
        root = ElementTree.fromstring(xml)  # noqa: S314 - its digest was checked
    except ElementTree.ParseError as error:
        raise ValueError(f"not an XML file: {error}") from error
    edges = {
        (edge.attrib["to-layer"], int(edge.attrib["to-port"])): (edge.attrib["from-layer"], int(edge.attrib["from-port"]))
        for edge in root.iterfind("edges/edge")
    }
    layers = {element.attrib["id"]: _layer(element, edges) for element in root.iterfind("layers/layer")}
    feeders: dict[str, list[str]] = defaultdict(list)
    for (to_layer, _), (from_layer, _) in edges.items():
        feeders[to_layer].append(from_layer)
    return Network(root.attrib["name"], tuple(layers[id_] for id_ in _ordered(layers, feeders)), weights)


def _layer(element: ElementTree.Element, edges: Mapping[Port, Port]) -> Layer:
    data, id_ = element.find("data"), element.attrib["id"]
    return Layer(
        id=id_,
        kind=element.attrib["type"],
        name=element.attrib["name"],
        attributes=dict(data.attrib) if data is not None else {},
        inputs=tuple(edges[id_, int(port.attrib["id"])] for port in element.iterfind("input/port")),
        outputs={
            int(port.attrib["id"]): tuple(int(dimension.text or "") for dimension in port.iterfind("dim"))
            for port in element.iterfind("output/port")
        },
    )


def _ordered(layers: Mapping[str, Layer], feeders: Mapping[str, list[str]]) -> Iterator[str]:
    """Depth first from the results, in the order of the file; without recursion, for networks are deep."""
    seen: set[str] = set()
    for result in (layer.id for layer in layers.values() if layer.kind == "Result"):
        stack = [(result, False)]
        while stack:
            id_, inputs_done = stack.pop()
            if inputs_done:
                yield id_
            elif id_ not in seen:
                seen.add(id_)
                stack.append((id_, True))
                stack.extend((feeder, False) for feeder in feeders[id_] if feeder not in seen)
