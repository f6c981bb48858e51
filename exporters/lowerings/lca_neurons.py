"""Neurons of the locally competitive algorithm, in real numbers and in integers.

The coefficient m that is sent is coarser than a, which is read out and is 0 within the threshold
alone. The step is the one that the PyTorch model takes.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from pvae_neuro.errors import ModelFileError
from pvae_neuro.exporters.lowerings.base import Lowering
from pvae_neuro.exporters.lowerings.lca_units import (
    Graded,
    Units,
    settings_of,
    step_of,
    threshold_of,
)
from pvae_neuro.exporters.lowerings.linear import LATENTS
from pvae_neuro.exporters.scales import fixed_point
from pvae_neuro.network import Activation, Constant, Population, Variable, shared
from pvae_neuro.network.program import Program
from pvae_neuro.neurons.soft_threshold import ACTIVATE, ACTIVATE_NONNEGATIVE
from pvae_neuro.saved.lca import LCASettings
from pvae_neuro.saved.model_file import SavedModel
from pvae_neuro.utils.settings import problems_of

# Of calibration; and its largest number of iterations.
TIME_CONSTANTS, MOST_STEPS = 4, 1024
Array = NDArray[Any]
ACT = Activation(LATENTS, "activate")


class LCALowering(Lowering):
    """What both circuits of a dictionary share."""

    families = ("lca",)

    def obstacle(self, model: SavedModel) -> str | None:
        """Settings that the family does not take."""
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
        """Iterations of ``TIME_CONSTANTS`` time constants: coefficients then hardly grow."""
        return min(MOST_STEPS, math.ceil(TIME_CONSTANTS / step_of(model)))


def _neurons(model: SavedModel, integrate: Program, constants: dict[str, Any]) -> Population:
    activate = ACTIVATE_NONNEGATIVE if settings_of(model).nonnegative else ACTIVATE
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
    numbers = {"threshold": threshold_of(model), "step": step_of(model)}
    return _neurons(model, integrate, {**numbers, **dict.fromkeys(shifts, 0.0), **ends, **more})


def integer_neurons(
    model: SavedModel, integrate: Program, sent: Graded, units: Units, **more: Any
) -> Population:
    """Neurons in integers."""
    step = math.ldexp(step_of(model), units.potential - units.force)
    mantissa, step_shift = fixed_point(step, "step")
    a_shift, m_shift = units.potential - units.finer, units.finer - sent.bits
    u_max = int(math.ldexp(units.largest, units.potential))
    # A potential may be coarser than what is sent.
    a_max = max(1, int(math.ldexp(sent.limit, m_shift)))
    numbers = {
        "threshold": round(math.ldexp(threshold_of(model), units.potential)),
        "a_shift": a_shift, "m_shift": m_shift, "own_shift": units.force - sent.bits,
        "u_shift": units.potential - units.force,
        "step": mantissa, "step_shift": step_shift,
        "u_max": u_max, "a_max": a_max, "u_min": -u_max, "a_min": -a_max,
    }  # fmt: skip
    return _neurons(model, integrate, {**numbers, **more})
