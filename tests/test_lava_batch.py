"""Samples side by side on Lava: the same integers as one by one, whatever the batch."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import fields
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import toy

from pvae_neuro.errors import InputError
from pvae_neuro.sim.lava import engine as lava_engine
from pvae_neuro.sim.lava.batch import Batch
from pvae_neuro.sim.lava.engine import LavaEngine, even_width
from pvae_neuro.sim.reference import ReferenceEngine

needs_lava = pytest.mark.skipif(find_spec("lava") is None, reason="lava-nc is not installed")
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
from pvae_neuro.sim.lava import build_lava
from pvae_neuro.sim.reference import ReferenceEngine
fixed = Loihi2SimCfg(select_tag="fixed_pt")
"""


def in_a_process(code: str) -> None:
    """Run a user's own Lava program."""
    done = subprocess.run(
        [sys.executable, "-c", PREAMBLE + code],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]


def assert_equals_reference(network, batch: int, samples: int, steps: int, **options) -> None:
    inputs = toy.images(network, samples, seed=batch)
    options = {"record": "full", **options}
    got = LavaEngine(batch=batch).run(network, inputs, steps, 7, **options)
    options.pop("progress", None)
    expected = ReferenceEngine().run(network, inputs, steps, 7, **options)
    for field in fields(expected):
        np.testing.assert_array_equal(
            getattr(got, field.name), getattr(expected, field.name), err_msg=field.name
        )


@needs_lava
@pytest.mark.parametrize("make", [toy.lateral, toy.predictive])
@pytest.mark.parametrize(("batch", "samples"), [(1, 3), (3, 7), (8, 9), (8, 5)])
def test_every_integer_equals_the_reference(make, batch, samples):
    assert_equals_reference(make(batch), batch, samples, steps=6, first_sample=11)


@needs_lava
@pytest.mark.parametrize("block_bytes", [1, 2500])
def test_several_blocks_with_a_remainder(block_bytes, monkeypatch):
    # Seven passes of three, the last with one sample: a file each, or two passes in a file.
    monkeypatch.setattr(lava_engine, "Batch", partial(Batch, block_bytes=block_bytes))
    told: list[int] = []
    assert_equals_reference(toy.predictive(), 3, 19, 5, first_sample=1 << 40, progress=told.append)
    assert sum(told) == 19 * 5


@needs_lava
def test_float64_products_where_float32_is_too_narrow():
    # Messages of 900 over 200 pixels pass 2**24.
    assert_equals_reference(toy.predictive(latents=9, pixels=200), batch=4, samples=4, steps=8)


@pytest.mark.parametrize(
    ("samples", "most", "width"), [(7, 3, 3), (9, 8, 5), (64, 64, 64), (65, 64, 33), (1, 8, 1)]
)
def test_passes_are_filled_evenly(samples, most, width):
    assert even_width(samples, most) == width


@pytest.mark.parametrize("batch", [0, -1, 1.5, True, "8"])
def test_batch_below_one_is_refused(batch):
    with pytest.raises(InputError, match="batch: expected a whole number of samples, at least 1"):
        LavaEngine(batch=batch)


def test_blocks_hold_whole_passes():
    batch = Batch("", samples=19, iterations=5, latents=12, block_bytes=2500, width=3)
    assert [(list(batch.rows(b)), batch.passes(b)) for b in range(batch.blocks)] == [
        ([*range(6)], 2),
        ([*range(6, 12)], 2),
        ([*range(12, 18)], 2),
        ([18], 1),
    ]


@needs_lava
def test_connection_equals_the_stock_dense_step_by_step():
    in_a_process("""
from pvae_neuro.sim.lava.batched_dense.process import BatchedDense
from pvae_neuro.sim.lava.dense import exact_dense
connection = toy.predictive().connection("feedback")
rng = np.random.default_rng(0)
spikes = rng.integers(-900, 901, (3, 20, 5))
spikes[:, :, 1] = 900 * np.sign(connection.weight[0])

def outputs(dense, data):
    source, sink = Source(data=data), Sink(shape=dense.a_out.shape, buffer=data.shape[-1])
    source.s_out.connect(dense.s_in)
    dense.a_out.connect(sink.a_in)
    sink.run(RunSteps(data.shape[-1]), fixed)
    data, last = sink.data.get(), dense.a_buff.get()
    sink.stop()
    return np.concatenate([data, last[..., None]], axis=-1)

batched = BatchedDense(connection.weight, message_limit=900, batch=3, name="feedback")
got = outputs(batched, spikes)
stock = [outputs(exact_dense(connection), one) for one in spikes]
assert np.array_equal(got, np.stack(stock))
assert not got[..., 0].any() and got.any()
""")


@needs_lava
@pytest.mark.parametrize("make", ["lateral", "predictive"])
def test_batched_network_in_a_users_own_program(make):
    in_a_process(f"""
network = toy.{make}()
images = toy.images(network, 4)
expected = ReferenceEngine().run(network, images, 6, 3, first_sample=20)
circuit = build_lava(network, seed=3, batch=2)
for first in (0, 2):
    circuit.reset(sample=20 + first)
    circuit.set_input(images[first : first + 2])
    circuit.latents.run(RunSteps(circuit.steps(6)), fixed)
    rows = slice(first, first + 2)
    assert np.array_equal(circuit.latents.u.get(), expected.final[rows])
    counts = circuit.latents.z.get()
    assert np.array_equal(counts, expected.readout[rows])
    assert np.array_equal(circuit.reconstruct(counts), expected.reconstruction[rows])
for name, dense in circuit.connections.items():
    assert np.array_equal(dense.weights.get(), network.connection(name).weight)
circuit.latents.stop()
""")


@needs_lava
def test_floating_point_models_agree_with_the_stock_dense():
    in_a_process("""
network = toy.predictive(2)
images = toy.images(network, 3)
def final(circuit, images):
    circuit.set_input(images)
    circuit.latents.run(RunSteps(circuit.steps(4)), Loihi2SimCfg(select_tag="floating_pt"))
    u = circuit.latents.u.get()
    circuit.latents.stop()
    return u
got = final(build_lava(network, batch=3), images)
one_by_one = [final(build_lava(network, sample=i), image) for i, image in enumerate(images)]
assert np.allclose(got, one_by_one, rtol=0, atol=1e-9)
""")


@needs_lava
def test_misuse_is_named():
    in_a_process("""
from pvae_neuro.sim.lava.batched_dense.process import BatchedDense
def message(kind, call, *arguments, **options):
    try:
        call(*arguments, **options)
    except kind as error:
        return str(error)
    raise SystemExit("no error")
network = toy.lateral()
circuit = build_lava(network, batch=2)
assert "expected shape (2, 20), got (20,)" in message(InputError, circuit.set_input, np.zeros(20))
assert "at least 1, got 0" in message(InputError, build_lava, network, batch=0)
wide = np.full((1, 200), 127, np.int8)
text = message(NetworkError, BatchedDense, wide, message_limit=1 << 20, batch=2, name="wide")
assert "connection 'wide': products can reach 26633830400" in text
""")
