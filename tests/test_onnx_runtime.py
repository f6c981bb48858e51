"""ONNX Runtime must give the integers of the definition: every variable of every step."""

from __future__ import annotations

import gc
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import toy
from hypothesis import example, given, settings
from hypothesis import strategies as st
from onnx.reference import ReferenceEvaluator

from pvae_neuro.errors import EngineError, EngineUnavailableError, InputError, NetworkError
from pvae_neuro.exporters.onnx import build_model, sampler
from pvae_neuro.exporters.onnx.integers import IntegerGraph, Signal, value_info
from pvae_neuro.exporters.onnx.operations import LOWERED, apply
from pvae_neuro.network import OPERATIONS, Activation, Constant, transpose_of
from pvae_neuro.network.random import random_inputs, random_network
from pvae_neuro.network.sampler import sample_counts
from pvae_neuro.neurons.poisson import INTEGRATE_LATERAL
from pvae_neuro.sim import onnx_runtime
from pvae_neuro.sim.engine import get_engine
from pvae_neuro.sim.noise import population_noise
from pvae_neuro.sim.onnx_runtime import OnnxEngine
from pvae_neuro.sim.reference import ReferenceEngine

runtime = pytest.importorskip("onnxruntime", reason="ONNX Runtime is not installed")
BUILDERS = [toy.lateral, toy.predictive]


def assert_equals_reference(network, samples=3, steps=6, seed=0, images=None, **options):
    images = toy.images(network, samples, seed) if images is None else images
    expected = ReferenceEngine().run(network, images, steps, seed, record="full", **options)
    got = OnnxEngine(threads=1).run(network, images, steps, seed, record="full", **options)
    for name in network.variables:
        assert got[name].dtype == expected[name].dtype
        assert np.array_equal(got[name], expected[name]), name
        assert np.array_equal(got.last[name], expected.last[name]), name
    if network.readout is not None:
        assert np.array_equal(got.reconstruction, expected.reconstruction)
    return got


@pytest.mark.parametrize("build", BUILDERS)
@pytest.mark.parametrize("max_count", [7, 15, 31, 63])
def test_equals_the_reference(build, max_count):
    network = build(seed=3, latents=21, pixels=28, max_count=max_count)
    assert_equals_reference(network, samples=5, steps=12, first_sample=70)


@pytest.mark.parametrize("width", [15, 16, 17, 18, 23, 24, 30, 31, 32, 33, 47, 49, 63, 65])
def test_products_of_any_width_with_many_rows(width):
    # ONNX Runtime by itself is wrong in row 32 on processors with AMX, if columns % 32 > 16.
    network = toy.predictive(seed=width, latents=width, pixels=20 + width % 3 * 4)
    assert_equals_reference(network, samples=67, steps=2)


@settings(max_examples=12, deadline=None)
@given(seed=st.integers(0, 2**32), frames=st.sampled_from([None, 1, 3]))
@example(seed=2024, frames=None)  # Shifts by a variable that is proved to be constant.
def test_equals_the_reference_whatever_the_network(seed, frames):
    rng = np.random.default_rng(seed)
    network = random_network(rng)
    images = random_inputs(network, rng, 3, frames)
    assert_equals_reference(network, steps=4, seed=seed, images=images)


@pytest.mark.parametrize("max_count", [7, 63])
def test_draws_follow_the_rule_where_it_is_not_expanded(monkeypatch, max_count):
    monkeypatch.setattr(sampler, "LARGEST_TABLE", 0)
    network = toy.lateral(seed=1, latents=30, max_count=max_count)
    assert not any(n.name.startswith("limits") for n in build_model(network).graph.node)
    assert_equals_reference(network, samples=6, steps=20)


