"""Builds an integer network out of Lava Processes, for the engine and for a user's own program."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from lava.proc.dense.process import Dense
from numpy.typing import ArrayLike, NDArray

from pvae_neuro.errors import InputError, NetworkError
from pvae_neuro.network import (
    Connection,
    Hop,
    IntegerNetwork,
    PoissonPopulation,
    Population,
    check_steps,
)
from pvae_neuro.sim.lava.batch import Batch, state_shape
from pvae_neuro.sim.lava.batched_dense.process import BatchedDense
from pvae_neuro.sim.lava.dense import exact_dense
from pvae_neuro.sim.lava.error.process import ErrorNeurons
from pvae_neuro.sim.lava.inputs import check_batch, input_values
from pvae_neuro.sim.lava.poisson.process import PoissonNeurons
from pvae_neuro.sim.lava.supported import check_supported, largest_message, phase_of

# Lava carries the value of a Var as a float64.
_LARGEST_INDEX = 1 << 53


@dataclass(frozen=True, eq=False)
class LavaNetwork:
    """An integer network as connected Lava Processes.

    Attributes
    ----------
    network : IntegerNetwork
        The program.
    populations : mapping of str to PoissonNeurons or ErrorNeurons
    connections : mapping of str to Dense or BatchedDense
        Lava's stock process where ``batch`` is 1.
    steps_per_iteration : int
        Lava steps that one iteration takes: one per hop.
    batch : int
        Samples B side by side; above 1 the state of a population has the shape [B, neurons].
    """

    network: IntegerNetwork
    populations: Mapping[str, PoissonNeurons | ErrorNeurons]
    connections: Mapping[str, Dense | BatchedDense]
    steps_per_iteration: int
    batch: int = 1

    @property
    def latents(self) -> PoissonNeurons:
        """Poisson population that the readout reads."""
        return self.populations[self.network.latents.name]

    @property
    def errors(self) -> ErrorNeurons | None:
        """Population that compares the input with the prediction; None where there is none."""
        found = (p for p in self.populations.values() if isinstance(p, ErrorNeurons))
        return next(found, None)

    def steps(self, iterations: int) -> int:
        """Lava steps from the start of a sample to the counts that follow ``iterations`` updates.

        Raises
        ------
        InputError
            If ``iterations`` is below 1.
        """
        return check_steps(iterations) * self.steps_per_iteration + 1

    def set_input(self, image: ArrayLike) -> None:
        """Set the image or images, before the first run or between runs.

        Parameters
        ----------
        image : float [M], or [B, M] side by side
            Inside the network's declared range.

        Raises
        ------
        InputError
            If the shape does not fit.
        """
        pixels = self.network.input.encode(image)
        expected = state_shape(self.network.input.pixels, self.batch)
        if pixels.shape != expected:
            raise InputError(f"image: expected shape {expected}, got {pixels.shape}")
        for name, values in input_values(self.network, np.atleast_2d(pixels)).items():
            process = self.populations[name]
            var = process.x if isinstance(process, ErrorNeurons) else process.drive
            _set(var, values.reshape(var.shape))

    def reset(self, sample: int = 0) -> None:
        """Begin a sample with the next step: potentials and noise start anew.

        Parameters
        ----------
        sample : int
            Index of the (first) sample in the noise, below 2**53.
        """
        if not 0 <= sample < _LARGEST_INDEX:
            raise InputError(f"sample: expected an index in [0, 2**53), got {sample}")
        _set(self.latents.sample, np.array([sample]))
        for process in self.populations.values():
            _set(process.step, np.array([0]))

    def reconstruct(self, counts: ArrayLike) -> NDArray[np.float32]:
        """Reconstruction from counts.

        Parameters
        ----------
        counts : int [..., K]
            For instance ``latents.z.get()``.

        Returns
        -------
        float32 [..., M]
        """
        readout = self.network.readout
        product = np.asarray(counts, np.float64) @ readout.weight.T.astype(np.float64)
        return (product * 2.0**-readout.frac_bits).astype(np.float32)


def build_lava(
    network: IntegerNetwork,
    *,
    seed: int = 0,
    sample: int = 0,
    batch: int = 1,
    files: Batch | None = None,
) -> LavaNetwork:
    """Build the network out of Lava Processes, ready to be connected further and run.

    Run any of them with ``Loihi2SimCfg(select_tag="fixed_pt")`` for the program's integers, or
    ``"floating_pt"`` for the same circuit without rounding.

    Parameters
    ----------
    network : IntegerNetwork
    seed : int
        Key of the noise.
    sample : int
        Index of the first sample in the noise.
    batch : int
        Samples side by side. Above 1 the connections are :class:`BatchedDense`, for the CPU alone;
        with 1 they are Lava's stock ``Dense``.
    files : Batch, optional
        For the engine: samples to run through without a word from outside.

    Raises
    ------
    NetworkError
        If Lava cannot run the network exactly; names the part.
    InputError
        If the seed or the batch does not fit.
    """
    check_batch(batch)
    check_supported(network)
    populations = {
        p.name: _population(network, p, seed, sample, batch, files) for p in network.populations
    }
    connections = {c.name: _connection(network, c, batch) for c in network.connections}
    for hop in network.schedule:
        _connect(network, hop, populations, connections)
    return LavaNetwork(network, populations, connections, len(network.schedule), batch)


def _population(
    network: IntegerNetwork,
    population: Population,
    seed: int,
    sample: int,
    batch: int,
    files: Batch | None,
) -> PoissonNeurons | ErrorNeurons:
    incoming = [c.exponent for c in network.connections if c.target == population.name]
    first, second = (*incoming, 0, 0)[:2]
    period = len(network.schedule)
    if isinstance(population, PoissonPopulation):
        return PoissonNeurons(
            population,
            exponents=(first, second),
            period=period,
            seed=seed,
            sample=sample,
            batch=batch,
            files=files,
        )
    return ErrorNeurons(
        population,
        exponents=(first, second),
        period=period,
        phase=phase_of(network, population.name),
        batch=batch,
        files=files,
    )


def _connection(
    network: IntegerNetwork, connection: Connection, batch: int
) -> Dense | BatchedDense:
    if batch == 1:
        return exact_dense(connection)
    limit = largest_message(network.population(connection.source))
    return BatchedDense(connection.weight, message_limit=limit, batch=batch, name=connection.name)


def _connect(
    network: IntegerNetwork,
    hop: Hop,
    populations: Mapping[str, PoissonNeurons | ErrorNeurons],
    connections: Mapping[str, Dense | BatchedDense],
) -> None:
    target = populations[hop.target]
    incoming = [c.name for c in network.connections if c.target == hop.target]
    for name, port in zip(incoming, (target.a_in, target.a_in_fine), strict=False):
        dense = connections[name]
        populations[network.connection(name).source].s_out.connect(dense.s_in)
        dense.a_out.connect(port)


def _set(var: Any, value: NDArray[Any]) -> None:
    """Set a Var: its initial value before the network is compiled, its present one after."""
    if var.process.runtime is None:
        var.init = value
        return
    try:
        var.set(value)
    except RuntimeError as error:
        raise NetworkError(
            f"{var.process.name}.{var.name}: Lava takes new values before the first run and "
            f"between runs, not after stop: {error}"
        ) from error
