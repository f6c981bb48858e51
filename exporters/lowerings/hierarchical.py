"""The two-level iterative Poisson VAE: the predictive circuit of its lower level, and an upper one.

Counts of the upper level predict the lower level's log-rates; counts and predicted rates go back.
Psi is used both ways, ``exp(Psi) - 1`` is an array of its own; ``docs/hierarchical.md`` derives the
rules. An iteration draws both levels and moves both on these counts.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from pvae_neuro.exporters.calibrate import Calibration
from pvae_neuro.exporters.lowerings.base import Lowering
from pvae_neuro.exporters.lowerings.linear import LATENTS, factor, float_latents, integer_latents
from pvae_neuro.exporters.lowerings.predictive import ERRORS, ROUNDING_ROOM, Predictive, sent_back
from pvae_neuro.exporters.scales import Scales, best_exponent, mantissas, row_reach, words
from pvae_neuro.network import (
    Activation,
    Choice,
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
from pvae_neuro.network.population import WORD_MAX
from pvae_neuro.neurons.exponential import MOST_RATE_BITS, exponential_constants
from pvae_neuro.neurons.hierarchy import INTEGRATE_LOWER, INTEGRATE_UPPER, PREDICT
from pvae_neuro.saved.model_file import LINEAR_FAMILY, SavedModel, array_shapes, check_shapes
from pvae_neuro.utils.reproducible import exp, power_below
from pvae_neuro.utils.show import show

UPPER, RATES = "upper", f"{LATENTS}.rate"
PRIOR_WEIGHT = 0.1
"""Of models whose file does not say it."""
# Log-rates are predicted in units of 2**-11 and then shifted: sums leave the clamps by far.
PREDICTION_BITS = 11
# A larger change of the potential, which is a log-rate, is beyond every clamp.
LARGEST_CHANGE = 256
_LEVEL = ("log_bias", "log_step_size", "initial_potential")
_FIRE = (Activation(LATENTS, "fire"), Activation(UPPER, "fire"))
_ITERATION = (
    *_FIRE,
    Activation(LATENTS, "predict", ("prior",)),
    Activation(ERRORS, "compare", ("pixels", "prediction")),
    Activation(LATENTS, "integrate", ("feedback",)),
    Activation(UPPER, "integrate", ("seen", "expected")),
)
Net = TypeVar("Net", FloatCircuit, IntegerNetwork)


class Hierarchical(Lowering):
    """Two levels of Poisson neurons over error neurons per pixel."""

    name = "predictive"
    families = ("ipvae-hierarchical",)

    def obstacle(self, model: SavedModel) -> str | None:
        """See :meth:`Lowering.obstacle`."""
        weight = model.config.architecture.get("prior_weight", PRIOR_WEIGHT)
        if not (isinstance(weight, int | float) and 0 <= weight < float("inf")):
            return f"prior_weight: expected a number that is not negative, got {show(weight)}"
        return super().obstacle(model)

    def check(self, model: SavedModel) -> None:
        """See :meth:`Lowering.check`; shapes are checked too."""
        super().check(model)
        latents = model.config.latents
        upper = len(model.arrays.get("upper.log_bias", ()))
        shapes = {
            **array_shapes(model.config),
            "baseline": (latents,),
            "prediction": (latents, upper),
            **{f"upper.{name}": (upper,) for name in _LEVEL},
            "upper.log_step_size": (),
        }
        check_shapes(model.arrays, shapes, f"circuit {self.name!r}")

    def hops(self, model: SavedModel) -> tuple[str, ...]:
        """The errors, and the rates that are predicted."""
        return (f"{ERRORS}.m", RATES)

    def circuit(self, model: SavedModel, dtype: str = "float32") -> FloatCircuit:
        """The model in real numbers."""
        self.check(model)
        lower, upper, (pull, upper_pull) = _levels(model)
        psi, excess, base = _weights(model)
        latents = float_latents(lower, INTEGRATE_LOWER)
        infinite = float("inf")
        own = {
            "base": base,
            "p_min": latents.constant("u_min"),
            "p_max": latents.constant("u_max"),
            "p_shift": 0.0,
            "rate_high": infinite,
            "pull": pull,
            "pull_shift": 0.0,
        }
        above = {"low": -infinite, "high": infinite, "pull": upper_pull, "pull_shift": 0.0}
        return _joined(
            Predictive().circuit(lower, dtype),
            _predicting(latents, 0.0, exponential_constants(14, 0), own),
            _with(float_latents(upper, INTEGRATE_UPPER, name=UPPER), above),
            _connections(psi, excess),
        )

    def integers(
        self, model: SavedModel, scales: Scales, calibration: Calibration
    ) -> IntegerNetwork:
        """The model in integers; what the lower level has alone is as in the linear model."""
        self.check(model)
        lower, upper, (pull, upper_pull) = _levels(model)
        network = Predictive().integers(lower, scales, calibration)
        psi, excess, base = _weights(model)
        psi_exponent = best_exponent(psi, scales.mantissa_max, least=-31)
        excess_exponent = best_exponent(excess, scales.mantissa_max, least=-31)
        psi, excess = (
            mantissas(weight, exponent, scales.mantissa_max).astype(np.int8)
            for weight, exponent in ((psi, psi_exponent), (excess, excess_exponent))
        )
        provable = (WORD_MAX - ROUNDING_ROOM) // max(1, row_reach(excess))
        limit = scales.message_limit(RATES, provable)
        largest = float(calibration.largest[RATES].max())
        rate_bits = min(MOST_RATE_BITS, power_below(limit, largest) if largest else MOST_RATE_BITS)
        # In this unit neither a sum nor the difference of counts and rates leaves a word.
        reach = np.ldexp(row_reach(psi.T) * scales.max_count, psi_exponent)
        reach += np.ldexp(row_reach(excess) * limit, excess_exponent - rate_bits)
        compared = power_below(WORD_MAX - ROUNDING_ROOM, max(1.0, float(reach)))
        compared = min(PREDICTION_BITS, compared)
        high = int(min(WORD_MAX, np.ldexp(LARGEST_CHANGE / max(upper_pull, 1e-9), compared)))

        ends, errors = network.population_of[LATENTS], network.population_of[ERRORS]
        span = int(ends.constant("u_max")[0] - ends.constant("u_min")[0])
        most = sent_back(network.connection_of["feedback"], int(errors.constant("high")[0]))
        latents = integer_latents(lower, scales, INTEGRATE_LOWER, most + int(span * pull) + 1)
        bits = min(PREDICTION_BITS, scales.frac_bits)
        shift = scales.frac_bits - bits
        own = {
            "base": words(mantissas(base, -bits), "baseline"),
            "p_min": ends.constant("u_min") >> shift,
            "p_max": ends.constant("u_max") >> shift,
            "p_shift": shift,
            "rate_high": limit,
            **factor("pull", pull),
        }
        above = {
            "low": -high,
            "high": high,
            **factor("pull", float(np.ldexp(upper_pull, scales.frac_bits - compared))),
        }
        change = np.array([LARGEST_CHANGE << scales.frac_bits])
        upper_latents = integer_latents(upper, scales, INTEGRATE_UPPER, change, name=UPPER)
        joined = _joined(
            network,
            _predicting(latents, 0, exponential_constants(scales.frac_bits, rate_bits), own),
            _with(upper_latents, above),
            _connections(
                psi, excess, psi_exponent + bits, psi_exponent + compared,
                excess_exponent - rate_bits + compared,
            ),
        )  # fmt: skip
        choices = (
            Choice("prediction exponent", psi_exponent, "finest unit of Psi with few saturated"),
            Choice("expectation exponent", excess_exponent, "the same of exp(Psi) - 1"),
            Choice("rate limit", limit, "largest rate that keeps every sum within 24 bits"),
            Choice(
                "rate unit",
                2.0**-rate_bits,
                f"finest in which the largest rate of calibration, {largest:.4g}, is within it",
            ),
            Choice("unit of compared rates", 2.0**-compared, "no difference exceeds 24 bits"),
        )
        return replace(joined, choices=(*network.choices, *choices), family=model.config.family)


def _levels(model: SavedModel) -> tuple[SavedModel, SavedModel, tuple[float, float]]:
    """Each level as the model of one, and the share of a difference that moves its potentials."""
    weight = float(model.config.architecture.get("prior_weight", PRIOR_WEIGHT))
    names = array_shapes(model.config)
    config = model.config.model_copy(update={"family": LINEAR_FAMILY})
    lower = SavedModel(config, {name: model.arrays[name] for name in names})
    arrays = {name: model.arrays[f"upper.{name}"] for name in _LEVEL}
    config = config.model_copy(update={"latents": len(arrays["log_bias"])})
    upper = SavedModel(config, arrays)
    return lower, upper, (lower.step_size * weight, upper.step_size * weight)


def _weights(model: SavedModel) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Psi [K, K2], exp(Psi) - 1 transposed, and c, in real numbers."""
    psi = model.arrays["prediction"].astype(np.float64)
    return psi, (exp(psi) - 1.0).T, model.arrays["baseline"].astype(np.float64)


