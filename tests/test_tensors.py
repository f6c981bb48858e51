"""The engine ``torch`` gives the integers of the definition: every variable of every step."""

from __future__ import annotations

import sys
import threading

import numpy as np
import pytest
import toy
from fast_networks import convolutional, everything, signed, sliding
from hypothesis import given, settings
from hypothesis import strategies as st
from models import family_images, family_model

from pvae_neuro.artifact import load_artifact, save_artifact
from pvae_neuro.errors import EngineError, EngineUnavailableError, InputError
from pvae_neuro.exporters.lowerings import LOWERINGS, topologies
from pvae_neuro.exporters.quantize import QuantizeConfig, quantize
from pvae_neuro.network import OPERATIONS
from pvae_neuro.network.interval import Interval, between
from pvae_neuro.network.random import random_inputs, random_network
from pvae_neuro.network.sampler import cumulative, largest_potential, sample_counts
from pvae_neuro.sim.engine import get_engine
from pvae_neuro.sim.noise import population_noise
from pvae_neuro.sim.reference import ReferenceEngine

torch = pytest.importorskip("torch", reason="the engine needs PyTorch")

from pvae_neuro.sim.tensors import draws, engine, library, noise, operations, products  # noqa: E402
from pvae_neuro.sim.tensors.engine import TorchEngine  # noqa: E402

CPU = torch.device("cpu")
WORD = (1 << 64) - 1
FIGURES = (
    *("spikes", "active", "saturated", "squared_error"),
    *("active_after", "saturated_after", "reconstruction"),
)
FAMILIES = list(dict.fromkeys(family for lowering in LOWERINGS for family in lowering.families))
CIRCUITS = [(family, name) for family in FAMILIES for name in topologies(family)]


def assert_equals_reference(network, images=None, steps=6, seed=0, tested=None, **chosen):
    """Every variable of every step, and every figure."""
    images = toy.images(network, 3, seed % 1000) if images is None else images
    tested = TorchEngine("cpu") if tested is None else tested
    expected, got = (
        one.run(network, images, steps, seed, record="full", progress=False, **chosen)
        for one in (ReferenceEngine(), tested)
    )
    for name in network.variables:
        assert got[name].dtype == expected[name].dtype
        assert np.array_equal(got[name], expected[name]), name
        assert np.array_equal(got.last[name], expected.last[name]), name
    for name in FIGURES:
        mine, right = getattr(got, name), getattr(expected, name)
        assert (mine is None) == (right is None), name
        assert right is None or np.array_equal(mine, right), name
    return got


@pytest.mark.parametrize("build", [toy.lateral, toy.predictive])
@pytest.mark.parametrize("max_count", [7, 15, 63, 255])
def test_equals_the_reference(build, max_count):
    network = build(seed=3, latents=21, pixels=28, max_count=max_count, bits=5)
    got = assert_equals_reference(network, steps=12, first_sample=70)
    assert got["latents.z"].max() > 3


@pytest.mark.parametrize("build", [everything, convolutional, signed])
def test_every_operation_connection_and_place_in_a_stream(build):
    """Two populations of one of them draw from one stream, at positions 5 and 40."""
    for seed, first_sample in ((0, 0), (1 << 63, (1 << 32) + 1), (WORD, (1 << 63) - 9)):
        assert_equals_reference(build(), seed=seed, first_sample=first_sample)


@pytest.mark.parametrize(
    ("wide", "narrow", "kernel", "stride", "padding"),
    [
        ((1, 5, 5), (3, 5, 5), (3, 3), 1, 1),
        ((2, 7, 6), (3, 4, 3), (4, 4), 2, 1),
        ((2, 7, 6), (1, 4, 3), (4, 3), 2, 1),
        ((3, 9, 9), (2, 2, 2), (3, 3), 3, 0),
        ((1, 4, 4), (2, 4, 4), (2, 2), 1, 0),
        ((1, 8, 3), (2, 2, 1), (5, 3), 4, 2),
    ],
)
def test_slides_that_end_before_the_picture_or_beyond_it(wide, narrow, kernel, stride, padding):
    weight = np.random.default_rng(0).integers(-2, 3, (narrow[0], wide[0], *kernel))
    assert_equals_reference(sliding(weight.astype(np.int8), wide, narrow, stride, padding, 200))


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32), frames=st.sampled_from([None, 1, 3]), reset=st.booleans())
def test_equals_the_reference_whatever_the_network(seed, frames, reset):
    rng = np.random.default_rng(seed)
    network = random_network(rng)
    images = random_inputs(network, rng, 3, frames)
    assert_equals_reference(network, images, 4, seed, reset=reset)


