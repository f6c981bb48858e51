"""What both circuits of the linear iterative Poisson VAE share: latents, input and readout."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from pvae_neuro.exporters.scales import Scales, fit_exponent, mantissas
from pvae_neuro.network import Constant, Input, Population, Readout, Sampler, Variable, shared
from pvae_neuro.network.program import Program
from pvae_neuro.network.sampler import largest_potential
from pvae_neuro.neurons.poisson import FIRE
from pvae_neuro.saved.model_file import SavedModel

LATENTS = "latents"
READOUT_BITS = 16


def step_over_variance(model: SavedModel) -> NDArray[np.float64]:
    """Gain of an error in the potential, ``eta / sigma**2``: float64 [M]."""
    gain: NDArray[np.float64] = model.step_size / model.variance.astype(np.float64)
    return gain


def float_latents(
    model: SavedModel, integrate: Program, diagonal: NDArray[np.float64] | None = None
) -> Population:
    """Poisson population in real numbers; the potential is the log-rate itself."""
    config = model.config
    floor = float(config.floor_u)
    constants = [
        Constant("leak", (model.step_size * model.leak).astype(np.float64)),
        Constant("u_min", shared(floor)),
        Constant("u_max", shared(float(config.clamp_u))),
        Constant("du_min", shared(floor)),
        Constant("du_max", shared(float(config.clamp_du))),
    ]
    if diagonal is not None:
        constants.append(Constant("diagonal", diagonal))
    return Population(
        LATENTS,
        config.latents,
        (Variable("u", model.initial_potential.astype(np.float64)), Variable("z", shared(0.0))),
        tuple(constants),
        (FIRE, integrate),
        Sampler(255, 14),
    )


def integer_latents(
    model: SavedModel,
    scales: Scales,
    integrate: Program,
    diagonal: NDArray[np.int32] | None = None,
) -> Population:
    """Poisson population in integers; the potential has the unit 2**-frac_bits."""
    real = float_latents(model, integrate)
    unit = 2.0**scales.frac_bits
    ends = {name: round(float(real.constant(name)[0]) * unit) for name in _CLAMPS}
    ends["u_max"] = min(ends["u_max"], largest_potential(scales.max_count, scales.frac_bits))
    initial = np.clip(np.rint(real.variable("u").initial * unit), ends["u_min"], ends["u_max"])
    # A leak beyond the largest step acts as that step; it must not wrap when it is rounded.
    reach = ends["du_max"] - ends["du_min"]
    leak = np.clip(np.rint(real.constant("leak") * unit), -reach, scales.largest_leak)
    constants = [Constant("leak", leak.astype(np.int32))]
    constants += [Constant(name, shared(value)) for name, value in ends.items()]
    if diagonal is not None:
        constants.append(Constant("diagonal", diagonal))
    bits = max(2, scales.max_count.bit_length() + 1)
    return replace(
        real,
        variables=(Variable("u", initial.astype(np.int32)), Variable("z", shared(0), bits)),
        constants=tuple(constants),
        sampler=Sampler(scales.max_count, scales.frac_bits),
    )


_CLAMPS = ("u_min", "u_max", "du_min", "du_max")


def input_of(model: SavedModel, frac_bits: int = 0) -> Input:
    """Images over the model's declared range."""
    config = model.config
    shape = None if config.image_shape is None else tuple(config.image_shape)
    return Input(config.pixels, float(config.input_low), float(config.input_high), frac_bits, shape)


def wide_readout(model: SavedModel) -> Readout:
    """16-bit dictionary for the host, finer than any weight on the chip."""
    dictionary = model.dictionary.astype(np.float64)
    exponent = fit_exponent(dictionary, (1 << (READOUT_BITS - 1)) - 1)
    weight = mantissas(dictionary, exponent).astype(np.int16)
    return Readout(LATENTS, "z", weight, None, -exponent)
