"""Frames that stream into a user's own Lava program; Lava runs in processes of its own here."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import pytest
from test_lava_build import run

pytestmark = pytest.mark.skipif(find_spec("lava") is None, reason="lava-nc is not installed")


def test_streamed_frames_give_the_integers_of_the_reference():
    # Inputs that are held by their targets; then several samples side by side; then once more.
    run("""
import warnings
# Lava warns of modules that it cannot execute on its own.
warnings.filterwarnings("error", message="Cannot import")
for network in (toy.lateral(), toy.predictive()):
    frames = toy.images(network, 6).reshape(2, 3, -1)
    expected = ReferenceEngine().run(network, frames, 4, 5, record="full")
    circuit = build_lava(network, seed=5)
    (source,) = circuit.stream(frames[0], hold=4)
    sink = Sink(shape=(network.latents.size,), buffer=circuit.steps(12))
    circuit.latents.z_out.connect(sink.a_in)
    circuit.latents.run(RunSteps(circuit.steps(12)), fixed)
    counts = sink.data.get()[:, :: circuit.steps_per_iteration]
    assert np.array_equal(counts[:, :13].T, expected["latents.z"][0])
    circuit.latents.stop()

    circuit = build_lava(network, seed=5, batch=2, iterations=12)
    circuit.stream(frames, hold=4)
    for again in range(2):
        circuit.reset()
        circuit.latents.run(RunSteps(circuit.steps(12)), fixed)
        for name, values in expected.last.items():
            population, _, variable = name.partition(".")
            if population in circuit.populations:
                found = circuit.populations[population].variable(variable).get()
                assert np.array_equal(found, values), name
    circuit.latents.stop()

assert "streamed already" in message(NetworkError, circuit.stream, frames, 4)
circuit = build_lava(network)
assert "frames are [N, F, 20]" in message(InputError, circuit.stream, frames[0, :, :7], 4)
assert "hold" in message(InputError, circuit.stream, frames[0], 0)
assert "[-1, 1]" in message(InputError, circuit.stream, 2 * frames[0] + 1, 4)
""")


def test_the_example_of_the_page():
    page = (Path(__file__).parents[1] / "docs" / "frames.md").read_text("utf-8")
    block = page.split("## In your own Lava program")[1].split("```python\n")[1].split("```")[0]
    # 15 lines and fewer are what one reads at a glance.
    assert len([line for line in block.splitlines() if line.strip()]) < 15
    run(f"""
import pvae_neuro as pn
network = toy.predictive()
frames = toy.images(network, 6).reshape(2, 3, -1)
exec({block!r})
expected = ReferenceEngine().run(network, frames, 4, 0, record="full")
assert np.array_equal(counts[:, :13].T, expected["latents.z"][0])
""")


def test_inputs_that_travel_through_connections_are_streamed_too():
    # The first random network that has both a population for its input and a held input.
    run("""
from pvae_neuro.network.random import random_inputs, random_network
for number in range(200):
    rng = np.random.default_rng(number)
    network = random_network(rng)
    circuit = build_lava(network, seed=1, iterations=6)
    try:
        ports = circuit.input_ports()
    except NetworkError as error:
        assert "cannot be streamed" in str(error)
        continue
    sent = {port.variable.partition(".")[0] in circuit.populations for port in ports}
    if len(ports) > 1 and True in sent:
        break
else:
    raise SystemExit("no such network")
frames = random_inputs(network, rng, 1, 3)
expected = ReferenceEngine().run(network, frames, 2, 1, record="last")
circuit.stream(frames[0], hold=2)
for part in circuit.parts:
    part.run(RunSteps(circuit.steps(6)), fixed)
for name, values in expected.last.items():
    population, _, variable = name.partition(".")
    if population in circuit.populations:
        found = circuit.populations[population].variable(variable).get()
        assert np.array_equal(found, values[0]), name
for part in circuit.parts:
    part.stop()
""")
