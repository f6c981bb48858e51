"""From a saved float model to an IntegerNetwork: calibration and rounding, nothing hidden.

Every number that is chosen here is kept in ``network.choices`` with its reason. Fixed-point
positions: potential u 2**-frac_bits; weights are mantissas with one power-of-two exponent per
connection.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from pvae_neuro.count_table import build_count_table, largest_potential
from pvae_neuro.errors import InputError
from pvae_neuro.exporters.calibrate import Calibration, calibrate
from pvae_neuro.exporters.lateral import lower_lateral
from pvae_neuro.exporters.lowering import Scales
from pvae_neuro.exporters.predictive import lower_predictive
from pvae_neuro.network import LARGEST_COUNT, Choice, IntegerNetwork, PoissonPopulation
from pvae_neuro.saved.model_file import SavedModel

Topology = Literal["lateral", "predictive"]
Lowering = Callable[[SavedModel, Scales, PoissonPopulation, Calibration], IntegerNetwork]
LOWERINGS: dict[str, Lowering] = {"lateral": lower_lateral, "predictive": lower_predictive}

# Tables for these counts take about 9, 43 and 380 kB.
STANDARD_COUNTS = (15, 31, 63)
# Fixed-point position of the input; 8-bit images lose nothing that a weight could resolve.
INPUT_FRAC_BITS = 12


@dataclass(frozen=True)
class QuantizeConfig:
    """What to quantize to.

    Attributes
    ----------
    topology : {"lateral", "predictive"}
    weight_bits : int
        Width of a mantissa, sign included, 2 to 8.
    frac_bits : int
        Fixed-point position of the membrane potential, 4 to 16.
    max_count : int or None
        Largest spike count; None takes the smallest of 15, 31, 63 that calibration allows.
    """

    topology: Topology = "predictive"
    weight_bits: int = 8
    frac_bits: int = 14
    max_count: int | None = None

    def __post_init__(self) -> None:
        if self.topology not in LOWERINGS:
            raise InputError(
                f"topology: expected one of {', '.join(LOWERINGS)}; got {self.topology!r}"
            )
        _check_between("weight_bits", self.weight_bits, 2, 8)
        _check_between("frac_bits", self.frac_bits, 4, 16)
        if self.max_count is not None:
            _check_between("max_count", self.max_count, 1, LARGEST_COUNT)


def _check_between(name: str, value: int, low: int, high: int) -> None:
    if not low <= value <= high:
        raise InputError(f"{name}: expected {low} to {high}, got {value}")


def quantize(
    model: SavedModel, inputs: NDArray[np.floating[Any]], config: QuantizeConfig | None = None
) -> IntegerNetwork:
    """Round a trained model to integers.

    Parameters
    ----------
    model : SavedModel
    inputs : float [N, M]
        Calibration images; the first 64 are used.
    config : QuantizeConfig, optional

    Returns
    -------
    IntegerNetwork
        Not yet certified: see :func:`pvae_neuro.exporters.certify.certify`.

    Raises
    ------
    InputError
        If an option or the calibration inputs are out of range.
    CertificateError
        If no sampler table meets its accuracy.
    """
    config = config or QuantizeConfig()
    calibration = calibrate(model, inputs)
    max_count, choice = _max_count(config, calibration)
    population = _population(model, config, max_count)
    scales = Scales(config.weight_bits, config.frac_bits, INPUT_FRAC_BITS, choices=(choice,))
    return LOWERINGS[config.topology](model, scales, population, calibration)


def _max_count(config: QuantizeConfig, calibration: Calibration) -> tuple[int, Choice]:
    seen = (
        f"largest potential {calibration.potential:.2f} and largest count {calibration.count} on "
        f"{calibration.images} calibration inputs over {calibration.steps} iterations"
    )
    if config.max_count is not None:
        return config.max_count, Choice("max_count", config.max_count, f"asked for; {seen}")
    for count in STANDARD_COUNTS:
        if (
            largest_potential(count, config.frac_bits)
            >= calibration.potential * 2**config.frac_bits
        ):
            return count, Choice("max_count", count, f"smallest standard count for the {seen}")
    largest = STANDARD_COUNTS[-1]
    return largest, Choice("max_count", largest, f"largest standard count, below the {seen}")


def _population(model: SavedModel, config: QuantizeConfig, max_count: int) -> PoissonPopulation:
    unit = 2.0**config.frac_bits
    u_min = int(np.rint(model.config.floor_u * unit))
    u_max = min(
        int(np.rint(model.config.clamp_u * unit)), largest_potential(max_count, config.frac_bits)
    )
    initial = np.clip(np.rint(model.initial_potential * unit), u_min, u_max)
    return PoissonPopulation(
        name="latents",
        initial=initial.astype(np.int32),
        leak=np.rint(model.step_size * model.leak * unit).astype(np.int32),
        diagonal=np.zeros(model.config.latents, np.int32),
        frac_bits=config.frac_bits,
        u_min=u_min,
        u_max=u_max,
        du_min=u_min,
        du_max=int(np.rint(model.config.clamp_du * unit)),
        table=build_count_table(config.frac_bits, u_min, u_max, max_count),
    )
