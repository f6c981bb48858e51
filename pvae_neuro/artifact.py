"""Front door to artifacts: write one with its golden vector, read one and replay it."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pvae_neuro.errors import (
    ArtifactError,
    EngineError,
    EngineUnavailableError,
    InputError,
)
from pvae_neuro.exporters.c import GoldenRun, write_library
from pvae_neuro.exporters.onnx import Artifact, Golden, read_onnx, write_onnx
from pvae_neuro.exporters.onnx.file import REBUILT
from pvae_neuro.exporters.onnx.golden import hash_of
from pvae_neuro.exporters.onnx.program import program_hash
from pvae_neuro.network import IntegerNetwork
from pvae_neuro.sim.compare import when
from pvae_neuro.sim.engine import Engine, get_engine
from pvae_neuro.sim.noise import population_noise
from pvae_neuro.sim.recording import Recording
from pvae_neuro.sim.reference import ReferenceEngine
from pvae_neuro.utils.arguments import checked

__all__ = [
    "GOLDEN_ITERATIONS",
    "Artifact",
    "Golden",
    "first_divergence",
    "load_artifact",
    "make_golden",
    "program_hash",
    "replay",
    "save_artifact",
    "write_c",
]

GOLDEN_ITERATIONS = 8


@checked
def make_golden(
    network: IntegerNetwork,
    inputs: ArrayLike,
    iterations: int = GOLDEN_ITERATIONS,
    seed: int = 0,
) -> Golden:
    """Run the reference engine on a few inputs and keep hashes of all that it computed.

    Parameters
    ----------
    network : IntegerNetwork
    inputs : float [N, M]
        Images inside the declared range; two suffice.
    iterations : int
    seed : int

    Raises
    ------
    InputError
        If there is no input, or its shape or range does not fit.
    """
    try:
        pixels = network.input.encode(network.input.check(inputs))
        recording = _run(ReferenceEngine(), network, inputs, iterations, seed)
    except InputError as error:
        raise InputError(f"golden {error}", error.remedy) from error
    hashes = {name: _hashes(recording[name]) for name in network.variables}
    return Golden(pixels, iterations, seed, hashes)


@checked
def save_artifact(
    network: IntegerNetwork, golden_inputs: ArrayLike, path: str | os.PathLike[str]
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
        SHA-256 of the file, as ``sha256sum`` prints it.

    Raises
    ------
    NetworkError
        If a word of the network could leave its width, or it cannot be expressed as a graph.
    InputError
        If the inputs do not fit, or the file cannot be written.
    """
    return write_onnx(network, make_golden(network, golden_inputs), path)


@checked
def write_c(
    network: IntegerNetwork,
    folder: str | os.PathLike[str],
    golden: Golden | ArrayLike,
    *,
    name: str | None = None,
) -> Path:
    """Write a network as a C99 library with a test and a Makefile, whole or not at all.

    Parameters
    ----------
    network : IntegerNetwork
    folder : path-like
        New, empty, or one that holds an earlier library and nothing else.
    golden : Golden, or array_like [N, M]
        What the test runs: the golden vector of an artifact, or images for :func:`make_golden`.
    name : str, optional
        Of the files, and of all that is global in them; by default the network's.

    Returns
    -------
    Path
        The folder.

    Raises
    ------
    NetworkError
        If a word of the network could leave its width.
    InputError
        If the images do not fit, or the folder cannot be written or holds something else.
    """
    if not isinstance(golden, Golden):
        golden = make_golden(network, golden)
    run = _run(ReferenceEngine(), network, _images(network, golden), golden.iterations, golden.seed)
    steps, samples = range(golden.iterations + 1), range(len(golden.pixels))
    return write_library(
        network,
        folder,
        GoldenRun(
            {f"{e.population}.{e.variable}": e.apply(golden.pixels) for e in network.encodings},
            {p.name: population_noise(p, golden.seed, steps, samples) for p in network.drawing},
            run.variables,
        ),
        name,
    )