def _with(population: Population, numbers: dict[str, Any]) -> Population:
    constants = (
        Constant(name, value if isinstance(value, np.ndarray) else shared(value))
        for name, value in numbers.items()
    )
    return replace(population, constants=(*population.constants, *constants))


def _predicting(
    latents: Population,
    zero: float,
    exponential: tuple[Constant, ...],
    numbers: dict[str, Any],
) -> Population:
    sent = (Variable(name, shared(zero)) for name in ("p", "seen", "rate"))
    latents = _with(latents, numbers)
    return replace(
        latents,
        variables=(*latents.variables, *sent),
        constants=(*latents.constants, *exponential),
        programs=(*latents.programs, PREDICT),
    )


def _connections(
    psi: NDArray[Any], excess: NDArray[Any], prior: int = 0, seen: int = 0, expected: int = 0
) -> tuple[Connection, ...]:
    down = Dense("prior", UPPER, "z", LATENTS, psi, prior, "prior")
    back = {"exponent": seen, "received_as": "seen"}
    return (
        down,
        transpose_of(down, "seen", LATENTS, "seen", UPPER, **back),
        Dense("expected", LATENTS, "rate", UPPER, excess, expected, "expected"),
    )


def _joined(
    base: Net, latents: Population, upper: Population, connections: tuple[Connection, ...]
) -> Net:
    """The predictive circuit of the lower level with the latents that predict, and the upper."""
    sampler = replace(upper.sampler, stream=1)
    return replace(
        base,
        populations=(
            base.populations[0], latents, replace(upper, sampler=sampler),
            base.population_of[ERRORS],
        ),
        connections=(*base.connections, *connections),
        iteration=_ITERATION,
        final=_FIRE,
    )  # fmt: skip
