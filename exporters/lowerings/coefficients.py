"""What both circuits of the locally competitive algorithm share: neurons, units, messages.

The coefficient m that is sent is coarser than a, which is read out and is 0 within the threshold
alone. The step is the one that the PyTorch model takes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from pvae_neuro.errors import ModelFileError
from pvae_neuro.exporters.calibrate import Calibration
from pvae_neuro.exporters.lowerings.base import Lowering
from pvae_neuro.exporters.lowerings.linear import LATENTS
from pvae_neuro.exporters.scales import Scales
from pvae_neuro.network import Activation, Choice, Constant, Population, Variable, shared
from pvae_neuro.network.operations import LARGEST_SHIFT
from pvae_neuro.network.population import WORD_MAX
from pvae_neuro.network.program import Program
from pvae_neuro.neurons.soft_threshold import ACTIVATE, ACTIVATE_NONNEGATIVE
from pvae_neuro.saved.lca import STABLE_SHARE, LCASettings, stable_step
from pvae_neuro.saved.model_file import SavedModel
from pvae_neuro.utils.reproducible import power_below
from pvae_neuro.utils.settings import problems_of

SENT = f"{LATENTS}.m"
# Coefficients still grow after calibration, which takes so many time constants.
TIME_CONSTANTS, MOST_STEPS, HEADROOM = 4, 1024, 1.5
FINER_BITS = 2  # Of a than of m.
STEP_BITS = 16
# Rounding adds less to any sum.
ROOM = WORD_MAX - (1 << 14)
Array = NDArray[Any]
ACT = Activation(LATENTS, "activate")


class LCALowering(Lowering):
    """What both circuits of a dictionary share."""

    families = ("lca",)

    def obstacle(self, model: SavedModel) -> str | None:
        """Settings that are none."""
        try:
            LCASettings.model_validate(model.config.architecture)
        except ValidationError as error:
            return f"architecture: {problems_of(error)}"
        return None

    def check(self, model: SavedModel) -> None:
        """See :meth:`Lowering.check`; the dictionary must have the model's size."""
        super().check(model)
        expected = (model.config.pixels, model.config.latents)
        if model.dictionary.shape != expected:
            raise ModelFileError(
                f"circuit {self.name!r}: array 'dictionary': expected the shape {expected}, got "
                f"{model.dictionary.shape}"
            )

    def calibration_steps(self, model: SavedModel) -> int:
        """Time constants until coefficients hardly grow."""
        return min(MOST_STEPS, math.ceil(TIME_CONSTANTS / step_of(model)))


def step_of(model: SavedModel) -> float:
    """Step per iteration, as the PyTorch model takes it."""
    dictionary = model.dictionary.astype(np.float64)
    return stable_step(dictionary, np.ones(dictionary.shape[1]), _settings(model).step)


def _settings(model: SavedModel) -> LCASettings:
    return LCASettings.model_validate(model.config.architecture)


def _threshold(model: SavedModel) -> float:
    return float(model.config.beta) * _settings(model).lambda_


def _neurons(model: SavedModel, integrate: Program, constants: dict[str, Any]) -> Population:
    activate = ACTIVATE_NONNEGATIVE if _settings(model).nonnegative else ACTIVATE
    zero = shared(type(constants["a_max"])(0))
    held = (
        Constant(n, v if isinstance(v, np.ndarray) else shared(v)) for n, v in constants.items()
    )
    variables = tuple(Variable(name, zero) for name in ("u", "a", "m"))
    return Population(LATENTS, model.config.latents, variables, tuple(held), (activate, integrate))


def float_neurons(model: SavedModel, integrate: Program, **more: Any) -> Population:
    """Neurons in real numbers: nothing is shifted, nothing limited."""
    shifts = ("a_shift", "m_shift", "own_shift", "u_shift", "step_shift")
    ends = {f"{name}_max": float("inf") for name in "ua"}
    ends |= {f"{name}_min": -float("inf") for name in "ua"}
    numbers = {"threshold": _threshold(model), "step": step_of(model)}
    return _neurons(model, integrate, {**numbers, **dict.fromkeys(shifts, 0.0), **ends, **more})


@dataclass(frozen=True)
class Graded:
    """A graded spike: its limit, its fractional bits, and why."""

    limit: int
    bits: int
    choice: Choice


def graded(
    sent: str, scales: Scales, calibration: Calibration, provable: int, no_more: bool = False
) -> Graded:
    """Finest unit in which what calibration reached stays below the limit, with headroom.

    With ``no_more`` the limit is lowered to just that.
    """
    limit = scales.message_limit(sent, provable)
    wanted = HEADROOM * float(np.max(calibration.largest[sent]))
    bits = min(LARGEST_SHIFT, power_below(limit, wanted)) if wanted > 0.0 else 0
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
    step, threshold = step_of(model), _threshold(model)
    above = math.ldexp(sent.limit, -sent.bits)
    largest = max(threshold + above, HEADROOM * float(calibration.largest[f"{LATENTS}.u"].max()))
    force = received + 3 * above + largest
    force_bits = min(scales.frac_bits, power_below(ROOM, force))
    # A potential keeps what the step leaves of the finest force.
    potential = force_bits + math.ceil(-math.log2(step))
    potential = min(potential, power_below(ROOM, largest + threshold + step * force))
    finer = min(sent.bits + FINER_BITS, potential)
    why = f"as asked for or less, so that forces of at most {force:.4g} have 24 bits"
    asked = _settings(model).step
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


def integer_neurons(
    model: SavedModel, integrate: Program, sent: Graded, units: Units, **more: Any
) -> Population:
    """Neurons in integers."""
    step = math.ldexp(step_of(model), units.potential - units.force)
    step_shift = max(0, min(LARGEST_SHIFT, power_below((1 << (STEP_BITS - 1)) - 1, step)))
    a_shift, m_shift = units.potential - units.finer, units.finer - sent.bits
    u_max, a_max = int(math.ldexp(units.largest, units.potential)), sent.limit << max(0, m_shift)
    numbers = {
        "threshold": round(math.ldexp(_threshold(model), units.potential)),
        "a_shift": a_shift, "m_shift": m_shift, "own_shift": units.force - sent.bits,
        "u_shift": units.potential - units.force,
        "step": round(math.ldexp(step, step_shift)), "step_shift": step_shift,
        "u_max": u_max, "a_max": a_max, "u_min": -u_max, "a_min": -a_max,
    }  # fmt: skip
    return _neurons(model, integrate, {**numbers, **more})