@pytest.mark.parametrize(("family", "topology"), CIRCUITS)
def test_families(family, topology):
    network = quantize(family_model(family), family_images(32), QuantizeConfig(topology))
    assert_equals_reference(network, family_images(4), 8)


def test_magnitudes_of_codes_of_16_bits():
    """The smallest number of 16 bits has none in 16 bits; a random network reaches it."""
    rng = np.random.default_rng(26)
    network = random_network(rng)
    got = assert_equals_reference(network, random_inputs(network, rng, 3, 3), 4, 26)
    assert (got[network.code] == -(1 << 15)).any()


@pytest.mark.parametrize("record", ["last", "summary", ["errors.m"]])
def test_what_is_not_recorded_is_not_kept(record):
    network = toy.predictive()
    images = toy.images(network, 5)
    expected, got = (
        one.run(network, images, 5, 1, record=record)
        for one in (ReferenceEngine(), TorchEngine("cpu"))
    )
    assert list(got.variables) == list(expected.variables)
    for name in expected.variables:
        assert np.array_equal(got[name], expected[name])
    assert (got.squared_error is None) == (record == "last")
    if record != "last":
        assert np.array_equal(got.squared_error, expected.squared_error)


def test_blocks_do_not_change_a_number(monkeypatch):
    monkeypatch.setitem(engine.LIMITS, "cpu", engine.Limits(3, 1 << 20, 1))
    network = toy.lateral(latents=40)
    done = []
    assert_equals_reference(network, toy.images(network, 8))
    TorchEngine("cpu").run(network, toy.images(network, 8), 3, 0, progress=done.append)
    assert sum(done) == 8 * 3


def test_a_network_from_a_file(tmp_path):
    """Its arrays cannot be written."""
    path, network = tmp_path / "m.onnx", toy.predictive()
    save_artifact(network, toy.images(network, 2), path)
    loaded = load_artifact(path).network
    assert not loaded.connection_of["prediction"].weight.flags.writeable
    assert_equals_reference(loaded)


# ------------------------------------------------------------------------------ the generator


@settings(max_examples=50, deadline=None)
@given(
    counter=st.tuples(st.integers(1, WORD), *[st.integers(0, WORD)] * 3), seed=st.integers(0, WORD)
)
def test_the_generator_is_that_of_numpy(counter, seed):
    before = np.array([counter[0] - 1, *counter[1:]], np.uint64)
    expected = np.random.Philox(key=np.array([seed, 0], np.uint64), counter=before).random_raw(4)
    numbers = [torch.tensor([noise.signed(c)], device="cpu") for c in counter]
    got = [int(v) & WORD for v in noise.philox(tuple(numbers), seed)]
    assert got == expected.tolist()


@given(factor=st.integers(0, WORD), value=st.integers(0, WORD))
def test_halves_of_products(factor, value):
    upper, lower = noise.product_halves(factor, torch.tensor([noise.signed(value)], device="cpu"))
    assert (int(upper) & WORD, int(lower) & WORD) == divmod(factor * value, 1 << 64)


def test_words_are_those_of_every_position():
    network = everything()
    for population in network.drawing:
        steps, samples = range(3, 9), range(1 << 40, (1 << 40) + 4)
        expected = population_noise(population, WORD, steps, samples).swapaxes(0, 1)
        got = noise.words_by_step(
            population.sampler, population.size, WORD, steps, samples, CPU, 20
        )
        assert np.array_equal(torch.stack(list(got)).numpy(), expected)


# ------------------------------------------------------------------------------ draws


