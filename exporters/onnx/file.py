"""The artifact: one ``.onnx`` file that runs anywhere and reads back into the same network.

``docs/artifact.md`` is the specification. The file is hashed as it lies on the disk, so that no
altered byte passes; nothing but the bytes of the file is ever read, and nothing in it is executed.
"""

from __future__ import annotations

import hashlib
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, numpy_helper

from pvae_neuro.errors import ArtifactError, NetworkError
from pvae_neuro.exporters.onnx_golden import (
    Golden,
    GoldenPart,
    check_golden_shapes,
    to_golden,
    to_golden_part,
)
from pvae_neuro.exporters.onnx_graph import build_model, stored_arrays
from pvae_neuro.exporters.program import (
    SCHEMA_VERSION,
    Program,
    canonical_json,
    to_network,
    to_program,
)
from pvae_neuro.network import IntegerNetwork, same_network
from pvae_neuro.utils.files import atomic_path

SCHEMA_KEY = "pvae_neuro.schema_version"
PROGRAM_KEY = "pvae_neuro.program"
GOLDEN_KEY = "pvae_neuro.golden"
HASH_KEY = "pvae_neuro.sha256"
# Stands in the file while it is hashed.
_NO_HASH = "0" * 64


@dataclass(frozen=True, eq=False)
class Artifact:
    """What an artifact holds.

    Attributes
    ----------
    network : IntegerNetwork
    golden : Golden
    sha256 : str
        Hash of the file, 64 hexadecimal digits.
    schema_version : int
    producer : str
        Package and version that wrote the file.
    path : Path
    """

    network: IntegerNetwork
    golden: Golden
    sha256: str
    schema_version: int
    producer: str
    path: Path


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
        SHA-256 of the file.

    Raises
    ------
    NetworkError
        If the network cannot be expressed, or would not read back equal.
    InputError
        If the file cannot be written.
    """
    data, sha256 = to_bytes(network, golden)
    with atomic_path(path) as temporary:
        temporary.write_bytes(data)
    return sha256


def to_bytes(network: IntegerNetwork, golden: Golden) -> tuple[bytes, str]:
    """Serialize an artifact.

    Returns
    -------
    bytes
        Content of the file.
    str
        Its SHA-256.

    Raises
    ------
    NetworkError
        See :func:`write_onnx`.
    """
    check_golden_shapes(golden, network)
    model = build_model(network)
    onnx.helper.set_model_props(model, _metadata(network, golden))
    sha256 = hashlib.sha256(_serialize(model)).hexdigest()
    next(entry for entry in model.metadata_props if entry.key == HASH_KEY).value = sha256
    if not same_network(_network(model), network):
        raise NetworkError(
            "this network would not read back equal from a file; "
            "give plain Python numbers and strings, not NumPy scalars"
        )
    return _serialize(model), sha256


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
        schema is newer than this package; its hash does not match; its program does not validate.
    """
    path = Path(path)
    data, model = _parse(path)
    metadata = _our_metadata(path, model)
    schema_version = _check_schema(path, metadata)
    sha256 = _check_hash(path, metadata, data)
    try:
        network = _network(model)
        golden = to_golden(GoldenPart.model_validate_json(metadata[GOLDEN_KEY]))
        check_golden_shapes(golden, network)
    # The hash matched: whoever wrote this made it so. Any value may be of any wrong kind.
    except (ValueError, LookupError, TypeError, OverflowError) as error:
        raise ArtifactError(
            f"{path}: expected a program of schema version {schema_version}, got one that does "
            f"not validate: {error}. Export the model again"
        ) from error
    producer = f"{model.producer_name} {model.producer_version}"
    return Artifact(network, golden, sha256, schema_version, producer, path)


def _metadata(network: IntegerNetwork, golden: Golden) -> dict[str, str]:
    try:
        program = canonical_json(to_program(network))
    except ValueError as error:
        raise NetworkError(f"this network has no program: {error}") from error
    return {
        SCHEMA_KEY: str(SCHEMA_VERSION),
        PROGRAM_KEY: program,
        GOLDEN_KEY: canonical_json(to_golden_part(golden)),
        HASH_KEY: _NO_HASH,
    }


def _serialize(model: ModelProto) -> bytes:
    return bytes(model.SerializeToString(deterministic=True))


def _parse(path: Path) -> tuple[bytes, ModelProto]:
    try:
        data = path.read_bytes()
    except OSError as error:
        reason = error.strerror or str(error)
        raise ArtifactError(
            f"{path}: expected a readable .onnx file, got: {reason}. Check the path"
        ) from error
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
            f"{path}: expected schema version {SCHEMA_VERSION} or older, got {text}: a newer "
            f"pvae-neuro wrote this file. Upgrade with: pip install --upgrade pvae-neuro"
        )
    return int(text)


def _check_hash(path: Path, metadata: dict[str, str], data: bytes) -> str:
    stored = metadata.get(HASH_KEY, "")
    whole = re.fullmatch("[0-9a-f]{64}", stored) is not None
    hashed = data.replace(stored.encode(), _NO_HASH.encode()) if whole else data
    found = hashlib.sha256(hashed).hexdigest()
    if stored != found:
        raise ArtifactError(
            f"{path}: expected SHA-256 {stored[:64] or 'in its metadata'}, got {found}: the file "
            f"was altered or damaged. Copy it again, or export the model again"
        )
    return stored


def _network(model: ModelProto) -> IntegerNetwork:
    """Rebuild the network of a model that carries a program."""
    program = {entry.key: entry.value for entry in model.metadata_props}[PROGRAM_KEY]
    tensors = stored_arrays(model.graph)
    arrays = {name: _values(tensor) for name, tensor in tensors.items()}
    return to_network(Program.model_validate_json(program), arrays)


def _values(tensor: TensorProto) -> NDArray[Any]:
    if tensor.data_location == TensorProto.EXTERNAL:
        raise ValueError(f"tensor {tensor.name!r} lies outside the file")
    return numpy_helper.to_array(tensor)
