"""Lowering to the lateral topology: one recurrent connection, messages are sparse counts alone.

Float: ``u += h - W z`` with ``W = eta Phi^T Sigma^-1 Phi`` and ``h = eta (Phi^T Sigma^-1 x - b)``.
Integer: W's diagonal stays in the neuron at the potential's own precision; the rest becomes
mantissas with one exponent. Source: papers, iP-VAE eq. 7 and the Loihi 2 LCA one-layer circuit.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from pvae_neuro.exporters.calibrate import Calibration
from pvae_neuro.exporters.lowering import (
    Scales,
    best_exponent,
    fit_exponent,
    input_encoding,
    mantissas,
    saturated,
    wide_readout,
)
from pvae_neuro.network import (
    Choice,
    Connection,
    Drive,
    Hop,
    IntegerNetwork,
    PoissonPopulation,
)
from pvae_neuro.saved.model_file import SavedModel

# Width of the drive's mantissas, sign included: it never runs on the chip.
DRIVE_BITS = 24
# The drive is a potential change; this many units of u are beyond every clamp.
DRIVE_LIMIT_UNITS = 256


def lower_lateral(
    model: SavedModel,
    scales: Scales,
    population: PoissonPopulation,
    calibration: Calibration,
) -> IntegerNetwork:
    """Build the lateral network.

    Parameters
    ----------
    model : SavedModel
    scales : Scales
    population : PoissonPopulation
        Without self-inhibition.
    calibration : Calibration
        Not needed here: this circuit has no messages to scale.

    Returns
    -------
    IntegerNetwork
    """
    inhibition = lateral_weights(model) * 2.0**scales.frac_bits
    diagonal = np.rint(np.diag(inhibition)).astype(np.int32)
    off_diagonal = inhibition - np.diag(np.diag(inhibition))
    # A left shift alone reaches the neuron: finer weights than one unit of u would be lost.
    exponent = best_exponent(off_diagonal, scales.mantissa_max, least=0)
    weight = -mantissas(off_diagonal, exponent, scales.mantissa_max)
    drive, drive_choice = _drive(model, scales, population.name)
    name = population.name
    return IntegerNetwork(
        topology="lateral",
        input=input_encoding(model, scales.input_frac_bits),
        populations=(replace(population, diagonal=diagonal),),
        connections=(
            Connection("lateral", name, name, weight.astype(np.int8), exponent, scales.weight_bits),
        ),
        schedule=(Hop(name, ("lateral",)),),
        readout=wide_readout(model, name),
        drive=drive,
        choices=(
            *scales.choices,
            Choice(
                "lateral exponent",
                exponent,
                f"finest unit of {scales.weight_bits} bits with few saturated, for off-diagonal "
                f"weights up to {np.abs(off_diagonal).max() / 2.0**scales.frac_bits:.4g}; "
                f"{saturated(off_diagonal, exponent, scales.mantissa_max)} saturate; the diagonal "
                f"stays in the neuron",
            ),
            drive_choice,
            *_eigenvalue_choices(inhibition, diagonal, weight, exponent),
        ),
    )


def lateral_weights(model: SavedModel) -> NDArray[np.float64]:
    """``W = eta Phi^T Sigma^-1 Phi``: float64 [K, K], symmetric, positive semidefinite."""
    dictionary = model.dictionary.astype(np.float64)
    weights: NDArray[np.float64] = (
        model.step_size * dictionary.T @ (dictionary / model.variance[:, None])
    )
    return (weights + weights.T) / 2


def _drive(model: SavedModel, scales: Scales, target: str) -> tuple[Drive, Choice]:
    unit = 2.0 ** (scales.frac_bits - scales.input_frac_bits)
    weight = model.step_size * model.dictionary.T.astype(np.float64) / model.variance * unit
    shift = max(1, -fit_exponent(weight, (1 << (DRIVE_BITS - 1)) - 1))
    drive = Drive(
        target,
        mantissas(weight, -shift).astype(np.int32),
        shift,
        DRIVE_LIMIT_UNITS << scales.frac_bits,
    )
    why = f"largest shift that keeps the drive's mantissas within {DRIVE_BITS} bits"
    return drive, Choice("drive shift", shift, why)


def load_diagonal(network: IntegerNetwork, share: float) -> IntegerNetwork:
    """Raise the self-inhibition by a share of what rounding took from the smallest eigenvalue.

    Rounding can push eigenvalues of the lateral matrix below zero; along those, activity feeds
    itself over hundreds of iterations. The diagonal stands in the neuron at its own precision, so
    lifting all eigenvalues there costs no synapse.

    Parameters
    ----------
    network : IntegerNetwork
        Lateral, straight from :func:`lower_lateral`.
    share : float
        1 makes the integer matrix positive semidefinite.

    Returns
    -------
    IntegerNetwork
        The same network where the smallest eigenvalue is not negative or the share is zero.
    """
    latents = network.latents
    matrix = np.diag(latents.diagonal.astype(np.float64))
    for connection in network.connections:
        matrix -= connection.weight.astype(np.float64) * 2.0**connection.exponent
    load = int(np.ceil(-share * float(np.linalg.eigvalsh((matrix + matrix.T) / 2)[0])))
    if load <= 0:
        return network
    loaded = replace(latents, diagonal=(latents.diagonal + load).astype(np.int32))
    why = (
        f"added to every self-inhibition, {100 * share:.0f} % of the smallest eigenvalue that "
        f"rounding left: without it the trial run was unstable"
    )
    return replace(
        network,
        populations=tuple(loaded if p is latents else p for p in network.populations),
        choices=(*network.choices, Choice("diagonal load", load, why)),
    )


def _eigenvalue_choices(
    inhibition: NDArray[np.float64],
    diagonal: NDArray[np.int32],
    weight: NDArray[np.float64],
    exponent: int,
) -> tuple[Choice, Choice, Choice]:
    scale = 1.0 / float(np.abs(inhibition).max())
    integer = np.diag(diagonal.astype(np.float64)) - weight * 2.0**exponent
    largest = float(np.linalg.eigvalsh(inhibition)[-1])
    return (
        Choice(
            "smallest eigenvalue, float",
            float(np.linalg.eigvalsh(inhibition)[0]) * scale,
            "of the lateral matrix, in units of its largest entry",
        ),
        Choice(
            "smallest eigenvalue, integer",
            float(np.linalg.eigvalsh(integer)[0]) * scale,
            "of the rounded lateral matrix, same unit; below zero rounding feeds itself",
        ),
        Choice("largest eigenvalue, float", largest * scale, "same unit"),
    )
