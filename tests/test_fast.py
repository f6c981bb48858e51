"""The compiled engine equals the reference: every variable, any size, batch and thread count."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import toy
from fast_networks import convolutional, everything, signed, sliding
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

pytest.importorskip("llvmlite", reason="the fast engine needs llvmlite")

from pvae_neuro.errors import EngineUnavailableError, InputError
from pvae_neuro.network import OPERATIONS, Dense
from pvae_neuro.network.ranges import proved_activations
from pvae_neuro.sim.engine import get_engine
from pvae_neuro.sim.fast import FastEngine
from pvae_neuro.sim.fast.layouts import digits_of
from pvae_neuro.sim.fast.plan import plan_for, tasks_of
from pvae_neuro.sim.fast.team import default_threads, limited_threads
from pvae_neuro.sim.fast.ways import ways_for
from pvae_neuro.sim.reference import ReferenceEngine

FIGURES = ("reconstruction", "spikes", "active", "saturated", "squared_error")


def assert_same(ours, exact):
    for left, right in ((ours.last, exact.last), (ours.variables, exact.variables)):
        assert list(left) == list(right)
        for name in left:
            assert left[name].dtype == right[name].dtype, name
            different = np.argwhere(left[name] != right[name])
            assert not len(different), (name, different[:3])
    for name in FIGURES:
        left, right = getattr(ours, name), getattr(exact, name)
        assert (left is None) == (right is None), name
        assert left is None or (left.dtype == right.dtype and np.array_equal(left, right)), name


def assert_equal_to_reference(
    network, samples, steps, seed, first_sample=0, record="full", frames=1, threads=None
):
    images = toy.images(network, samples * frames, seed % 1000)
    if frames > 1:
        images = images.reshape(samples, frames, -1)
    options = {"record": record, "first_sample": first_sample}
    ours = FastEngine(threads).run(network, images, steps, seed, **options)
    assert_same(ours, ReferenceEngine().run(network, images, steps, seed, **options))
    return ours


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    kind=st.sampled_from([toy.lateral, toy.predictive]),
    latents=st.sampled_from([1, 2, 15, 16, 17, 63, 64, 65, 127, 128, 129, 200]),
    pixels=st.sampled_from([4, 8, 20, 36, 100]),
    bits=st.integers(2, 8),
    max_count=st.sampled_from([3, 15, 31]),
    samples=st.integers(1, 5),
    steps=st.integers(1, 8),
    seed=st.integers(0, 2**64 - 1),
    first_sample=st.integers(0, 2**31),
)
def test_equal_to_reference(
    kind, latents, pixels, bits, max_count, samples, steps, seed, first_sample
):
    network = kind(seed % 97, latents, pixels, max_count, bits)
    assume(not list(network.ranges.faults()))
    assert_equal_to_reference(network, samples, steps, seed, first_sample)


@pytest.mark.parametrize(("side", "latents", "seed"), [(7, 35, 0), (6, 1, 1), (3, 64, 2)])
def test_everything(side, latents, seed):
    network = everything(seed, side, latents)
    recording = assert_equal_to_reference(network, 4, 6, seed, first_sample=11)
    # The network is worth the test: much happens, and every variable moves.
    for name, values in recording.variables.items():
        assert len(np.unique(values)) > 1, name


def test_everything_covers_the_language():
    network = everything()
    assert network.operations == set(OPERATIONS)
    assert network.connection_kinds == {
        "dense", "one_to_one", "convolution", "transposed_convolution"
    }  # fmt: skip
    sent = {}
    for proved in proved_activations(network, network.ranges.variables):
        sent.update(proved.sent)
    dense = [c for c in network.connections if isinstance(c, Dense)]
    assert {next(iter(ways_for(tasks_of(network)[c.name]))) for c in dense} == {"events", "pairs"}
    assert {digits_of(sent[c.name]) for c in dense} == {1, 2}


@pytest.mark.parametrize(
    "network",
    [convolutional(), convolutional(1, 8, 7), convolutional(2, 13, 12), signed()],
    ids=lambda network: f"{network.name}-{network.input.size}",
)
def test_figures_as_they_go(network):
    """What is inferred is not what is read out, or has a sign."""
    assert plan_for(network).summarizer is not None
    recording = assert_equal_to_reference(network, 3, 5, 1, frames=2)
    assert (recording.active.mean(axis=0) > 0).all()
    assert len(np.unique(recording.squared_error)) > 6
    for name, values in recording.variables.items():
        assert len(np.unique(values)) > 1, name
    assert_equal_to_reference(network, 3, 17, 1, record="summary")


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_convolutions_of_any_geometry(data):
    """Every stride, kernel, margin and side; messages of one digit and of two; both ways."""
    kernel = data.draw(st.tuples(st.integers(1, 5), st.integers(1, 5)))
    stride, padding = data.draw(st.integers(1, 5)), data.draw(st.integers(0, min(kernel) - 1))
    wide = data.draw(st.tuples(st.integers(1, 3), st.integers(1, 9), st.integers(1, 9)))
    rows, columns = (
        data.draw(st.integers(1, (side + padding - 1) // stride + 1)) for side in wide[1:]
    )
    narrow = (data.draw(st.integers(1, 3)), rows, columns)
    limit = data.draw(st.sampled_from([200, 32767, 40_000]))
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    weight = rng.integers(-2, 3, (narrow[0], wide[0], *kernel)).astype(np.int8)
    network = sliding(weight, wide, narrow, stride, padding, limit)
    assert_equal_to_reference(network, 2, 2, 0)


@pytest.mark.parametrize("steps", [1, 5])
def test_frames(steps):
    assert_equal_to_reference(everything(), 3, steps, 4, frames=3)
    assert_equal_to_reference(toy.lateral(), 3, steps, 4, frames=3, record="summary")


@pytest.mark.parametrize("record", ["last", "summary", ["maps.c", "errors.wide", "latents.u"]])
def test_records(record):
    assert_equal_to_reference(everything(), 3, 17, 2, record=record)


@pytest.mark.parametrize("kind", [toy.lateral, toy.predictive])
@pytest.mark.parametrize("activity", ["none", "one", "all"])
def test_extremes_of_activity(kind, activity):
    network = toy.with_constant(kind(latents=40), "latents", du_min=-1, du_max=1)
    latents = network.population_of["latents"]
    u_max = int(latents.constant("u_max")[0])
    initial = np.full(40, u_max if activity == "all" else latents.constant("u_min")[0], np.int32)
    if activity == "one":
        initial[17] = u_max
    variables = (replace(latents.variable("u"), initial=initial), latents.variable("z"))
    populations = tuple(
        replace(p, variables=variables) if p is latents else p for p in network.populations
    )
    recording = assert_equal_to_reference(replace(network, populations=populations), 5, 6, 1)
    mean = recording.active.mean()
    assert {"none": mean < 1, "one": mean < 3, "all": mean > 39}[activity]


@pytest.mark.parametrize("weight", [-127, 127])
def test_sums_at_the_edge_of_16_bits(weight):
    """Every neuron fires at its largest count through the largest weight of one sign."""
    network = toy.lateral(latents=150, max_count=31)
    network = toy.with_constant(network, "latents", du_min=-1, du_max=1, diagonal=0)
    latents = network.population_of["latents"]
    u = replace(latents.variable("u"), initial=latents.constant("u_max"))
    populations = tuple(
        replace(p, variables=(u, p.variable("z"))) if p is latents else p
        for p in network.populations
    )
    full = np.full((150, 150), weight, np.int8)
    network = replace(toy.with_connection(network, "lateral", weight=full), populations=populations)
    recording = assert_equal_to_reference(network, 2, 4, 3)
    assert recording.spikes.mean() > 150 * 12


def test_any_number_of_threads_and_calls(monkeypatch):
    network = everything()
    whole = assert_equal_to_reference(network, 9, 7, 4, threads=2)
    monkeypatch.setattr("pvae_neuro.sim.fast.engine.SAMPLES_PER_BLOCK", 4)
    monkeypatch.setattr("pvae_neuro.sim.fast.engine.FIRST_STEPS", 2)
    monkeypatch.setattr("pvae_neuro.sim.fast.engine.SECONDS_PER_CALL", 1e-9)
    assert_same(assert_equal_to_reference(network, 9, 7, 4, threads=1), whole)


def test_shipped_model():
    pytest.importorskip("pvae_neuro.zoo")
    import pvae_neuro as pn
    from pvae_neuro.exporters.quantize import QuantizeConfig, quantize

    model, (digits, _) = pn.load_pretrained(), pn.sample_digits()
    for topology in ("lateral", "predictive"):
        network = quantize(model, digits, QuantizeConfig(topology=topology))
        options = {"record": "full", "first_sample": 3}
        exact = ReferenceEngine().run(network, digits[:2], 6, 0, **options)
        assert_same(FastEngine().run(network, digits[:2], 6, 0, **options), exact)


def test_progress_and_plans():
    network = toy.lateral()
    told: list[int] = []
    FastEngine().run(network, toy.images(network, 5), 7, 0, progress=told.append)
    assert sum(told) == 35
    assert plan_for(network) is plan_for(network)
    # Networks of one structure share their compiled loops; others of other sizes do too.
    assert plan_for(network).kept[0] is plan_for(toy.lateral(1, 20, 36)).kept[0]
    assert plan_for(network).kept[0] is not plan_for(toy.predictive()).kept[0]


def _resident() -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) << 10
    raise AssertionError("expected a line VmRSS")


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads Linux's /proc")
def test_networks_leave_no_memory_behind():
    def use(seed: int) -> None:
        network = toy.predictive(seed, 200, 400, bits=5)
        FastEngine(1).run(network, toy.images(network, 1), 1, 0)

    for seed in range(10):
        use(seed)
    before = _resident()
    for seed in range(40):
        use(seed)
    assert _resident() - before < 10 << 20


def test_thread_counts(monkeypatch):
    with pytest.raises(InputError, match="threads: expected 1 to"):
        get_engine("fast", threads=0)
    assert default_threads() >= 1
    monkeypatch.setenv("NUMBA_NUM_THREADS", "3")
    assert default_threads() == 3
    for wrong in ("0", "two"):
        monkeypatch.setenv("NUMBA_NUM_THREADS", wrong)
        with pytest.raises(InputError, match=f"NUMBA_NUM_THREADS: .* got '{wrong}'"):
            default_threads()
    with limited_threads(2):
        assert default_threads() == 2


def test_refuses_bad_arguments():
    network = toy.predictive()
    with pytest.raises(InputError, match="record"):
        FastEngine().run(network, toy.images(network, 1), 1, 0, record="everything")
    with pytest.raises(InputError, match="expected values in"):
        FastEngine().run(network, toy.images(network, 1) + 5, 1, 0)


def test_missing_llvmlite_is_named(monkeypatch):
    for name in [n for n in sys.modules if n.startswith("pvae_neuro.sim.fast.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "llvmlite", None)
    import pvae_neuro.sim.fast as package

    with pytest.raises(EngineUnavailableError, match=r"llvmlite.*pvae-neuro\[fast\]"):
        package.__getattr__("FastEngine")


def test_without_llvmlite_the_next_engine_is_taken():
    """Asked for, the engine says what is missing; ``auto`` takes the next one and says why."""
    code = (
        "import sys; sys.path.insert(0, sys.argv[1])\nimport toy\n"
        "sys.modules['llvmlite'] = None\n"
        "from pvae_neuro.errors import EngineUnavailableError\n"
        "from pvae_neuro.sim.engine import fastest_engine, get_engine\n"
        "try:\n    get_engine('fast')\nexcept EngineUnavailableError as error:\n"
        "    print(error)\n"
        "print(fastest_engine(toy.lateral(), tell=print).name)"
    )
    asked, passed_over, taken = _run_apart(code)
    assert "expected llvmlite" in asked
    assert "'reference' gives the same integers" in asked
    assert passed_over == f"engine fast is not used: {asked}"
    assert taken in ("onnx", "reference")


def test_a_run_needs_no_numba():
    """Its first use would cost every process half a second."""
    code = (
        "import sys; sys.path.insert(0, sys.argv[1])\nimport toy\n"
        "sys.modules['numba'] = None\n"
        "from pvae_neuro.sim.engine import get_engine\n"
        "network = toy.lateral()\n"
        "print(get_engine('fast').run(network, toy.images(network, 2), 2, 0).spikes.shape)"
    )
    assert _run_apart(code) == ["(2, 2)"]


def _run_apart(code: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", code, str(Path(__file__).parent)],
        check=True, timeout=120, capture_output=True, text=True,
    )  # fmt: skip
    return done.stdout.splitlines()
