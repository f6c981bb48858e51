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
from pvae_neuro.sim.lava import build_lava
from pvae_neuro.sim.reference import ReferenceEngine
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


def test_the_readme_snippet_gives_the_references_counts():
    run("""
network = toy.lateral()
images = toy.images(network, 1)

from lava.magma.core.run_conditions import RunSteps
from lava.magma.core.run_configs import Loihi2SimCfg
from lava.proc.io.sink import RingBuffer
from pvae_neuro.sim.lava import build_lava

circuit = build_lava(network, seed=0)
circuit.set_input(images[0])
sink = RingBuffer(shape=(circuit.latents.u.shape[0],), buffer=circuit.steps(32))
circuit.latents.s_out.connect(sink.a_in)
circuit.latents.run(RunSteps(circuit.steps(32)), Loihi2SimCfg(select_tag="fixed_pt"))
spikes = sink.data.get()                                   # counts, neurons x steps
reconstruction = circuit.reconstruct(circuit.latents.z.get())
circuit.latents.stop()

expected = ReferenceEngine().run(network, images, 32, 0, record="full")
assert np.array_equal(spikes[:, :32].T, expected.counts[0])
assert np.array_equal(spikes[:, 32], expected.readout[0])
assert np.array_equal(reconstruction, expected.reconstruction[0])
""")


@pytest.mark.parametrize("make", ["lateral", "predictive"])
def test_samples_in_sequence_reset_between_runs(make):
    run(f"""
network = toy.{make}()
images = toy.images(network, 3)
expected = ReferenceEngine().run(network, images, 7, 5, record="full", first_sample=10)
circuit = build_lava(network, seed=5)
config = Loihi2SimCfg(select_tag="fixed_pt")
for row, image in enumerate(images):
    circuit.reset(sample=10 + row)
    circuit.set_input(image)
    circuit.latents.run(RunSteps(circuit.steps(3)), config)
    assert np.array_equal(circuit.latents.z.get(), expected.counts[row, 3])
    # A run that goes on where the last one stopped; and one that is left in mid-iteration.
    circuit.latents.run(RunSteps(4 * circuit.steps_per_iteration), config)
    assert np.array_equal(circuit.latents.z.get(), expected.readout[row])
    assert np.array_equal(circuit.latents.u.get(), expected.final[row])
    circuit.latents.run(RunSteps(1), config)
for name, dense in circuit.connections.items():
    assert np.array_equal(dense.weights.get() / 2, network.connection(name).weight)
circuit.latents.stop()
""")


def test_streamed_input_is_added_on_acting_steps():
    run("""
from dataclasses import replace
from lava.proc.io.source import RingBuffer
network = toy.predictive()
image = toy.images(network, 1)[0]
half = network.input.encode(image) // 2
circuit = build_lava(network, seed=1)
source = RingBuffer(data=np.repeat(half[:, None], 2, axis=1))
source.s_out.connect(circuit.errors.x_in)
circuit.errors.x.init = network.input.encode(image) - half
circuit.latents.run(RunSteps(circuit.steps(6)), Loihi2SimCfg(select_tag="fixed_pt"))
expected = ReferenceEngine().run(network, image[None], 6, 1)
assert np.array_equal(circuit.latents.z.get(), expected.readout[0])
assert np.array_equal(circuit.latents.u.get(), expected.final[0])
circuit.latents.stop()
""")


@pytest.mark.parametrize("make", ["lateral", "predictive"])
def test_floating_point_models_follow_the_rule_without_rounding(make):
    run(f"""
from pvae_neuro.count_table import poisson_cdf
from pvae_neuro.sim.noise import words
from pvae_neuro.sim.reference import drive
network = toy.{make}(2)
image = toy.images(network, 1)[0]
pixels = network.input.encode(image)
circuit = build_lava(network, seed=9)
circuit.set_input(image)
circuit.latents.run(RunSteps(circuit.steps(5)), Loihi2SimCfg(select_tag="floating_pt"))
z, u = circuit.latents.z.get(), circuit.latents.u.get()
circuit.latents.stop()

p = network.latents
unit = 2.0**-p.frac_bits
state = p.initial * unit
def sample(t):
    uniform = (words(9, t, 0, p.size) + 0.5) / 65536
    below = poisson_cdf(np.exp(state), p.table.max_count)
    return np.count_nonzero(uniform[:, None] > below, axis=1)
for t in range(5):
    emitted = sample(t)
    counts = emitted
    for hop in network.schedule:
        c = network.connection(hop.connections[0])
        received = c.weight.astype(float) @ emitted * 2.0**c.exponent
        if hop.target == "errors":
            e = network.population("errors")
            emitted = np.clip((pixels + received) * e.gain * 2.0**-e.gain_shift,
                              -e.message_limit, e.message_limit)
    du = drive(network, pixels[None])[0] - p.leak - p.diagonal * counts + received
    state = state + np.clip(du, p.du_min, p.du_max) * unit
    state = np.clip(state, p.u_min * unit, p.u_max * unit)
assert np.allclose(u, state, rtol=0, atol=1e-9), np.abs(u - state).max()
assert np.array_equal(z, sample(5))
""")


def test_misuse_is_named():
    run("""
from dataclasses import replace
from pvae_neuro.errors import InputError, NetworkError
from pvae_neuro.sim.lava.dense import exact_dense
def message(kind, call, *arguments):
    try:
        call(*arguments)
    except kind as error:
        return str(error)
    raise SystemExit("no error")
network = toy.lateral()
circuit = build_lava(network)
assert "expected shape (20,)" in message(InputError, circuit.set_input, np.zeros(19))
assert "2**53" in message(InputError, circuit.reset, 1 << 53)
assert "at least 1" in message(InputError, circuit.steps, 0)
assert circuit.errors is None
wide = np.full((12, 12), 200, np.int16)
wide[0, 0] = -3
connection = replace(network.connections[0], weight=wide)
assert "connection 'lateral': Lava's Dense would hold 127 instead of mantissa 200" in message(
    NetworkError, exact_dense, connection)
circuit.latents.run(RunSteps(2), Loihi2SimCfg(select_tag="fixed_pt"))
circuit.latents.stop()
assert "after stop" in message(NetworkError, circuit.reset)
""")
