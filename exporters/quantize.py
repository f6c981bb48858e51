"""From a saved float model to an IntegerNetwork: calibration and rounding, nothing hidden.

Every number that is chosen is kept in ``network.choices`` with its reason. The potential u has the
unit 2**-frac_bits; weights are mantissas with one power-of-two exponent per connection.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pvae_neuro.errors import InputError
from pvae_neuro.exporters.calibrate import (
    MAX_CALIBRATION_IMAGES,
    Calibration,
    calibrate,
    moments_of,
)
from pvae_neuro.exporters.lowerings import Lowering, lowering_of, topologies
from pvae_neuro.exporters.scales import LEAST_FRAC_BITS, MOST_FRAC_BITS, Scales
from pvae_neuro.exporters.search import best_exponents
from pvae_neuro.exporters.widths import narrowest_widths
from pvae_neuro.network import Choice, FloatCircuit, IntegerNetwork
from pvae_neuro.network.connection import MANTISSA_BITS
from pvae_neuro.network.sampler import largest_potential
from pvae_neuro.saved.activity import trained_share
from pvae_neuro.saved.model_file import SavedModel
from pvae_neuro.utils.arguments import check_fields, checked
from pvae_neuro.utils.show import show

# The sampler's accuracy is certified up to this count (docs/decisions.md).
LARGEST_COUNT = 255
# Two synapses of 8 bits.
MOST_WEIGHT_BITS = 16
# Larger ones are taken where they are asked for: their sums leave 24 bits sooner.
STANDARD_COUNTS = (15, 31, 63)
# Fixed-point position of the input; 8-bit images lose nothing that a weight could resolve.
INPUT_FRAC_BITS = 12
# A clamp of the log-rate that is lower by this much changes the largest rate by 1 %.
CLAMP_SLACK = 0.01
# Calibration inputs on which less than this fires, of what does in training, are refused.
LEAST_ACTIVITY = 0.1
# Percent of the mean squared error.
LARGEST_LOSS = 100.0
# Name of the choice that compares the two.
ACTIVITY = "calibration activity"


@dataclass(frozen=True)
class QuantizeConfig:
    """What to quantize to.

    Attributes
    ----------
    topology : str or None
        Circuit, such as ``lateral`` or ``predictive``; None takes the family's first.
    weight_bits : int
        Width of a weight, sign included, 2 to 16. Beyond 8 it takes two synapses; of the linear
        model alone.
    frac_bits : int
        Fixed-point position of the membrane potential, 4 to 16.
    max_count : int or None
        Largest spike count; None takes the smallest of 15, 31, 63 that calibration
        allows.
    message_loss : float or None
        Graded spikes take the narrowest widths at which the mean squared error on the calibration
        inputs rises by at most so many percent; None takes the widest that can be proved.
    latent_units : bool
        Give the weights of each latent a power of two of their own, where the circuit has shifts
        for it; not for weights beyond 8 bits.
    compensate : bool
        Round the weights of a neuron together, so that the error of what it receives is least on
        the calibration inputs; up to 192 beyond the first 128 count too.
    search : bool
        Try the exponents beside that of the rule, and take the one at which the mean squared error
        on the calibration inputs is least.
    """

    topology: str | None = None
    weight_bits: int = 8
    frac_bits: int = 14
    max_count: int | None = None
    message_loss: float | None = None
    latent_units: bool = False
    compensate: bool = False
    search: bool = False

    def __post_init__(self) -> None:
        check_fields(self)
        if self.topology is not None and self.topology not in topologies():
            raise InputError(
                f"topology: expected one of {', '.join(topologies())}; got {self.topology!r}"
            )
        _check_between("weight_bits", self.weight_bits, 2, MOST_WEIGHT_BITS)
        _check_between("frac_bits", self.frac_bits, LEAST_FRAC_BITS, MOST_FRAC_BITS)
        if self.max_count is not None:
            _check_between("max_count", self.max_count, 1, LARGEST_COUNT)
        if self.message_loss is not None and not 0.0 < self.message_loss <= LARGEST_LOSS:
            raise InputError(
                f"message_loss: expected percent above 0 and up to {LARGEST_LOSS:g}, got "
                f"{self.message_loss}"
            )


def _check_between(name: str, value: int, low: int, high: int) -> None:
    if not low <= value <= high:
        raise InputError(f"{name}: expected a whole number from {low} to {high}, got {show(value)}")


@checked
def quantize(
    model: SavedModel,
    inputs: ArrayLike,
    config: QuantizeConfig | None = None,
    *,
    calibration: Calibration | None = None,
) -> IntegerNetwork:
    """Round a trained model to integers.

    Parameters
    ----------
    model : SavedModel
    inputs : array_like [N, M] or [N, H, W]
        Calibration images; the first 64 are used.
    config : QuantizeConfig, optional
    calibration : Calibration, optional
        What :func:`calibrated` returned for this model, these inputs and this circuit, for one more
        network of other widths.

    Returns
    -------
    IntegerNetwork
        Not yet certified: see :func:`pvae_neuro.exporters.certify.certify`.

    Raises
    ------
    InputError
        If an option or the calibration inputs are out of range, the inputs are all alike or hardly
        anything fires on them, ``max_count`` is given and nothing is counted, or ``message_loss``
        is given and there are no graded spikes, or fewer than two inputs.
    ModelFileError
        If the circuit does not take the model, or its numbers are beyond use.
    CertificateError, NetworkError
        If a number of the model does not fit any scale.
    """
    config = config or QuantizeConfig()
    lowering = lowering_of(config.topology, model.config.family)
    circuit = lowering.circuit(model, "float64")
    _check_taken(config, lowering)
    _check_counts(config, circuit)
    if calibration is None:
        calibration = calibrated(model, inputs, config)
    max_count, choices = _max_count(config, calibration) if _counts(circuit) else (1, ())
    scales = Scales(
        config.weight_bits,
        config.frac_bits,
        INPUT_FRAC_BITS,
        max_count,
        choices=(*choices, *_activity(model, calibration)),
        latent_units=config.latent_units,
        compensate=config.compensate,
    )
    # They have passed the check of calibration.
    images = circuit.input.check(inputs)[:MAX_CALIBRATION_IMAGES]
    if config.search:
        _check_pairs("search", images)

        def moved(steps: Mapping[str, int]) -> IntegerNetwork:
            return lowering.integers(model, replace(scales, exponent_steps=steps), calibration)

        found, choices = best_exponents(moved, lowering.searched, images)
        scales = replace(scales, exponent_steps=found, choices=(*scales.choices, *choices))
    if config.message_loss is not None:
        sent = lowering.hops(model)
        _check_widths(circuit, sent)
        _check_pairs("message_loss", images)

        def narrowed(widths: Mapping[str, int]) -> IntegerNetwork:
            return lowering.integers(model, replace(scales, message_bits=widths), calibration)

        widths, choices = narrowest_widths(narrowed, sent, images, config.message_loss)
        scales = replace(scales, message_bits=widths, choices=(*scales.choices, *choices))
    return lowering.integers(model, scales, calibration)


def calibrated(model: SavedModel, inputs: ArrayLike, config: QuantizeConfig) -> Calibration:
    """What a circuit reaches on calibration inputs, and what compensation needs to know of them."""
    lowering = lowering_of(config.topology, model.config.family)
    # In float64: the scales must not hang on how a processor rounds.
    circuit, steps = lowering.circuit(model, "float64"), lowering.calibration_steps(model)
    found = calibrate(circuit, inputs, steps=steps)
    if not config.compensate:
        return found
    return replace(found, moments=moments_of(circuit, inputs, steps // 2))


def _check_taken(config: QuantizeConfig, lowering: Lowering) -> None:
    """Raise :class:`InputError` for an option that a circuit does not have."""
    of = f"the circuit {lowering.name!r} of {' and '.join(lowering.families)}"
    if config.weight_bits > lowering.most_weight_bits:
        raise InputError(
            f"weight_bits: expected at most {lowering.most_weight_bits} for {of}, got "
            f"{config.weight_bits}"
        )
    for name, taken in (
        ("latent_units", lowering.latent_units),
        ("compensate", lowering.compensates),
        ("search", bool(lowering.searched)),
    ):
        if getattr(config, name) and not taken:
            raise InputError(f"{name}: {of} does not have it; leave it out")
    if config.latent_units and config.weight_bits > MANTISSA_BITS:
        raise InputError(
            f"latent_units: expected weights of at most {MANTISSA_BITS} bits, got "
            f"{config.weight_bits}, which need no units of their own; leave it out"
        )


def _counts(circuit: FloatCircuit) -> bool:
    return "draw" in circuit.operations


def _check_counts(config: QuantizeConfig, circuit: FloatCircuit) -> None:
    if config.max_count is not None and not _counts(circuit):
        raise InputError(
            f"max_count: the circuit {circuit.name!r} draws no counts, so none is the largest; "
            f"leave it out"
        )


def _check_widths(circuit: FloatCircuit, sent: tuple[str, ...]) -> None:
    if not sent:
        raise InputError(
            f"message_loss: the circuit {circuit.name!r} sends no graded spikes whose width could "
            f"be chosen; leave it out"
        )


def _check_pairs(name: str, images: NDArray[np.float64]) -> None:
    if len(images) < 2:
        raise InputError(
            f"{name}: expected at least 2 calibration inputs to take a standard error of, got 1; "
            f"give some tens"
        )


def _activity(model: SavedModel, calibration: Calibration) -> tuple[Choice, ...]:
    """How much fires on the calibration inputs, against what fires in training.

    Raises
    ------
    InputError
        If hardly anything fires that fires in training: such inputs show no ranges.
    """
    trained = trained_share(model.config)
    if not trained:
        return ()
    share = calibration.active / trained
    if share < LEAST_ACTIVITY:
        raise InputError(
            f"calibration inputs: {100 * calibration.active:.2g} % of the latents fire, where "
            f"{100 * trained:.2g} % fire on the model's training images, so they do not show what "
            f"potentials and counts are reached; give some tens of images such as the network will "
            f"see"
        )
    why = (
        f"share of the latents that fire on the calibration inputs, {calibration.active:.3g}, over "
        f"that on the model's training images, {trained:.3g}"
    )
    return (Choice(ACTIVITY, share, why),)


def _max_count(config: QuantizeConfig, calibration: Calibration) -> tuple[int, tuple[Choice, ...]]:
    seen = (
        f"largest potential {calibration.potential:.2f} and largest count {calibration.count:.0f} "
        f"on {calibration.images} calibration inputs over {calibration.steps} iterations"
    )
    if config.max_count is not None:
        return config.max_count, (Choice("max_count", config.max_count, f"asked for; {seen}"),)
    reach = (calibration.potential - CLAMP_SLACK) * 2**config.frac_bits
    for count in STANDARD_COUNTS:
        if largest_potential(count, config.frac_bits) >= reach:
            why = f"smallest standard count for the {seen}"
            return count, (Choice("max_count", count, why),)
    largest = STANDARD_COUNTS[-1]
    why = f"largest standard count, below the {seen}"
    return largest, (Choice("max_count", largest, why),)