@pytest.mark.parametrize(("max_count", "frac_bits"), [(1, 4), (63, 14), (255, 8), (100, 10)])
def test_counts_are_those_of_the_rule(max_count, frac_bits):
    """At the lowest and highest log-rate, and on both sides of every threshold between."""
    low, high = -16 << frac_bits, max(largest_potential(max_count, frac_bits), 0)
    rule = draws.thresholds(low, high, max_count, frac_bits, CPU)
    rng = np.random.default_rng(0)
    u = np.concatenate([[low, high, 0], rng.integers(low, high + 1, 400)])
    limits = cumulative(u, max_count, frac_bits)
    words = np.clip(limits[:, :, None] + np.array([-1, 0]), 0, 65535).reshape(len(u), -1)
    words = np.concatenate([words, np.tile([0, 65535], (len(u), 1))], axis=1)
    potentials = np.repeat(u[:, None], words.shape[1], axis=1)
    got = rule.draw(*(torch.from_numpy(v.astype(np.int32)) for v in (potentials, words)))
    expected = sample_counts(potentials, words, max_count, frac_bits)
    assert np.array_equal(got.numpy(), expected)
    assert expected.max() == max_count


# ------------------------------------------------------------------------------ operations

EDGE = [-(1 << 23), -(1 << 23) + 1, -65537, -65536, -129, -2, -1, 0, 1, 2, 63, 127, 65535, 65536]
EDGE += [(1 << 22) - 1, 1 << 22, (1 << 23) - 1]


def check(name, columns, bounds):
    """An operation over a grid, where its result has 24 bits."""
    grid = [c.ravel() for c in np.meshgrid(*(np.array(c, np.int64) for c in columns))]
    expected = OPERATIONS[name].integer(*grid)
    size = np.abs(expected.astype(np.float64))
    if name in operations.BY_NUMBER:
        amount = -grid[-1] if name == "shl" else grid[-1]
        size = np.abs(np.prod([g.astype(np.float64) for g in grid[:-1]], axis=0)) * 2.0**-amount
    kept = size < (1 << 23) - 1
    assert kept.any()
    formula = operations.formula(name, bounds)
    got = formula(*(torch.from_numpy(g[kept].astype(np.int32)) for g in grid))
    assert got.dtype == torch.int32
    assert np.array_equal(got.numpy(), expected[kept])


@pytest.mark.parametrize("name", sorted(set(OPERATIONS) - {"mul", "shl", "shr", "word", "draw"}))
def test_operations_are_exact_at_their_limits(name):
    arity = OPERATIONS[name].arity
    check(name, [EDGE] * arity, [between(-(1 << 23), (1 << 23) - 1)] * arity)


@pytest.mark.parametrize("name", ["mul", "shl", "shr"])
def test_shifts_are_exact_at_every_amount(name):
    words = [EDGE] * (OPERATIONS[name].arity - 1)
    bounds = [between(-(1 << 23), (1 << 23) - 1)] * len(words)
    check(name, [*words, range(-31, 32)], [*bounds, between(-31, 31)])
    for amount in range(-31, 32):
        check(name, [*words, [amount]], [*bounds, between(amount, amount)])
        # Operands whose product, and the half that is added, may just fit 32 bits.
        small = [[v for v in EDGE if abs(v) < 1 << 15]] * len(words)
        narrow = [between(-(1 << 15), (1 << 15) - 1)] * len(words)
        check(name, [*small, [amount]], [*narrow, between(amount, amount)])


def test_every_operation_has_a_formula():
    assert set(operations.FORMULAS) == set(OPERATIONS)
    assert set(products.KINDS) == TorchEngine.connection_kinds


# ------------------------------------------------------------------------------ wide products


@settings(max_examples=60, deadline=None)
@given(
    bits=st.integers(1, 31), message=st.integers(1, 31), size=st.integers(1, 60),
    seed=st.integers(0, 1000), sides=st.booleans(),
)  # fmt: skip
def test_products_of_the_host_are_exact_at_their_bounds(bits, message, size, seed, sides):
    rng = np.random.default_rng(seed)
    message = min(message, 56 - bits)  # Sums of 62 bits.
    most, largest = (1 << bits) - 1, (1 << message) - 1
    weight = rng.integers(-most, most + 1, (3, size))
    weight[0], weight[1] = most, -most
    values = rng.integers(-largest, largest + 1, (4, size))
    values[0], values[1, ::2] = largest, -largest
    bounds = between(-largest, largest) if sides else Interval(*np.array([[-largest], [largest]]))
    got = products.wide_product(weight.astype(np.int32), bounds, CPU)(
        torch.from_numpy(values.astype(np.int32))
    )
    exact = values.astype(object) @ weight.T.astype(object)
    assert got.tolist() == exact.tolist()


