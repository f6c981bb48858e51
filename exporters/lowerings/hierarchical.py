"""The two-level iterative Poisson VAE: the predictive circuit of its lower level, and an upper one.

An iteration draws both levels, then moves both on these counts, as the PyTorch model does. The
structure is in ``levels.py``, the derivation in ``docs/hierarchical.md``; here are the numbers.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from pvae_neuro.exporters.calibrate import Calibration
from pvae_neuro.exporters.lowerings.base import Lowering
from pvae_neuro.exporters.lowerings.levels import (
    OF_A_LEVEL,
    RATES,
    UPPER,
    Levels,
    joined,
    predicting,
    prior_weight,
    with_constants,
)
from pvae_neuro.exporters.lowerings.linear import LATENTS, factor, float_latents, integer_latents
from pvae_neuro.exporters.lowerings.predictive import ERRORS, Predictive, sent_back
from pvae_neuro.exporters.scales import (
    LARGEST_SUM,
    Scales,
    few_saturated,
    mantissas,
    rounded_weights,
    row_reach,
    words,
)
from pvae_neuro.network import Choice, FloatCircuit, IntegerNetwork
from pvae_neuro.network.population import WORD_MAX
from pvae_neuro.neurons.exponential import MOST_RATE_BITS
from pvae_neuro.neurons.hierarchy import INTEGRATE_LOWER, INTEGRATE_UPPER
from pvae_neuro.saved.model_file import SavedModel, array_shapes, check_shapes
from pvae_neuro.utils.reproducible import power_below
from pvae_neuro.utils.show import show

# Log-rates are predicted in units of 2**-11 and then shifted: sums leave the clamps by far.
PREDICTION_BITS = 11
# A larger change of a log-rate is beyond every clamp.
LARGEST_CHANGE = 256


class Hierarchical(Lowering):
    """Two levels of Poisson neurons over error neurons per pixel."""

    name = "predictive"
    families = ("ipvae-hierarchical",)

    def obstacle(self, model: SavedModel) -> str | None:
        """A weight of the prior that is negative or no number, or several inner updates."""
        weight = prior_weight(model)
        if not (isinstance(weight, int | float) and 0 <= weight < float("inf")):
            return f"prior_weight: expected a number that is not negative, got {show(weight)}"
        return super().obstacle(model)

    def check(self, model: SavedModel) -> None:
        """See :meth:`Lowering.check`; shapes are checked too."""
        super().check(model)
        leak = model.arrays.get("upper.log_bias")
        upper = 1 if leak is None else leak.size
        shapes = {
            **array_shapes(model.config),
            "baseline": (model.config.latents,),
            "prediction": (model.config.latents, upper),
            **{f"upper.{name}": (upper,) for name in OF_A_LEVEL},
            "upper.log_step_size": (),
        }
        check_shapes(model.arrays, shapes, f"circuit {self.name!r}")

    def hops(self, model: SavedModel) -> tuple[str, ...]:
        """The errors, and the rates that are predicted."""
        return f"{ERRORS}.m", RATES

    def circuit(self, model: SavedModel, dtype: str = "float32") -> FloatCircuit:
        """The model in real numbers."""
        self.check(model)
        levels = Levels.of(model)
        latents = float_latents(levels.lower, INTEGRATE_LOWER)
        infinite = float("inf")
        own = {
            "base": levels.baseline, "rate_high": infinite,
            "p_min": latents.constant("u_min"), "p_max": latents.constant("u_max"), "p_shift": 0.0,
            "pull": levels.pulls[0], "pull_shift": 0.0,
        }  # fmt: skip
        above = {"low": -infinite, "high": infinite, "pull": levels.pulls[1], "pull_shift": 0.0}
        return joined(
            Predictive().circuit(levels.lower, dtype),
            predicting(latents, 0.0, own),
            with_constants(float_latents(levels.upper, INTEGRATE_UPPER, name=UPPER), above),
            (levels.psi, levels.excess),
        )

    def integers(
        self, model: SavedModel, scales: Scales, calibration: Calibration
    ) -> IntegerNetwork:
        """The model in integers; what the lower level has alone is as in the linear model."""
        self.check(model)
        levels = Levels.of(model)
        base = Predictive().integers(levels.lower, scales, calibration)
        (down, psi), (up, excess) = (
            rounded_weights(w, scales) for w in (levels.psi, levels.excess)
        )
        most = LARGEST_SUM
        limit = scales.message_limit(RATES, most // max(1, row_reach(excess)))
        largest = float(calibration.largest[RATES].max())
        rate_bits = min(MOST_RATE_BITS, power_below(limit, largest) if largest else MOST_RATE_BITS)
        # In this unit neither a sum nor the difference of counts and rates leaves a word.
        reach = float(np.ldexp(row_reach(psi.T) * scales.max_count, down))
        reach += float(np.ldexp(row_reach(excess) * limit, up - rate_bits))
        compared = min(PREDICTION_BITS, power_below(most, max(1.0, reach)))
        high = int(min(WORD_MAX, np.ldexp(LARGEST_CHANGE / max(levels.pulls[1], 1e-9), compared)))
        bits = min(PREDICTION_BITS, scales.frac_bits)
        shift = scales.frac_bits - bits

        errors, latents = base.population_of[ERRORS], base.population_of[LATENTS]
        low_u, high_u = latents.constant("u_min"), latents.constant("u_max")
        received = sent_back(base.connection_of["feedback"], int(errors.constant("high")[0]))
        received = received + int((high_u - low_u)[0] * levels.pulls[0]) + 1
        own = {
            "base": words(mantissas(levels.baseline, -bits), "baseline"), "rate_high": limit,
            "p_min": low_u >> shift, "p_max": high_u >> shift, "p_shift": shift,
            **factor("pull", levels.pulls[0]),
        }  # fmt: skip
        unit = float(np.ldexp(1.0, scales.frac_bits - compared))
        above = {"low": -high, "high": high, **factor("pull", levels.pulls[1] * unit)}
        change = np.array([LARGEST_CHANGE << scales.frac_bits])
        upper = integer_latents(levels.upper, scales, INTEGRATE_UPPER, change, name=UPPER)
        network = joined(
            base,
            predicting(
                integer_latents(levels.lower, scales, INTEGRATE_LOWER, received),
                0, own, (scales.frac_bits, rate_bits),
            ),
            with_constants(upper, above),
            (psi, excess),
            (down + bits, down + compared, up - rate_bits + compared),
        )  # fmt: skip
        reason = f"finest in which the largest rate of calibration, {largest:.4g}, is below it"
        choices = (
            Choice("prediction exponent", down, few_saturated(levels.psi, down, scales)),
            Choice("expectation exponent", up, few_saturated(levels.excess, up, scales)),
            Choice("rate limit", limit, "largest rate that keeps all sums of rates in 24 bits"),
            Choice("rate unit", 2.0**-rate_bits, reason),
            Choice("unit of compared rates", 2.0**-compared, "no difference exceeds 24 bits"),
        )
        return replace(network, choices=(*base.choices, *choices), family=model.config.family)