@pytest.mark.parametrize("limit", [0, 1 << 24])
def test_every_word_gives_the_count_of_the_rule(monkeypatch, limit):
    """All words of a few log-rates, the smallest and the largest among them."""
    monkeypatch.setattr(sampler, "LARGEST_TABLE", limit)
    network = toy.lateral(latents=1, max_count=31)
    latents = network.population_of["latents"]
    low, high = (int(latents.constant(n)[0]) for n in ("u_min", "u_max"))
    model = draw_model(latents, low, high)
    session = runtime.InferenceSession(model.SerializeToString())
    words = np.arange(1 << 16, dtype=np.uint16)[:, None]
    for u in (low, -4096, 1, high):
        potentials = np.full(words.shape, u, np.int32)
        counts = session.run(None, {"u": potentials, "w": words})[0]
        s = latents.sampler
        assert np.array_equal(counts, sample_counts(potentials, words, s.max_count, s.frac_bits))


def draw_model(population, low, high):
    graph = IntegerGraph()
    s = population.sampler
    expanded = sampler.is_expanded(s, low, high)
    table = sampler.expand(graph, "p", s, low, high) if expanded else None
    drawn = sampler.draw(graph, "d", "w", s, table, Signal("u", low, high))
    inputs = [value_info("u", "int32", "b", 1), value_info("w", "uint16", "b", 1)]
    return model_of(graph.graph("draw", inputs, [value_info(drawn.name, "int32", "b", 1)], ""))


def model_of(graph):
    return onnx.helper.make_model(
        graph, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=8
    )


# --------------------------------------------------------------- operations at their limits

EDGE = [-(1 << 23), -(1 << 23) + 1, -65537, -65536, -129, -2, -1, 0, 1, 2, 63, 127, 65535, 65536]
EDGE += [(1 << 22) - 1, 1 << 22, (1 << 23) - 1]


def operation_model(name, ranges):
    graph = IntegerGraph()
    names = [f"a{k}" for k in range(len(ranges))]
    arguments = [Signal(n, *r) for n, r in zip(names, ranges, strict=True)]
    result = apply(graph, name, "result", *arguments)
    inputs = [value_info(n, "int32", "b", 1) for n in names]
    return model_of(graph.graph(name, inputs, [value_info(result.name, "int32", "b", 1)], ""))


@pytest.mark.parametrize("fixed", [None, *range(-31, 32)])
@pytest.mark.parametrize("name", ["mul", "shl", "shr"])
def test_shifts_are_exact_at_every_amount(name, fixed):
    """Products and shifted words pass 2**31 and 2**32 on their way."""
    amounts = np.arange(-31, 32) if fixed is None else np.array([fixed])
    ends = (-31, 31) if fixed is None else (fixed, fixed)
    check(name, [EDGE] * (OPERATIONS[name].arity - 1), amounts, ends)


@pytest.mark.parametrize("name", sorted(set(LOWERED) - {"mul", "shl", "shr"}))
def test_operations_are_exact_at_their_limits(name):
    check(name, [EDGE] * OPERATIONS[name].arity, None, None)


def check(name, lists, amounts, ends):
    columns = [np.array(values, np.int64) for values in lists]
    columns += [] if amounts is None else [amounts.astype(np.int64)]
    grid = [c.reshape(-1, 1) for c in np.meshgrid(*columns)]
    expected = np.broadcast_to(OPERATIONS[name].integer(*grid), grid[0].shape)
    # A network is proved to keep its words within 24 bits; all others may give anything.
    size = np.abs(np.broadcast_to(expected, grid[0].shape).astype(np.float64))
    if amounts is not None:
        value = np.prod([g.astype(np.float64) for g in grid[:-1]], axis=0)
        amount = -grid[-1] if name == "shl" else grid[-1]
        size = np.abs(value) * 2.0**-amount
    kept = (size < (1 << 23) - 1).ravel()
    ranges = [(-(1 << 23), (1 << 23) - 1)] * len(lists) + ([] if ends is None else [ends])
    session = runtime.InferenceSession(operation_model(name, ranges).SerializeToString())
    feeds = {f"a{k}": g[kept].astype(np.int32) for k, g in enumerate(grid)}
    feeds = {i.name: feeds[i.name] for i in session.get_inputs()}
    assert np.array_equal(session.run(None, feeds)[0], expected[kept])