# ------------------------------------------------------------------ what the process has chosen


@pytest.fixture
def process():
    """What a test chooses for the whole process is put back."""
    before = torch.get_default_dtype(), torch.get_float32_matmul_precision()
    yield
    torch.set_default_dtype(before[0])
    torch.set_default_device(None)
    torch.set_float32_matmul_precision(before[1])


def wide_messages():
    """Messages of 13 bits: no shorter operand is exact."""
    network = toy.predictive(latents=64, pixels=64, bits=6)
    network = toy.with_constant(network, "errors", low=-4095, high=4095, gain=1 << 13)
    return toy.with_connection(network, "feedback", exponent=-12)


@pytest.mark.parametrize("precision", ["medium", "high", "highest"])
def test_the_precision_of_the_process_changes_nothing(process, precision):
    torch.set_float32_matmul_precision(precision)
    network = wide_messages()
    assert_equals_reference(network, toy.images(network, 33))
    assert torch.get_float32_matmul_precision() == precision
    assert torch.zeros(1).is_inference() is False


def test_types_devices_and_autocast_of_the_process_change_nothing(process):
    network = wide_messages()
    images = toy.images(network, 33)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert_equals_reference(network, images)
    torch.set_default_dtype(torch.float64)
    assert_equals_reference(everything())
    torch.set_default_device("meta")
    assert_equals_reference(everything())
    assert_equals_reference(network, images)


def test_precision_is_put_back_when_the_last_run_ends(process):
    torch.set_float32_matmul_precision("medium")
    inside, leave = threading.Event(), threading.Event()

    def other():
        with library.exact_arithmetic(CPU):
            inside.set()
            leave.wait(30)

    thread = threading.Thread(target=other)
    with library.exact_arithmetic(CPU):
        thread.start()
        inside.wait(30)
    network = wide_messages()
    assert_equals_reference(network, toy.images(network, 33))
    # The other one has not ended.
    assert library._Precision.runs == 1
    leave.set()
    thread.join(30)
    assert torch.get_float32_matmul_precision() == "medium"


def test_threads():
    before = torch.get_num_threads()
    network = toy.predictive(latents=40, pixels=64)
    for threads in (1, 2, 3):
        assert_equals_reference(network, tested=TorchEngine("cpu", threads))
        assert torch.get_num_threads() == before
    with pytest.raises(InputError, match="threads: expected 1"):
        TorchEngine(threads=0)


# ------------------------------------------------------------------------------ what is missing


def test_a_missing_library_says_how_to_install_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(EngineUnavailableError, match=r"pip install 'pvae-neuro\[train\]'"):
        get_engine("torch").require()


@pytest.mark.parametrize("name", ["meta", "cuda:99", "mps", "one of mine", "cuda:-1"])
def test_a_device_that_is_not_there_is_refused(name):
    network = toy.lateral()
    with pytest.raises(EngineUnavailableError, match=r"engine torch: expected .* got '"):
        get_engine("torch", device=name).run(network, toy.images(network, 1), 1, 0)


def test_a_gpu_without_memory_is_an_error_of_the_engine(monkeypatch):
    def full(*_):
        raise torch.cuda.OutOfMemoryError("CUDA out of memory.")

    monkeypatch.setattr(engine, "run", full)
    network, threads = toy.lateral(), torch.get_num_threads()
    with pytest.raises(EngineError, match="engine torch: expected memory for 256 samples at once"):
        TorchEngine("cpu", 3).run(network, toy.images(network, 1), 1, 0)
    assert torch.get_num_threads() == threads


@pytest.mark.skipif(not torch.cuda.is_available(), reason="PyTorch finds no GPU")
@pytest.mark.parametrize("build", [everything, convolutional, signed, toy.predictive])
def test_a_gpu_gives_the_same_integers(build, process):
    torch.backends.cuda.matmul.allow_tf32 = True
    network = build()
    assert_equals_reference(network, toy.images(network, 65), seed=WORD, tested=TorchEngine("cuda"))
