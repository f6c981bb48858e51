"""Eigenvalues of recurrent inhibition: the one place that computes them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pvae_neuro.network import Dense, IntegerNetwork


def inhibition_matrix(network: IntegerNetwork) -> NDArray[np.float64] | None:
    """How a population's variable inhibits itself, in the unit of what it sends to.

    Dense connections from a population to itself, times ``gain >> gain_shift`` where it has these
    constants, and its constant ``diagonal`` where it has one. None where no population is
    connected to itself.

    Returns
    -------
    float64 [n, n] or None
    """
    recurrent = [c for c in network.connections if isinstance(c, Dense) and c.source == c.target]
    if not recurrent:
        return None
    population = network.population_of[recurrent[0].source]
    matrix = np.zeros((population.size, population.size))
    held = {c.name: c.values.astype(np.float64) for c in population.constants}
    gain = np.ldexp(held.get("gain", np.ones(1)), -held.get("gain_shift", np.zeros(1)).astype(int))
    for connection in recurrent:
        if connection.source == population.name:
            weight = connection.weight.astype(np.float64) * 2.0**connection.exponent
            matrix -= gain[:, None] * weight
    if "diagonal" in held:
        matrix += np.diag(np.broadcast_to(held["diagonal"], population.size))
    return matrix


def eigenvalues(matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    """Eigenvalues of the symmetric part, ascending."""
    values: NDArray[np.float64] = np.linalg.eigvalsh((matrix + matrix.T) / 2)
    return values


def smallest_eigenvalue(network: IntegerNetwork) -> float | None:
    """Of the inhibition matrix, over its largest entry (at least 1); None without a matrix."""
    matrix = inhibition_matrix(network)
    if matrix is None:
        return None
    return float(eigenvalues(matrix)[0]) / max(float(np.abs(matrix).max()), 1.0)