def test_wide_clips_are_exact_around_the_limits_of_32_bits():
    """ONNX Runtime's own Clip, Min and Max of int64 are wrong there."""
    values = [s * ((1 << b) + d) for b in (23, 31, 32, 40) for d in (-1, 0, 1) for s in (-1, 1)]
    for limit in (1, 1000, (1 << 23) - 1):
        graph = IntegerGraph()
        name = graph.clip64("clip", "a", -limit, limit)
        inputs, outputs = [value_info("a", "int64", "b")], [value_info(name, "int64", "b")]
        model = model_of(graph.graph("clip", inputs, outputs, ""))
        session = runtime.InferenceSession(model.SerializeToString())
        got = session.run(None, {"a": np.array(values * 9, np.int64)})[0]
        assert np.array_equal(got, np.clip(values * 9, -limit, limit))


def test_encodings_are_exact_where_their_sums_pass_32_bits():
    network = toy.lateral()
    encoding = network.encodings[0]
    weight = np.where(encoding.weight > 0, 1 << 22, -(1 << 22)).astype(np.int32)
    wide = replace(network, encodings=(replace(encoding, weight=weight, shift=14),))
    assert_equals_reference(wide)


# ------------------------------------------------------------------------------ connections


def with_weights(network, weight, **changes):
    """The predictive circuit with another dictionary."""
    pixels, prediction, _ = network.connections
    prediction = replace(prediction, weight=weight, **changes)
    old = network.connection_of["feedback"]
    feedback = transpose_of(
        prediction, "feedback", "errors", "m", "latents",
        exponent=old.exponent, received_as="feedback",
    )  # fmt: skip
    return replace(network, connections=(pixels, prediction, feedback))


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("limit", [1, 63, 64, 127, 128, 1000])
def test_graded_messages_of_every_width_are_exact(sign, limit):
    network = toy.predictive(latents=40, pixels=64, max_count=15)
    weight = np.full_like(network.connection_of["prediction"].weight, sign * 127)
    network = with_weights(network, weight)
    assert_equals_reference(toy.with_constant(network, "errors", low=-limit, high=limit))


@pytest.mark.parametrize("width", [13, 14, 20, 21])
def test_messages_of_three_and_four_digits_are_exact(width):
    """A single synapse carries words that need three base-128 digits or four."""
    network = toy.predictive(latents=3, pixels=4)
    weight = np.zeros((4, 3), np.int8)
    weight[0, 0] = 1
    limit = (1 << width) - 1
    network = with_weights(network, weight, exponent=0)
    network = toy.with_constant(
        network, "errors", low=-limit, high=limit, gain=1 << 11, gain_shift=1
    )
    got = assert_equals_reference(network)
    assert np.abs(got["errors.m"]).max() > 63 * 129


# ------------------------------------------------------------------------------- the graph


def test_names_may_be_those_of_the_graph():
    network = toy.lateral()
    latents = replace(network.population_of["latents"], name="input")
    renamed = replace(
        network,
        populations=(network.population_of["drive"], latents),
        connections=tuple(
            replace(c, target="input", source="input" if c.source == "latents" else c.source)
            for c in network.connections
        ),
        iteration=tuple(replace(a, population="input") for a in network.iteration),
        final=tuple(replace(a, population="input") for a in network.final),
        readout=replace(network.readout, population="input"),
    )
    assert_equals_reference(renamed)


@pytest.mark.parametrize("build", BUILDERS)
def test_the_graph_is_standard_onnx(build):
    model = build_model(build())
    onnx.checker.check_model(model, full_check=True)
    assert [opset.domain for opset in model.opset_import] == [""]
    assert model.ir_version <= 8
    onnx.shape_inference.infer_shapes(model, strict_mode=True)


@pytest.mark.parametrize("seed", [None, 0, 1, 2])
def test_another_runtime_gives_the_same_integers(seed):
    """The evaluator of the ONNX standard as it ships: the graph means what it says."""
    network = toy.predictive() if seed is None else random_network(np.random.default_rng(seed))
    images = toy.images(network, 3)
    feeds = {
        f"noise.{p.name}": population_noise(p, 2, range(5), range(3)).swapaxes(0, 1)
        for p in network.drawing
    } or {"steps": np.zeros(5, np.uint8)}
    evaluator = ReferenceEvaluator(build_model(network))
    outputs = evaluator.run(None, {"input": network.input.encode(images), **feeds})
    found = dict(zip(evaluator.output_names, outputs, strict=True))
    expected = ReferenceEngine().run(network, images, 4, 2, record="full")
    for name in network.variables:
        assert np.array_equal(found[name].swapaxes(0, 1), expected[name])
        assert np.array_equal(found[f"last.{name}"], expected.last[name])