@checked
def load_artifact(path: str | os.PathLike[str]) -> Artifact:
    """Read an artifact, check every byte of it, and replay its golden vector here.

    The graph of a file that this version wrote is rebuilt and compared. Any other version's graph
    runs the golden vector where ONNX Runtime is installed; ``Artifact.graph_check`` says which.

    Parameters
    ----------
    path : path-like

    Returns
    -------
    Artifact
        Its network keeps the bytes of the file; the engine ``onnx`` runs them.

    Raises
    ------
    ArtifactError
        If the file is unusable (see :func:`~pvae_neuro.exporters.onnx.read_onnx`), the reference
        engine does not compute what the file says, or its graph does not; names the first
        difference.
    """
    artifact = read_onnx(path)
    difference = replay(artifact.network, artifact.golden, ReferenceEngine())
    if difference is not None:
        raise ArtifactError(
            f"{artifact.path}: golden vector: {difference}. This installation does not compute "
            f"what {artifact.producer} did; reinstall pvae-neuro, or export the model again"
        )
    return artifact if artifact.graph_check == REBUILT else _with_graph_run(artifact)


def _with_graph_run(artifact: Artifact) -> Artifact:
    """Raise :class:`ArtifactError` unless the file's graph computes the golden vector."""
    engine = get_engine("onnx")
    try:
        engine.require()
    except EngineUnavailableError as error:
        return replace(artifact, graph_check=f"not run: {error}")
    try:
        difference = replay(artifact.network, artifact.golden, engine)
    except EngineError as error:
        difference = f"it fails: {error}"
    if difference is not None:
        raise ArtifactError(
            f"{artifact.path}: the graph of the file does not compute the file's program: "
            f"{difference}. Export the model again"
        )
    return replace(artifact, graph_check="ran the golden vector in ONNX Runtime")


def replay(network: IntegerNetwork, golden: Golden, engine: Engine) -> str | None:
    """Run a golden vector on an engine.

    Returns
    -------
    str or None
        The first difference, as :func:`first_divergence`; None if all integers are equal.
    """
    images = _images(network, golden)
    recording = _run(engine, network, images, golden.iterations, golden.seed)
    if first_divergence(golden, recording) is None:
        return None
    # The reference engine says which neuron it is, where it still computes what the hashes say.
    expected = _run(ReferenceEngine(), network, images, golden.iterations, golden.seed)
    return first_divergence(golden, recording, expected)


def _images(network: IntegerNetwork, golden: Golden) -> NDArray[np.float64]:
    """Images of a golden vector; exact, as a pixel is a small multiple of a power of two."""
    return golden.pixels * 2.0**-network.input.frac_bits


def _run(
    engine: Engine, network: IntegerNetwork, inputs: ArrayLike, iterations: int, seed: int
) -> Recording:
    return engine.run(network, inputs, iterations, seed, record="full", progress=False)


def first_divergence(
    golden: Golden, recording: Recording, expected: Recording | None = None
) -> str | None:
    """Name the earliest place where a run differs from a golden vector.

    Parameters
    ----------
    golden : Golden
    recording : Recording
        Of every variable.
    expected : Recording, optional
        A run that equals the golden vector: it tells sample and neuron, which a hash does not.

    Returns
    -------
    str or None
        Variable and iteration; None if all integers are equal.
    """
    found = {name: _hashes(recording[name]) for name in golden.hashes}
    for step in range(golden.iterations + 1):
        for name, hashes in golden.hashes.items():
            if found[name][step] == hashes[step]:
                continue
            where = f"{name} {when(step, step == golden.iterations)}"
            if expected is not None:
                wanted, got = expected[name][:, step], recording[name][:, step]
                if hash_of(wanted) == hashes[step]:
                    sample, neuron = (int(i) for i in np.argwhere(wanted != got)[0])
                    return (
                        f"{where}, neuron {neuron} of sample {sample}: expected "
                        f"{wanted[sample, neuron]}, got {got[sample, neuron]}"
                    )
            hash_found = found[name][step][:12]
            return f"{where}: expected values of hash {hashes[step][:12]}, got {hash_found}"
    return None


def _hashes(values: NDArray[np.integer[Any]]) -> tuple[str, ...]:
    """One hash for each step of a recorded variable [N, T + 1, n]."""
    return tuple(hash_of(values[:, step]) for step in range(values.shape[1]))
