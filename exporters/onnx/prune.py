"""Parts of a model's graph: what some outputs need, with what is already known as inputs."""

from __future__ import annotations

from collections.abc import Collection

from onnx import GraphProto, ModelProto, NodeProto, TensorProto, ValueInfoProto

from pvae_neuro.exporters.onnx.integers import value_info
from pvae_neuro.exporters.onnx.sampler import TABLE_PARTS


def tables(model: ModelProto) -> list[str]:
    """Names of the parts of expanded samplers in a graph."""
    made = (name for node in model.graph.node for name in node.output)
    return [n for n in made if n.startswith(tuple(TABLE_PARTS)) and n.count(".") == 1]


def pruned(model: ModelProto, outputs: Collection[str], given: Collection[str] = ()) -> ModelProto:
    """A copy of a model with these outputs alone, and with the nodes that they need.

    Parts of expanded samplers may be among the outputs, or ``given`` as inputs.
    """
    small = ModelProto()
    small.CopyFrom(model)
    graph = small.graph
    kept = [value for value in graph.output if value.name in outputs]
    kept += [_table_info(name) for name in tables(model) if name in outputs]
    del graph.output[:]
    graph.output.extend(kept)
    graph.input.extend(_table_info(name) for name in given)
    _prune(graph, set(given))
    used = _names_read(graph)
    inputs = [value for value in graph.input if value.name in used]
    del graph.input[:]
    graph.input.extend(inputs)
    return small


def _table_info(name: str) -> ValueInfoProto:
    dtype, dimensions = TABLE_PARTS[f"{name.partition('.')[0]}."]
    return value_info(name, dtype, *(f"{name} {n}" for n in range(dimensions)))


def _prune(graph: GraphProto, given: set[str]) -> None:
    needed = {value.name for value in graph.output}
    kept: list[NodeProto] = []
    for node in reversed(graph.node):
        if not needed.difference(given).intersection(node.output):
            continue
        if node.op_type == "Scan":
            _prune_scan(node, needed)
        needed |= _read_by(node)
        kept.append(node)
    nodes = list(reversed(kept))
    del graph.node[:]
    graph.node.extend(nodes)
    arrays: list[TensorProto] = [t for t in graph.initializer if t.name in needed]
    del graph.initializer[:]
    graph.initializer.extend(arrays)


def _prune_scan(node: NodeProto, needed: set[str]) -> None:
    """Drop scanned outputs that nothing reads; states stay, as the body itself reads them."""
    attributes = {a.name: a for a in node.attribute}
    body = attributes["body"].g
    states = len(node.input) - attributes["num_scan_inputs"].i
    pairs = list(zip(node.output, body.output, strict=True))
    kept = pairs[:states] + [pair for pair in pairs[states:] if pair[0] in needed]
    infos = [info for _, info in kept]
    del node.output[:]
    node.output.extend(name for name, _ in kept)
    del body.output[:]
    body.output.extend(infos)
    _prune(body, set())


def _read_by(node: NodeProto) -> set[str]:
    """Names that a node and the bodies in it read, those inside the bodies among them."""
    found = set(node.input)
    for attribute in node.attribute:
        if attribute.HasField("g"):
            found |= _names_read(attribute.g)
    return found


def _names_read(graph: GraphProto) -> set[str]:
    found = {value.name for value in graph.output}
    return found.union(*(_read_by(node) for node in graph.node))