def test_a_network_that_is_not_proved_is_refused():
    network = toy.with_connection(toy.lateral(), "lateral", exponent=25)
    with pytest.raises(NetworkError, match="expected at most 24"):
        build_model(network)


# ------------------------------------------------------------------------------- the engine


def test_blocks_do_not_change_a_number(monkeypatch):
    monkeypatch.setattr(onnx_runtime, "LARGEST_BLOCK", 3)
    assert_equals_reference(toy.lateral(), samples=8)


@pytest.mark.parametrize("record", ["last", "summary", ["latents.u"]])
def test_what_is_not_recorded_is_not_kept(record):
    network = toy.predictive()
    images = toy.images(network, 2)
    expected = ReferenceEngine().run(network, images, 5, 1, record=record)
    got = OnnxEngine(threads=1).run(network, images, 5, 1, record=record)
    assert sorted(got.variables) == sorted(expected.variables)
    for name in expected.variables:
        assert np.array_equal(got[name], expected[name])
    if expected.squared_error is not None:
        assert np.array_equal(got.squared_error, expected.squared_error)
    for session in (v for k, v in network.compiled["onnx"].items() if isinstance(k, tuple)):
        assert "errors.m" not in {output.name for output in session.get_outputs()}


def test_the_bytes_of_the_file_run(tmp_path):
    """A network that says one thing and a file that says another: the file runs."""
    network, other = toy.predictive(seed=1), toy.predictive(seed=2)
    network.attach_file(build_model(other).SerializeToString())
    images = toy.images(network, 2)
    got = OnnxEngine(threads=1).run(network, images, 3, 0, record="full")
    expected = ReferenceEngine().run(other, images, 3, 0, record="full")
    assert np.array_equal(got["latents.u"], expected["latents.u"])


def test_sessions_are_kept_with_their_network():
    network = toy.lateral()
    images = toy.images(network, 2)
    OnnxEngine(threads=1).run(network, images, 2, 0)
    kept = dict(network.compiled["onnx"])
    OnnxEngine(threads=1).run(network, images, 3, 0)
    assert network.compiled["onnx"] == kept


def test_networks_are_let_go():
    def resident() -> float:
        return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 1e6

    engine = OnnxEngine(threads=1)
    sizes = []
    for seed in range(24):
        network = toy.lateral(seed, latents=64, pixels=64)
        engine.run(network, toy.images(network, 2), 2, 0)
        del network
        gc.collect()
        sizes.append(resident())
    assert sizes[-1] - sizes[7] < 20


def test_a_network_that_draws_nothing_runs():
    network = toy.lateral()
    latents = network.population_of["latents"]
    still = replace(latents, programs=(INTEGRATE_LATERAL,), sampler=None)
    quiet = replace(
        network,
        populations=(network.population_of["drive"], still),
        iteration=(Activation("latents", "integrate", ("drive", "lateral")),),
        final=(),
    )
    assert_equals_reference(quiet)


def test_progress_counts_image_iterations():
    network = toy.lateral()
    done = []
    get_engine("onnx").run(network, toy.images(network, 70), 3, 0, progress=done.append)
    assert sum(done) == 70 * 3


@pytest.mark.parametrize("images", [np.zeros(20), np.full((1, 20), 1.5), np.zeros((0, 20))])
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
    with pytest.raises(EngineError, match="ONNX Runtime") as error:
        OnnxEngine().run(network, toy.images(network, 1), 1, 0)
    assert "\n" not in str(error.value)


def test_constants_may_be_stored_for_each_neuron():
    network = toy.lateral()
    latents = network.population_of["latents"]
    constants = tuple(
        Constant(c.name, np.broadcast_to(c.values, latents.size).copy()) for c in latents.constants
    )
    wide = replace(latents, constants=constants)
    assert_equals_reference(replace(network, populations=(network.populations[0], wide)))
