"""The file: it reads back equal, runs without this package, and refuses every altered byte."""

from __future__ import annotations

import gzip
import hashlib
import json
import tracemalloc
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import toy
from onnx import TensorProto

from pvae_neuro.artifact import load_artifact, make_golden
from pvae_neuro.errors import ArtifactError, InputError, NetworkError
from pvae_neuro.exporters.onnx import read_onnx, write_onnx
from pvae_neuro.exporters.onnx.file import (
    CHECKSUM_KEY,
    GOLDEN_KEY,
    PROGRAM_HASH_KEY,
    PROGRAM_KEY,
    REBUILT,
    SCHEMA_KEY,
)
from pvae_neuro.exporters.onnx.program import (
    SCHEMA_VERSION,
    parse_json,
    program_hash,
    stored_arrays,
    to_network,
    to_program,
)
from pvae_neuro.network import Choice, Convolution, Population, Shared, Variable, shared
from pvae_neuro.network.program import Composite
from pvae_neuro.network.random import random_network
from pvae_neuro.sim.reference import ReferenceEngine

NETWORKS = [toy.lateral(), toy.predictive(), toy.predictive(latents=7, pixels=8, max_count=31)]
RANDOM_NETWORKS = [random_network(np.random.default_rng(seed)) for seed in range(8)]


def tiny():
    """A lateral network of two latents and four pixels, with all kinds of numbers."""
    network = toy.lateral(latents=2, pixels=4, max_count=15)
    choices = (Choice("bits", 8, "asked for"), Choice("gain", 0.1, "größer"))
    return replace(network, choices=choices)


def write(network, path):
    return write_onnx(network, make_golden(network, toy.images(network, 2)), path)


def rehash(model: onnx.ModelProto) -> bytes:
    """Give a tampered model valid hashes, as whoever forges a file would."""
    with suppress(ValueError, NetworkError):
        program = parse_json(metadata(model, PROGRAM_KEY).value)
        stored = {TensorProto.INT8, TensorProto.INT16, TensorProto.INT32}
        arrays = {
            t.name: onnx.numpy_helper.to_array(t)
            for t in model.graph.initializer
            if t.data_type in stored and t.raw_data
        }
        found = program_hash(to_network(program, arrays))
        metadata(model, PROGRAM_HASH_KEY).value = found
    entry = metadata(model, CHECKSUM_KEY)
    entry.value = "0" * 64
    entry.value = hashlib.sha256(model.SerializeToString(deterministic=True)).hexdigest()
    return model.SerializeToString(deterministic=True)


def metadata(model: onnx.ModelProto, key: str) -> onnx.StringStringEntryProto:
    return next(entry for entry in model.metadata_props if entry.key == key)


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("artifact") / "tiny.onnx"
    write(tiny(), path)
    return path


@pytest.mark.parametrize("network", [*NETWORKS, tiny(), *RANDOM_NETWORKS], ids=repr)
def test_reads_back_equal(network, tmp_path):
    golden = make_golden(network, toy.images(network, 2))
    sha256 = write_onnx(network, golden, tmp_path / "model.onnx")
    artifact = read_onnx(tmp_path / "model.onnx")
    data = (tmp_path / "model.onnx").read_bytes()
    assert artifact.sha256 == sha256 == hashlib.sha256(data).hexdigest()
    assert artifact.program_hash == program_hash(network) == program_hash(artifact.network)
    assert artifact.schema_version == 3
    assert artifact.network == network
    assert artifact.network.file_bytes == data
    assert artifact.producer.startswith("pvae-neuro ")
    assert artifact.graph_check == REBUILT
    assert np.array_equal(artifact.golden.pixels, golden.pixels)
    assert artifact.golden.hashes == golden.hashes
    assert artifact.golden.iterations == golden.iterations


def test_the_same_network_gives_the_same_bytes(whole, tmp_path):
    write(tiny(), tmp_path / "again.onnx")
    assert (tmp_path / "again.onnx").read_bytes() == whole.read_bytes()


def test_the_file_passes_the_onnx_checker(whole):
    onnx.checker.check_model(onnx.load(whole), full_check=True)


