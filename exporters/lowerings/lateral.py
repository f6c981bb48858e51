"""The lateral circuit: one recurrent connection; messages are sparse counts alone.

Float: ``u += h - W z`` with ``W = eta Phi^T Sigma^-1 Phi`` and ``h = eta (Phi^T Sigma^-1 x - b)``.
Integer: W's diagonal stays in the neuron at the potential's own precision; the rest becomes
mantissas with one exponent. Source: arXiv 2410.19315, eq. 7, and the Loihi 2 one-layer LCA circuit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from pvae_neuro.exporters.calibrate import Calibration
from pvae_neuro.exporters.lowerings.linear import (
    LATENTS,
    LinearLowering,
    float_latents,
    inner_choices,
    input_of,
    integer_latents,
    integration,
    step_over_variance,
    wide_readout,
)
from pvae_neuro.exporters.lowerings.wide import parts, summed
from pvae_neuro.exporters.scales import (
    Scales,
    check_exponent,
    fit_exponent,
    mantissas,
    words,
)
from pvae_neuro.exporters.spectrum import eigenvalues, inhibition_matrix, smallest_eigenvalue
from pvae_neuro.network import (
    Activation,
    Choice,
    Connection,
    Constant,
    Dense,
    Encoding,
    FloatCircuit,
    IntegerNetwork,
    Measurements,
    OneToOne,
    Population,
    Readout,
    Variable,
    shared,
)
from pvae_neuro.network.population import WORD_MAX
from pvae_neuro.network.program import Program
from pvae_neuro.neurons.poisson import INTEGRATE_INNER_LATERAL, INTEGRATE_LATERAL
from pvae_neuro.saved.model_file import SavedModel
from pvae_neuro.utils.reproducible import product

# Width of the drive's mantissas, sign included: it never runs on the chip.
DRIVE_BITS = 24
# The drive is a potential change; this many units of u are beyond every clamp. Half of all words
# stay for what else a neuron receives.
DRIVE_LIMIT_UNITS = 256
INPUT = "drive"
_EIGENVALUE_SLACK = 2.0**-10


class Lateral(LinearLowering):
    """Lateral weights between the latents; the drive is set once per frame."""

    name = "lateral"
    multiplied_out = True
    most_weight_bits = 16
    searched = ("lateral",)

    def circuit(self, model: SavedModel, dtype: str = "float32") -> FloatCircuit:
        """The model in real numbers."""
        self.check(model)
        weights = lateral_weights(model)
        diagonal = np.diag(weights).copy()
        drive = step_over_variance(model) * model.dictionary.T.astype(np.float64)
        lateral = _lateral(np.diag(diagonal) - weights)
        return FloatCircuit(
            name=self.name,
            input=input_of(model),
            encodings=(Encoding(INPUT, "h", drive),),
            populations=(
                _drive_population(model, 0.0),
                float_latents(model, _rule(model), diagonal),
            ),
            connections=(_drive_connection(model), lateral),
            iteration=_iteration((lateral,)),
            final=_FINAL,
            readout=Readout(LATENTS, "z", model.readout.astype(np.float64)),
            soft=model.config.clamp == "soft",
            dtype=dtype,
        )

    def integers(
        self, model: SavedModel, scales: Scales, calibration: Calibration
    ) -> IntegerNetwork:
        """The model in integers; this circuit has no messages to scale by calibration."""
        self.check(model)
        inhibition = lateral_weights(model) * 2.0**scales.frac_bits
        diagonal = words(
            np.rint(np.diag(inhibition)), "self-inhibition", fewer_bits=scales.spare_frac_bits
        )
        off_diagonal = inhibition - np.diag(np.diag(inhibition))
        # A left shift alone reaches the neuron: finer weights than one unit of u would be lost.
        # A fine part's sum is shifted as a whole, so that its weights may be that much finer.
        least = -scales.fine_bits
        exponent = scales.exponent("lateral", off_diagonal, least)
        check_exponent(exponent + scales.fine_bits, "lateral weights")
        largest = np.abs(off_diagonal).max() / 2.0**scales.frac_bits
        which = f"off-diagonal weights up to {largest:.4g}"
        weight = -mantissas(off_diagonal, exponent, scales.mantissa_max)
        encoding, drive_choice = _drive(model, scales)
        image = input_of(model, scales.input_frac_bits)
        # Spikes may excite where the dictionary's elements oppose each other.
        excitation = np.maximum(weight, 0).sum(axis=1) * scales.max_count * 2.0**exponent
        received = encoding.interval(image.interval).high + excitation.astype(np.int64)
        lateral = parts(_lateral(weight, exponent), scales.fine_bits)
        rule = summed(_rule(model), "lateral", scales.fine_bits)
        network = IntegerNetwork(
            name=self.name,
            input=image,
            encodings=(encoding,),
            populations=(
                _drive_population(model, 0),
                integer_latents(model, scales, rule, received, diagonal),
            ),
            connections=(_drive_connection(model), *lateral),
            iteration=_iteration(lateral),
            final=_FINAL,
            readout=wide_readout(model, scales),
            choices=(
                *scales.choices,
                *inner_choices(model),
                Choice(
                    "lateral exponent",
                    exponent,
                    f"{scales.exponent_reason(off_diagonal, exponent, which)}; the diagonal "
                    f"stays in the neuron",
                ),
                drive_choice,
            ),
            family=model.config.family,
        )
        return replace(network, measurements=inhibition_eigenvalues(network, inhibition))


_FINAL = (Activation(LATENTS, "fire"),)


def _iteration(lateral: Sequence[Connection]) -> tuple[Activation, ...]:
    received = ("drive", *(each.name for each in lateral))
    return (*_FINAL, Activation(LATENTS, "integrate", received))


def _rule(model: SavedModel) -> Program:
    return integration(model, INTEGRATE_LATERAL, INTEGRATE_INNER_LATERAL)


def _drive_population(model: SavedModel, zero: float) -> Population:
    return Population(INPUT, model.config.latents, (Variable("h", shared(zero)),))


def _drive_connection(model: SavedModel) -> OneToOne:
    ones = np.ones(model.config.latents, np.int8)
    return OneToOne("drive", INPUT, "h", LATENTS, ones, received_as="drive")


def _lateral(weight: NDArray[np.floating | np.integer], exponent: int = 0) -> Dense:  # type: ignore[type-arg]
    return Dense("lateral", LATENTS, "z", LATENTS, weight, exponent, "lateral")


def lateral_weights(model: SavedModel) -> NDArray[np.float64]:
    """``W = eta Phi^T Sigma^-1 Phi``: float64 [K, K], symmetric, positive semidefinite."""
    dictionary = model.dictionary.astype(np.float64)
    weights = product(dictionary.T, step_over_variance(model)[:, None] * dictionary)
    return (weights + weights.T) / 2


def _drive(model: SavedModel, scales: Scales) -> tuple[Encoding, Choice]:
    weight = step_over_variance(model) * model.dictionary.T.astype(np.float64)
    return drive_encoding(weight, scales.frac_bits, scales)


def drive_encoding(
    weight: NDArray[np.float64], frac_bits: int, scales: Scales
) -> tuple[Encoding, Choice]:
    """Wide weights [K, M] of a drive in units of 2**-frac_bits."""
    weight = weight * 2.0 ** (frac_bits - scales.input_frac_bits)
    shift = max(1, min(62, -fit_exponent(weight, (1 << (DRIVE_BITS - 1)) - 1)))
    limit = min(DRIVE_LIMIT_UNITS << frac_bits, (WORD_MAX + 1) // 2)
    rounded = words(
        mantissas(weight, -shift), "drive weights", (1 << (DRIVE_BITS - 1)) - 1,
        fewer_bits=scales.spare_frac_bits,
    )  # fmt: skip
    encoding = Encoding(INPUT, "h", rounded, shift, limit)
    why = f"largest shift that keeps the drive's mantissas within {DRIVE_BITS} bits"
    return encoding, Choice("drive shift", shift, why)


def inhibition_eigenvalues(
    network: IntegerNetwork, inhibition: NDArray[np.float64]
) -> Measurements:
    """Eigenvalues of a network's inhibition, and of what it was rounded from."""
    scale = 1.0 / max(float(np.abs(inhibition).max()), 1.0)
    real = eigenvalues(inhibition)
    return Measurements(
        smallest_eigenvalue=smallest_eigenvalue(network),
        smallest_eigenvalue_float=float(real[0]) * scale,
        largest_eigenvalue_float=float(real[-1]) * scale,
    )


