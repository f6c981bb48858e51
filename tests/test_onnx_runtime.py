"""ONNX Runtime must give the integers of the definition: every count, every potential."""

from __future__ import annotations

import sys
from dataclasses import fields, replace

import numpy as np
import onnx
import pytest
import toy
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx.reference import ReferenceEvaluator
from onnx.reference.op_run import OpRun

from pvae_neuro.errors import EngineError, EngineUnavailableError, InputError, NetworkError
from pvae_neuro.exporters.onnx_graph import build_model
from pvae_neuro.network import Hop
from pvae_neuro.sim import onnx_runtime
from pvae_neuro.sim.engine import get_engine
from pvae_neuro.sim.noise import noise
from pvae_neuro.sim.onnx_runtime import OnnxEngine, block_size
from pvae_neuro.sim.reference import ReferenceEngine

pytest.importorskip("onnxruntime", reason="ONNX Runtime is not installed")


def assert_equals_reference(network, samples=3, steps=6, seed=0, **options):
    images = toy.images(network, samples, seed)
    expected = ReferenceEngine().run(network, images, steps, seed, record="full", **options)
    got = OnnxEngine(threads=1).run(network, images, steps, seed, record="full", **options)
    for field in fields(expected):
        a, b = getattr(expected, field.name), getattr(got, field.name)
        assert np.asarray(a).dtype == np.asarray(b).dtype
        assert np.array_equal(a, b), field.name


def extreme(network, sign, message_limit=900):
    """The same circuit with every mantissa at its limit."""
    connections = tuple(
        replace(c, weight=np.full_like(c.weight, sign * 127), bits=8) for c in network.connections
    )
    populations = tuple(
        p if p.name == "latents" else replace(p, message_limit=message_limit)
        for p in network.populations
    )
    return replace(network, connections=connections, populations=populations)


@pytest.mark.parametrize("build", [toy.lateral, toy.predictive])
@pytest.mark.parametrize("max_count", [1, 7, 15, 31])
def test_equals_the_reference(build, max_count):
    network = build(seed=3, latents=21, pixels=28, max_count=max_count)
    assert_equals_reference(network, samples=5, steps=12, first_sample=70)


@settings(max_examples=12, deadline=None)
@given(
    build=st.sampled_from([toy.lateral, toy.predictive]),
    latents=st.integers(1, 40),
    pixels=st.integers(4, 40),
    max_count=st.sampled_from([7, 15, 31]),
    bits=st.integers(2, 8),
    seed=st.integers(0, 2**32),
)
def test_equals_the_reference_whatever_the_network(build, latents, pixels, max_count, bits, seed):
    assert_equals_reference(build(seed, latents, pixels, max_count, bits), seed=seed)


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("message_limit", [1, 63, 64, 127, 128, 8191, 8192, 1 << 20])
def test_graded_messages_of_every_width_are_exact(sign, message_limit):
    network = extreme(toy.predictive(latents=300, pixels=64, max_count=31), sign, message_limit)
    assert_equals_reference(network)


@pytest.mark.parametrize("exponent", [-31, -20, -1, 0, 1, 20, 28])
@pytest.mark.parametrize("build", [toy.lateral, toy.predictive])
def test_every_exponent_is_exact(build, exponent):
    network = extreme(build(latents=300), 1)
    connections = (replace(network.connections[0], exponent=exponent), *network.connections[1:])
    assert_equals_reference(replace(network, connections=connections))


@pytest.mark.parametrize("sign", [1, -1])
def test_largest_counts_do_not_saturate_byte_products(sign):
    network = extreme(toy.lateral(latents=256, max_count=127), sign)
    latents = network.latents
    loud = replace(latents, initial=np.full_like(latents.initial, latents.u_max))
    assert_equals_reference(replace(network, populations=(loud,)))


def test_more_than_64_bits_are_refused():
    network = toy.lateral()
    connections = (replace(network.connections[0], exponent=50),)
    with pytest.raises(NetworkError, match="more than 64 bits"):
        build_model(replace(network, connections=connections))


def test_two_hops_to_one_population_are_refused():
    network = toy.predictive()
    with pytest.raises(NetworkError, match="once per iteration"):
        build_model(replace(network, schedule=(*network.schedule, Hop("errors", ()))))


def test_a_connection_must_not_deliver_before_its_source():
    network = toy.predictive()
    with pytest.raises(NetworkError, match="before 'errors' has emitted"):
        build_model(replace(network, schedule=network.schedule[::-1]))


def test_names_may_be_those_of_the_graph_or_are_refused():
    network = toy.lateral()
    latents = replace(network.latents, name="counts_of")
    connection = replace(network.connections[0], source="counts_of", target="counts_of")
    renamed = replace(
        network,
        populations=(latents,),
        connections=(replace(connection, name="input"),),
        schedule=(Hop("counts_of", ("input",)),),
        readout=replace(network.readout, source="counts_of"),
        drive=replace(network.drive, target="counts_of"),
    )
    assert_equals_reference(renamed)
    clash = replace(connection, name="drive")
    with pytest.raises(NetworkError, match="rename"):
        build_model(
            replace(renamed, connections=(clash,), schedule=(Hop("counts_of", ("drive",)),))
        )


