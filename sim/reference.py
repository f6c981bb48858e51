"""The definition: what every other engine must equal, integer for integer.

Written to be read. ``iterate`` is the whole circuit; all arithmetic is in 64-bit integers, wider
than any value that a certified network can reach.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pvae_neuro.network import (
    ErrorPopulation,
    Hop,
    IntegerNetwork,
    PoissonPopulation,
    check_steps,
    shift,
)
from pvae_neuro.sim.engine import Progress, Record, Recording
from pvae_neuro.sim.inputs import encode_inputs
from pvae_neuro.sim.noise import check_seed, noise
from pvae_neuro.sim.poisson_sampler import sample_counts
from pvae_neuro.sim.recorder import Recorder

Ints = NDArray[np.int64]
SAMPLES_PER_BLOCK = 64


def drive(network: IntegerNetwork, pixels: NDArray[np.int32]) -> Ints:
    """Feed-forward drive of the latents, set once per input.

    ``drive = clamp((weight @ x_int + 2**(shift-1)) >> shift, -limit, limit)``

    Parameters
    ----------
    network : IntegerNetwork
    pixels : int32 [B, M]
        Encoded inputs.

    Returns
    -------
    int64 [B, K]
        Unit of u; zero where the network has no drive.
    """
    if network.drive is None:
        return np.zeros((len(pixels), network.latents.size), np.int64)
    product = pixels.astype(np.int64) @ network.drive.weight.T.astype(np.int64)
    return np.clip(shift(product, -network.drive.shift), -network.drive.limit, network.drive.limit)


def update(population: PoissonPopulation, u: Ints, z: Ints, driven: Ints, received: Ints) -> Ints:
    """Membrane potential after one iteration.

    ``u <- clamp(u + clamp(drive - leak - diagonal z + received, du_min, du_max), u_min, u_max)``
    """
    du = driven - population.leak - population.diagonal * z + received
    du = np.clip(du, population.du_min, population.du_max)
    return np.clip(u + du, population.u_min, population.u_max)


def error_message(population: ErrorPopulation, pixels: Ints, received: Ints) -> Ints:
    """Graded spike of the error neurons.

    ``m = clamp(((x + received) * gain + 2**(gain_shift-1)) >> gain_shift, +-message_limit)``
    """
    error = pixels + received
    message = shift(error * population.gain, -population.gain_shift)
    return np.clip(message, -population.message_limit, population.message_limit)


def receive(network: IntegerNetwork, hop: Hop, emitted: dict[str, Ints]) -> Ints:
    """Sum of what a hop's connections deliver, each shifted to the target's unit."""
    connections = [network.connection(name) for name in hop.connections]
    products = [
        shift(emitted[c.source] @ c.weight.T.astype(np.int64), c.exponent) for c in connections
    ]
    received: Ints = np.sum(products, axis=0)
    return received


def iterate(
    network: IntegerNetwork, pixels: NDArray[np.int32], words: NDArray[np.uint16]
) -> Iterator[tuple[Ints, Ints]]:
    """Run the circuit on a batch; yield (counts, potential after the update) per iteration.

    Parameters
    ----------
    network : IntegerNetwork
    pixels : int32 [B, M]
        Encoded inputs.
    words : uint16 [B, steps, K]
        Noise of the latents.
    """
    latents = network.latents
    x = pixels.astype(np.int64)
    driven = drive(network, pixels)
    u = np.tile(latents.initial.astype(np.int64), (len(pixels), 1))
    for step in range(words.shape[1]):
        z = sample_counts(u, words[:, step], latents.table)
        emitted = {latents.name: z}
        for hop in network.schedule:
            received = receive(network, hop, emitted)
            target = network.population(hop.target)
            if isinstance(target, ErrorPopulation):
                emitted[hop.target] = error_message(target, x, received)
            else:
                u = update(target, u, z, driven, received)
        yield z, u


class ReferenceEngine:
    """NumPy, plain; see :class:`~pvae_neuro.sim.engine.Engine` for ``run``."""

    name = "reference"

    def run(
        self,
        network: IntegerNetwork,
        inputs: NDArray[np.floating[Any]],
        steps: int,
        seed: int,
        *,
        record: Record = "summary",
        first_sample: int = 0,
        progress: Progress | None = None,
    ) -> Recording:
        """Run ``steps`` iterations; see :meth:`Engine.run`."""
        check_steps(steps)
        check_seed(seed)
        pixels = encode_inputs(network, inputs)
        recorder = Recorder(network, pixels, steps, record)
        for first in range(0, len(pixels), SAMPLES_PER_BLOCK):
            block = pixels[first : first + SAMPLES_PER_BLOCK]
            places = range(first_sample + first, first_sample + first + len(block))
            # One word more than iterations: the readout is the next count.
            words = noise(seed, steps + 1, places, network.latents.size)
            counts, potentials = [], []
            for z, u in iterate(network, block, words):
                counts.append(z)
                potentials.append(u)
                if progress is not None and len(counts) <= steps:
                    progress(len(block))
            recorder.add(first, np.stack(counts, 1), np.stack(potentials[:-1], 1))
        return recorder.finish()
