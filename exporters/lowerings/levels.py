"""Structure of a two-level circuit, the same in real numbers and in integers.

The lower level is a linear model's predictive circuit; its latents gain the program that predicts
their log-rates. The upper level's counts come down through Psi, and back go counts through Psi
transposed and rates through ``exp(Psi) - 1`` transposed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from pvae_neuro.exporters.lowerings.linear import LATENTS
from pvae_neuro.exporters.lowerings.predictive import ERRORS
from pvae_neuro.network import (
    Activation,
    Connection,
    Constant,
    Dense,
    FloatCircuit,
    IntegerNetwork,
    Population,
    Variable,
    shared,
    transpose_of,
)
from pvae_neuro.neurons.exponential import exponential_constants
from pvae_neuro.neurons.hierarchy import PREDICT
from pvae_neuro.saved.model_file import LINEAR_FAMILY, SavedModel, array_shapes
from pvae_neuro.utils.reproducible import exp

UPPER, RATES = "upper", f"{LATENTS}.rate"
PRIOR_WEIGHT = 0.1
"""Weight of the prior in models whose file does not say it."""
OF_A_LEVEL = ("log_bias", "log_step_size", "initial_potential")

_FIRE = (Activation(LATENTS, "fire"), Activation(UPPER, "fire"))
_ITERATION = (
    *_FIRE,
    Activation(LATENTS, "predict", ("prior",)),
    Activation(ERRORS, "compare", ("pixels", "prediction")),
    Activation(LATENTS, "integrate", ("feedback",)),
    Activation(UPPER, "integrate", ("seen", "expected")),
)
Net = TypeVar("Net", FloatCircuit, IntegerNetwork)


@dataclass(frozen=True, eq=False)
class Levels:
    """A saved two-level model in parts.

    Attributes
    ----------
    lower, upper : SavedModel
        Each level as a linear model; the upper one has no pixels of its own.
    psi, excess : float64 [K, K2] and [K2, K]
        Psi, and ``exp(Psi) - 1`` transposed.
    baseline : float64 [K]
        Log-rates of the lower level while the upper one is silent.
    pulls : tuple of float
        How far a unit of difference from the prior moves the lower and the upper potentials.
    """

    lower: SavedModel
    upper: SavedModel
    psi: NDArray[np.float64]
    excess: NDArray[np.float64]
    baseline: NDArray[np.float64]
    pulls: tuple[float, float]

    @staticmethod
    def of(model: SavedModel) -> Levels:
        """Parts of a model."""
        arrays = {name: model.arrays[f"upper.{name}"] for name in OF_A_LEVEL}
        config = model.config.model_copy(update={"family": LINEAR_FAMILY})
        above = config.model_copy(update={"latents": len(arrays["log_bias"])})
        psi = model.arrays["prediction"].astype(np.float64)
        lower = SavedModel(config, {name: model.arrays[name] for name in array_shapes(config)})
        upper = SavedModel(above, arrays)
        weight = float(prior_weight(model))
        return Levels(
            lower,
            upper,
            psi,
            (exp(psi) - 1.0).T,
            model.arrays["baseline"].astype(np.float64),
            (lower.step_size * weight, upper.step_size * weight),
        )


def prior_weight(model: SavedModel) -> Any:
    """Weight of the lower level's prior, as the model's file says it."""
    return model.config.architecture.get("prior_weight", PRIOR_WEIGHT)


def joined(
    base: Net,
    latents: Population,
    upper: Population,
    weights: tuple[NDArray[Any], NDArray[Any]],
    exponents: tuple[int, int, int] = (0, 0, 0),
) -> Net:
    """The circuit of the lower level with the latents that predict, and the upper level.

    ``exponents`` are those of Psi, of Psi transposed, and of ``exp(Psi) - 1``.
    """
    down = Dense("prior", UPPER, "z", LATENTS, weights[0], exponents[0], "prior")
    connections: tuple[Connection, ...] = (
        down,
        transpose_of(
            down, "seen", LATENTS, "seen", UPPER, exponent=exponents[1], received_as="seen"
        ),
        Dense("expected", LATENTS, "rate", UPPER, weights[1], exponents[2], "expected"),
    )
    # Its counts come from words of its own.
    upper = replace(upper, sampler=upper.sampler and replace(upper.sampler, stream=1))
    return replace(
        base,
        populations=(base.populations[0], latents, upper, base.population_of[ERRORS]),
        connections=(*base.connections, *connections),
        iteration=_ITERATION,
        final=_FIRE,
    )


def predicting(
    latents: Population, zero: float, numbers: Mapping[str, Any], bits: tuple[int, int] = (14, 0)
) -> Population:
    """Latents that predict too; ``bits`` are the positions of log-rates and of rates."""
    constants = (*with_constants(latents, numbers).constants, *exponential_constants(*bits))
    variables = (Variable(name, shared(zero)) for name in ("p", "seen", "rate"))
    return replace(
        latents,
        variables=(*latents.variables, *variables),
        constants=constants,
        programs=(*latents.programs, PREDICT),
    )


def with_constants(population: Population, numbers: Mapping[str, Any]) -> Population:
    """The population with more constants, one number or one for each neuron."""
    constants = (
        Constant(name, value if isinstance(value, np.ndarray) else shared(value))
        for name, value in numbers.items()
    )
    return replace(population, constants=(*population.constants, *constants))
