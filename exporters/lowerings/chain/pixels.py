"""Pixels of a chain by family: error neurons, and what an error costs.

A family has one line in ``PIXELS``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pvae_neuro.exporters.scales import LARGEST_SUM, Scales
from pvae_neuro.network import Constant, shared
from pvae_neuro.network.program import Program
from pvae_neuro.network.sampler import LOWEST_POTENTIAL
from pvae_neuro.neurons import bernoulli
from pvae_neuro.neurons.error import PREDICT_AND_COMPARE
from pvae_neuro.saved.model_file import LOG_SIGMA_BOUND
from pvae_neuro.utils.reproducible import exp, power_below, squashed


@dataclass(frozen=True)
class Pixels:
    """Error neurons of pixels whose mean is what is predicted.

    Attributes
    ----------
    compare : Program
    """

    compare: Program = PREDICT_AND_COMPARE

    def gain(self, arrays: Mapping[str, NDArray[np.float32]]) -> float:
        """What an error is multiplied by: the inverse variance."""
        log_sigma = squashed(arrays["output.log_sigma"].astype(np.float64), LOG_SIGMA_BOUND)
        return float(exp(-2.0 * log_sigma))

    def curvature(self, arrays: Mapping[str, NDArray[np.float32]]) -> float:
        """Second derivative of the energy by what is predicted, or a bound of it."""
        return self.gain(arrays)

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Arrays of their own."""
        return {"output.log_sigma": ()}

    def real(self) -> tuple[Constant, ...]:
        """Constants of their own, in real numbers."""
        return ()

    def bits(self, largest: float, finest: int, scales: Scales) -> tuple[int, int]:
        """Fixed-point positions of what is predicted, ``largest`` at most, and of a pixel."""
        found = min(finest, power_below(LARGEST_SUM, largest))
        return found, found

    def constants(self, predicted_bits: int, pixel_bits: int) -> tuple[Constant, ...]:
        """Constants of their own, in integers."""
        return ()

    def largest_error(self, predicted: float, pixel: float) -> float:
        """Largest error before its gain."""
        return predicted + pixel


class Probabilities(Pixels):
    """Error neurons of pixels in [0, 1], whose log-odds are predicted."""

    def gain(self, arrays: Mapping[str, NDArray[np.float32]]) -> float:
        """None: errors are sent as they are."""
        return 1.0

    def curvature(self, arrays: Mapping[str, NDArray[np.float32]]) -> float:
        """Largest one, that of log-odds 0."""
        return 0.25

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """None."""
        return {}

    def real(self) -> tuple[Constant, ...]:
        """Of the sigmoid."""
        ends = Constant("u_min", shared(float("-inf"))), Constant("u_max", shared(float("inf")))
        return (*ends, *bernoulli.sigmoid_constants(None))

    def bits(self, largest: float, finest: int, scales: Scales) -> tuple[int, int]:
        """That of potentials or coarser, and that of inputs."""
        return min(scales.frac_bits, power_below(LARGEST_SUM, largest)), scales.input_frac_bits

    def constants(self, predicted_bits: int, pixel_bits: int) -> tuple[Constant, ...]:
        """Of the sigmoid, over as much as its exponential takes."""
        low = round(np.ldexp(LOWEST_POTENTIAL, predicted_bits))
        ends = Constant("u_min", shared(low)), Constant("u_max", shared(-low))
        return (*ends, *bernoulli.sigmoid_constants(predicted_bits, pixel_bits))

    def largest_error(self, predicted: float, pixel: float) -> float:
        """A whole probability."""
        return 1.0


PIXELS: dict[str, Pixels] = {
    "gaussian": Pixels(),
    "bernoulli": Probabilities(bernoulli.COMPARE_PIXELS),
}
