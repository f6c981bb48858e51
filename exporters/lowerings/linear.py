"""What both circuits of the linear iterative Poisson VAE share: latents, input and readout.

With k inner updates per time step one iteration of a circuit is one inner update, since each draws
counts of its own; T time steps of the model are kT iterations.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pvae_neuro.exporters.lowerings.base import Lowering
from pvae_neuro.exporters.remedies import refused
from pvae_neuro.exporters.scales import (
    Scales,
    check_exponent,
    fit_exponent,
    fixed_point,
    mantissas,
    words,
)
from pvae_neuro.network import (
    Choice,
    Constant,
    Input,
    Population,
    Readout,
    Sampler,
    Variable,
    shared,
)
from pvae_neuro.network.host import INT32_MAX
from pvae_neuro.network.program import Program
from pvae_neuro.network.sampler import LOWEST_POTENTIAL, largest_potential
from pvae_neuro.neurons.poisson import FIRE
from pvae_neuro.saved.model_file import SavedModel
from pvae_neuro.utils.reproducible import power_below, sums

LATENTS = "latents"
READOUT_BITS = 16
LARGEST_READOUT_SHIFT = 40
SQUARED_ERROR_BITS = 62
# Far beyond every word, and still exact.
FAR = 2.0**40


class LinearLowering(Lowering):
    """Base of the circuits of the linear iterative Poisson VAE."""

    families = ("ipvae-linear",)

    def obstacle(self, model: SavedModel) -> str | None:
        """None: with several inner updates an iteration of the circuit is one of them."""
        return None


def step_over_variance(model: SavedModel) -> NDArray[np.float64]:
    """Gain of an error in the potential, ``eta / sigma**2``: float64 [M]."""
    return model.step_size / model.variance


def leak_per_step(model: SavedModel) -> NDArray[np.float64]:
    """Leak of the potential in one update, ``eta b``: float64 [K], infinite where it overflows."""
    if model.step_size == 0.0:
        return np.zeros(model.config.latents)
    with np.errstate(over="ignore"):
        leak: NDArray[np.float64] = model.step_size * model.leak
    return leak


def float_latents(
    model: SavedModel,
    integrate: Program,
    diagonal: NDArray[np.float64] | None = None,
    name: str = LATENTS,
) -> Population:
    """Poisson population in real numbers; the potential is the log-rate itself."""
    config = model.config
    floor = float(config.floor_u)
    constants = [
        Constant("leak", leak_per_step(model)),
        Constant("u_min", shared(floor)),
        Constant("u_max", shared(float(config.clamp_u))),
        Constant("du_min", shared(floor)),
        Constant("du_max", shared(float(config.clamp_du))),
    ]
    if diagonal is not None:
        constants.append(Constant("diagonal", diagonal))
    start = model.initial_potential.astype(np.float64)
    variables = [Variable("u", start), Variable("z", shared(0.0))]
    if config.inner_updates > 1:
        variables += [Variable("prior", start), Variable("phase", shared(0.0))]
        constants += [
            Constant("last_phase", shared(config.inner_updates - 1.0)),
            Constant("pull", shared(_leak_to_prior(model))),
            Constant("pull_shift", shared(0.0)),
        ]
    return Population(
        name,
        config.latents,
        tuple(variables),
        tuple(constants),
        (FIRE, integrate),
        Sampler(255, 14),
    )


def integer_latents(
    model: SavedModel,
    scales: Scales,
    integrate: Program,
    received: NDArray[np.integer[Any]],
    diagonal: NDArray[np.int32] | None = None,
    name: str = LATENTS,
) -> Population:
    """Poisson population in integers; the potential has the unit 2**-frac_bits.

    Parameters
    ----------
    model : SavedModel
    scales : Scales
    integrate : Program
    received : int [K]
        Most that all terms but the leaks can add to a potential in one step.
    diagonal : int32 [K], optional
    name : str
        Of the population.
    """
    real = float_latents(model, integrate, name=name)
    unit = 2.0**scales.frac_bits
    ends = _clamps(real, scales)
    initial = np.clip(np.rint(real.variable("u").initial * unit), ends["u_min"], ends["u_max"])
    start = initial.astype(np.int32)
    bits = max(2, scales.max_count.bit_length() + 1)
    variables = [Variable("u", start), Variable("z", shared(0), bits)]
    inner: list[Constant] = []
    if model.config.inner_updates > 1:
        last = words(np.array([model.config.inner_updates - 1.0]), f"{name}.last_phase")
        pull = _leak_to_prior(model)
        inner = [Constant(n, v) for n, v in {"last_phase": last, **factor("pull", pull)}.items()]
        # That the prior is a potential the proof does not know; widths as the clamps' say enough.
        width = 1 + max(ends["u_max"].bit_length(), (-1 - ends["u_min"]).bit_length())
        variables[0] = Variable("u", start, width)
        variables += [Variable("prior", start, width), Variable("phase", shared(0))]
        received = received + math.ceil(min(FAR, pull * (ends["u_max"] - ends["u_min"])))
    # A leak at which the change is its lower clamp, whatever else comes, acts as any larger one.
    enough = np.maximum(received, 0) - ends["du_min"]
    leak = words(
        np.minimum(np.rint(real.constant("leak") * unit), enough), f"{name}.leak",
        fewer_bits=scales.spare_frac_bits,
    )  # fmt: skip
    constants = [Constant("leak", leak)]
    constants += [Constant(name, shared(value)) for name, value in ends.items()]
    if diagonal is not None:
        constants.append(Constant("diagonal", diagonal))
    return replace(
        real,
        variables=tuple(variables),
        constants=(*constants, *inner),
        sampler=Sampler(scales.max_count, scales.frac_bits),
    )


def _leak_to_prior(model: SavedModel) -> float:
    """Share of the distance from the prior that leaks in one inner update, ``eta beta_inner``."""
    return model.step_size * model.config.beta_inner


def factor(name: str, value: float) -> dict[str, NDArray[np.int32]]:
    """A factor that is not negative as a mantissa and the right shift of its product.

    Values of the constants ``name`` and ``name_shift`` of ``n.mul(x, n.name, n.name_shift)``.
    """
    mantissa, shift = fixed_point(value, name)
    return {name: shared(mantissa), f"{name}_shift": shared(shift)}


def integration(model: SavedModel, plain: Program, inner: Program) -> Program:
    """The rule of the latents: with more than one inner update the one that knows the prior."""
    return plain if model.config.inner_updates == 1 else inner


def inner_choices(model: SavedModel) -> tuple[Choice, ...]:
    """What an iteration of the network is, where it is not a time step of the model."""
    updates = model.config.inner_updates
    if updates == 1:
        return ()
    reason = (
        f"of the model, per time step; one iteration is one inner update, so T time steps are "
        f"{updates} T iterations"
    )
    return (Choice("inner updates", updates, reason),)


def _clamps(real: Population, scales: Scales) -> dict[str, int]:
    """Clamps of the potential and of its change."""
    floor = float(real.constant("u_min")[0])
    if floor < LOWEST_POTENTIAL:
        raise refused(
            f"{real.name}: the potential's lower clamp is {floor:g}, expected at least "
            f"{LOWEST_POTENTIAL}, the lowest that the sampler draws from",
            "clip",
        )
    unit = 2.0**scales.frac_bits
    ends = {name: round(min(FAR, float(real.constant(name)[0]) * unit)) for name in _CLAMPS}
    ends["u_max"] = min(ends["u_max"], largest_potential(scales.max_count, scales.frac_bits))
    # A change over the whole range of the potential acts as any larger one.
    ends["du_max"] = min(ends["du_max"], ends["u_max"] - ends["u_min"])
    return ends


_CLAMPS = ("u_min", "u_max", "du_min", "du_max")


def input_of(model: SavedModel, frac_bits: int = 0) -> Input:
    """Images over the model's declared range.

    Raises
    ------
    CertificateError
        If pixels of that range in units of 2**-frac_bits exceed 32 bits.
    """
    config = model.config
    low, high = float(config.input_low), float(config.input_high)
    largest = max(abs(low), abs(high)) * 2.0**frac_bits
    if frac_bits and largest > INT32_MAX:
        raise refused(
            f"pixels: inputs of [{low:g}, {high:g}] reach {largest:.4g} in units of "
            f"2^-{frac_bits}, expected at most {INT32_MAX}",
            "inputs",
        )
    return Input(config.pixels, low, high, frac_bits, config.image_shape)


def wide_readout(
    model: SavedModel, scales: Scales, variable: str = "z", frac_bits: int = 0
) -> Readout:
    """16-bit dictionary for the host, finer than any weight on the chip.

    Its unit is the finest at which 16 bits hold every entry and 63 bits every squared error.
    """
    dictionary = model.readout.astype(np.float64)
    largest = np.ldexp(scales.max_count, -frac_bits)
    reach = float(sums(np.abs(dictionary)).max() * largest)
    reach += max(abs(model.config.input_low), abs(model.config.input_high))
    # The reach squared and summed over pixels, in units of 4**exponent; one bit is rounding's.
    squares = reach * reach * len(dictionary) * 2.0**-SQUARED_ERROR_BITS
    least = -(power_below(1.0, squares) // 2)
    exponent = fit_exponent(dictionary, (1 << (READOUT_BITS - 1)) - 1)
    # Below the finest unit of a readout all that is left of a weight is zero.
    exponent = max(frac_bits - LARGEST_READOUT_SHIFT, least + frac_bits, exponent)
    check_exponent(exponent, "readout", LARGEST_READOUT_SHIFT)
    weight = mantissas(dictionary, exponent).astype(np.int16)
    return Readout(LATENTS, variable, weight, None, frac_bits - exponent)
