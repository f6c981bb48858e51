"""The artifact: one ``.onnx`` file that runs anywhere and reads back into the same network.

``docs/artifact.md`` is the specification. The file carries a checksum of its bytes as they lie on
the disk, so that no altered one passes; nothing but these bytes is ever read, and nothing in them
is executed.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from numpy.typing import NDArray
from onnx import GraphProto, ModelProto, TensorProto

from pvae_neuro.errors import ArtifactError, InputError, NetworkError, PvaeNeuroError
from pvae_neuro.exporters.onnx.golden import Golden, check_golden, from_json, to_json
from pvae_neuro.exporters.onnx.graph import PRODUCER, build_model
from pvae_neuro.exporters.onnx.program import (
    SCHEMA_VERSION,
    canonical_json,
    parse_json,
    program_hash,
    to_network,
    to_program,
)
from pvae_neuro.network import IntegerNetwork
from pvae_neuro.saved.shipped import SHIPPED
from pvae_neuro.utils.files import atomic_path
from pvae_neuro.utils.paths import user_path
from pvae_neuro.utils.show import show
from pvae_neuro.utils.whole_file import read_whole

SCHEMA_KEY = "pvae_neuro.schema_version"
PROGRAM_KEY = "pvae_neuro.program"
GOLDEN_KEY = "pvae_neuro.golden"
PROGRAM_HASH_KEY = "pvae_neuro.program_hash"
CHECKSUM_KEY = "pvae_neuro.checksum"
# Where files of each schema version that can be read keep their checksum.
CHECKSUM_KEYS = {2: "pvae_neuro.sha256", SCHEMA_VERSION: CHECKSUM_KEY}
REBUILT = "rebuilt from the program and found equal"
# Of a step of the golden vector's samples, in bytes.
LARGEST_WORKING_SET = 1 << 27
# Stands in the file while its checksum is computed.
_NO_CHECKSUM = "0" * 64


@dataclass(frozen=True, eq=False)
class Artifact:
    """What an artifact holds.

    Attributes
    ----------
    network : IntegerNetwork
    golden : Golden
    sha256 : str
        Of the file, 64 hexadecimal digits, as ``sha256sum`` prints it.
    program_hash : str
        Of what the network computes, see :func:`pvae_neuro.artifact.program_hash`.
    schema_version : int
    producer : str
        Package and version that wrote the file.
    path : Path
    graph_check : str
        How the graph was found to compute the program, or why it was not checked.
    """

    network: IntegerNetwork
    golden: Golden
    sha256: str
    program_hash: str
    schema_version: int
    producer: str
    path: Path
    graph_check: str

    def __repr__(self) -> str:
        return f"<Artifact {self.path.name}: {self.network.name}, program {self.program_hash[:12]}>"


def write_onnx(network: IntegerNetwork, golden: Golden, path: str | os.PathLike[str]) -> str:
    """Write a network as an ``.onnx`` file, whole or not at all.

    Parameters
    ----------
    network : IntegerNetwork
    golden : Golden
        A run of this network, see :func:`pvae_neuro.artifact.make_golden`.
    path : path-like

    Returns
    -------
    str
        SHA-256 of the file, as ``sha256sum`` prints it.

    Raises
    ------
    NetworkError
        If the network cannot be expressed, or would not read back equal.
    InputError
        If the file cannot be written.
    """
    data = to_bytes(network, golden)
    with atomic_path(path) as temporary:
        temporary.write_bytes(data)
    return hashlib.sha256(data).hexdigest()


def to_bytes(network: IntegerNetwork, golden: Golden) -> bytes:
    """Content of an artifact's file.

    Raises
    ------
    NetworkError
        See :func:`write_onnx`.
    """
    check_golden(golden, network)
    _check_size(network, len(golden.pixels))
    model = build_model(network)
    onnx.helper.set_model_props(model, _metadata(network, golden))
    checksum = hashlib.sha256(_serialize(model)).hexdigest()
    next(entry for entry in model.metadata_props if entry.key == CHECKSUM_KEY).value = checksum
    if _network(model, SCHEMA_VERSION) != network:
        raise NetworkError("this network would not read back equal from a file")
    return _serialize(model)


def read_onnx(path: str | os.PathLike[str]) -> Artifact:
    """Read an artifact and check that not one byte of it was altered.

    Parameters
    ----------
    path : path-like

    Returns
    -------
    Artifact

    Raises
    ------
    ArtifactError
        In this order: the file cannot be read or is not ONNX; it is another tool's ONNX file; its
        schema is of no version that this package reads; its checksum does not match; its program
        does not validate.
    """
    path = user_path(path)
    data, model = _parse(path)
    metadata = _our_metadata(path, model)
    schema_version = _check_schema(path, metadata)
    _check_checksum(path, metadata.get(CHECKSUM_KEYS[schema_version], ""), data)
    is_ours = _is_ours(model, schema_version)
    try:
        network = _network(model, schema_version)
        golden = from_json(parse_json(metadata.get(GOLDEN_KEY, "")), network)
        _check_size(network, len(golden.pixels))
        network.require_proof()
        found = program_hash(network)
        # Files of earlier schemas have none.
        if schema_version == SCHEMA_VERSION and metadata.get(PROGRAM_HASH_KEY) != found:
            raise ValueError(f"its program hash is {found}, not the one in its metadata")
        graph_differs = _graph_differs(model, network) if is_ours else ""
    # The checksum matched: whoever wrote this made it so. Any value may be of any wrong kind.
    except (PvaeNeuroError, ValueError) as error:
        raise ArtifactError(
            f"{path}: expected a program of schema version {schema_version}, got one that does "
            f"not validate: {error}. Export the model again"
        ) from error
    if graph_differs:
        raise ArtifactError(
            f"{path}: expected the graph of the file's program, got another one{graph_differs}: "
            f"the file was forged. Export the model again"
        )
    network.attach_file(data)
    producer = f"{model.producer_name} {model.producer_version}"
    check = REBUILT if is_ours else "another version wrote it; it was not run"
    sha256 = hashlib.sha256(data).hexdigest()
    return Artifact(network, golden, sha256, found, schema_version, producer, path, check)


def _is_ours(model: ModelProto, schema_version: int) -> bool:
    """Whether this version of the exporter wrote the graph."""
    wrote = model.producer_name, model.producer_version, schema_version
    return wrote == (PRODUCER, version(PRODUCER), SCHEMA_VERSION)


def _metadata(network: IntegerNetwork, golden: Golden) -> dict[str, str]:
    return {
        SCHEMA_KEY: str(SCHEMA_VERSION),
        PROGRAM_KEY: canonical_json(to_program(network)),
        GOLDEN_KEY: canonical_json(to_json(golden)),
        PROGRAM_HASH_KEY: program_hash(network),
        CHECKSUM_KEY: _NO_CHECKSUM,
    }


def _serialize(model: ModelProto) -> bytes:
    return bytes(model.SerializeToString(deterministic=True))


def _parse(path: Path) -> tuple[bytes, ModelProto]:
    try:
        # Its bytes, those of the parsed graph, of the network and of the graph rebuilt from it.
        data = read_whole(path, "a readable .onnx file", copies=6)
    except InputError as error:
        if error.remedy is not None:  # A limit that the caller can raise.
            raise
        advice = "Export that float model first" if str(path) in SHIPPED else "Check the path"
        raise ArtifactError(f"{error}. {advice}") from error
    model = ModelProto()
    try:
        model.ParseFromString(data)
    except DecodeError as error:
        raise _not_onnx(path, data) from error
    if not model.ir_version or not model.graph.node:
        raise _not_onnx(path, data)
    return data, model


def _not_onnx(path: Path, data: bytes) -> ArtifactError:
    return ArtifactError(
        f"{path}: expected an .onnx file, got {len(data)} bytes that are truncated, damaged or of "
        f"another format. Copy the file again, or export the model again"
    )


def _our_metadata(path: Path, model: ModelProto) -> dict[str, str]:
    metadata = {_text(entry.key): _text(entry.value) for entry in model.metadata_props}
    if SCHEMA_KEY not in metadata:
        raise ArtifactError(
            f"{path}: expected an artifact of pvae-neuro, got an ONNX model without the metadata "
            f"{SCHEMA_KEY!r}: another tool wrote it, or its end is missing. "
            f"Export a saved model with pvae-neuro instead"
        )
    return metadata


def _text(value: str | bytes) -> str:
    """Metadata as text; protobuf hands over bytes where they are no UTF-8."""
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value


def _check_schema(path: Path, metadata: dict[str, str]) -> int:
    text = metadata[SCHEMA_KEY]
    # Nine digits at most: no version is longer, and a damaged number stays cheap to read.
    if not re.fullmatch(r"[1-9][0-9]{0,8}", text, re.ASCII):
        raise ArtifactError(
            f"{path}: expected a schema version, got {text[:40]!r}: the file is damaged. "
            f"Copy it again, or export the model again"
        )
    if int(text) > SCHEMA_VERSION:
        raise ArtifactError(
            f"{path}: expected schema version {SCHEMA_VERSION}, got {text}: a newer "
            f"pvae-neuro wrote this file. Upgrade with: pip install --upgrade pvae-neuro"
        )
    if int(text) not in CHECKSUM_KEYS:
        raise ArtifactError(
            f"{path}: expected schema version {SCHEMA_VERSION}, got {text}: an early pvae-neuro "
            f"wrote this file. Export the model again with: pvae-neuro export MODEL -o FILE"
        )
    return int(text)


def _check_checksum(path: Path, stored: str, data: bytes) -> None:
    whole = re.fullmatch("[0-9a-f]{64}", stored) is not None
    hashed = data.replace(stored.encode(), _NO_CHECKSUM.encode()) if whole else data
    found = hashlib.sha256(hashed).hexdigest()
    if stored != found:
        raise ArtifactError(
            f"{path}: expected the checksum {stored[:64] or 'in its metadata'}, got {found}: the "
            f"file was altered or damaged. Copy it again, or export the model again"
        )


def _network(model: ModelProto, schema_version: int) -> IntegerNetwork:
    """Rebuild the network of a model that carries a program."""
    program = {_text(entry.key): _text(entry.value) for entry in model.metadata_props}
    arrays: dict[str, NDArray[Any]] = {}
    for tensor in _tensors(model.graph):
        if tensor.name in arrays:
            raise ValueError(f"two tensors are named {show(tensor.name)}")
        if tensor.data_type in _STORED_TYPES:
            arrays[tensor.name] = _values(tensor)
    return to_network(parse_json(program.get(PROGRAM_KEY, "")), arrays, schema_version)


def _tensors(graph: GraphProto) -> Iterator[TensorProto]:
    """Every initializer of a graph and of the bodies inside it."""
    yield from graph.initializer
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("g"):
                yield from _tensors(attribute.g)


_STORED_TYPES: dict[int, np.dtype[Any]] = {
    TensorProto.INT8: np.dtype("int8"),
    TensorProto.INT16: np.dtype("<i2"),
    TensorProto.INT32: np.dtype("<i4"),
}


def _values(tensor: TensorProto) -> NDArray[Any]:
    """Values of a tensor, which lie in the file as raw bytes and nowhere else."""
    if tensor.data_location == TensorProto.EXTERNAL:
        raise ValueError(f"tensor {show(tensor.name)} lies outside the file")
    dtype, shape = _STORED_TYPES[tensor.data_type], tuple(tensor.dims)
    size = int(np.prod(shape, dtype=object))
    if min(shape, default=0) < 0 or size * dtype.itemsize != len(tensor.raw_data):
        raise ValueError(
            f"tensor {show(tensor.name)}: expected {dtype.itemsize} bytes for each value of shape "
            f"{show(list(shape))}, got {len(tensor.raw_data)} bytes"
        )
    values = np.frombuffer(tensor.raw_data, dtype).reshape(shape)
    return values.astype(dtype.newbyteorder("="), copy=False)


def _check_size(network: IntegerNetwork, samples: int) -> None:
    """Refuse a network that a small file describes and that no memory holds."""
    values = sum(p.size * len(p.variables) for p in network.populations)
    populations = network.population_of
    for activation in network.activations:
        population = populations[activation.population]
        words = len(population.program(activation.program).instructions)
        words += len(population.variables) + len(population.constants)
        values = max(values, population.size * words)
    for connection in network.connections:
        values = max(values, connection.working_size)
    if values * samples * 8 > LARGEST_WORKING_SET:
        raise NetworkError(
            f"a step of {samples} samples needs {values * samples * 8 >> 20} MB; expected at most "
            f"{LARGEST_WORKING_SET >> 20}"
        )


def _graph_differs(model: ModelProto, network: IntegerNetwork) -> str:
    """Where the file's graph is not what this version of the exporter writes; empty if it is."""
    expected = build_model(network)
    if model.graph == expected.graph and list(model.opset_import) == list(expected.opset_import):
        return ""
    for got, wanted in zip(_parts(model.graph), _parts(expected.graph), strict=False):
        if got != wanted:
            return f", which differs at {show(wanted.name)}"
    return ", which has other parts"


def _parts(graph: GraphProto) -> Iterator[Any]:
    yield from graph.initializer
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("g"):
                yield from _parts(attribute.g)
        yield node
