"""Numbers of the locally competitive algorithm, and the units that integers take for them."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from pvae_neuro.exporters.calibrate import Calibration
from pvae_neuro.exporters.lowerings.linear import LATENTS
from pvae_neuro.exporters.scales import LARGEST_SUM, Scales, graded
from pvae_neuro.network import Choice
from pvae_neuro.network.operations import LARGEST_SHIFT
from pvae_neuro.saved.lca import STABLE_SHARE, LCASettings, stable_step
from pvae_neuro.saved.model_file import SavedModel
from pvae_neuro.utils.reproducible import power_below

SENT = f"{LATENTS}.m"
HEADROOM = 1.5  # Over calibration, after which coefficients still grow.
FINER_BITS = 2  # Of a than of m.


def step_of(model: SavedModel) -> float:
    """Step per iteration, as the PyTorch model takes it."""
    dictionary = model.dictionary.astype(np.float64)
    return stable_step(dictionary, np.ones(dictionary.shape[1]), settings_of(model).step)


def settings_of(model: SavedModel) -> LCASettings:
    """Settings of the family, of which the file holds those that are no defaults."""
    return LCASettings.model_validate(model.config.architecture)


def threshold_of(model: SavedModel) -> float:
    """Threshold of a potential, in the unit of a coefficient."""
    return float(model.config.beta) * settings_of(model).lambda_


@dataclass(frozen=True)
class Graded:
    """A graded spike: its limit, its fractional bits, and why."""

    limit: int
    bits: int
    choice: Choice


def message_of(
    sent: str, scales: Scales, calibration: Calibration, provable: int, no_more: bool = False
) -> Graded:
    """Finest unit in which what calibration reached stays below the limit, with headroom.

    With ``no_more`` the limit is lowered to just that.
    """
    largest = float(np.max(calibration.largest[sent]))
    wanted = HEADROOM * largest
    finest = LARGEST_SHIFT if largest > 0.0 else 0
    limit, bits = graded(sent, provable, largest, scales, finest, HEADROOM)
    if no_more:
        limit = max(1, min(limit, math.ceil(math.ldexp(wanted, bits))))
    why = f"finest in which {HEADROOM:g} times the largest of calibration, {wanted:.4g}, is within"
    return Graded(limit, bits, Choice(f"unit of {sent}", 2.0**-bits, f"{why} {limit}"))


@dataclass(frozen=True)
class Units:
    """Fractional bits of a force, a potential and a coefficient that is read out."""

    force: int
    potential: int
    finer: int
    largest: float
    choices: tuple[Choice, ...]


def units_of(
    model: SavedModel, scales: Scales, calibration: Calibration, sent: Graded, received: float
) -> Units:
    """Finest units that 24 bits hold, whatever is received, at most so much."""
    step, threshold = step_of(model), threshold_of(model)
    above = math.ldexp(sent.limit, -sent.bits)
    largest = max(threshold + above, HEADROOM * float(calibration.largest[f"{LATENTS}.u"].max()))
    force = received + 3 * above + largest
    force_bits = min(scales.frac_bits, power_below(LARGEST_SUM, force))
    # A potential keeps what the step leaves of the finest force.
    potential = force_bits + math.ceil(-math.log2(step))
    potential = min(potential, power_below(LARGEST_SUM, largest + threshold + step * force))
    finer = min(sent.bits + FINER_BITS, potential)
    why = f"as asked for or less, so that forces of at most {force:.4g} have 24 bits"
    asked = settings_of(model).step
    held = "as asked for; it is stable below 2 over the largest eigenvalue of ΦᵀΦ"
    if step < asked:
        held = (
            f"instead of {asked:g}, with which potentials may diverge: {STABLE_SHARE:g} over the "
            f"largest eigenvalue of ΦᵀΦ"
        )
    choices = (
        Choice("unit of a force", 2.0**-force_bits, why),
        Choice("unit of a potential", 2.0**-potential, "finest that a step of that force changes"),
        Choice("step", step, held),
    )
    return Units(force_bits, potential, finer, largest, choices)
