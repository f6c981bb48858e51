"""Leaves out of a graph what nobody asks for, as outputs that are kept for every step."""

from __future__ import annotations

from collections.abc import Collection

from onnx import GraphProto, ModelProto, NodeProto


def pruned(model: ModelProto, outputs: Collection[str]) -> ModelProto:
    """A copy of a model with these outputs alone, and with the nodes that they need."""
    small = ModelProto()
    small.CopyFrom(model)
    kept = [value for value in small.graph.output if value.name in outputs]
    del small.graph.output[:]
    small.graph.output.extend(kept)
    _prune(small.graph)
    return small


def _prune(graph: GraphProto) -> None:
    needed = {value.name for value in graph.output}
    kept: list[NodeProto] = []
    for node in reversed(graph.node):
        if not needed.intersection(node.output):
            continue
        if node.op_type == "Scan":
            _prune_scan(node, needed)
        needed.update(node.input)
        kept.append(node)
    copies = list(reversed(kept))
    del graph.node[:]
    graph.node.extend(copies)
    arrays = [tensor for tensor in graph.initializer if tensor.name in needed]
    del graph.initializer[:]
    graph.initializer.extend(arrays)


def _prune_scan(node: NodeProto, needed: set[str]) -> None:
    """Drop scanned outputs that nothing reads; states stay, as the body itself reads them."""
    attributes = {a.name: a for a in node.attribute}
    body = attributes["body"].g
    states = len(node.input) - attributes["num_scan_inputs"].i
    pairs = list(zip(node.output, body.output, strict=True))
    kept = pairs[:states] + [pair for pair in pairs[states:] if pair[0] in needed]
    del node.output[:]
    node.output.extend(name for name, _ in kept)
    infos = [info for _, info in kept]
    del body.output[:]
    body.output.extend(infos)
    _prune(body)
