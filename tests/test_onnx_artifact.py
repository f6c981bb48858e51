"""The file: it reads back equal, runs without this package, and refuses every altered byte."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import toy

from pvae_neuro.artifact import make_golden
from pvae_neuro.errors import ArtifactError, InputError, NetworkError
from pvae_neuro.exporters import onnx as onnx_file
from pvae_neuro.exporters.onnx import HASH_KEY, PROGRAM_KEY, SCHEMA_KEY, read_onnx, write_onnx
from pvae_neuro.exporters.onnx_graph import build_graph, stored_arrays
from pvae_neuro.exporters.program import canonical_json, to_program
from pvae_neuro.network import Choice, same_network
from pvae_neuro.sim.reference import ReferenceEngine

NETWORKS = [toy.lateral(), toy.predictive(), toy.predictive(latents=7, pixels=8, max_count=31)]


def tiny():
    """A lateral network of two latents and four pixels, with all kinds of numbers."""
    network = toy.lateral(latents=2, pixels=4, max_count=1)
    choices = (Choice("bits", 8, "asked for"), Choice("gain", 0.1, "größer"))
    return replace(network, choices=choices)


def write(network, path):
    return write_onnx(network, make_golden(network, toy.images(network, 2)), path)


def rehash(model: onnx.ModelProto) -> bytes:
    """Give a tampered model a valid hash, as whoever forges a file would."""
    entry = next(e for e in model.metadata_props if e.key == HASH_KEY)
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


@pytest.mark.parametrize("network", [*NETWORKS, tiny()], ids=lambda n: n.topology)
def test_reads_back_equal(network, tmp_path):
    golden = make_golden(network, toy.images(network, 2))
    sha256 = write_onnx(network, golden, tmp_path / "model.onnx")
    artifact = read_onnx(tmp_path / "model.onnx")
    assert same_network(artifact.network, network)
    assert (artifact.sha256, artifact.schema_version) == (sha256, 1)
    assert artifact.producer.startswith("pvae-neuro ")
    for name in ("pixels", "counts", "potentials"):
        expected, got = getattr(golden, name), getattr(artifact.golden, name)
        assert expected.dtype == got.dtype
        assert np.array_equal(expected, got)


def test_the_same_network_gives_the_same_bytes(whole, tmp_path):
    write(tiny(), tmp_path / "again.onnx")
    assert (tmp_path / "again.onnx").read_bytes() == whole.read_bytes()


def test_the_file_passes_the_onnx_checker(whole):
    onnx.checker.check_model(onnx.load(whole), full_check=True)


@pytest.mark.parametrize("network", NETWORKS, ids=lambda n: n.topology)
def test_the_file_runs_alone(network, tmp_path):
    """The snippet of docs/artifact.md: NumPy and ONNX Runtime, nothing of this package."""
    ort = pytest.importorskip("onnxruntime")
    path, seed, steps = tmp_path / "model.onnx", 4, 9
    images = toy.images(network, 3)
    write(network, path)

    session = ort.InferenceSession(path)
    program = json.loads(session.get_modelmeta().custom_metadata_map["pvae_neuro.program"])
    latents = session.get_inputs()[1].shape[2]

    def words(step: int, sample: int) -> np.ndarray:
        generator = np.random.Philox(key=[seed, 0], counter=[0, step, sample, 0])
        return generator.random_raw(-(-latents // 4)).astype("<u8").view("<u2")[:latents]

    noise = np.stack([[words(t, i) for i in range(len(images))] for t in range(steps)])
    pixels = np.rint(images * 2.0 ** program["input"]["frac_bits"]).astype(np.int32)
    counts, potentials, reconstruction = session.run(None, {"input": pixels, "noise": noise})

    expected = ReferenceEngine().run(network, images, steps, seed, record="full")
    assert np.array_equal(counts.swapaxes(0, 1), expected.counts)
    assert np.array_equal(potentials.swapaxes(0, 1), expected.potentials)
    last = expected.counts[:, -1].astype(np.int64) @ network.readout.weight.T.astype(np.int64)
    assert np.array_equal(reconstruction, last)
    assert reconstruction.dtype == np.int32


def test_every_flipped_byte_is_refused(whole, tmp_path):
    data = whole.read_bytes()
    rng = np.random.default_rng(0)
    start = data.index(SCHEMA_KEY.encode()) - 8
    places = {*rng.integers(0, len(data), 300).tolist(), *range(start, len(data), 7), *range(64)}
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
    for length in [*range(0, len(data), 97), *range(len(data) - 90, len(data))]:
        path.write_bytes(data[:length])
        with pytest.raises(ArtifactError, match=r"cut\.onnx: expected"):
            read_onnx(path)


def test_bytes_added_at_the_end_are_refused(whole, tmp_path):
    for tail in (b"\0", b"\n", b"\x08\x08", whole.read_bytes()):
        (tmp_path / "long.onnx").write_bytes(whole.read_bytes() + tail)
        with pytest.raises(ArtifactError):
            read_onnx(tmp_path / "long.onnx")


def test_a_file_that_cannot_be_read_says_so(tmp_path):
    with pytest.raises(ArtifactError, match="No such file"):
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
    ("version", "message"), [("2", "Upgrade with"), ("x", "damaged"), ("9" * 5000, "damaged")]
)
def test_schema_versions_that_this_package_does_not_know(whole, tmp_path, version, message):
    model = onnx.load(whole)
    metadata(model, SCHEMA_KEY).value = version
    (tmp_path / "newer.onnx").write_bytes(rehash(model))
    with pytest.raises(ArtifactError, match=message):
        read_onnx(tmp_path / "newer.onnx")


@pytest.mark.parametrize("value", ["", "0", "x" * 64])
def test_a_file_without_its_hash_is_refused(whole, tmp_path, value):
    model = onnx.load(whole)
    metadata(model, HASH_KEY).value = value
    (tmp_path / "bare.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(ArtifactError, match="altered or damaged"):
        read_onnx(tmp_path / "bare.onnx")


def forge(model: onnx.ModelProto, change) -> None:
    program = json.loads(metadata(model, PROGRAM_KEY).value)
    change(program)
    metadata(model, PROGRAM_KEY).value = json.dumps(program)


@pytest.mark.parametrize(
    "change",
    [
        lambda p: p.pop("readout"),
        lambda p: p.update(extra=1),
        lambda p: p["input"].update(pixels="4"),
        lambda p: p["input"].update(pixels=5),
        lambda p: p["populations"][0].update(kind="other"),
        lambda p: p["connections"][0].update(weight="nowhere"),
        lambda p: p["connections"][0].update(weight="drive.weight"),
        lambda p: p["populations"][0].update(initial="shape:-1"),
        lambda p: p["populations"][0].update(initial="int32:-1"),
        lambda p: p["readout"].update(source="nobody"),
        lambda p: p["populations"][0]["table"].update(row_bits=10**30),
    ],
)
def test_a_forged_program_is_refused(whole, tmp_path, change):
    model = onnx.load(whole)
    forge(model, change)
    (tmp_path / "forged.onnx").write_bytes(rehash(model))
    with pytest.raises(ArtifactError, match="does not validate"):
        read_onnx(tmp_path / "forged.onnx")


def test_external_data_is_never_read(whole, tmp_path):
    model = onnx.load(whole)
    tensor = next(t for t in model.graph.initializer if t.name == "readout.weight")
    (tmp_path / "secret").write_bytes(tensor.raw_data)
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=str(tmp_path / "secret"))
    (tmp_path / "forged.onnx").write_bytes(rehash(model))
    with pytest.raises(ArtifactError, match="outside the file"):
        read_onnx(tmp_path / "forged.onnx")


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


def test_numbers_that_would_not_read_back_are_refused(tmp_path):
    network = replace(tiny(), choices=(Choice("x", np.float64(0.5), ""),))
    with pytest.raises(NetworkError, match="plain Python numbers"):
        write(network, tmp_path / "model.onnx")
    network = replace(tiny(), choices=(Choice("x", float("nan"), ""),))
    with pytest.raises(NetworkError, match="no program"):
        write(network, tmp_path / "model.onnx")


def test_a_golden_vector_of_another_network_is_refused(tmp_path):
    other = toy.lateral()
    golden = make_golden(other, toy.images(other, 2))
    with pytest.raises(NetworkError, match=r"golden\.pixels"):
        write_onnx(tiny(), golden, tmp_path / "model.onnx")


def test_arrays_are_stored_once(tmp_path):
    network = toy.predictive(latents=64, pixels=100)
    write(network, tmp_path / "model.onnx")
    arrays = sum(c.weight.nbytes for c in network.connections) + network.readout.weight.nbytes
    arrays += network.latents.table.size_bytes
    golden = 2 * 8 * 64 * 5 + 2 * 100 * 4
    assert (tmp_path / "model.onnx").stat().st_size < arrays + golden * 4 / 3 + 20_000


def test_the_program_text_is_frozen():
    # A change here changes the format: raise SCHEMA_VERSION and keep reading version 1.
    assert onnx_file.SCHEMA_VERSION == 1
    assert canonical_json(to_program(tiny())) == (
        '{"choices":[{"name":"bits","value":8,"why":"asked for"},{"name":"gain","value":0.1,'
        '"why":"größer"}],"connections":[{"bits":8,"exponent":3,"name":"lateral",'
        '"source":"latents","target":"latents","weight":"connections.lateral.weight"}],'
        '"drive":{"limit":1048576,"shift":12,"target":"latents","weight":"drive.weight"},'
        '"input":{"frac_bits":12,"high":1.0,"image_shape":[4,1],"low":0.0,"pixels":4},'
        '"populations":[{"diagonal":"populations.latents.diagonal","du_max":40960,'
        '"du_min":-32768,"frac_bits":12,"initial":"populations.latents.initial",'
        '"kind":"poisson","leak":"populations.latents.leak","name":"latents",'
        '"table":{"dither_bits":7,"row_bits":11,"threshold":"populations.latents.threshold"},'
        '"u_max":-15997,"u_min":-32768}],"readout":{"frac_bits":11,"source":"latents",'
        '"weight":"readout.weight"},"schedule":[{"connections":["lateral"],'
        '"target":"latents"}],"topology":"lateral"}'
    )


def test_the_stored_tensors_are_frozen():
    """Matrices lie [source, target]."""
    tensors = stored_arrays(build_graph(tiny()))
    expected = [
        ("connections.lateral.weight", "int8", (2, 2)),
        ("drive.weight", "int32", (4, 2)),
        ("populations.latents.diagonal", "int32", (2,)),
        ("populations.latents.initial", "int32", (2,)),
        ("populations.latents.leak", "int32", (2,)),
        ("populations.latents.threshold", "uint16", (10, 1)),
        ("readout.weight", "int16", (2, 4)),
    ]
    for name, dtype, shape in expected:
        stored = onnx.numpy_helper.to_array(tensors[name])
        assert (stored.dtype, stored.shape) == (dtype, shape), name