def test_shared_weights_are_stored_once(tmp_path):
    network = toy.predictive(latents=64, pixels=100)
    arrays = stored_arrays(network)
    assert sorted(n for n in arrays if n.startswith("connections.")) == [
        "connections.pixels.weight",
        "connections.prediction.weight",
    ]
    write(network, tmp_path / "model.onnx")
    weights = network.connection_of["prediction"].weight
    data = (tmp_path / "model.onnx").read_bytes()
    assert data.count(weights.tobytes()) == 1
    assert data.count(np.ascontiguousarray(weights.T).tobytes()) == 0
    back = read_onnx(tmp_path / "model.onnx").network.connection_of
    assert np.shares_memory(back["prediction"].weight, back["feedback"].weight)


@pytest.mark.parametrize("network", NETWORKS, ids=repr)
def test_the_file_runs_alone(network, tmp_path):
    """The snippet of docs/artifact.md: NumPy and ONNX Runtime, nothing of this package."""
    pytest.importorskip("onnxruntime", reason="runs the graph in ONNX Runtime")
    page = (Path(__file__).parents[1] / "docs" / "artifact.md").read_text()
    snippet = page.split("### Running it alone")[1].split("```python\n")[1].split("```")[0]
    images = toy.images(network, 3)
    write(network, tmp_path / "model.onnx")
    found: dict[str, Any] = {"images": images}
    exec(snippet.replace('"model.onnx"', repr(str(tmp_path / "model.onnx"))), found)
    expected = ReferenceEngine().run(network, images, 32, 0, record="full")
    for name in network.variables:
        assert np.array_equal(found["outputs"][name].swapaxes(0, 1), expected[name])
    assert np.array_equal(found["decoded"].astype(np.float32), expected.reconstruction)


# ------------------------------------------------------------------------------------ damage


def test_every_flipped_byte_is_refused(whole, tmp_path):
    data = whole.read_bytes()
    rng = np.random.default_rng(0)
    start = data.index(SCHEMA_KEY.encode()) - 8
    ends = {*range(start, len(data), 29), *range(64)}
    places = {*rng.integers(0, len(data), 200).tolist(), *ends}
    path = tmp_path / "flipped.onnx"
    for place in places:
        flipped = bytearray(data)
        flipped[place] ^= 1 << int(rng.integers(8))
        path.write_bytes(flipped)
        with pytest.raises(ArtifactError, match=r"flipped\.onnx: expected"):
            read_onnx(path)


def test_every_truncation_is_refused(whole, tmp_path):
    data = whole.read_bytes()
    path = tmp_path / "cut.onnx"
    for length in [*range(0, len(data), 397), *range(len(data) - 90, len(data))]:
        path.write_bytes(data[:length])
        with pytest.raises(ArtifactError, match=r"cut\.onnx: expected"):
            read_onnx(path)


def test_bytes_added_at_the_end_are_refused(whole, tmp_path):
    for tail in (b"\0", b"\n", b"\x08\x08", whole.read_bytes()):
        (tmp_path / "long.onnx").write_bytes(whole.read_bytes() + tail)
        with pytest.raises(ArtifactError):
            read_onnx(tmp_path / "long.onnx")


def test_a_file_that_cannot_be_read_says_so(tmp_path):
    with pytest.raises(ArtifactError, match="no such file"):
        read_onnx(tmp_path / "none.onnx")
    with pytest.raises(ArtifactError, match="readable"):
        read_onnx(tmp_path)


@pytest.mark.parametrize("content", [b"", b"hello", b"PK\x03\x04" * 9, b"\x80\x04" * 50])
def test_another_format_is_refused(content, tmp_path):
    (tmp_path / "other.onnx").write_bytes(content)
    with pytest.raises(ArtifactError, match="truncated, damaged or of another format"):
        read_onnx(tmp_path / "other.onnx")


def test_another_tools_onnx_is_refused(tmp_path):
    node = onnx.helper.make_node("Identity", ["x"], ["y"])
    value = [onnx.helper.make_tensor_value_info(n, onnx.TensorProto.INT32, [1]) for n in "xy"]
    onnx.save(
        onnx.helper.make_model(onnx.helper.make_graph([node], "g", *zip(value))),
        tmp_path / "f.onnx",
    )
    with pytest.raises(ArtifactError, match="another tool wrote it"):
        read_onnx(tmp_path / "f.onnx")


