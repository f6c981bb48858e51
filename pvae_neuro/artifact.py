"""Front door to artifacts: write one with its golden vector, read one and replay it."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pvae_neuro.errors import ArtifactError, InputError
from pvae_neuro.exporters.onnx import Artifact, read_onnx, write_onnx
from pvae_neuro.exporters.onnx_golden import Golden
from pvae_neuro.network import IntegerNetwork
from pvae_neuro.sim.engine import Engine, Recording
from pvae_neuro.sim.reference import ReferenceEngine

__all__ = [
    "GOLDEN_STEPS",
    "Artifact",
    "Golden",
    "first_divergence",
    "load_artifact",
    "make_golden",
    "replay",
    "save_artifact",
]

GOLDEN_STEPS = 8


def make_golden(
    network: IntegerNetwork,
    inputs: NDArray[np.floating[Any]],
    steps: int = GOLDEN_STEPS,
    seed: int = 0,
) -> Golden:
    """Run the reference engine on a few inputs and keep all that it computed.

    Parameters
    ----------
    network : IntegerNetwork
    inputs : float [N, M]
        Images inside the declared range; two suffice.
    steps : int
    seed : int

    Returns
    -------
    Golden

    Raises
    ------
    InputError
        If there is no input, or its shape or range does not fit.
    """
    images = np.asarray(inputs)
    size = network.input.pixels
    if images.ndim != 2 or images.shape[1] != size or not len(images):
        raise InputError(f"golden inputs: expected shape (1 or more, {size}), got {images.shape}")
    low, high = float(images.min()), float(images.max())
    if not network.input.low <= low <= high <= network.input.high:
        raise InputError(
            f"golden inputs: expected values in [{network.input.low}, {network.input.high}], "
            f"got [{low:g}, {high:g}]"
        )
    recording = ReferenceEngine().run(network, images, steps, seed, record="full")
    counts, potentials = _trajectory(recording)
    return Golden(network.input.encode(images), steps, seed, counts, potentials)


def save_artifact(
    network: IntegerNetwork, golden_inputs: NDArray[np.floating[Any]], path: str | os.PathLike[str]
) -> str:
    """Write a network and its golden vector as one ``.onnx`` file, whole or not at all.

    Parameters
    ----------
    network : IntegerNetwork
    golden_inputs : float [N, M]
        See :func:`make_golden`.
    path : path-like

    Returns
    -------
    str
        SHA-256 of the file.

    Raises
    ------
    NetworkError
        If the network cannot be expressed as a graph.
    InputError
        If the inputs do not fit, or the file cannot be written.
    """
    return write_onnx(network, make_golden(network, golden_inputs), path)


def load_artifact(path: str | os.PathLike[str]) -> Artifact:
    """Read an artifact, check every byte of it, and replay its golden vector here.

    Parameters
    ----------
    path : path-like

    Returns
    -------
    Artifact

    Raises
    ------
    ArtifactError
        If the file is unusable (see :func:`~pvae_neuro.exporters.onnx.read_onnx`), or the
        reference engine does not compute what the file says; names the first difference.
    """
    artifact = read_onnx(path)
    difference = replay(artifact.network, artifact.golden, ReferenceEngine())
    if difference is not None:
        raise ArtifactError(
            f"{artifact.path}: golden vector: {difference}. This installation does not compute "
            f"what {artifact.producer} did; reinstall pvae-neuro, or export the model again"
        )
    return artifact


def replay(network: IntegerNetwork, golden: Golden, engine: Engine) -> str | None:
    """Run a golden vector on an engine.

    Returns
    -------
    str or None
        The first difference, as :func:`first_divergence`; None if all integers are equal.
    """
    # Exact: an encoded pixel is a small multiple of a power of two.
    images = golden.pixels * 2.0**-network.input.frac_bits
    recording = engine.run(network, images, golden.steps, golden.seed, record="full")
    return first_divergence(golden, *_trajectory(recording))


def first_divergence(
    golden: Golden, counts: NDArray[np.integer[Any]], potentials: NDArray[np.integer[Any]]
) -> str | None:
    """Name the earliest place where a run differs from a golden vector.

    Parameters
    ----------
    golden : Golden
    counts, potentials : int [N, T, K]

    Returns
    -------
    str or None
        Step, sample and neuron with both values; None if all integers are equal.
    """
    found: list[tuple[int, str]] = []
    for what, expected, got in (
        ("count", golden.counts, counts),
        ("potential", golden.potentials, potentials),
    ):
        places = np.argwhere((expected != got).swapaxes(0, 1))
        if len(places):
            step, sample, neuron = (int(i) for i in places[0])
            values = expected[sample, step, neuron], got[sample, step, neuron]
            place = f"step {step}, neuron {neuron} of sample {sample}"
            found.append((step, f"{place}: expected {what} {values[0]}, got {values[1]}"))
    # Within a step the count comes first: the update follows from it.
    return min(found, key=lambda item: item[0])[1] if found else None


def _trajectory(recording: Recording) -> tuple[NDArray[np.uint8], NDArray[np.int32]]:
    if recording.counts is None or recording.potentials is None:
        raise InputError("replay: expected an engine that records every step, got no trajectory")
    return recording.counts, recording.potentials
