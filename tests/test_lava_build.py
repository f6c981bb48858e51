"""The network inside a user's own Lava program; Lava runs in processes of its own here."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(find_spec("lava") is None, reason="lava-nc is not installed")

PREAMBLE = f"""
import sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
import numpy as np
import toy
from lava.magma.core.run_conditions import RunSteps
from lava.magma.core.run_configs import Loihi2SimCfg
from lava.proc.io.sink import RingBuffer as Sink
from lava.proc.io.source import RingBuffer as Source
from pvae_neuro.errors import InputError, NetworkError
from pvae_neuro.network import Dense
from pvae_neuro.sim.lava import build_lava
from pvae_neuro.sim.reference import ReferenceEngine
fixed = Loihi2SimCfg(select_tag="fixed_pt")
def message(kind, call, *arguments, **options):
    try:
        call(*arguments, **options)
    except kind as error:
        return str(error)
    raise SystemExit("no error")
"""


def run(code: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PREAMBLE + code],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_a_start_method_chosen_before_is_kept(method):
    # Lava's import alone raises "context has already been set" here.
    code = f"""
import multiprocessing
multiprocessing.set_start_method({method!r})
from pvae_neuro import build_lava
import lava.proc.dense.process
assert multiprocessing.get_start_method() == {method!r}
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]


def test_counts_into_a_users_sink():
    run("""
network = toy.lateral()
images = toy.images(network, 1)
circuit = build_lava(network, seed=0)
circuit.set_input(images[0])
sink = Sink(shape=(network.latents.size,), buffer=circuit.steps(32))
circuit.latents.z_out.connect(sink.a_in)
circuit.latents.run(RunSteps(circuit.steps(32)), fixed)
spikes = sink.data.get()                                   # counts, neurons x steps
reconstruction = circuit.reconstruct(circuit.latents.z.get())
circuit.latents.stop()

expected = ReferenceEngine().run(network, images, 32, 0, record="full")
assert np.array_equal(spikes[:, :33].T, expected["latents.z"][0])
assert np.array_equal(reconstruction, expected.reconstruction[0])
""")


def test_samples_in_sequence_reset_between_runs():
    # Without a number of iterations these go on, where the last run stopped; then with one.
    run("""
network = toy.predictive()
images = toy.images(network, 3)
expected = ReferenceEngine().run(network, images, 7, 5, record="full", first_sample=10)
circuit = build_lava(network, seed=5)
assert [c for c in circuit.connections] == ["prediction", "feedback"]
for row, image in enumerate(images):
    circuit.reset(sample=10 + row)
    circuit.set_input(image)
    circuit.latents.run(RunSteps(circuit.steps(3)), fixed)
    assert np.array_equal(circuit.latents.z.get(), expected["latents.z"][row, 3])
    circuit.latents.run(RunSteps(4 * circuit.steps_per_iteration), fixed)
    assert np.array_equal(circuit.latents.z.get(), expected.readout[row])
    assert np.array_equal(circuit.latents.u.get(), expected.last["latents.u"][row])
    circuit.latents.run(RunSteps(1), fixed)
circuit.reset(sample=12, iterations=7)
circuit.latents.run(RunSteps(circuit.steps(7) + 5), fixed)
for name, values in expected.last.items():
    population, _, variable = name.partition(".")
    assert np.array_equal(circuit.populations[population].variable(variable).get(), values[2])
for name, dense in circuit.connections.items():
    assert np.array_equal(dense.weights.get() / 2, network.connection_of[name].weight)
circuit.latents.stop()
assert "after stop" in message(NetworkError, circuit.reset)
""")


def test_samples_side_by_side_and_misuse_is_named():
    run("""
network = toy.predictive()
images = toy.images(network, 4)
expected = ReferenceEngine().run(network, images, 6, 3, first_sample=20)
circuit = build_lava(network, seed=3, batch=2, iterations=6)
assert "expected shape (2, 20), got (20,)" in message(InputError, circuit.set_input, np.zeros(20))
assert "[-1, 1]" in message(InputError, circuit.set_input, np.full((2, 20), 2.0))
assert "sample" in message(InputError, circuit.reset, 1 << 53)
assert "iterations" in message(InputError, circuit.steps, 0)
assert "batch" in message(InputError, build_lava, network, batch=0)
assert "seed" in message(InputError, build_lava, network, seed=-1)
for first in (0, 2):
    circuit.reset(sample=20 + first)
    circuit.set_input(images[first : first + 2])
    circuit.latents.run(RunSteps(circuit.steps(6)), fixed)
    rows = slice(first, first + 2)
    assert np.array_equal(circuit.latents.u.get(), expected.last["latents.u"][rows])
    counts = circuit.latents.z.get()
    assert np.array_equal(counts, expected.readout[rows])
    assert np.array_equal(circuit.reconstruct(counts), expected.reconstruction[rows])
for name, synapses in circuit.connections.items():
    assert np.array_equal(synapses.weights.get(), network.connection_of[name].weight)
circuit.latents.stop()
""")


def test_synapses_equal_the_stock_dense_step_by_step():
    run("""
from dataclasses import replace
from pvae_neuro.sim.lava.dense import exact_dense
from pvae_neuro.sim.lava.processes.synapses.process import Synapses
feedback = toy.predictive().connection_of["feedback"]
# Odd mantissas of one sign, and of both: Lava's Dense holds each in its own way.
odd = [np.abs(feedback.weight) | 1, -(np.abs(feedback.weight) | 1), feedback.weight]
rng = np.random.default_rng(0)
spikes = rng.integers(-900, 901, (3, 20, 5))
spikes[:, :, 1] = 900 * np.sign(feedback.weight[0])

sources = [Source(data=one) for one in (*spikes, spikes)]
pairs = []
for weight in odd:
    connection = Dense("c", "errors", "m", "latents", weight.astype(np.int8))
    made = [*(exact_dense(connection) for _ in spikes), Synapses(connection, batch=3)]
    for source, process in zip(sources, made):
        source.s_out.connect(process.s_in)
        sink = Sink(shape=process.a_out.shape, buffer=5)
        process.a_out.connect(sink.a_in)
        pairs.append(sink)
# Nothing joins the samples but this.
for source in sources:
    source.run(RunSteps(5), fixed)
for number, weight in enumerate(odd):
    *stock, ours = (sink.data.get() for sink in pairs[4 * number : 4 * number + 4])
    assert np.array_equal(ours, np.stack(stock)), number
    right = np.einsum("ts,bsn->btn", weight.astype(int), spikes)
    assert np.array_equal(ours[..., 1:], right[..., :4])
    assert not ours[..., 0].any()
for source in sources:
    source.stop()

wide = Dense("wide", "errors", "m", "latents", np.full((2, 2), 200, np.int16))
assert "connection 'wide': Lava's Dense would hold 127 instead of mantissa 200" in message(
    NetworkError, exact_dense, wide)
""")