@pytest.mark.parametrize(
    ("version", "message"),
    [
        ("1", "Export the model again with: pvae-neuro export MODEL -o FILE"),
        ("4", "Upgrade with"),
        ("x", "damaged"),
        ("9" * 5000, "damaged"),
    ],
)
def test_schema_versions_that_this_package_does_not_know(whole, tmp_path, version, message):
    model = onnx.load(whole)
    metadata(model, SCHEMA_KEY).value = version
    (tmp_path / "newer.onnx").write_bytes(rehash(model))
    with pytest.raises(ArtifactError, match=message):
        read_onnx(tmp_path / "newer.onnx")


def test_a_file_of_the_schema_before_loads(tmp_path):
    """Written by the version of schema 2: a checksum of another name, no program hash."""
    pytest.importorskip("onnxruntime", reason="runs the graph of another version")
    packed = Path(__file__).parent / "files" / "schema2.onnx.gz"
    path = tmp_path / "schema2.onnx"
    path.write_bytes(gzip.decompress(packed.read_bytes()))
    artifact = load_artifact(path)
    assert artifact.schema_version == 2
    # It names the network in reports and logs: no version may give it another.
    assert artifact.program_hash == (
        "b07ae6ae8d0a6cae1cce271389c628a796895ac3137455368b6654947793c209"
    )
    assert artifact.network.measurements.mse_percent == 0.25
    assert artifact.graph_check == "ran the golden vector in ONNX Runtime"
    flipped = bytearray(path.read_bytes())
    flipped[9000] ^= 1
    path.write_bytes(flipped)
    with pytest.raises(ArtifactError, match="altered or damaged"):
        load_artifact(path)


def test_the_program_hash_is_of_what_is_computed():
    network = tiny()
    remarks = replace(
        network, choices=(), measurements=replace(network.measurements, mse_percent=7.0)
    )
    assert program_hash(remarks) == program_hash(network)
    for other in (
        replace(network, name="another"),
        replace(network, input=replace(network.input, high=2.0)),
        toy.lateral(seed=1, latents=2, pixels=4, max_count=15),
    ):
        assert program_hash(other) != program_hash(network)


def test_composites_are_in_the_file_and_in_no_other():
    """A program without them has the hash that it had before there were any."""
    network = tiny()
    assert "composites" not in json.dumps(to_program(network))
    latents = network.populations[1]
    fire, *others = latents.programs
    whole = replace(fire, composites=(Composite("exp", ("u",), 0, 0),))
    marked = replace(
        network,
        populations=(network.populations[0], replace(latents, programs=(whole, *others))),
    )
    program = json.loads(json.dumps(to_program(marked)))
    assert json.dumps(program).count('"composites": [') == 1
    read = to_network(program, stored_arrays(marked))
    assert read == marked != network
    assert program_hash(read) == program_hash(marked) != program_hash(network)
    program["populations"][1]["programs"][0]["composites"][0]["function"] = "log"
    with pytest.raises(NetworkError, match="expected one of exp; got 'log'"):
        to_network(program, stored_arrays(marked))


def test_a_wrong_program_hash_is_refused(whole, tmp_path):
    model = onnx.load(whole)
    metadata(model, PROGRAM_HASH_KEY).value = "0" * 64
    metadata(model, CHECKSUM_KEY).value = "0" * 64
    data = model.SerializeToString(deterministic=True)
    metadata(model, CHECKSUM_KEY).value = hashlib.sha256(data).hexdigest()
    (tmp_path / "forged.onnx").write_bytes(model.SerializeToString(deterministic=True))
    refused(tmp_path / "forged.onnx", "its program hash is")


