"""Trajectories of the latents of the first samples, for figures."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pvae_neuro.network import FloatCircuit, ImageShape, IntegerNetwork
from pvae_neuro.network.interpreter import Values
from pvae_neuro.sim.recording import Recording
from pvae_neuro.utils.show import short_repr

TRACED_SAMPLES = 8


@dataclass(frozen=True, eq=False)
class Traces:
    """Trajectories of the latents of the first samples, for figures.

    Attributes
    ----------
    inputs, reconstruction_float, reconstruction_integer : float [n, M]
    counts_float, counts_integer : [n, T, K]
        Drawn after each of the iterations 1 to T; the last ones make the reconstruction.
    potentials_float, potentials_integer : float [n, T, K]
        Log-rate after each of the iterations 1 to T, of which these counts are drawn.
    largest_potential : float
        Upper bound of the log-rate: no neuron leaves it.
    max_count : int
        Largest count that can be drawn.
    image_shape : tuple of int or None
    """

    inputs: NDArray[np.floating[Any]]
    reconstruction_float: NDArray[np.floating[Any]]
    reconstruction_integer: NDArray[np.floating[Any]]
    counts_float: NDArray[np.floating[Any]]
    counts_integer: NDArray[np.integer[Any]]
    potentials_float: NDArray[np.floating[Any]]
    potentials_integer: NDArray[np.floating[Any]]
    largest_potential: float
    max_count: int
    image_shape: ImageShape | None

    __repr__ = short_repr


def traced(
    network: IntegerNetwork,
    circuit: FloatCircuit,
    images: NDArray[np.floating[Any]],
    states: list[Values],
    recording: Recording,
) -> dict[str, Any]:
    """Trajectories of the latents of the first samples: fields of :class:`Traces` by name.

    Images [B, M] are those of the last frame; the states are those of the last run.
    """
    latents, code = network.latents, recording.code
    potential = "" if latents is None else f"{latents.name}.u"
    if latents is None or code is None or potential not in network.variables:
        return {}
    log_rate = network.ranges.log_rates.get(latents.name)
    if latents.sampler is None or log_rate is None or recording.reconstruction is None:
        return {}
    rows = slice(0, TRACED_SAMPLES)
    # With several runs, one a frame, those of the last one.
    last = len(states)
    unit = 2.0**-latents.sampler.frac_bits
    return {
        "inputs": images[rows],
        "reconstruction_float": circuit.reconstruct(states[-1]),
        "reconstruction_integer": recording.reconstruction[rows],
        "counts_float": np.stack([state[code] for state in states[1:]], axis=1),
        "counts_integer": recording[code][rows, -last:][:, 1:].copy(),
        "potentials_float": np.stack([state[potential] for state in states[:-1]], axis=1),
        "potentials_integer": recording[potential][rows, -last:-1] * unit,
        "largest_potential": log_rate.largest * unit,
        "max_count": latents.sampler.max_count,
        "image_shape": network.input.image_shape,
    }