@pytest.mark.parametrize("network", [toy.lateral(), toy.predictive()], ids=lambda n: n.topology)
def test_the_graph_is_standard_integer_onnx(network):
    model = build_model(network)
    onnx.checker.check_model(model, full_check=True)
    assert [opset.domain for opset in model.opset_import] == [""]
    assert model.ir_version <= 9  # What ONNX Runtime 1.17 reads.
    scan = next(node for node in model.graph.node if node.op_type == "Scan")
    body = next(a.g for a in scan.attribute if a.name == "body")
    floats = {onnx.TensorProto.FLOAT, onnx.TensorProto.DOUBLE, onnx.TensorProto.FLOAT16}
    inferred = onnx.shape_inference.infer_shapes(model, strict_mode=True)
    for graph in (model.graph, body, inferred.graph):
        assert all(node.name for node in graph.node)
        assert not floats & {tensor.data_type for tensor in graph.initializer}
        values = [*graph.input, *graph.output, *graph.value_info]
        assert not floats & {value.type.tensor_type.elem_type for value in values}


class GatherElements(OpRun):
    """The evaluator's own takes 32 entries at most."""

    op_domain = ""

    def _run(self, data, indices, axis=0):
        return (np.take_along_axis(data, indices, axis),)


@pytest.mark.parametrize("network", [toy.lateral(), toy.predictive()], ids=lambda n: n.topology)
def test_another_runtime_gives_the_same_integers(network):
    """The evaluator of the ONNX standard, in NumPy: the graph means what it says."""
    images = toy.images(network, 3)
    words = noise(2, 5, range(3), network.latents.size).swapaxes(0, 1)
    feeds = {"input": network.input.encode(images), "noise": words}
    evaluator = ReferenceEvaluator(build_model(network), new_ops=[GatherElements])
    try:
        counts, potentials, _ = evaluator.run(None, feeds)
    except RuntimeError as error:
        # Seen in onnx 1.16: what lies outside a Scan is unknown inside.
        if "Unable to find input" not in str(error):
            raise
        pytest.skip("this onnx evaluates no Scan that reads the graph around it")
    expected = ReferenceEngine().run(network, images, 5, 2, record="full")
    assert np.array_equal(counts.swapaxes(0, 1), expected.counts)
    assert np.array_equal(potentials.swapaxes(0, 1), expected.potentials)


def test_blocks_do_not_change_a_number(monkeypatch):
    network = toy.lateral()
    monkeypatch.setattr(onnx_runtime, "LARGEST_BLOCK", 3)
    assert_equals_reference(network, samples=8)


def test_blocks_are_bounded():
    network = toy.lateral()
    assert block_size(network, 1) == 64
    assert block_size(network, 10**9) == 1


def test_sessions_are_kept_with_their_network():
    network = toy.lateral()
    engine = OnnxEngine(threads=1)
    images = toy.images(network, 2)
    engine.run(network, images, 2, 0)
    session = onnx_runtime._sessions[network][1]
    OnnxEngine(threads=1).run(network, images, 3, 0)
    assert onnx_runtime._sessions[network][1] is session


def test_progress_counts_image_iterations():
    network = toy.lateral()
    done = []
    get_engine("onnx").run(network, toy.images(network, 70), 3, 0, progress=done.append)
    assert sum(done) == 70 * 3


def test_no_image_is_refused():
    with pytest.raises(InputError, match="N >= 1"):
        OnnxEngine().run(toy.lateral(), np.zeros((0, 20)), 3, 0)


@pytest.mark.parametrize("images", [np.zeros(20), np.full((1, 20), 1.5), np.full((1, 20), np.nan)])
def test_unfit_inputs_are_refused(images):
    with pytest.raises(InputError, match="inputs: expected"):
        OnnxEngine().run(toy.lateral(), images, 3, 0)


def test_negative_threads_are_refused():
    with pytest.raises(InputError, match="threads"):
        OnnxEngine(threads=-1)


def test_a_missing_runtime_says_how_to_install_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    network = toy.lateral()
    with pytest.raises(EngineUnavailableError, match=r"pip install 'pvae-neuro\[onnx-runtime\]'"):
        OnnxEngine().run(network, toy.images(network, 1), 1, 0)


def test_a_failure_of_the_runtime_is_an_engine_error(monkeypatch):
    network = toy.lateral()
    monkeypatch.setattr(onnx_runtime, "build_model", lambda _: onnx.ModelProto())
    with pytest.raises(EngineError, match="ONNX Runtime"):
        OnnxEngine().run(network, toy.images(network, 1), 1, 0)