@pytest.mark.parametrize("value", ["", "0", "x" * 64])
def test_a_file_without_its_checksum_is_refused(whole, tmp_path, value):
    model = onnx.load(whole)
    metadata(model, CHECKSUM_KEY).value = value
    (tmp_path / "bare.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(ArtifactError, match="altered or damaged"):
        read_onnx(tmp_path / "bare.onnx")


@pytest.mark.parametrize("earlier", [None, b"the file before"])
def test_a_failed_write_leaves_what_was_there(tmp_path, monkeypatch, earlier):
    path = tmp_path / "model.onnx"
    if earlier is not None:
        path.write_bytes(earlier)

    def half(self: Path, data: bytes) -> int:
        with self.open("wb") as stream:
            stream.write(data[: len(data) // 2])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", half)
    with pytest.raises(InputError, match="No space left"):
        write(tiny(), path)
    left = [earlier] if earlier is not None else []
    assert [p.read_bytes() for p in tmp_path.iterdir()] == left


# ----------------------------------------------------------------------------------- forgery


def forged(path: Path, whole: Path, key: str, change) -> Path:
    """A file whose JSON was changed, with a valid hash."""
    model = onnx.load(whole)
    entry = metadata(model, key)
    value = json.loads(entry.value)
    changed = change(value)
    entry.value = changed if isinstance(changed, str) else json.dumps(value)
    path.write_bytes(rehash(model))
    return path


def refused(path: Path, message: str = "does not validate") -> None:
    """One line of a known kind, and little memory."""
    tracemalloc.start()
    try:
        with pytest.raises(ArtifactError, match=message) as error:
            load_artifact(path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert "\n" not in str(error.value)
    assert peak < 100e6


def conv_network():
    """Every part of the format in one network: each kind of connection, frames, several draws."""
    rng = np.random.default_rng(5)
    network = toy.predictive(latents=6, pixels=16)
    kernel = rng.integers(-3, 4, (1, 1, 3, 3)).astype(np.int8)
    loose = Convolution(
        "unused", "pixels", "x", "errors", kernel,
        source_shape=(1, 4, 4), target_shape=(1, 4, 4), padding=1,
    )  # fmt: skip
    return replace(
        network,
        input=replace(network.input, image_shape=(4, 4)),
        connections=(*network.connections, loose),
        choices=(Choice("bits", 8, "asked for"),),
        family="ipvae-linear",
    )


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Paths of all values of a JSON value, itself left out."""
    items = value.items() if isinstance(value, dict) else enumerate(value)
    for key, part in items:
        yield (*path, key)
        if isinstance(part, dict | list):
            yield from places(part, (*path, key))


def other_values(value: Any) -> list[Any]:
    """Values that no field with this value may hold: other types, and numbers out of reach."""
    wrong: list[Any] = [{}, "\x07", [[[]]], [{"a": 1}]]
    if not isinstance(value, float | int) or isinstance(value, bool):
        return [*wrong, 8.5, True if value is not True else 7]
    return [*wrong, True, -(1 << 70), 1 << 70, "8", None, [value]]


def put(program: Any, path: tuple[Any, ...], value: Any) -> None:
    for key in path[:-1]:
        program = program[key]
    program[path[-1]] = value


# Numbers or texts that null may stand for.
MAY_BE_NULL = {"measurements", "family", "image_shape", "readout", "sampler", "shared"}

# Any finite number will do there.
ANY_NUMBER = {"measurements", "choices"}


@pytest.fixture(scope="module")
def rich(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("artifact") / "rich.onnx"
    write(conv_network(), path)
    return path


def field_changes(program: Any) -> Iterator[tuple[Any, ...]]:
    """Path and wrong value for every field of a program."""
    for path in places(program):
        old = program
        for key in path:
            old = old[key]
        for value in other_values(old):
            null = value is None and (path[0] in MAY_BE_NULL or path[-1] in MAY_BE_NULL)
            number = path[0] in ANY_NUMBER and isinstance(value, int | float)
            if not null and not (number and not isinstance(value, bool)):
                yield path, value


def test_every_field_of_another_type_or_out_of_reach_is_refused(rich, tmp_path):
    network = conv_network()
    program, arrays = to_program(network), stored_arrays(network)
    model = onnx.load(rich)
    changes = list(field_changes(program))
    assert len(changes) > 1000
    for number, (path, value) in enumerate(changes):
        changed = json.loads(json.dumps(program))
        put(changed, path, value)
        text = json.dumps(changed)
        with pytest.raises((ValueError, NetworkError)):
            to_network(parse_json(text), arrays).require_proof()
            pytest.fail(f"{path}: {value!r} was taken")
        if number % 60 == 0:
            metadata(model, PROGRAM_KEY).value = text
            (tmp_path / "forged.onnx").write_bytes(rehash(model))
            refused(tmp_path / "forged.onnx")


def test_every_missing_and_every_unknown_key_is_refused():
    network = conv_network()
    program, arrays = to_program(network), stored_arrays(network)
    for path in [(), *places(program)]:
        part = program
        for key in path:
            part = part[key]
        for name in ("extra", *part) if isinstance(part, dict) else ():
            changed = json.loads(json.dumps(program))
            target = changed
            for key in path:
                target = target[key]
            target.pop(name) if name in target else target.update({name: 1})
            with pytest.raises(ValueError, match=r"has no field|misses the field|its kind"):
                to_network(changed, arrays)


@pytest.mark.parametrize(
    "change",
    [
        lambda p: p["input"].update(size=8.0),
        lambda p: p["input"].update(size=5),
        lambda p: p["connections"][0].update(kind="other"),
        lambda p: p["connections"][0].update(kind=["dense"]),
        lambda p: p["connections"][0].update(weight="nowhere"),
        lambda p: p["connections"][0].update(weight="readout.weight"),
        lambda p: p["populations"][1]["variables"][0].update(initial="int64:-1"),
        lambda p: p["readout"].update(population="nobody"),
        lambda p: p["connections"][0].update(
            weight=None,
            shared={"connection": "drive", "transposed": True, "rows": None, "columns": None},
        ),
        lambda p: p["connections"][0].update(
            shared={"connection": ["x"], "transposed": True, "rows": None, "columns": None}
        ),
        lambda p: "[" * 100_000,
        lambda p: '{"a":' * 5_000,
        lambda p: "1" * 100_000,
        lambda p: "nonsense",
        lambda p: "",
        lambda p: "null",
        lambda p: json.dumps(p).replace('"size": 4', '"size": NaN', 1),
        lambda p: json.dumps(p).replace('"size": 4', '"size": 1e400', 1),
        lambda p: json.dumps(p).replace('"size": 4', '"size": 4, "size": 4', 1),
        lambda p: json.dumps(p).replace('"size": 4', f'"size": {"9" * 5000}', 1),
        lambda p: json.dumps({**p, "choices": [p["choices"][0]] * 5_000}),
    ],
)
def test_a_forged_program_is_refused(whole, tmp_path, change):
    refused(forged(tmp_path / "forged.onnx", whole, PROGRAM_KEY, change))


@pytest.mark.parametrize(
    "change",
    [
        lambda g: g.update(samples=0),
        lambda g: g.update(samples=3),
        lambda g: g.update(samples=1 << 40),
        lambda g: g.update(iterations=1 << 40),
        lambda g: g.update(seed=-1),
        lambda g: g.update(seed=True),
        lambda g: g.update(pixels="?"),
        lambda g: g.update(pixels=7),
        lambda g: g.update(sha256={}),
        lambda g: g.update(sha256=[]),
        lambda g: g["sha256"].update({"latents.z": [7]}),
        lambda g: g["sha256"]["latents.z"].pop(),
        lambda g: g.pop("seed"),
        lambda g: "[]",
    ],
)
def test_a_forged_golden_vector_is_refused(whole, tmp_path, change):
    refused(forged(tmp_path / "forged.onnx", whole, GOLDEN_KEY, change))


def test_pixels_that_unpack_to_gigabytes_are_refused(whole, tmp_path):
    import base64
    import zlib

    bomb = base64.b64encode(zlib.compress(bytes(50_000_000))).decode()
    refused(forged(tmp_path / "f.onnx", whole, GOLDEN_KEY, lambda g: g.update(pixels=bomb)))


def test_a_network_that_no_memory_holds_is_refused(tmp_path):
    """A file of a few kilobytes may describe populations of millions of neurons."""
    network = toy.lateral()
    huge = Population("huge", 1 << 20, tuple(Variable(f"v{i}", shared(0)) for i in range(64)))
    huge = replace(huge, programs=network.populations[1].programs[:0])
    many = tuple(replace(huge, name=f"huge{i}", sampler=None) for i in range(20))
    with pytest.raises(NetworkError):
        write(replace(network, populations=(*network.populations, *many)), tmp_path / "m.onnx")


def test_tensors_of_absurd_shape_are_refused(whole, tmp_path):
    for dims in ([1 << 40, 1 << 40], [-1, 4], [0, 7], [2]):
        model = onnx.load(whole)
        stored = next(t for t in model.graph.initializer if t.name == "readout.weight")
        del stored.dims[:]
        stored.dims.extend(dims)
        (tmp_path / "forged.onnx").write_bytes(rehash(model))
        refused(tmp_path / "forged.onnx")


def test_external_data_is_never_read(whole, tmp_path):
    model = onnx.load(whole)
    stored = next(t for t in model.graph.initializer if t.name == "readout.weight")
    (tmp_path / "secret").write_bytes(stored.raw_data)
    stored.ClearField("raw_data")
    stored.data_location = onnx.TensorProto.EXTERNAL
    stored.external_data.add(key="location", value=str(tmp_path / "secret"))
    (tmp_path / "forged.onnx").write_bytes(rehash(model))
    with pytest.raises(ArtifactError, match="outside the file"):
        read_onnx(tmp_path / "forged.onnx")


def test_a_program_whose_words_leave_their_width_is_refused(whole, tmp_path):
    def widen(program):
        program["connections"][-1]["exponent"] = 20

    path = forged(tmp_path / "forged.onnx", whole, PROGRAM_KEY, widen)
    refused(path, "expected at most 24")


# ------------------------------------------------------------- a graph of another program


def scan_body(model: onnx.ModelProto) -> onnx.GraphProto:
    scan = next(node for node in model.graph.node if node.op_type == "Scan")
    return next(a.g for a in scan.attribute if a.name == "body")


def swap_operator(model: onnx.ModelProto) -> None:
    """In the neurons' own program."""
    nodes = scan_body(model).node
    neuron = [n for n in nodes if ".integrate.t" in n.output[0] and n.op_type == "Sub"]
    neuron[0].op_type = "Add"


def change_constant(model: onnx.ModelProto) -> None:
    stored = next(t for t in scan_body(model).initializer if t.name.startswith("body.int32:"))
    stored.raw_data = (np.frombuffer(stored.raw_data, "<i4") + 1).tobytes()


def drop_output(model: onnx.ModelProto) -> None:
    del model.graph.output[-1:]


CHANGES = [swap_operator, change_constant, drop_output]


@pytest.mark.parametrize("change", CHANGES)
def test_a_graph_that_is_not_the_programs_is_found(whole, tmp_path, change):
    model = onnx.load(whole)
    change(model)
    (tmp_path / "forged.onnx").write_bytes(rehash(model))
    refused(tmp_path / "forged.onnx", "expected the graph of the file's program")


@pytest.mark.parametrize("change", [swap_operator, change_constant])
def test_a_graph_of_another_version_is_run(tmp_path, change):
    pytest.importorskip("onnxruntime", reason="runs the graph in ONNX Runtime")
    write(toy.predictive(), tmp_path / "whole.onnx")
    model = onnx.load(tmp_path / "whole.onnx")
    model.producer_version = "0.0.7"
    (tmp_path / "older.onnx").write_bytes(rehash(model))
    assert "ONNX Runtime" in load_artifact(tmp_path / "older.onnx").graph_check
    change(model)
    (tmp_path / "forged.onnx").write_bytes(rehash(model))
    refused(tmp_path / "forged.onnx", "does not compute the file's program")


def test_a_changed_weight_is_found(whole, tmp_path):
    """The weight is the program's and the graph's alike; the golden vector tells."""
    write(toy.predictive(), tmp_path / "whole.onnx")
    model = onnx.load(tmp_path / "whole.onnx")
    stored = next(t for t in model.graph.initializer if t.name == "connections.prediction.weight")
    values = np.frombuffer(stored.raw_data, np.int8).copy()
    values[:40] = -values[:40]
    stored.raw_data = values.tobytes()
    (tmp_path / "forged.onnx").write_bytes(rehash(model))
    refused(tmp_path / "forged.onnx", "golden vector")


# ---------------------------------------------------------------------------------- writing


def test_a_golden_vector_of_another_network_is_refused(tmp_path):
    other = toy.lateral()
    golden = make_golden(other, toy.images(other, 2))
    with pytest.raises(NetworkError, match=r"golden\.pixels"):
        write_onnx(tiny(), golden, tmp_path / "model.onnx")


def test_the_fields_of_the_page_are_those_of_the_classes():
    """A change here changes the format: raise SCHEMA_VERSION and tell docs/artifact.md."""
    assert SCHEMA_VERSION == 3
    page = (Path(__file__).parents[1] / "docs" / "artifact.md").read_text()
    network = conv_network()
    parts = [network, network.input, network.populations[1], *network.connections]
    parts += [network.populations[1].sampler, network.readout, *network.encodings]
    parts += [*network.iteration, Shared("x"), network.populations[1].programs[0]]
    for part in parts:
        for field in fields(part):
            assert field.name in page, f"{type(part).__name__}.{field.name}"