def raise_diagonal(network: IntegerNetwork, fraction: float) -> IntegerNetwork:
    """Raise the self-inhibition by a fraction of what rounding took from the smallest eigenvalue.

    Rounding can push eigenvalues of the lateral matrix below zero; along those, activity feeds
    itself over hundreds of iterations. The diagonal is in the neuron at its own precision, so
    raising all eigenvalues there costs no synapse.

    Parameters
    ----------
    network : IntegerNetwork
        Lateral, straight from its lowering.
    fraction : float
        1 makes the integer matrix positive semidefinite.

    Returns
    -------
    IntegerNetwork
        The same network where the smallest eigenvalue is not negative or the fraction is zero.
    """
    matrix = inhibition_matrix(network)
    if matrix is None or fraction == 0.0:
        return network
    # Less a little, so that no last bit of an eigenvalue that is a whole number decides.
    added = int(np.ceil(-fraction * float(eigenvalues(matrix)[0]) - _EIGENVALUE_SLACK))
    if added <= 0:
        return network
    latents = network.population_of[LATENTS]
    constants = tuple(
        Constant(c.name, (c.values + added).astype(np.int32)) if c.name == "diagonal" else c
        for c in latents.constants
    )
    why = (
        f"added to every self-inhibition, {100 * fraction:.0f} % of the smallest eigenvalue that "
        f"rounding left: without it the network is unstable"
    )
    loaded = replace(
        network,
        populations=tuple(
            replace(p, constants=constants) if p is latents else p for p in network.populations
        ),
        choices=(*network.choices, Choice("diagonal load", added, why)),
    )
    measured = replace(network.measurements, smallest_eigenvalue=smallest_eigenvalue(loaded))
    return replace(loaded, measurements=measured)
